// A tree of files on disk that becomes what a list says. Blocks: for the pool.
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

/// What may be in the folder by the name of what is written.
enum class Present {
    nothing,   ///< Its owner is alone in it.
    replaced,  ///< Folders stay, all else is what it was until there is something new in its place.
};

class TreeWriter {
public:
    /// An existing folder. Throws Error.
    explicit TreeWriter(const std::string& folder, Present present = Present::nothing);

    /// With what is in it, where it is a folder.
    void remove(const std::string& path) const;
    /// A folder, a symbolic link, a device, a pipe or a socket.
    void make(const std::string& path, const TreeEntry& entry) const;
    /// Another name of a file that is there.
    void link(const std::string& path, const TreeEntry& entry) const;
    /// A folder's mode, owner, times.
    void set(const std::string& path, const TreeEntry& entry) const;

    const Fd& folder() const noexcept { return folder_; }
    Present present() const noexcept { return present_; }

private:
    Fd folder_;
    Present present_;
};

/// A file that comes in pieces; made with the first, and not there before. One thread at a time; the tree outlives it.
class FileWriter {
public:
    FileWriter(const TreeWriter& tree, std::string path, TreeEntry entry) : tree_(tree), path_(std::move(path)), entry_(std::move(entry)) {}

    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;
    ~FileWriter();

    void write(std::string_view bytes);
    /// What is there now: with the size and the digest of what has come.
    TreeEntry finish();

    const std::string& path() const noexcept { return path_; }

private:
    void open();

    const TreeWriter& tree_;
    std::string path_;
    TreeEntry entry_;
    std::string aside_;  ///< The path of what is to replace something, until it does.
    Fd file_;
    content::Hasher hash_;
    std::uint64_t size_ = 0;
};

}  // namespace grua::build
