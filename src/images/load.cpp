// Images from archives: docker-archive and OCI layout.
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "images/archive.hpp"
#include "images/image_store_impl.hpp"
#include "images/make.hpp"
#include "layers/source.hpp"

#include <algorithm>
#include <set>

namespace grua::images {
namespace {

constexpr std::size_t index_image_limit = 1000;
constexpr const char* full_name_annotation = "io.containerd.image.name";
constexpr const char* reference_annotation = "org.opencontainers.image.ref.name";

std::string blob_path(const oci::Digest& digest) { return fmt::format("blobs/{}/{}", digest.algorithm(), digest.hex()); }
std::string blob_path(const oci::Descriptor& descriptor) { return blob_path(oci::Digest::from(descriptor.digest)); }

std::optional<oci::Reference> name_of(const oci::Descriptor& descriptor) {
    const auto annotation = [&](const char* key) {
        const auto found = descriptor.annotations.find(key);
        return found == descriptor.annotations.end() ? std::string{} : found->second;
    };
    std::string text = annotation(full_name_annotation);
    if (text.empty()) {
        text = annotation(reference_annotation);
        // A tag alone names nothing.
        if (text.find_first_of(":/") == std::string::npos) return std::nullopt;
    }
    if (text.empty()) return std::nullopt;
    const oci::Reference name = oci::Reference::parse(text).with_default_tag();
    return name.tag().empty() ? std::nullopt : std::optional(name.with_tag(name.tag()));
}

/// Docker's progress names a layer by the digest or the folder in the entry's path.
std::string progress_id(const std::string& path) {
    const std::vector<std::string> parts = split(path, '/');
    return (parts.front() == "blobs" || parts.size() == 1 ? parts.back() : parts.front()).substr(0, 12);
}

}  // namespace

/// One archive on its way into the store.
class ImageStore::Load {
public:
    Load(ImageStore& store, int input, const OnProgress& progress, const std::vector<oci::Platform>& platforms)
        : store_(store),
          claims_(store),
          platforms_(platforms),
          archive_(
              input, store.content_, store.layers_, [this](const oci::Digest& blob) { claims_.blob(blob); },
              [&](const std::string& path, std::uint64_t done, std::uint64_t size) {
                  if (progress && size > oci::image_config_size_limit / 64) progress({progress_id(path), "Loading layer", done, size});
              }) {}

    std::vector<LoadedImage> run() {
        if (archive_.find("index.json")) {
            load_oci_layout();
        } else if (archive_.find("manifest.json")) {
            load_docker_archive();
        } else {
            fail(ErrorKind::invalid_argument, "invalid archive: does not contain a manifest.json");
        }
        claims_.publishes();
        while_doing("store the archive's layers", [&] {
            fault_point("images:publish-archive");
            store_.layers_.publish(staged_);
            archive_.commit(blobs_);
        });
        store_.add(added_);
        return std::move(loaded_);
    }

private:
    void want(const oci::Digest& digest) {
        claims_.blob(digest);
        blobs_.push_back(digest);
    }

    void want_layer(const Archive::File& file, const oci::Digest& diff_id) {
        const bool is_here = claims_.layer(diff_id) && store_.is_layer(file.digest.text(), diff_id);
        if (is_here || !checked_.emplace(file.digest, diff_id).second) return;
        staged_.push_back(archive_.layer(file, diff_id));
    }

    void add(const oci::Descriptor& target, const std::vector<oci::Reference>& names) {
        LoadedImage& answer = loaded_.emplace_back();
        answer.id = target.digest;
        for (const oci::Reference& name : names) answer.names.push_back(name.familiar());
        answer.moved = store_.moved_from(names, answer.id);
        added_.push_back({target, names, {}});
    }

    void load_docker_archive() {
        for (const oci::ArchiveImage& each : oci::parse_archive_manifest(archive_.read("manifest.json", oci::manifest_size_limit))) {
            const Archive::File config_file = archive_.get(each.config);
            oci::Manifest manifest;
            manifest.config = {.media_type = std::string(config_media_type), .digest = config_file.digest.text(), .size = config_file.size};
            std::vector<Archive::File> files;
            for (const std::string& path : each.layers) {
                const Archive::File& file = files.emplace_back(archive_.get(path));
                const std::string first = archive_.first_bytes(file);
                if (layers::is_no_layer_packing(layers::packing_of(first)))
                    fail(ErrorKind::not_implemented, "not implemented: layers in bzip2 or xz that are named by their digest");
                manifest.layers.push_back({.media_type = layer_media_type(first), .digest = file.digest.text(), .size = file.size});
            }
            const ImageDocuments documents =
                check_image(std::move(manifest), archive_.read(each.config, oci::image_config_size_limit), config_file.digest.text());
            want(config_file.digest);
            for (std::size_t at = 0; at < files.size(); ++at) {
                want(files[at].digest);
                want_layer(files[at], documents.diff_ids[at]);
            }
            std::vector<oci::Reference> names;
            for (const std::string& tag : each.repo_tags) {
                const oci::Reference name = oci::Reference::parse(tag);
                if (name.tag().empty() || name.digest()) fail(ErrorKind::invalid_argument, "invalid tag \"{}\"", tag);
                names.push_back(name);
            }
            const std::string text = manifest_text(documents.manifest);
            const oci::Digest digest = content::digest_of(text);
            want(digest);
            archive_.add_document(digest, text);
            add({.media_type = std::string(oci::media_type::manifest), .digest = digest.text(), .size = text.size()}, names);
        }
    }

    std::string read_document(const oci::Descriptor& descriptor, std::size_t limit) const {
        std::string text = archive_.read(blob_path(descriptor), limit);
        if (text.size() != descriptor.size) {
            fail(ErrorKind::invalid_argument, "invalid archive: {} has {} bytes, expected {}", descriptor.digest, text.size(),
                 descriptor.size);
        }
        return text;
    }

    void load_oci_layout() {
        const oci::Index index = oci::parse_index(archive_.read("index.json", oci::manifest_size_limit));
        std::map<std::optional<oci::Reference>, std::vector<oci::Descriptor>> by_name;
        for (const oci::Descriptor& each : index.manifests) {
            if (!oci::is_attestation(each) && (oci::is_manifest(each.media_type) || oci::is_index(each.media_type))) {
                by_name[name_of(each)].push_back(each);
            }
        }
        for (auto& [name, targets] : by_name) {
            if (name && targets.size() > 1) targets = {best_of(targets)};
            for (oci::Descriptor& target : targets) {
                // Annotations and platform are the archive's words about it, not part of the image.
                const oci::Descriptor plain{.media_type = target.media_type, .digest = target.digest, .size = target.size};
                if (!take(plain, target.platform)) continue;
                if (added_.size() >= index_image_limit) fail(ErrorKind::invalid_argument, "invalid archive: it has too many images");
                add(plain, name ? std::vector{*name} : std::vector<oci::Reference>{});
            }
        }
        if (added_.empty()) fail(ErrorKind::invalid_argument, "invalid archive: it has no image for {}", wanted_text());
    }

    std::string wanted_text() const {
        std::string out;
        for (const oci::Platform& each : platforms_) out += (out.empty() ? "" : ", ") + each.text();
        return out.empty() ? oci::Platform::host().text() : out;
    }

    /// Manifests with one name and no index between: the one for this machine.
    static oci::Descriptor best_of(const std::vector<oci::Descriptor>& targets) {
        oci::Index same;
        same.manifests = targets;
        const oci::Descriptor* best = oci::choose(same, oci::Platform::processor());
        return best ? *best : targets.front();
    }

    /// What of `target` is in the archive becomes wanted; false where there is no image of it.
    bool take(const oci::Descriptor& target, const std::optional<oci::Platform>& platform) {
        std::vector<oci::Descriptor> manifests;
        gather(target, manifests, 0);
        if (manifests.size() == 1 && !manifests.front().platform) manifests.front().platform = platform;
        // The one to unpack: for this machine, or the only one that there is.
        std::vector<Taken> images;
        for (const oci::Descriptor& each : manifests) {
            if (!is_wanted(each)) continue;
            if (oci::is_attestation(each)) {
                take_attestation(each);
            } else if (auto image = take_image(each, oci::is_manifest(target.media_type))) {
                images.push_back(std::move(*image));
            }
        }
        if (images.empty()) return false;
        const auto fitness = [](const Taken& each) { return each.platform.fitness(oci::Platform::processor()); };
        const Taken& main = *std::ranges::max_element(images, {}, fitness);
        for (std::size_t at = 0; at < main.files.size(); ++at) want_layer(main.files[at], main.diff_ids[at]);
        return true;
    }

    struct Taken {
        oci::Platform platform;
        std::vector<Archive::File> files;
        std::vector<oci::Digest> diff_ids;
    };

    bool is_wanted(const oci::Descriptor& manifest) const {
        if (platforms_.empty() || !manifest.platform || oci::is_attestation(manifest)) return true;
        return std::ranges::any_of(platforms_, [&](const oci::Platform& each) { return manifest.platform->fitness(each) > 0; });
    }

    /// All manifests below `target` that are in the archive.
    void gather(const oci::Descriptor& target, std::vector<oci::Descriptor>& out, int depth) {
        if (depth > index_depth_limit) fail(ErrorKind::invalid_argument, "invalid archive: indexes are nested too deeply");
        if (!oci::is_index(target.media_type)) {
            if (oci::is_manifest(target.media_type)) out.push_back(target);
            return;
        }
        if (depth > 0 && !archive_.find(blob_path(target))) return;
        const oci::Index index = oci::parse_index(read_document(target, oci::manifest_size_limit));
        want(oci::Digest::from(target.digest));
        for (const oci::Descriptor& each : index.manifests) gather(each, out, depth + 1);
    }

    /// `needed`: what is missing is an error, not another platform's.
    std::optional<Taken> take_image(const oci::Descriptor& descriptor, bool needed) {
        if (!needed && !archive_.find(blob_path(descriptor))) return std::nullopt;
        const oci::Manifest manifest = oci::parse_manifest(read_document(descriptor, oci::manifest_size_limit));
        if (!needed) {
            const auto is_here = [&](const oci::Descriptor& each) { return archive_.find(blob_path(each)).has_value(); };
            if (!is_here(manifest.config) || !std::ranges::all_of(manifest.layers, is_here)) return std::nullopt;
        }
        check_image_manifest(manifest, descriptor.digest);
        const ImageDocuments documents =
            check_image(manifest, read_document(manifest.config, oci::image_config_size_limit), descriptor.digest);
        Taken out{.platform = {documents.config.architecture, documents.config.os, documents.config.variant, documents.config.os_version},
                  .files = {},
                  .diff_ids = documents.diff_ids};
        for (const oci::Descriptor& layer : manifest.layers) {
            const Archive::File& file = out.files.emplace_back(archive_.get(blob_path(layer)));
            if (file.size != layer.size) {
                fail(ErrorKind::invalid_argument, "invalid archive: {} has {} bytes, expected {}", layer.digest, file.size, layer.size);
            }
        }
        want(oci::Digest::from(descriptor.digest));
        want(oci::Digest::from(manifest.config.digest));
        for (const Archive::File& file : out.files) want(file.digest);
        return out;
    }

    void take_attestation(const oci::Descriptor& descriptor) {
        if (!archive_.find(blob_path(descriptor))) return;
        const oci::Manifest manifest = oci::parse_manifest(read_document(descriptor, oci::manifest_size_limit));
        want(oci::Digest::from(descriptor.digest));
        for (const oci::Descriptor& each : manifest.layers) {
            if (archive_.find(blob_path(each))) want(oci::Digest::from(each.digest));
        }
        if (archive_.find(blob_path(manifest.config))) want(oci::Digest::from(manifest.config.digest));
    }

    ImageStore& store_;
    Claims claims_;
    const std::vector<oci::Platform>& platforms_;
    Archive archive_;
    std::vector<oci::Digest> blobs_;
    std::vector<layers::StagedPtr> staged_;
    std::set<std::pair<oci::Digest, oci::Digest>> checked_;  // file and diff ID
    std::vector<NewImage> added_;
    std::vector<LoadedImage> loaded_;
};

std::vector<LoadedImage> ImageStore::load(int input, const OnProgress& progress, const std::vector<oci::Platform>& platforms) {
    return Load{*this, input, progress, platforms}.run();
}

}  // namespace grua::images
