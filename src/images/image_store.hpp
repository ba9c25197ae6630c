// Images by name and by ID: pull, push, load, save, import, commit, build, list, find, tag, remove, collect.
//
// An image's ID is the digest of what it came with, a manifest or an index; documents and layers stay in the content
// store as they came, so that what is saved or pushed has the digests that it was loaded or pulled with. The layers of
// the variant for this machine are unpacked.
// Durable state is in the store's tables `images` and `image_references`; readers get an immutable snapshot of it.
// Order of a change: blobs and layers complete and synced, then one transaction, then the snapshot. After a crash an
// image is there whole or not at all; blobs and layers that nothing names are collected at start.
// Thread-safe; everything but snapshot readers (find, list) blocks, so it is used from the pool or threads of its own.
#pragma once

#include "base/mutex.hpp"
#include "content/content_store.hpp"
#include "images/built.hpp"
#include "images/check.hpp"
#include "images/gc.hpp"
#include "images/image.hpp"
#include "images/values.hpp"
#include "layers/layers.hpp"
#include "registry/client.hpp"
#include "registry/signatures.hpp"
#include "store/database.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::images {

struct PullRequest {
    oci::Reference reference;
    std::optional<oci::Platform> platform;  ///< This machine's where empty.
    registry::Access access;
    const registry::SignaturePolicy* signatures = nullptr;  ///< Asked before anything but the manifest is fetched.
};
struct PullResult {
    ImagePtr image;
    bool changed = false;  ///< The name had no image, or another.
};

struct PushRequest {
    oci::Reference reference;  ///< With a tag.
    std::optional<oci::Platform> platform;
    registry::Access access;
};
struct ImportOptions {
    std::string reference;  ///< May be empty.
    std::string message;    ///< history comment; "Imported from -" where empty
    std::string source = "-";
    std::function<void()> whole;  ///< See through_pipe(); may be empty.
    std::string architecture;     ///< "arm64", "arm/v7"; this machine's where empty.
    oci::ImageRunConfig config;   ///< See apply_changes().
};

struct CommitRequest {
    std::string parent;           ///< The image's ID; may be empty.
    int layer = -1;               ///< The changes as a tar, read to its end.
    std::function<void()> whole;  ///< See through_pipe(); may be empty.
    oci::ImageRunConfig config;
    std::string created_by;
    std::string author;
    std::string comment;
    std::string reference;  ///< May be empty.
};

class ImageStore {
public:
    /// All three must outlive this. Collects what nothing names.
    ImageStore(store::Database& database, content::ContentStore& content, layers::LayerStore& layers);
    ~ImageStore();

    /// By name[:tag], name@digest, ID ("sha256:…" or hex) or unique ID prefix; null where there is none.
    /// Throws Error(invalid_argument) for what is neither. Names win over ID prefixes, as Docker has it.
    ImagePtr find(std::string_view reference) const;

    /// As find, but throws Error(not_found, "No such image: x:latest").
    ImagePtr get(std::string_view reference) const;

    /// The image as it is for `platform`; throws not_found where that variant is not here. Reads files.
    ImagePtr for_platform(const ImagePtr& image, const oci::Platform& platform) const;

    /// Unpacks those of the image's layers that are not, from their blobs.
    void unpack(const Image& image);

    std::vector<ImagePtr> list() const;  ///< The newest first.

    /// While the lease lives remove() and prune() leave the image: taken between find and the container's row.
    using Lease = std::shared_ptr<const void>;
    Lease hold(const std::string& image_id);

    /// get() and hold() in one: what comes out is there and stays. A use of the image.
    struct Acquired {
        ImagePtr image;
        Lease lease;
    };
    Acquired acquire(std::string_view reference);

    /// A use of the image at `time`; kept in memory until the next change or collection is stored.
    void touch(const std::string& image_id, Time time);
    Time last_used(const std::string& image_id) const;  ///< Time{} for an image that is not here.

    /// `target` as Docker takes it: a name with or without a tag, no digest.
    void tag(std::string_view reference, std::string_view target);

    /// By name: the name goes, and quietly the image where it was the last and nothing uses it. By ID: the image, or a
    /// conflict: with running containers and child images always, with more names or stopped containers unless forced.
    std::vector<Removed> remove(std::string_view reference, const RemoveOptions& options, const UsedBy& used_by);

    /// These variants of an index go, others stay. Throws not_found where one is not here, conflict for the last one and for what
    /// a container or another image uses.
    std::vector<Removed> remove_platforms(std::string_view reference, const std::vector<oci::Platform>& platforms, const UsedBy& used_by);

    /// `all`: every image without a container; else those without a name, too. `keep` says which to leave (filters), may be empty.
    struct Pruned {
        std::vector<Removed> removed;
        std::uint64_t reclaimed = 0;
    };
    Pruned prune(bool all, const UsedBy& used_by, const std::function<bool(const Image&)>& keep = {});

    /// Bytes of layers and blobs that each of `images` has in common with others of them, by its ID. Reads the sizes of files.
    std::map<std::string, std::int64_t> shared_sizes(const std::vector<ImagePtr>& images) const;

    std::vector<HistoryLine> history(std::string_view reference) const;
    std::vector<HistoryLine> history(const Image& image) const;

    /// From a registry. Two that want the same share the work; one that stops does not stop the other.
    PullResult pull(const registry::Client& client, const PullRequest& request, const OnProgress& progress = {});

    PushResult push(const registry::Client& client, const PushRequest& request, const OnProgress& progress = {});

    /// docker-archive or OCI layout in one tar (plain, gzip, bzip2, xz or zstd) from `input` (file, pipe or socket), to its end.
    /// `platforms`: these of an index; where empty, all that the archive has.
    std::vector<LoadedImage> load(int input, const OnProgress& progress = {}, const std::vector<oci::Platform>& platforms = {});

    /// An OCI layout that is a docker-archive as well, of these images, written to `write` in order.
    void save(const std::vector<std::string>& references, const std::vector<oci::Platform>& platforms,
              const std::function<void(std::string_view)>& write) const;

    /// A root file system's tar becomes an image of one layer; returns its ID.
    std::string import(int input, const ImportOptions& options, const OnProgress& progress = {});

    /// A layer on top of an image becomes an image; returns its ID.
    std::string commit(const CommitRequest& request);

    // --- what a build makes; see images/built.hpp -------------------------------------------------------------

    /// A blob that an image which is here has for this layer, claimed: of `bases` first, else, as with `force`, one that is compressed as
    /// it is wanted, where there is one.
    std::optional<oci::Descriptor> find_blob(const oci::Digest& diff_id, const PackOptions& options, BuildClaims& claims) const;

    /// Blobs of the layers of `chain` (the lowest first; diff IDs and steps), durable: what an image has packed is taken from it, the
    /// rest is packed, by the first of all builds that want it. Steps get their diff IDs. `progress` is called in this thread.
    /// Throws unavailable where it is stopped.
    std::vector<PackedLayer> pack_layers(const std::vector<oci::Digest>& chain, const PackOptions& options, BuildClaims& claims,
                                         const OnPacked& progress = {}, std::stop_token stop = {});

    /// The image is there whole, with its names, or not at all. Its layers' blobs are here and claimed.
    BuiltResult add_built(const BuiltImage& image, BuildClaims& claims);

    /// Into one tar, written to `write` in order; the store is left as it is. The same image gives the same bytes.
    void save_built(const BuiltImage& image, ArchiveForm form, const std::function<void(std::string_view)>& write) const;

    /// Deletes blobs and layers that neither an image nor a container needs; after the removal of a container whose image is gone.
    void collect();

    /// By the policy; see images/gc.hpp. The decisions are the same in both modes, unless something changes meanwhile.
    struct Collected {
        std::vector<Decision> decisions;
        std::vector<Removed> removed;
    };
    Collected collect(const GcPolicy& policy, const GcFacts& facts, const UsedBy& used_by, GcMode mode);

    /// Reads everything; see images/check.hpp. `found` is called in this thread. Throws unavailable where it is stopped.
    CheckSums check(const CheckRequest& request, const std::function<void(const Finding&)>& found);

    /// Bytes on disk: blobs and unpacked layers, each once.
    std::uint64_t disk_usage() const;

private:
    struct Snapshot;
    struct NewImage;
    class Removal;
    class Claims;
    class Load;
    class Pull;
    class Push;
    class Collection;
    class Check;
    class Pack;
    friend class BuildClaims;
    using StillUnwanted = std::function<bool(const Image&)>;
    std::vector<Removed> take_out(std::string_view reference, const RemoveOptions& options, const UsedBy& used_by,
                                  const StillUnwanted& still = {});
    void store_uses();
    bool is_held(const std::string& image_id) const;
    bool is_claimed(const oci::Digest& blob) const;
    bool is_layer(const std::string& blob, const oci::Digest& diff_id) const;
    std::shared_ptr<const Snapshot> snapshot() const;
    void reload(const std::set<std::string>& changed);
    void add(const std::vector<NewImage>& images);
    NewImage make(const oci::ImageConfig& config, std::vector<oci::Descriptor> layers, Claims& claims);
    void publish(struct NewLayer& layer, Claims& claims);
    std::vector<layers::StagedPtr> stage_built(const BuiltManifest& manifest, BuildClaims::State& claims);
    std::vector<std::pair<std::string, std::string>> moved_from(const std::vector<oci::Reference>& names,
                                                                const std::string& image_id) const;

    store::Database& database_;
    content::ContentStore& content_;
    layers::LayerStore& layers_;
    mutable Mutex snapshot_mutex_;
    std::shared_ptr<const Snapshot> snapshot_ GRUA_GUARDED_BY(snapshot_mutex_);
    Mutex changing_;                     // one change at a time; transfers happen outside of it
    std::shared_ptr<Mutex> held_mutex_;  // never held for long: the loop takes it
    std::map<std::string, int> held_ GRUA_GUARDED_BY(*held_mutex_);
    std::set<std::string> removing_ GRUA_GUARDED_BY(*held_mutex_);
    std::map<oci::Digest, int> claimed_ GRUA_GUARDED_BY(*held_mutex_);
    std::map<std::string, Time> used_ GRUA_GUARDED_BY(*held_mutex_);
    std::set<std::string> touched_ GRUA_GUARDED_BY(*held_mutex_);  // used since that was stored
    std::unique_ptr<class Fetches> fetches_;
    std::unique_ptr<class Packings> packings_;
};

/// Applies Dockerfile lines as `docker import --change` and `commit --change` take them: CMD ENTRYPOINT ENV EXPOSE LABEL
/// HEALTHCHECK ONBUILD STOPSIGNAL USER VOLUME WORKDIR, as lists or in the shell's form. Throws Error(invalid_argument) for others.
void apply_changes(oci::ImageRunConfig& config, const std::vector<std::string>& changes);

}  // namespace grua::images
