// A tree of files on disk that becomes what a list says. Blocks: for the pool. Its owner is alone in the folder.
//
// Nothing that is made leads anywhere: each folder is opened without following links, whatever the tree has become meanwhile.
#pragma once

#include "base/fd.hpp"
#include "build/tree_index.hpp"
#include "content/hash.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace grua::build {

class TreeWriter {
public:
    /// An existing folder. Throws Error.
    explicit TreeWriter(const std::string& folder);

    /// With what is in it, where it is a folder.
    void remove(const std::string& path) const;
    /// A folder, a symbolic link, a device, a pipe or a socket.
    void make(const std::string& path, const TreeEntry& entry) const;
    /// Another name of a file that is there.
    void link(const std::string& path, const TreeEntry& entry) const;
    /// A folder's mode, owner, times.
    void set(const std::string& path, const TreeEntry& entry) const;

    const Fd& folder() const noexcept { return folder_; }

private:
    Fd folder_;
};

/// A file that comes in pieces; made with the first, and not there before. One thread at a time; the tree outlives it.
class FileWriter {
public:
    FileWriter(const TreeWriter& tree, std::string path, TreeEntry entry) : tree_(tree), path_(std::move(path)), entry_(std::move(entry)) {}

    void write(std::string_view bytes);
    /// What is there now: with the size and the digest of what has come.
    TreeEntry finish();

    const std::string& path() const noexcept { return path_; }

private:
    void open();

    const TreeWriter& tree_;
    std::string path_;
    TreeEntry entry_;
    Fd file_;
    content::Hasher hash_;
    std::uint64_t size_ = 0;
};

}  // namespace grua::build
