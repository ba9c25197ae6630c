// Trees on disk as one list, in the order in which it is said: a folder, what is in it, what follows. What a sender and a packer walk.
//
// Somebody else may change the trees meanwhile: everything is reached by descriptors from the folders that were given, no link is followed,
// nothing but regular files is ever opened for its contents, and what vanishes under way is left out. Blocks: for the pool.
#pragma once

#include "base/fd.hpp"
#include "build/ignore_file.hpp"
#include "build/tree_index.hpp"
#include "build/tree_path.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

/// What of a folder is wanted; as the engine asks a client for it.
struct TreeFilter {
    std::vector<std::string> include;  ///< Patterns as in .dockerignore; none: everything.
    std::vector<std::string> exclude;  ///< The same.
    std::vector<std::string> follow;   ///< Included as well, with what links on the way lead to; see follow_paths().
};

struct TreePart {
    std::string name = {};                          ///< The folder that it is in the whole; empty: it is the whole.
    std::optional<Root> folder = {};                ///< None: only the files below.
    std::map<std::string, std::string> files = {};  ///< Contents by names of its top level, which stand for what is there by these names.
};

struct TreeView {
    TreeFilter filter = {};                  ///< Of paths within a part.
    std::optional<Owner> owner = {};         ///< Everything is theirs.
    std::optional<std::int64_t> mtime = {};  ///< Of everything; nanoseconds since 1970.
    bool tells_changes = false;              ///< Of files, when they were changed; see TreeEntry::ctime.
    std::int64_t new_mtime = 0;              ///< Of what is on no disk, where there is no other.
    std::size_t limit = TreeList::limit;     ///< Of entries.
};

/// One after the other of the parts, which outlive it and are in the order of their names.
class TreeWalk {
public:
    TreeWalk(const std::vector<TreePart>& parts, TreeView view);

    struct Entry {
        std::string path;
        TreeEntry about;  ///< Of a symbolic link, `size` is the length of what it says.
        std::size_t part = 0;
    };

    /// Nothing at the end. Throws Error that names the path; invalid_argument for more entries than the limit.
    std::optional<Entry> next();

private:
    struct Level {
        std::string path;  ///< Within the part; empty, or with a slash at its end.
        Fd folder;         ///< Not held by levels far above the present one.
        std::vector<std::string> names;
        std::size_t at = 0;
        IgnoreFile::Above include;
        IgnoreFile::Above exclude;
        std::optional<Entry> unsaid;  ///< The folder, which is wanted only where something in it is.
    };
    struct Decision {
        bool is_wanted = true;
        bool goes_below = true;
        IgnoreFile::Above include;
        IgnoreFile::Above exclude;
    };

    void step();
    void begin_part();
    void look_at(const std::string& name);
    Decision decide(const Level& level, const std::string& path) const;
    Entry read(int pinned, const std::string& path, const struct stat& status) const;
    void enter(int pinned, const std::string& path, Decision decision, std::optional<Entry> unsaid);
    void say(Entry entry);
    void say_file(const std::string& name, const std::string& contents);
    void link(Entry& entry, const struct stat& status);
    bool reopen(Level& level) const;
    const TreePart& part() const { return parts_[part_]; }
    std::string whole(const std::string& path) const;

    struct Linked {
        std::string first;   ///< In the list.
        nlink_t others = 0;  ///< Names of it that may still come.
    };

    const std::vector<TreePart>& parts_;
    TreeView view_;
    IgnoreFile include_;
    IgnoreFile exclude_;
    std::size_t part_ = 0;
    bool has_begun_ = false;
    std::vector<Level> levels_;
    std::deque<Entry> ready_;
    std::map<std::pair<dev_t, ino_t>, Linked> links_;
    std::size_t count_ = 0;
};

/// Contents of which `size` bytes were announced.
class FileReader {
public:
    /// Of a file of the list. Nothing on the way to it is a link.
    FileReader(const TreePart& part, std::string_view path, std::uint64_t size);

    /// 0 at the end. Throws Error(conflict) where the file has become shorter or longer.
    std::size_t read(std::span<char> out);

private:
    std::string path_;
    Fd file_;
    std::string_view contents_;
    std::uint64_t left_;
};

}  // namespace grua::build
