// A tree that is being made: layers with a writable one on top, which becomes a layer as well, or goes.
#pragma once

#include "base/async.hpp"
#include "build/tree.hpp"
#include "layers/layers.hpp"

#include <memory>
#include <string>
#include <vector>

namespace grua::build {

class Scratch {
public:
    /// Blocks. `pool`: where it is removed, whoever lets go of it; outlives it.
    Scratch(layers::LayerStore& store, asio::thread_pool& pool, std::vector<oci::Digest> below);
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch();

    /// A detached mount, writable. Blocks.
    Fd mount() const;
    /// The writable layer itself, on the store's own mount; nobody has the tree mounted while something is made in it. Blocks.
    Fd open_upper() const { return store_.open_upper(id_); }
    /// The same without what is below every container's layers; on `folder` too, where it is not empty.
    Fd mount_alone(const std::string& folder) const;
    /// Files of a context may have another name here. In two layers that lie on each other they must not: whoever sees both sees one file
    /// with two names. So false where the context has names here already, in what is below, or may have them in what this is laid on.
    /// Blocks.
    bool take_names_of(const Context& context) const;
    std::string upper_path() const { return store_.paths(id_).upper; }
    const std::vector<oci::Digest>& below() const noexcept { return below_; }

    /// All layers of the tree as it is now; once, when nobody has it mounted any more. Blocks.
    std::vector<oci::Digest> keep();

private:
    layers::LayerStore& store_;
    asio::thread_pool& pool_;
    std::string id_;
    std::vector<oci::Digest> below_;
    std::vector<layers::LayerStore::Hold> holds_;
};
using ScratchPtr = std::unique_ptr<Scratch>;

}  // namespace grua::build
