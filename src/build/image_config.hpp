// The configuration of an image that was built: what its front end says, with the layers that came of it. Pure.
#pragma once

#include "base/clock.hpp"
#include "oci/digest.hpp"
#include "oci/image_config.hpp"
#include "oci/platform.hpp"

#include <string>
#include <vector>

namespace grua::build {

struct BuiltLayer {
    oci::Digest diff_id;
    bool is_empty = false;  ///< Nothing is in it: the image does without.
    Time made{};
};

/// `document`: JSON as the front end gave it; members that we do not know stay. Layers and history fit each other then, as BuildKit has
/// them. Throws Error(invalid_argument).
std::string complete_config(std::string_view document, const std::vector<BuiltLayer>& layers, const oci::Platform& platform);

}  // namespace grua::build
