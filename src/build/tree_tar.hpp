// Trees on disk as a tar, piece by piece. Blocks: for the pool.
#pragma once

#include "build/tree_walk.hpp"
#include "layers/tar_writer.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

class TreeTar {
public:
    TreeTar(std::vector<TreePart> parts, TreeView view);
    TreeTar(const TreeTar&) = delete;
    TreeTar& operator=(const TreeTar&) = delete;

    /// The next bytes; empty at the end. Throws Error that names the path.
    std::string read();

private:
    class Text final : public layers::Sink {
    public:
        void write(std::string_view bytes) override { text += bytes; }
        std::string text;
    };
    void add(const TreeWalk::Entry& entry);

    std::vector<TreePart> parts_;
    TreeWalk walk_;
    Text out_;
    layers::TarWriter tar_;
    std::vector<char> buffer_;
    std::optional<FileReader> file_;
    bool is_finished_ = false;
};

}  // namespace grua::build
