// What is known of the images that stages are made from, for those who only look at a Dockerfile.
#pragma once

#include "oci/platform.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace grua::build::dockerfile {

/// Of its configuration.
struct BaseImage {
    std::vector<std::string> env;  ///< NAME=VALUE
    bool has_shell = false;        ///< It has a SHELL of its own.
    std::vector<std::string> on_build;
    std::optional<oci::Platform> platform;
};

/// `name`: as FROM has it, with its variables replaced. Nothing where the image is not known; throws Error where it cannot be had.
using FindBaseImage = std::function<std::optional<BaseImage>(const std::string& name, const oci::Platform& platform)>;

}  // namespace grua::build::dockerfile
