// Layers of images, unpacked once each, and the writable layers of containers on top of them, by overlayfs.
//
//   <directory>/l/<number>              one unpacked layer, a folder or an erofs image; has a row in the store's table `layers`,
//                                       written after syncfs. Numbers below 0 are folders that steps of builds wrote
//   <directory>/staging/                layers being unpacked; what is there at the start is trash
//   <directory>/containers/<id>/{upper,work}
//   <directory>/base/                   below every container's layers: what its mounts need where no layer has it, so that nothing has to
//                                       be made in each upper
//   <directory>/trash/                  what is being removed, by a thread of its own
//
// Invariants: a layer with a row is complete, durable and is its diff ID; a folder without one belongs to nobody and is
// swept at start. A layer is known by its diff ID, so that images that share it share the folder. Nothing in a layer's
// tar leads outside its folder: everything is done through fds below a Root.
// What a step of a build wrote is a layer before it has a diff ID, and may have a row before it is durable: the row names the boot then,
// and another boot drops both. A folder never moves once it is in l/, because containers name it by its number. Thread-safe; blocks, so it
// is used from the pool.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"
#include "oci/digest.hpp"
#include "store/database.hpp"

#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace grua::layers {

class Source;
class Sink;

enum class Access { read_write, read_only };

/// `volatile_`: overlayfs omits all syncs of this container's data; for containers that are removed on exit.
enum class Durability { normal, volatile_ };

/// Of layers that come; those that are there stay what they are.
enum class LayerFormat {
    tree,   ///< A folder.
    erofs,  ///< One file, which the kernel mounts.
};
std::optional<LayerFormat> parse_layer_format(std::string_view text) noexcept;

/// Whoever feeds a source hashes its bytes anyway: `digest` waits for its end and tells. What is not packed is not hashed again.
struct SourceDigest {
    std::string algorithm;
    std::function<oci::Digest()> digest;
};

/// Progress of an unpack: bytes of the (compressed) source that are done.
using Progress = std::function<void(std::uint64_t done)>;

struct Layer {
    oci::Digest diff_id;      ///< Of a step that has none yet its own ID.
    std::int64_t number = 0;  ///< names the folder
    std::uint64_t size = 0;   ///< bytes of its files
    bool is_step = false;     ///< A step of a build is known by it: it stays until forget_steps().

    /// A step of a build wrote the folder; it was not unpacked from a tar.
    bool is_made_here() const noexcept { return number < 0; }
};

/// A layer that is unpacked and verified but not visible; destroyed before publish() it leaves nothing. While it lives
/// nobody removes the layer that it became.
class StagedLayer {
public:
    StagedLayer(const StagedLayer&) = delete;
    StagedLayer& operator=(const StagedLayer&) = delete;
    ~StagedLayer();

    const oci::Digest& diff_id() const noexcept { return diff_id_; }
    std::uint64_t size() const noexcept { return size_; }
    bool is_empty() const noexcept { return is_empty_; }  ///< The tar had no entry.

private:
    friend class LayerStore;
    StagedLayer(class LayerStore& store, std::string name, oci::Digest diff_id, std::uint64_t size, bool is_empty)
        : store_(&store), name_(std::move(name)), diff_id_(std::move(diff_id)), size_(size), is_empty_(is_empty) {}

    class LayerStore* store_;
    std::string name_;
    oci::Digest diff_id_;
    std::uint64_t size_;
    bool is_empty_;
    std::shared_ptr<const void> held_;
};
using StagedPtr = std::shared_ptr<StagedLayer>;

class LayerStore {
public:
    /// Opens or makes the folder, sweeps what belongs to nobody. `database` must outlive this. Throws where this kernel does not
    /// take layers of `format`.
    LayerStore(std::string directory, store::Database& database, LayerFormat format = LayerFormat::tree, std::string boot = this_boot());
    ~LayerStore();

    /// The machine's boot ID, which tells whether there may have been a power cut since.
    static std::string this_boot();

    // --- layers of images -------------------------------------------------------------------------------------

    std::optional<Layer> find(const oci::Digest& diff_id) const;

    /// Unpacks a layer tar (plain, gzip or zstd; found out by its content) aside. With `expected` the digest of the
    /// uncompressed tar must be that one. Throws Error(invalid_argument) that names the entry or the digests.
    StagedPtr stage(Source& source, const std::optional<oci::Digest>& expected, const Progress& progress = {},
                    const SourceDigest& source_digest = {});

    /// Makes all of them durable and then visible: one syncfs, one transaction. What is there already stays as it is.
    void publish(const std::vector<StagedPtr>& staged);

    /// While the answer lives remove_layers() and forget_steps() leave the layer; null where there is none. Not to outlive this.
    using Hold = std::shared_ptr<const void>;
    Hold hold(const oci::Digest& diff_id);
    bool is_held(const oci::Digest& diff_id) const;

    /// The same for what a container stands on, and for its writable layer, whose files stay even where it is removed meanwhile.
    /// Throws not_found. Not to outlive this.
    Hold hold_container(std::string_view container_id);

    /// Removes those of `diff_ids` that no container stands on, nobody holds and no step is known by. The caller knows that no image
    /// needs them.
    std::vector<oci::Digest> remove_layers(const std::vector<oci::Digest>& diff_ids);

    /// Those that have a diff ID.
    std::vector<Layer> list() const;

    // --- layers of builds -------------------------------------------------------------------------------------

    // What a step of a build wrote is a layer before anybody knows its diff ID. It has an ID of its own, a digest of the algorithm "step"
    // ("step:<64 hex>", random), which is taken wherever a diff ID is (hold, prepare, mount_layers, find ...). Once it has been packed it
    // has its diff ID as well. None of these inside a transaction of the caller's.

    /// The writable layer of `container_id`, which nobody has mounted any more, becomes a layer, by rename; the container is gone then,
    /// also where this fails half-way. Known in memory only until store_steps(); a held step is not removed. Throws not_found.
    oci::Digest keep_step(std::string_view container_id);

    /// Those that were kept since, and diff IDs that were learnt, have rows: they survive the death of gruad, not that of the machine. One
    /// transaction.
    void store_steps();

    /// All steps that have rows or get them now survive a power cut: one syncfs, one transaction. To be called before an image names
    /// any of them. What an unsynced step was after another start of the machine is swept.
    void sync_steps();

    /// It has this diff ID. Where a layer has it already that one takes its place (and the step's own folder goes once nobody holds it).
    /// In memory until store_steps(). Throws not_found, and conflict where the step has another one.
    void identify(const oci::Digest& step, const oci::Digest& diff_id);

    /// Nobody asks for them by these names any more. One without a diff ID goes as soon as nobody holds it or stands on it; others are
    /// from now on layers as all others are. Unknown ones are no error.
    void forget_steps(const std::vector<oci::Digest>& steps);

    struct Step {
        oci::Digest id;
        std::optional<oci::Digest> diff_id;
        std::uint64_t size = 0;
        bool is_held = false;
        Time made{};  ///< When its writable layer was begun.
    };
    /// The first to ask for its size waits for a walk over its files.
    std::optional<Step> find_step(const oci::Digest& step) const;
    std::vector<Step> steps() const;

    /// What the layer changes of those below, as a layer's tar: whiteouts as files. False where there is nothing in it. Of any layer of
    /// this store. Takes as long as it takes and holds up nobody. `latest`: as TarWriter has it; the tar is not the layer's own then.
    bool pack_layer(const oci::Digest& layer, const std::vector<oci::Digest>& below, Sink& sink, std::optional<timespec> latest = {}) const;

    // --- is it whole? -----------------------------------------------------------------------------------------

    /// The unpacked layer against its tar: unpacked once more aside and compared to the last file; one that a step wrote may have more in
    /// it than its tar. `each` is called often and may throw to end it. Throws as stage().
    struct Verified {
        std::optional<std::string> difference;
        StagedPtr fresh;  ///< For replace(), or publish() where there was no layer.
    };
    Verified verify(const oci::Digest& diff_id, Source& source, const std::function<void()>& each);

    /// In the place of the layer's folder, at once. False where somebody holds a container on it.
    bool replace(const StagedPtr& staged);

    /// Rows without folders, folders without rows, containers without layers. A step that has no row yet is none.
    struct Inconsistency {
        std::string id;  ///< diff ID, container ID or path
        std::string problem;
    };
    std::vector<Inconsistency> inconsistencies() const;

    // --- containers -------------------------------------------------------------------------------------------

    // A container whose layers are not all there - a store that was made anew beside old folders - is listed and can be removed. What
    // mounts it throws Error(system) that names what is missing: without it the container would run with a hole in its files.

    /// Makes the container's writable layer on `diff_ids` (the lowest first; may be empty). Throws conflict where it exists,
    /// not_found where a layer is missing.
    /// `bound`: bytes that may be written in it; where can_bound() says so only.
    void prepare(std::string_view container_id, const std::vector<oci::Digest>& diff_ids, Durability durability = Durability::normal,
                 std::optional<std::uint64_t> bound = std::nullopt);
    /// Every writable layer that prepare() has made so far is there after a power cut; what is written in them, only as it is synced there.
    void sync_containers() const;
    /// Whether the file system that this is in keeps folders within a size. Blocks.
    bool can_bound() const;

    /// The container's root file system as a detached mount: attach it with move_mount(2). Needs prepare() before.
    Fd mount(std::string_view container_id, Access access = Access::read_write) const;

    /// What image and container put there, read only and without claiming the writable layer: the container can be started while somebody
    /// still reads.
    Fd mount_snapshot(std::string_view container_id) const;

    /// The writable layer itself, where changes are.
    Fd open_upper(std::string_view container_id) const;

    /// What the container stands on, without its writable layer, read only.
    Fd mount_lower(std::string_view container_id) const;

    /// The same of layers alone (for `docker create -v` population and image mounts).
    Fd mount_layers(const std::vector<oci::Digest>& diff_ids) const;

    /// The container's writable layer goes to the trash by rename. Unknown IDs are no error.
    void remove(std::string_view container_id);

    /// Waits until nothing is in the trash but what somebody reads and what could not be removed, which is tried again later.
    void wait_for_purge();

    bool has_container(std::string_view container_id) const;
    std::vector<std::string> containers() const;  ///< For recovery: which writable layers exist.

    /// Layers of the container that are there, the lowest first.
    std::vector<oci::Digest> container_layers(std::string_view container_id) const;

    /// Bytes of the files in the writable layer (Docker's SizeRw).
    std::uint64_t usage(std::string_view container_id) const;

    /// Host paths, for inspect's GraphDriver.Data only.
    struct Paths {
        std::string lower;  ///< joined with ':', the highest first
        std::string upper;
        std::string work;
    };
    Paths paths(std::string_view container_id) const;

private:
    /// What lives as long as a hold on a container.
    struct HeldContainer {
        const LayerStore& store;
        std::vector<Hold> layers;
        ~HeldContainer();
    };
    /// The same of a layer that may go with its last holder.
    struct HeldStep {
        const LayerStore& store;
        std::int64_t number;
        ~HeldStep();
    };
    struct Container {
        std::vector<std::int64_t> numbers;  // of the layers that it stands on, the lowest first
        Durability durability = Durability::normal;
        std::weak_ptr<HeldContainer> held = {};
        std::vector<std::string> missing = {};  // numbers of layers that it stands on and that are not there
    };
    /// What its row outlives; without one, nothing.
    enum class Lasting { process, boot, always };
    /// What is in l/ by one number.
    struct Stored {
        oci::Digest name;                   // its diff ID; the ID of the step that wrote it where it has none
        std::optional<std::uint64_t> size;  // of a step: where somebody has asked for it
        Lasting lasting = Lasting::always;
        int steps = 0;  // that are known by it
        std::weak_ptr<const void> held = {};
        std::shared_ptr<const Fd> image = {};  // of erofs, mounted once: what is read of it is in memory once
    };
    struct StepName {
        std::int64_t number = 0;
        bool has_row = false;
        bool is_saved = false;  // the row says what this does
    };
    /// Rows that are to be written.
    struct Unsaved {
        std::map<std::int64_t, Lasting> layers;
        std::vector<std::pair<oci::Digest, std::int64_t>> names;
    };

    std::string layer_path(std::int64_t number) const;
    std::string container_path(std::string_view id) const;
    Container container(std::string_view id) const;
    Container whole_container(std::string_view id) const;
    /// What an overlay is mounted from, while this lives.
    struct Folders {
        std::vector<std::string> paths;  ///< The highest first.
        std::vector<std::shared_ptr<const Fd>> images;
    };
    Folders folders(const std::vector<std::int64_t>& lowest_first) const GRUA_REQUIRES(mutex_);
    Fd mount_numbers(const std::vector<std::int64_t>& lowest_first) const GRUA_REQUIRES(mutex_);
    Fd open_layer(const std::string& path) const;
    std::optional<std::int64_t> number_of(const oci::Digest& id) const GRUA_REQUIRES(mutex_);
    std::vector<std::int64_t> numbers(const std::vector<oci::Digest>& ids) const GRUA_REQUIRES(mutex_);
    Layer layer_of(std::int64_t number) const GRUA_REQUIRES(mutex_);
    std::optional<Layer> measured(std::int64_t number) const GRUA_EXCLUDES(mutex_);
    std::vector<Layer> measured(const std::vector<std::int64_t>& numbers) const GRUA_EXCLUDES(mutex_);
    void load() GRUA_REQUIRES(mutex_);
    void load_layers() GRUA_REQUIRES(mutex_);
    void sweep() GRUA_REQUIRES(mutex_);
    Hold hold_locked(std::int64_t number) const GRUA_REQUIRES(mutex_);
    bool is_held_locked(std::int64_t number) const GRUA_REQUIRES(mutex_);
    bool is_used(std::int64_t number) const GRUA_REQUIRES(mutex_);
    bool is_mounted(std::int64_t number) const GRUA_REQUIRES(mutex_);
    bool is_forgotten(std::int64_t number) const GRUA_REQUIRES(mutex_);
    Unsaved unsaved() const GRUA_REQUIRES(mutex_);
    void save(Unsaved unsaved) GRUA_REQUIRES(writing_) GRUA_EXCLUDES(mutex_);
    void write(const std::function<void()>& body) GRUA_REQUIRES(writing_) GRUA_EXCLUDES(mutex_);
    void delete_rows(const std::set<std::int64_t>& layers, const std::set<oci::Digest>& steps);
    void sweep_forgotten() GRUA_EXCLUDES(writing_, mutex_);
    void trash_forgotten() GRUA_REQUIRES(writing_, mutex_);
    void clear_place(const std::string& path) GRUA_REQUIRES(writing_) GRUA_EXCLUDES(mutex_);
    void trash_homeless() GRUA_REQUIRES(mutex_);
    std::string trash(const std::string& path) GRUA_REQUIRES(mutex_);
    void sweep_away(const std::string& path) GRUA_REQUIRES(mutex_);
    bool is_kept(const std::string& trashed) const GRUA_REQUIRES(mutex_);
    bool purge_one(int trash, const std::string& name, const std::stop_token& stop);
    void purge(const std::stop_token& stop);
    void wake_purger() const GRUA_REQUIRES(mutex_);

    friend class StagedLayer;

    const std::string directory_;
    const LayerFormat format_;
    const std::string boot_;
    store::Database& database_;
    // Whoever writes rows, one after the other, and waits for the disk meanwhile; taken before the database, and that before mutex_.
    // What finds, holds and mounts does not wait for it. A layer that is in l/ goes under both.
    mutable Mutex writing_;
    mutable Mutex mutex_;
    // By number; mutable for sizes, mounts and holds, which come when they are asked for.
    mutable std::map<std::int64_t, Stored> layers_ GRUA_GUARDED_BY(mutex_);
    std::map<oci::Digest, std::int64_t> numbers_ GRUA_GUARDED_BY(mutex_);  // by diff ID
    std::map<oci::Digest, StepName> steps_ GRUA_GUARDED_BY(mutex_);
    std::set<std::int64_t> unsaved_ GRUA_GUARDED_BY(mutex_);      // layers that have no row, or whose row lacks the diff ID
    std::set<std::int64_t> gone_layers_ GRUA_GUARDED_BY(mutex_);  // whose rows go with the next that is written
    std::set<oci::Digest> gone_steps_ GRUA_GUARDED_BY(mutex_);    // the same
    std::int64_t next_step_ GRUA_GUARDED_BY(mutex_) = -1;         // below all that folders, rows and containers name
    std::map<std::string, Container, std::less<>> containers_ GRUA_GUARDED_BY(mutex_);
    std::map<std::string, Container> kept_ GRUA_GUARDED_BY(mutex_);  // in the trash by these names, and still read
    std::set<std::string> homeless_ GRUA_GUARDED_BY(mutex_);         // paths of folders that belong to nobody
    mutable std::condition_variable_any trashed_;
    mutable bool purged_ GRUA_GUARDED_BY(mutex_) = false;
    std::set<std::string> stuck_ GRUA_GUARDED_BY(mutex_);  // in the trash, and could not be removed when it was tried last
    std::jthread purger_;                                  // last: it uses all of the above
};

}  // namespace grua::layers
