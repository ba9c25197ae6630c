// Layers of images, unpacked once each, and the writable layers of containers on top of them, by overlayfs.
//
//   <directory>/l/<number>              one unpacked layer, a folder or an erofs image; has a row in the store's table `layers`,
//                                       written after syncfs
//   <directory>/staging/                layers being unpacked; what is there at the start is trash
//   <directory>/containers/<id>/{upper,work}
//   <directory>/base/                   below every container's layers: what its mounts need where no layer has it, so that nothing has to
//                                       be made in each upper
//   <directory>/trash/                  what is being removed, by a thread of its own
//
// Invariants: a layer with a row is complete, durable and is its diff ID; a folder without one belongs to nobody and is
// swept at start. A layer is known by its diff ID, so that images that share it share the folder. Nothing in a layer's
// tar leads outside its folder: everything is done through fds below a Root.
// Thread-safe; blocks, so it is used from the pool.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "oci/digest.hpp"
#include "store/database.hpp"

#include <condition_variable>
#include <cstdint>
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
    oci::Digest diff_id;
    std::int64_t number = 0;  ///< names the folder
    std::uint64_t size = 0;   ///< bytes of its files
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
    LayerStore(std::string directory, store::Database& database, LayerFormat format = LayerFormat::tree);
    ~LayerStore();

    // --- layers of images -------------------------------------------------------------------------------------

    std::optional<Layer> find(const oci::Digest& diff_id) const;

    /// Unpacks a layer tar (plain, gzip or zstd; found out by its content) aside. With `expected` the digest of the
    /// uncompressed tar must be that one. Throws Error(invalid_argument) that names the entry or the digests.
    StagedPtr stage(Source& source, const std::optional<oci::Digest>& expected, const Progress& progress = {},
                    const SourceDigest& source_digest = {});

    /// Makes all of them durable and then visible: one syncfs, one transaction. What is there already stays as it is.
    void publish(const std::vector<StagedPtr>& staged);

    /// While the answer lives remove_layers() leaves the layer; null where there is none.
    using Hold = std::shared_ptr<const void>;
    Hold hold(const oci::Digest& diff_id);
    bool is_held(const oci::Digest& diff_id) const;

    /// The same for what a container stands on, and for its writable layer, whose files stay even where it is removed meanwhile.
    /// Throws not_found. Not to outlive this.
    Hold hold_container(std::string_view container_id);

    /// Removes those of `diff_ids` that no container stands on and nobody holds. The caller knows that no image needs them.
    std::vector<oci::Digest> remove_layers(const std::vector<oci::Digest>& diff_ids);

    std::vector<Layer> list() const;

    // --- is it whole? -----------------------------------------------------------------------------------------

    /// The unpacked layer against its tar: unpacked once more aside and compared to the last file. `each` is called often and may
    /// throw to end it. Throws as stage().
    struct Verified {
        std::optional<std::string> difference;
        StagedPtr fresh;  ///< For replace(), or publish() where there was no layer.
    };
    Verified verify(const oci::Digest& diff_id, Source& source, const std::function<void()>& each);

    /// In the place of the layer's folder, at once. False where somebody holds a container on it.
    bool replace(const StagedPtr& staged);

    /// Rows without folders, folders without rows, containers without layers.
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
    struct Container {
        std::vector<oci::Digest> diff_ids;
        Durability durability = Durability::normal;
        std::weak_ptr<const void> held;
        std::vector<std::string> missing = {};  // numbers of layers that it stands on and that are not there
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
    Folders folders(const std::vector<oci::Digest>& diff_ids) const GRUA_REQUIRES(mutex_);
    Fd open_layer(const std::string& path) const;
    std::vector<std::int64_t> numbers(const std::vector<oci::Digest>& diff_ids) const GRUA_REQUIRES(mutex_);
    void load() GRUA_REQUIRES(mutex_);
    void sweep() GRUA_REQUIRES(mutex_);
    Hold hold_locked(const oci::Digest& diff_id) GRUA_REQUIRES(mutex_);
    bool is_held_locked(const oci::Digest& diff_id) const GRUA_REQUIRES(mutex_);
    bool is_mounted(const oci::Digest& diff_id) const GRUA_REQUIRES(mutex_);
    void trash_homeless() GRUA_REQUIRES(mutex_);
    std::string trash(const std::string& path) GRUA_REQUIRES(mutex_);
    void sweep_away(const std::string& path) GRUA_REQUIRES(mutex_);
    bool is_kept(const std::string& trashed) const GRUA_REQUIRES(mutex_);
    bool purge_one(int trash, const std::string& name, const std::stop_token& stop);
    void purge(const std::stop_token& stop);

    friend class StagedLayer;
    struct HeldContainer;

    const std::string directory_;
    const LayerFormat format_;
    store::Database& database_;
    mutable Mutex mutex_;
    std::map<oci::Digest, Layer> layers_ GRUA_GUARDED_BY(mutex_);
    mutable std::map<std::int64_t, std::shared_ptr<const Fd>> images_
        GRUA_GUARDED_BY(mutex_);  // mounted once: what is read of them is in memory once
    std::map<oci::Digest, std::weak_ptr<const void>> held_ GRUA_GUARDED_BY(mutex_);
    std::map<std::string, Container, std::less<>> containers_ GRUA_GUARDED_BY(mutex_);
    std::map<std::string, Container> kept_ GRUA_GUARDED_BY(mutex_);  // in the trash by these names, and still read
    std::set<std::string> homeless_ GRUA_GUARDED_BY(mutex_);         // paths of folders that belong to nobody
    std::condition_variable_any trashed_;
    bool purged_ GRUA_GUARDED_BY(mutex_) = false;
    std::set<std::string> stuck_ GRUA_GUARDED_BY(mutex_);  // in the trash, and could not be removed when it was tried last
    std::jthread purger_;                                  // last: it uses all of the above
};

}  // namespace grua::layers
