#include "oci/manifest.hpp"

#include "oci/digest.hpp"
#include "oci/image_config.hpp"

namespace grua::oci {
namespace {

void check(const Descriptor& descriptor, std::string_view what) {
    while_doing(what, [&] { static_cast<void>(Digest::from(descriptor.digest)); });
}

void check_size(std::string_view text, std::string_view what) {
    if (text.size() > manifest_size_limit) fail(ErrorKind::invalid_argument, "{} is larger than {} bytes", what, manifest_size_limit);
    check_value_count(text, what);
}

/// A document of one kind must not have the members of the other (CVE-2021-41190), in no spelling that the codec would read.
void check_members(std::string_view text, std::string_view what, std::initializer_list<const char*> foreign) {
    boost::system::error_code error;
    const json::Value value = boost::json::parse(text, error);
    const boost::json::object* object = error ? nullptr : value.if_object();
    if (!object) return;  // the codec says why
    for (const char* name : foreign) {
        if (json::detail::find_member(*object, name)) fail(ErrorKind::invalid_argument, "{}: \"{}\" does not belong there", what, name);
    }
}

struct ArchiveManifest {
    std::vector<ArchiveImage> images;
    template <typename Self = ArchiveManifest>
    static json::Fields fields() {
        return json::Fields{json::field("images", &Self::images)};
    }
};

}  // namespace

void check_value_count(std::string_view json_text, std::string_view what) {
    std::size_t count = 1;
    bool in_string = false;
    for (std::size_t at = 0; at < json_text.size(); ++at) {
        const char c = json_text[at];
        if (in_string && c == '\\') {
            ++at;
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && (c == ',' || c == '{' || c == '[')) {
            ++count;
        }
    }
    if (count > value_count_limit) fail(ErrorKind::invalid_argument, "{}: more than {} values", what, value_count_limit);
}

bool is_manifest(std::string_view type) noexcept { return type == media_type::manifest || type == media_type::docker_manifest; }
bool is_index(std::string_view type) noexcept { return type == media_type::index || type == media_type::docker_index; }

Manifest parse_manifest(std::string_view text) {
    check_size(text, "image manifest");
    check_members(text, "image manifest", {"manifests", "fsLayers", "history", "signatures"});
    Manifest manifest = json::parse<Manifest>(text);
    if (manifest.schema_version != 2)
        fail(ErrorKind::invalid_argument, "image manifest: schemaVersion {} is not 2", manifest.schema_version);
    if (!manifest.media_type.empty() && !is_manifest(manifest.media_type)) {
        fail(ErrorKind::invalid_argument, "image manifest: media type \"{}\" is not one of an image manifest", manifest.media_type);
    }
    check(manifest.config, "image manifest: config");
    if (manifest.layers.size() > layer_count_limit) {
        fail(ErrorKind::invalid_argument, "image manifest: {} layers, at most {} can be mounted", manifest.layers.size(),
             layer_count_limit);
    }
    for (const Descriptor& layer : manifest.layers) check(layer, "image manifest: layers");
    if (manifest.subject) check(*manifest.subject, "image manifest: subject");
    return manifest;
}

Index parse_index(std::string_view text) {
    check_size(text, "image index");
    check_members(text, "image index", {"config", "layers", "fsLayers"});
    Index index = json::parse<Index>(text);
    if (index.schema_version != 2) fail(ErrorKind::invalid_argument, "image index: schemaVersion {} is not 2", index.schema_version);
    if (!index.media_type.empty() && !is_index(index.media_type)) {
        fail(ErrorKind::invalid_argument, "image index: media type \"{}\" is not one of an index", index.media_type);
    }
    if (index.manifests.size() > index_entry_limit) fail(ErrorKind::invalid_argument, "image index: {} entries", index.manifests.size());
    for (const Descriptor& each : index.manifests) check(each, "image index: manifests");
    return index;
}

std::vector<ArchiveImage> parse_archive_manifest(std::string_view text) {
    check_size(text, "manifest.json");
    // The codec reads objects; this document is a list.
    std::string wrapped = R"({"images":)";
    wrapped += text;
    wrapped += '}';
    std::vector<ArchiveImage> images = while_doing("manifest.json", [&] { return json::parse<ArchiveManifest>(wrapped).images; });
    if (images.size() > archive_image_limit) fail(ErrorKind::invalid_argument, "manifest.json: {} images", images.size());
    return images;
}

bool is_attestation(const Descriptor& descriptor) { return descriptor.annotations.contains("vnd.docker.reference.type"); }

const Descriptor* choose(const Index& index, const Platform& wanted) {
    const Descriptor* best = nullptr;
    int best_fitness = 0;
    for (const Descriptor& each : index.manifests) {
        if (!is_manifest(each.media_type) || is_attestation(each)) continue;
        // Without a platform it is the only thing that there is; any match that is named wins.
        const int fitness = each.platform && !each.platform->empty() ? each.platform->fitness(wanted) : 1;
        if (fitness > best_fitness) {
            best = &each;
            best_fitness = fitness;
        }
    }
    return best;
}

}  // namespace grua::oci
