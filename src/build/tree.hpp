// What comes of an operation: a tree of files that nobody changes any more.
#pragma once

#include "base/fd.hpp"
#include "build/cache_key.hpp"
#include "build/context_store.hpp"
#include "build/made_of.hpp"
#include "build/solver.hpp"
#include "layers/layers.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

class ImportedTree;

class Tree : public Result {
public:
    using Result::Result;

    /// The root of a read-only mount of it. Blocks.
    virtual Fd open() const = 0;

    /// The lowest first, all of them here; nothing where the tree is no layers. Blocks where they have to come first.
    virtual const std::vector<oci::Digest>* layers() const = 0;

    /// Where it is the client's folder as it has come, and null where it is not.
    virtual const Context* context() const noexcept { return nullptr; }

    /// Where it is a cache's elsewhere, and null where it is not.
    virtual const ImportedTree* imported() const noexcept { return nullptr; }

    /// What an operation reads of it: see selection.hpp. Blocks, and takes as long as reading that takes.
    virtual std::string digest_of(const std::vector<Selection>& selections, ReadFiles* read) const = 0;
};
using TreePtr = std::shared_ptr<const Tree>;

/// Null where the operation gave nothing, which is an empty tree.
TreePtr as_tree(const ResultPtr& result);

/// Layers on each other, which stay while this lives.
class LayerTree final : public Tree {
public:
    /// Throws Error(not_found) where one of them is not there.
    LayerTree(std::string its_key, layers::LayerStore& store, std::vector<oci::Digest> its_layers);

    Fd open() const override;
    const std::vector<oci::Digest>* layers() const override { return &layers_; }
    const std::vector<oci::Digest>* kept_layers() const noexcept override { return &layers_; }
    std::string digest_of(const std::vector<Selection>& selections, ReadFiles* read) const override;

private:
    layers::LayerStore& store_;
    std::vector<oci::Digest> layers_;
    std::vector<layers::LayerStore::Hold> holds_;
};

/// A client's folder as it has come.
class ContextTree final : public Tree {
public:
    ContextTree(std::string its_key, std::shared_ptr<const Context> context) : Tree(std::move(its_key)), context_(std::move(context)) {}

    Fd open() const override;
    const std::vector<oci::Digest>* layers() const override { return nullptr; }
    std::string digest_of(const std::vector<Selection>& selections, ReadFiles* read) const override;
    const Context* context() const noexcept override { return context_.get(); }

private:
    std::shared_ptr<const Context> context_;
};

}  // namespace grua::build
