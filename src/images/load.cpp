// Images from archives and tars: docker-archive, OCI layout, a root file system.
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "images/archive.hpp"
#include "images/image_store_impl.hpp"
#include "layers/source.hpp"
#include "oci/manifest.hpp"

#include <algorithm>
#include <set>

namespace grua::images {
namespace {

std::string short_name(const oci::Digest& digest) { return std::string(digest.hex().substr(0, 12)); }

}  // namespace

ImageStore::Loading::~Loading() {
    bool collect = false;
    {
        const std::scoped_lock lock{store_.changing_};
        --store_.loading_;
        // A load that failed may have left layers.
        collect = store_.loading_ == 0 && (store_.collect_later_ || std::uncaught_exceptions() > errors_);
    }
    if (!collect) return;
    try {
        store_.collect();
    } catch (const std::exception& error) {
        log::error("collecting what no image needs: {}", error.what());
    }
}

std::vector<std::string> ImageStore::moved_from(const std::vector<oci::Reference>& names, const std::string& image_id) const {
    const auto state = snapshot();
    std::vector<std::string> out;
    for (const oci::Reference& name : names) {
        const auto old = state->references.find(name);
        if (old != state->references.end() && old->second->id != image_id) out.push_back(name.familiar() + " " + old->second->id);
    }
    return out;
}

std::vector<LoadedImage> ImageStore::load(int input, const OnProgress& progress) {
    Archive archive{input, content_.spool()};
    const Loading loading{*this};
    if (archive.find("manifest.json")) return load_docker_archive(archive, progress);
    if (archive.find("index.json")) return load_oci_layout(archive, progress);
    fail(ErrorKind::invalid_argument, "invalid archive: does not contain a manifest.json");
}

std::vector<LoadedImage> ImageStore::load_docker_archive(Archive& archive, const OnProgress& progress) {
    std::vector<LoadedImage> loaded;
    std::vector<NewImage> added;
    for (const oci::ArchiveImage& each : oci::parse_archive_manifest(archive.read("manifest.json", oci::manifest_size_limit))) {
        const std::string raw = archive.read(each.config, oci::image_config_size_limit);
        const oci::ImageConfig config = oci::parse_image_config(raw);
        if (!config.os.empty() && config.os != "linux") fail(ErrorKind::invalid_argument, "cannot load {} image on linux", config.os);
        const std::vector<oci::Digest> diff_ids = oci::diff_ids(config);
        if (diff_ids.size() != each.layers.size()) {
            fail(ErrorKind::invalid_argument, "invalid manifest, layers length mismatch: expected {}, got {}", each.layers.size(),
                 diff_ids.size());
        }
        for (std::size_t index = 0; index < diff_ids.size(); ++index) {
            if (layers_.find(diff_ids[index])) continue;
            const Archive::Extent extent = archive.get(each.layers[index]);
            layers::ExtentSource source{archive.fd(), extent.offset, extent.size};
            const std::string id = short_name(diff_ids[index]);
            layers_.unpack(source, diff_ids[index], [&](std::uint64_t done) {
                if (progress) progress({id, "Loading layer", done, extent.size});
            });
        }
        NewImage image{content_.put(raw).text(), std::nullopt, {}};
        LoadedImage& answer = loaded.emplace_back();
        answer.id = image.id;
        for (const std::string& tag : each.repo_tags) {
            const oci::Reference name = oci::Reference::parse(tag);
            if (name.tag().empty() || name.digest()) fail(ErrorKind::invalid_argument, "invalid tag \"{}\"", tag);
            answer.names.push_back(name.familiar());
            image.references.push_back(name);
        }
        answer.moved = moved_from(image.references, image.id);
        added.push_back(std::move(image));
    }
    add(added);
    return loaded;
}

namespace {

constexpr int index_depth_limit = 4;
constexpr std::size_t index_image_limit = 1000;
constexpr const char* full_name_annotation = "io.containerd.image.name";
constexpr const char* reference_annotation = "org.opencontainers.image.ref.name";

std::string blob_path(const oci::Digest& digest) { return fmt::format("blobs/{}/{}", digest.algorithm(), digest.hex()); }

/// A document of the layout, checked against what names it.
std::string read_document(const Archive& archive, const oci::Descriptor& descriptor, std::size_t limit) {
    const oci::Digest digest = oci::Digest::from(descriptor.digest);
    std::string text = archive.read(blob_path(digest), limit);
    if (text.size() != descriptor.size) {
        fail(ErrorKind::invalid_argument, "invalid archive: {} has {} bytes, expected {}", digest.text(), text.size(), descriptor.size);
    }
    if (const oci::Digest actual = content::digest_of(text, digest.algorithm()); actual != digest) {
        fail(ErrorKind::invalid_argument, "invalid archive: {} has the digest {}", digest.text(), actual.text());
    }
    return text;
}

/// Hashes what passes.
class HashedSource : public layers::Source {
public:
    HashedSource(layers::Source& inner, std::string_view algorithm) : inner_(inner), hasher_(algorithm) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = inner_.read(out);
        hasher_.update({out.data(), count});
        return count;
    }
    oci::Digest finish() {
        std::vector<char> scrap(std::size_t{64} << 10U);
        while (read(scrap) > 0) {
        }
        return hasher_.finish();
    }

private:
    layers::Source& inner_;
    content::Hasher hasher_;
};

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

bool is_image_config(std::string_view type) {
    return type.empty() || type == "application/vnd.oci.image.config.v1+json" || type == "application/vnd.docker.container.image.v1+json";
}

bool is_layer(std::string_view type) {
    return type.starts_with("application/vnd.oci.image.layer.") || type.starts_with("application/vnd.docker.image.rootfs.");
}

/// A manifest to load with the name that its index gave it.
struct Found {
    oci::Descriptor manifest;
    std::optional<oci::Reference> name;
};

/// The manifest for this machine below `descriptor`; nothing where there is none.
std::optional<oci::Descriptor> resolve(const Archive& archive, const oci::Descriptor& descriptor, const oci::Platform& wanted, int depth) {
    if (depth > index_depth_limit) fail(ErrorKind::invalid_argument, "invalid archive: indexes are nested too deeply");
    if (oci::is_manifest(descriptor.media_type)) return descriptor;
    if (!oci::is_index(descriptor.media_type)) return std::nullopt;
    const oci::Index index = oci::parse_index(read_document(archive, descriptor, oci::manifest_size_limit));
    if (const oci::Descriptor* best = oci::choose(index, wanted)) return *best;
    for (const oci::Descriptor& each : index.manifests) {
        if (!oci::is_index(each.media_type)) continue;
        if (auto below = resolve(archive, each, wanted, depth + 1)) return below;
    }
    // The archive has one image only, of another platform: it can be stored, tagged and passed on.
    const auto is_image = [](const oci::Descriptor& each) {
        return oci::is_manifest(each.media_type) && !each.annotations.contains("vnd.docker.reference.type");
    };
    if (std::ranges::count_if(index.manifests, is_image) == 1) return *std::ranges::find_if(index.manifests, is_image);
    return std::nullopt;
}

/// What of the layout is loaded: of images with the same name the one for this machine.
std::vector<Found> choose_images(const Archive& archive, const oci::Index& index) {
    const oci::Platform wanted = oci::Platform::host();
    std::map<std::optional<oci::Reference>, std::vector<oci::Descriptor>> by_name;
    for (const oci::Descriptor& each : index.manifests) {
        if (each.annotations.contains("vnd.docker.reference.type")) continue;
        if (auto manifest = resolve(archive, each, wanted, 0)) by_name[name_of(each)].push_back(std::move(*manifest));
    }
    std::vector<Found> out;
    for (auto& [name, manifests] : by_name) {
        if (manifests.size() == 1) {
            out.push_back({manifests.front(), name});
            continue;
        }
        oci::Index same;
        same.manifests = manifests;
        const oci::Descriptor* best = oci::choose(same, wanted);
        if (!best) continue;
        if (name) {
            out.push_back({*best, name});
            continue;
        }
        for (const oci::Descriptor& each : manifests) {
            const int fitness = each.platform ? each.platform->fitness(wanted) : 1;
            if (fitness > 0) out.push_back({each, name});
        }
    }
    if (out.empty()) fail(ErrorKind::invalid_argument, "invalid archive: it has no image for {}", wanted.text());
    if (out.size() > index_image_limit) fail(ErrorKind::invalid_argument, "invalid archive: it has {} images", out.size());
    return out;
}

}  // namespace

std::vector<LoadedImage> ImageStore::load_oci_layout(Archive& archive, const OnProgress& progress) {
    const oci::Index index = oci::parse_index(archive.read("index.json", oci::manifest_size_limit));
    std::vector<LoadedImage> loaded;
    std::vector<NewImage> added;
    for (const Found& each : choose_images(archive, index)) {
        const oci::Manifest manifest = oci::parse_manifest(read_document(archive, each.manifest, oci::manifest_size_limit));
        if (!is_image_config(manifest.config.media_type)) {
            fail(ErrorKind::invalid_argument, "{} is not a container image: its configuration is a {}", each.manifest.digest,
                 manifest.config.media_type);
        }
        const std::string raw = read_document(archive, manifest.config, oci::image_config_size_limit);
        const oci::ImageConfig config = oci::parse_image_config(raw);
        if (!config.os.empty() && config.os != "linux") fail(ErrorKind::invalid_argument, "cannot load {} image on linux", config.os);
        const std::vector<oci::Digest> diff_ids = oci::diff_ids(config);
        if (diff_ids.size() != manifest.layers.size()) {
            fail(ErrorKind::invalid_argument, "invalid manifest, layers length mismatch: expected {}, got {}", manifest.layers.size(),
                 diff_ids.size());
        }
        for (std::size_t at = 0; at < diff_ids.size(); ++at) {
            const oci::Descriptor& layer = manifest.layers[at];
            if (!is_layer(layer.media_type)) fail(ErrorKind::invalid_argument, "unknown media type of a layer: {}", layer.media_type);
            if (layers_.find(diff_ids[at])) continue;
            const oci::Digest digest = oci::Digest::from(layer.digest);
            const Archive::Extent extent = archive.get(blob_path(digest));
            if (extent.size != layer.size) {
                fail(ErrorKind::invalid_argument, "invalid archive: {} has {} bytes, expected {}", digest.text(), extent.size, layer.size);
            }
            layers::ExtentSource source{archive.fd(), extent.offset, extent.size};
            HashedSource hashed{source, digest.algorithm()};
            const std::string id = short_name(diff_ids[at]);
            layers_.unpack(hashed, diff_ids[at], [&](std::uint64_t done) {
                if (progress) progress({id, "Loading layer", done, extent.size});
            });
            if (const oci::Digest actual = hashed.finish(); actual != digest) {
                fail(ErrorKind::invalid_argument, "invalid archive: layer {} has the digest {}", digest.text(), actual.text());
            }
        }
        NewImage image{content_.put(raw).text(), oci::Digest::from(each.manifest.digest), {}};
        LoadedImage& answer = loaded.emplace_back();
        answer.id = image.id;
        if (each.name) {
            answer.names.push_back(each.name->familiar());
            image.references.push_back(*each.name);
        }
        answer.moved = moved_from(image.references, image.id);
        added.push_back(std::move(image));
    }
    add(added);
    return loaded;
}

std::string ImageStore::import(int input, const ImportOptions& options, const OnProgress& progress) {
    NewImage image;
    if (!options.reference.empty()) {
        const oci::Reference name = oci::Reference::parse(options.reference).with_default_tag();
        if (name.digest()) fail(ErrorKind::invalid_argument, "cannot import digest reference");
        image.references.push_back(name);
    }
    const oci::Platform platform =
        options.architecture.empty() ? oci::Platform::host() : oci::Platform::parse("linux/" + options.architecture);
    const Loading loading{*this};
    layers::FdSource source{input};
    const layers::Layer layer = layers_.unpack(source, std::nullopt, [&](std::uint64_t done) {
        if (progress) progress({"", "Importing", done, 0});
    });

    oci::ImageConfig config;
    config.created = format_time(now());
    config.comment = options.message.empty() ? "Imported from " + options.source : options.message;
    config.architecture = platform.architecture;
    config.variant = platform.variant;
    config.os = platform.os;
    config.config = options.config;
    config.rootfs = {.type = "layers", .diff_ids = {layer.diff_id.text()}};
    config.history.push_back({.created = config.created, .created_by = {}, .author = {}, .comment = config.comment, .empty_layer = false});
    const std::string raw = json::dump(config, {});
    static_cast<void>(oci::parse_image_config(raw));
    image.id = content_.put(raw).text();
    add({image});
    return image.id;
}

}  // namespace grua::images
