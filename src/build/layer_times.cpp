#include "build/layer_times.hpp"

#include "build/imported_tree.hpp"

namespace grua::build {

std::vector<Time> layer_times(Workplace& place, const TreePtr& tree, const std::vector<oci::Digest>& layers) {
    const ImportedTree* imported = tree ? tree->imported() : nullptr;
    std::vector<Time> out;
    for (std::size_t at = 0; at < layers.size(); ++at) {
        Time made{};
        if (imported)
            made = imported->cached_layers()[at]->made;
        else if (const auto step = place.layers.find_step(layers[at]))
            made = step->made;
        else if (const auto cached = place.cached_layers.find(layers[at]))
            made = cached->made;
        // One in which nothing is has no files that would tell: it is as old as what it stands on.
        else if (layers[at] == images::empty_layer_id() && !out.empty())
            made = out.back();
        out.push_back(made);
    }
    return out;
}

}  // namespace grua::build
