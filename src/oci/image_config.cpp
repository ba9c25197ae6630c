#include "oci/image_config.hpp"

#include "oci/manifest.hpp"

namespace grua::oci {

ImageConfig parse_image_config(std::string_view json_text) {
    if (json_text.size() > image_config_size_limit) {
        fail(ErrorKind::invalid_argument, "image config is larger than {} bytes", image_config_size_limit);
    }
    check_value_count(json_text, "image config");
    ImageConfig config = while_doing("image config", [&] { return json::parse<ImageConfig>(json_text); });
    // An image without layers may leave the type out, as very old ones do.
    if (config.rootfs.type != "layers" && !(config.rootfs.type.empty() && config.rootfs.diff_ids.empty())) {
        fail(ErrorKind::invalid_argument, "image config: rootfs.type \"{}\" is not \"layers\"", config.rootfs.type);
    }
    if (config.rootfs.diff_ids.size() > layer_count_limit) {
        fail(ErrorKind::invalid_argument, "image config: {} layers, at most {} can be mounted", config.rootfs.diff_ids.size(),
             layer_count_limit);
    }
    for (const std::string& id : config.rootfs.diff_ids) {
        if (!Digest::parse(id))
            fail(ErrorKind::invalid_argument, "image config: rootfs.diff_ids: invalid digest \"{}\"", id.substr(0, 200));
    }
    return config;
}

std::vector<Digest> diff_ids(const ImageConfig& config) {
    std::vector<Digest> out;
    out.reserve(config.rootfs.diff_ids.size());
    for (const std::string& id : config.rootfs.diff_ids) out.push_back(Digest::from(id));
    return out;
}

}  // namespace grua::oci
