// What can be given to the build of a target: the arguments of the stages that it needs, their secrets and agents, each once. `--call
// outline` tells it.
#pragma once

#include "build/dockerfile/base_image.hpp"
#include "build/dockerfile/source.hpp"
#include "build/dockerfile/stage_graph.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// No more triggers of ONBUILD are looked at, in all stages.
inline constexpr std::size_t outline_trigger_limit = 10'000;

struct OutlineInputs {
    BuildInputs build;
    FindBaseImage base_image;  ///< Of an image that is not known nothing is looked up.
    /// Whether something else stands for the stage of this name.
    std::function<bool(const std::string& name, const oci::Platform& platform)> is_replaced;
};

struct Outline {
    struct Argument {
        std::string name;
        std::string description;  ///< Of the comment above it.
        std::string value;        ///< That it has; empty where it has none.
        LineRange lines;
    };
    /// A secret, or an agent of SSH.
    struct Need {
        std::string id;
        bool is_required = false;
        LineRange lines;
    };

    std::string name;  ///< Of the target; empty where it has none.
    std::string description;
    // In the order of their lines.
    std::vector<Argument> arguments;
    std::vector<Need> secrets;
    std::vector<Need> agents;
};

/// Throws SourceError, Error(invalid_argument) for a target that is none, and what base_image() throws.
Outline make_outline(std::string_view source, const OutlineInputs& inputs);

}  // namespace grua::build::dockerfile
