// From a digest to an image: reads and checks the documents that the content store has of it.
#include "base/error.hpp"
#include "images/image_store_impl.hpp"

#include <algorithm>

namespace grua::images {
namespace {

bool is_image_config(std::string_view type) {
    return type.empty() || type == "application/vnd.oci.image.config.v1+json" || type == "application/vnd.docker.container.image.v1+json";
}

bool is_layer(std::string_view type) {
    return type.starts_with("application/vnd.oci.image.layer.") || type.starts_with("application/vnd.docker.image.rootfs.");
}

/// Gathers what an image needs, each blob once.
class Reader {
public:
    Reader(const content::ContentStore& content, const layers::LayerStore& layers) : content_(content), layers_(layers) {}

    void read(const oci::Descriptor& descriptor, int depth) {
        if (depth > index_depth_limit) fail(ErrorKind::invalid_argument, "image {}: indexes are nested too deeply", descriptor.digest);
        if (!oci::is_index(descriptor.media_type)) return read_manifest(descriptor);
        if (!note(descriptor)) return;
        const oci::Index index = oci::parse_index(text(descriptor, oci::manifest_size_limit));
        for (const oci::Descriptor& each : index.manifests) read(each, depth + 1);
    }

    std::vector<Variant> variants;
    std::vector<oci::Digest> blobs;
    std::vector<oci::Digest> diff_ids;
    std::uint64_t size = 0;  // of blobs and unpacked layers

private:
    std::string text(const oci::Descriptor& descriptor, std::size_t limit) const {
        return content_.read(oci::Digest::from(descriptor.digest), limit);
    }

    /// False where the blob is not here.
    bool note(const oci::Descriptor& descriptor, Variant* variant = nullptr) {
        const oci::Digest digest = oci::Digest::from(descriptor.digest);
        if (!content_.exists(digest)) return false;
        if (std::ranges::find(blobs, digest) == blobs.end()) {
            blobs.push_back(digest);
            size += descriptor.size;
        }
        if (variant) variant->content_size += descriptor.size;
        return true;
    }

    void read_manifest(const oci::Descriptor& descriptor) {
        Variant variant{.manifest = descriptor};
        if (descriptor.platform) variant.platform = *descriptor.platform;
        if (oci::is_attestation(descriptor)) {
            variant.kind = Variant::Kind::attestation;
            const auto subject = descriptor.annotations.find("vnd.docker.reference.digest");
            if (subject != descriptor.annotations.end()) variant.subject = oci::Digest::parse(subject->second);
        } else if (oci::is_manifest(descriptor.media_type)) {
            variant.kind = Variant::Kind::image;
        }
        if (note(descriptor, &variant) && oci::is_manifest(descriptor.media_type)) read_blobs(variant);
        variants.push_back(std::move(variant));
    }

    void read_blobs(Variant& variant) {
        const oci::Manifest manifest = oci::parse_manifest(text(variant.manifest, oci::manifest_size_limit));
        if (variant.kind == Variant::Kind::image && !is_image_config(manifest.config.media_type)) variant.kind = Variant::Kind::unknown;
        bool complete = note(manifest.config, &variant);
        if (complete && variant.kind == Variant::Kind::image) {
            const oci::ImageConfig config = oci::parse_image_config(text(manifest.config, oci::image_config_size_limit));
            if (variant.platform.os.empty()) variant.platform = {config.architecture, config.os, config.variant, config.os_version};
            for (const oci::Digest& diff_id : oci::diff_ids(config)) {
                const bool is_new = std::ranges::find(diff_ids, diff_id) == diff_ids.end();
                if (is_new) diff_ids.push_back(diff_id);
                const auto layer = layers_.find(diff_id);
                if (!layer) continue;
                variant.unpacked_size += layer->size;
                if (is_new) size += layer->size;
            }
        }
        for (const oci::Descriptor& layer : manifest.layers) complete = note(layer, &variant) && complete;
        variant.available = complete;
    }

    const content::ContentStore& content_;
    const layers::LayerStore& layers_;
};

/// The variant that is used: for `wanted` where given, else for this machine, else the first that is here.
const Variant* choose(const std::vector<Variant>& variants, const std::optional<oci::Platform>& wanted) {
    const oci::Platform platform = wanted.value_or(oci::Platform::processor());
    const Variant* best = nullptr;
    int best_fitness = 0;
    const Variant* first = nullptr;
    for (const Variant& each : variants) {
        if (each.kind != Variant::Kind::image || !each.available) continue;
        if (!first) first = &each;
        if (const int fitness = each.platform.fitness(platform); fitness > best_fitness) {
            best = &each;
            best_fitness = fitness;
        }
    }
    return best || wanted ? best : first;
}

}  // namespace

void check_image_manifest(const oci::Manifest& manifest, std::string_view digest) {
    if (!is_image_config(manifest.config.media_type)) {
        fail(ErrorKind::invalid_argument, "{} is not a container image: its configuration is a {}", digest, manifest.config.media_type);
    }
    for (const oci::Descriptor& layer : manifest.layers) {
        if (!is_layer(layer.media_type)) fail(ErrorKind::invalid_argument, "unknown media type of a layer: {}", layer.media_type);
    }
}

ImageDocuments check_image(oci::Manifest manifest, std::string raw_config, std::string_view digest) {
    check_image_manifest(manifest, digest);
    ImageDocuments out{std::move(manifest), oci::parse_image_config(raw_config), std::move(raw_config), {}};
    if (!out.config.os.empty() && out.config.os != "linux")
        fail(ErrorKind::invalid_argument, "cannot load {} image on linux", out.config.os);
    out.diff_ids = oci::diff_ids(out.config);
    if (out.diff_ids.size() != out.manifest.layers.size()) {
        fail(ErrorKind::invalid_argument, "invalid manifest, layers length mismatch: expected {}, got {}", out.manifest.layers.size(),
             out.diff_ids.size());
    }
    return out;
}

std::shared_ptr<Image> read_image(const content::ContentStore& content, const layers::LayerStore& layers, const oci::Descriptor& target,
                                  const std::optional<oci::Platform>& platform) {
    Reader reader{content, layers};
    reader.read(target, 0);
    const Variant* chosen = choose(reader.variants, platform);
    if (!chosen)
        fail(ErrorKind::not_found, "image {} has no variant for {}", target.digest, platform.value_or(oci::Platform::host()).text());
    auto image = std::make_shared<Image>();
    image->id = target.digest;
    image->target = target;
    image->manifest_digest = oci::Digest::from(chosen->manifest.digest);
    const oci::Manifest manifest = oci::parse_manifest(content.read(*image->manifest_digest, oci::manifest_size_limit));
    image->config_digest = oci::Digest::from(manifest.config.digest);
    ImageDocuments documents =
        check_image(manifest, content.read(*image->config_digest, oci::image_config_size_limit), chosen->manifest.digest);
    image->created = parse_time(documents.config.created).value_or(Time{});
    image->config = std::move(documents.config);
    image->raw_config = std::move(documents.raw_config);
    image->diff_ids = std::move(documents.diff_ids);
    image->layers = manifest.layers;
    image->size = chosen->unpacked_size;
    image->total_size = platform ? chosen->content_size + chosen->unpacked_size : reader.size;
    image->variants = std::move(reader.variants);
    image->blobs = std::move(reader.blobs);
    image->all_diff_ids = std::move(reader.diff_ids);
    return image;
}

}  // namespace grua::images
