// A tree of files as a list: what each is and, of files, the digest of what is in them. Pure.
#pragma once

#include "build/wire/files.pb.h"

#include <sys/types.h>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

struct TreeEntry {
    mode_t mode = 0;  ///< With the kind.
    uid_t uid = 0;
    gid_t gid = 0;
    std::uint64_t size = 0;  ///< Of a file.
    std::int64_t mtime = 0;  ///< Nanoseconds since 1970.
    std::int64_t ctime = 0;  ///< Of a file with contents: the same, of any change. 0 where who sent it does not say.
    std::string link;        ///< Of a symbolic link where it leads, of a file the path that it is another name of.
    dev_t device = 0;
    std::map<std::string, std::string> xattrs;
    std::string digest;  ///< Of a file's contents, once they have been read.

    /// All but the digest: then the contents are the same as well, as far as anybody looks.
    bool looks_like(const TreeEntry& other) const;
    bool operator==(const TreeEntry&) const = default;
};

/// A folder, then all that is in it, then what follows: "a", "a/b", "a.b".
struct PathOrder {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const noexcept;
};
/// Paths are relative, without ".", ".." and empty parts.
using TreeIndex = std::map<std::string, TreeEntry, PathOrder>;

/// The folder that a path is in; empty for the tree itself.
std::string_view parent_of(std::string_view path) noexcept;

/// Throws Error(invalid_argument) that names the path: of one that is no such path, or of a mode that is no file's.
TreeEntry read_stat(const wire::files::Stat& stat);
wire::files::Stat write_stat(const std::string& path, const TreeEntry& entry);

/// What a sender says, one after the other.
class TreeList {
public:
    /// More entries than this are not taken.
    static constexpr std::size_t limit = 4'000'000;
    /// Nor more bytes of names, links and extended attributes.
    static constexpr std::size_t size_limit = std::size_t{512} << 20U;

    /// Throws Error(invalid_argument) where it is out of order, twice, in no folder, or a hard link to what has not come.
    void add(const wire::files::Stat& stat);

    const std::vector<const TreeIndex::value_type*>& in_order() const noexcept { return order_; }
    TreeIndex& entries() noexcept { return entries_; }

private:
    TreeIndex entries_;
    std::vector<const TreeIndex::value_type*> order_;  ///< A sender's number is the place in it.
    std::size_t size_ = 0;
};

/// What makes a tree that was `before` into one that looks like `now`.
struct TreeChanges {
    std::vector<std::string> remove;  ///< What is in a folder before the folder.
    std::vector<std::string> make;    ///< Folders, links, devices; a folder before what is in it.
    std::vector<std::string> fetch;   ///< Files.
    std::vector<std::string> link;    ///< Other names of files.
    std::vector<std::string> touch;   ///< Folders of which mode, owner or times are to be set at the end, the deepest first.
};

/// Gives the files of `now` that are kept their digests.
TreeChanges changes_between(const TreeIndex& before, TreeIndex& now);

}  // namespace grua::build
