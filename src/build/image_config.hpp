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

/// "2026-01-02T03:04:05Z" of a time that is known: to format_time() the beginning of 1970 is none.
std::string time_in_config(Time time);

/// `document`: JSON as the front end gave it; members that we do not know stay. Layers and history fit each other then, as BuildKit has
/// them. Throws Error(invalid_argument).
std::string complete_config(std::string_view document, const std::vector<BuiltLayer>& layers, const oci::Platform& platform);

}  // namespace grua::build
