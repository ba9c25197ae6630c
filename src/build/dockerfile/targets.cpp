#include "build/dockerfile/targets.hpp"

#include "build/dockerfile/stages.hpp"

namespace grua::build::dockerfile {

std::vector<Target> list_targets(std::string_view source) {
    const Dockerfile file = read_dockerfile(source);
    std::vector<Target> out;
    for (const Stage& stage : file.stages) {
        const From& from = stage.from();
        out.push_back(
            {.name = from.name, .description = from.description, .base = from.base, .platform = from.platform, .lines = stage.head.lines});
    }
    out.back().is_default = true;
    return out;
}

}  // namespace grua::build::dockerfile
