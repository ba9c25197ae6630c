// What else a client has given for an image or a stage (--build-context).
#pragma once

#include "oci/platform.hpp"

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace grua::build::dockerfile {

/// Under which of the names it is given, for this platform or for each; nothing where it is not.
std::optional<std::string> find_named_context(const std::set<std::string, std::less<>>& names, std::string_view image_or_stage,
                                              const oci::Platform& platform);

}  // namespace grua::build::dockerfile
