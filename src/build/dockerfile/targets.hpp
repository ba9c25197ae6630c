// The stages of a Dockerfile, as they are written: `--call targets`.
#pragma once

#include "build/dockerfile/source.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

struct Target {
    std::string name;  ///< Empty where it has none.
    std::string description;
    std::string base;      ///< With its variables.
    std::string platform;  ///< With its variables; may be empty.
    LineRange lines;
    bool is_default = false;  ///< It is what a build without a target makes.
};

/// Throws SourceError.
std::vector<Target> list_targets(std::string_view source);

}  // namespace grua::build::dockerfile
