// Images by name and by ID: load, import, list, find, tag, remove, history.
//
// An image's ID is the digest of its configuration; where it came with an OCI manifest, that digest is kept too.
// Durable state is in the store's tables `images` and `image_references`; readers get an immutable snapshot of it.
// Order of a change: layers and config blob complete and synced, then one transaction, then the snapshot. After a crash
// an image is there whole or not at all; blobs and layers that nothing names are collected at start.
// Thread-safe; everything but snapshot readers (find, list) blocks, so it is used from the pool.
#pragma once

#include "base/text.hpp"
#include "content/content_store.hpp"
#include "layers/layers.hpp"
#include "oci/image_config.hpp"
#include "oci/reference.hpp"
#include "store/database.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::images {

struct Image {
    std::string id;  ///< "sha256:…", the digest of the configuration
    std::optional<oci::Digest> manifest_digest;
    oci::ImageConfig config;
    std::string raw_config;             ///< The document's bytes.
    std::vector<oci::Digest> diff_ids;  ///< The lowest first; for LayerStore::prepare.
    std::vector<oci::Reference> references;
    std::vector<std::string> repo_tags;     ///< Familiar, sorted: "redis:7".
    std::vector<std::string> repo_digests;  ///< Familiar: "redis@sha256:…".
    std::uint64_t size = 0;                 ///< Bytes of all layers' files.
    Time created{};
    std::string parent;  ///< ID of the image it was committed or built from here; mostly empty.
    Time last_tagged{};  ///< Time{} where never.
};

using ImagePtr = std::shared_ptr<const Image>;

/// A container that was created from an image.
struct ContainerUse {
    std::string container_id;
    bool running = false;
};
/// Asked by remove() and prune(); must be callable on the pool.
using UsedBy = std::function<std::vector<ContainerUse>(const std::string& image_id)>;

struct RemoveOptions {
    bool force = false;
    bool prune_parents = true;  ///< false: Docker's noprune
};

/// One line of remove()'s answer, in Docker's order; `untagged` or `deleted` is set.
struct Removed {
    std::string untagged;  ///< "redis:7"
    std::string deleted;   ///< "sha256:…", the image or a layer (by its chain ID)
    std::string image_id;  ///< Of which image; empty for a layer, which is no event.
};

struct LoadProgress {
    std::string id;      ///< The first 12 digits of the layer's diff ID.
    std::string status;  ///< "Loading layer", as Docker writes it.
    std::uint64_t current = 0;
    std::uint64_t total = 0;
};
using OnProgress = std::function<void(const LoadProgress&)>;

struct LoadedImage {
    std::string id;
    std::vector<std::string> names;  ///< Familiar: print "Loaded image: <name>" each; "Loaded image ID: <id>" where empty.
    std::vector<std::string> moved;  ///< Names that pointed to another image before, with that image's ID: "x:1 sha256:…".
};

struct ImportOptions {
    std::string reference;  ///< May be empty.
    std::string message;    ///< history comment; "Imported from -" where empty
    std::string source = "-";
    std::string architecture;    ///< "arm64", "arm/v7"; this machine's where empty.
    oci::ImageRunConfig config;  ///< See apply_changes().
};

/// A line of `docker history`, the newest first.
struct HistoryLine {
    std::string id;  ///< The image's for the first line, "<missing>" for the others.
    Time created{};
    std::string created_by;
    std::vector<std::string> tags;  ///< first line only
    std::uint64_t size = 0;
    std::string comment;
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

    std::vector<ImagePtr> list() const;  ///< The newest first.

    /// While the lease lives remove() and prune() leave the image: taken between find and the container's row.
    using Lease = std::shared_ptr<const void>;
    Lease hold(const std::string& image_id);

    /// `target` as Docker takes it: a name with or without a tag, no digest.
    void tag(std::string_view reference, std::string_view target);

    /// By name: the name goes, and quietly the image where it was the last and nothing uses it. By ID: the image, or a
    /// conflict: with running containers and child images always, with more names or stopped containers unless forced.
    std::vector<Removed> remove(std::string_view reference, const RemoveOptions& options, const UsedBy& used_by);

    /// `all`: every image without a container; else those without a name, too. `keep` says which to leave (filters), may be empty.
    struct Pruned {
        std::vector<Removed> removed;
        std::uint64_t reclaimed = 0;
    };
    Pruned prune(bool all, const UsedBy& used_by, const std::function<bool(const Image&)>& keep = {});

    std::vector<HistoryLine> history(std::string_view reference) const;

    /// docker-archive or OCI layout in one tar (plain, gzip or zstd) from `input` (file, pipe or socket), to its end.
    std::vector<LoadedImage> load(int input, const OnProgress& progress = {});

    /// A root file system's tar becomes an image of one layer; returns its ID.
    std::string import(int input, const ImportOptions& options, const OnProgress& progress = {});

    /// Deletes layers that neither an image nor a container needs; after the removal of a container whose image is gone.
    void collect();

private:
    struct Snapshot;
    std::shared_ptr<const Snapshot> snapshot() const;
    void reload();
    struct NewImage;
    void add(const std::vector<NewImage>& images);
    class Removal;
    std::vector<LoadedImage> load_docker_archive(class Archive& archive, const OnProgress& progress);
    std::vector<LoadedImage> load_oci_layout(class Archive& archive, const OnProgress& progress);
    std::vector<std::string> moved_from(const std::vector<oci::Reference>& names, const std::string& image_id) const;
    class Loading;

    store::Database& database_;
    content::ContentStore& content_;
    layers::LayerStore& layers_;
    mutable std::mutex snapshot_mutex_;
    std::shared_ptr<const Snapshot> snapshot_;
    std::mutex changing_;  // one change at a time; unpacking happens outside of it
    std::map<std::string, int> held_;
    std::shared_ptr<std::mutex> held_mutex_;
    int loading_ = 0;  // collect() waits while layers without an image may exist
    bool collect_later_ = false;
};

/// Applies Dockerfile lines as `docker import --change` and `commit --change` take them: CMD ENTRYPOINT ENV EXPOSE LABEL
/// HEALTHCHECK ONBUILD STOPSIGNAL USER VOLUME WORKDIR, as lists or in the shell's form. Throws Error(invalid_argument) for others.
void apply_changes(oci::ImageRunConfig& config, const std::vector<std::string>& changes);

}  // namespace grua::images
