// A file, or a folder with all that is in it, from one tree into another, as a build copies it.
//
// Both trees may be anybody's making, and change meanwhile: a name is only used in the descriptor of its folder and no link is followed,
// and nothing is read that has not been seen to be a file. Folders may be as deep as paths are long; of those that are being copied only
// the inner ones are held open, and the way back to the others is checked.
#pragma once

#include "build/copy_file.hpp"
#include "build/file_mode.hpp"
#include "build/folder_names.hpp"
#include "build/ignore_file.hpp"
#include "build/tree_path.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace grua::build {

/// All bytes and all files so far.
using FileProgress = std::function<void(std::uint64_t bytes, std::uint64_t entries)>;

enum class Sharing {
    copy,
    /// Source and destination are folders of one file system, and the files of the source are never changed again: where a file comes out
    /// as it is, with its owner, mode and time, the destination gets another name of it. Files that are not two names of one in the source
    /// of one copy do not become so; whoever copies the same file twice into one layer must see to that.
    hard_link,
};

struct CopyOptions {
    std::optional<Owner> owner;      ///< As in the source without it.
    std::optional<ModeChange> mode;  ///< As well; not of symbolic links.
    std::optional<timespec> time;    ///< Of access and change, as well.
    std::optional<IgnoreFile> include;
    std::optional<IgnoreFile> exclude;
    bool replaces_kinds = false;  ///< A file may take the place of a folder, and a folder that of anything.
    Sharing sharing = Sharing::copy;
    std::vector<std::string> required;  ///< A path of the source that is copied must begin with each.
    std::stop_token stop;
    FileProgress progress;
};

/// Where a copy goes to: a name in a folder, "." for the folder itself.
struct CopyTarget {
    Fd folder;
    std::string name;
    std::string path;  ///< From the tree's root, for errors and for more names of one file.
};

class TreeCopier {
public:
    TreeCopier(const Root& source, const Root& target, CopyOptions options);

    /// Throws Error that names the path. Several of them share what they know; hard links are kept within one.
    void copy(const TreePlace& from, const CopyTarget& target);

    /// Throws Error(not_found) where a required path was not among what was copied.
    void check_required() const;

private:
    using FileKey = std::pair<dev_t, ino_t>;

    /// A folder that is being copied.
    struct Level {
        Fd source;  // Closed while much deeper folders are copied.
        Fd target;  // As well; nothing before it is made.
        struct stat about{};
        FileKey target_key;
        std::string name;  // In the target.
        FolderNames names;
        std::size_t next = 0;
        std::size_t source_length = 0;  // Of the paths up to it.
        std::size_t target_length = 0;
        std::size_t relative_length = 0;
        bool is_included = false;
        bool is_made = false;
        bool is_new = false;
        IgnoreFile::Above include_above;
        IgnoreFile::Above exclude_above;
    };
    /// A name in the folder that is being copied, or the one that was asked for.
    struct Entry {
        int source_folder = -1;
        int target_folder = -1;
        std::string source_name;
        std::string target_name;
        unsigned char type = 0;
    };
    struct Filtered {
        bool is_included = true;
        bool is_excluded = false;
        IgnoreFile::Above include_above;
        IgnoreFile::Above exclude_above;
    };

    void check_stop() const;
    void copied();
    void note_required();

    void run();
    void visit(std::size_t index);
    Filtered filter(const IgnoreFile::Above& include_above, const IgnoreFile::Above& exclude_above) const;
    bool may_have_more(const Filtered& filtered) const;
    void enter(const Entry& entry, Fd source, const struct stat& about, Filtered filtered, bool is_top);
    void leave();
    void go_back_to(Level& level, const Level& from);
    void trim(std::size_t index);
    void make_parents();
    void open_source(Level& level);
    static void check_key(int folder, const FileKey& key, const std::string& path);
    enum class InTheWay { refuse, replace };
    void open_target(Level& level, int folder, InTheWay in_the_way);

    void copy_entry(const Entry& entry);
    void copy_file(const Entry& entry, Fd file, const struct stat& about);
    void copy_link(const Entry& entry, const struct stat& about);
    void copy_device(const Entry& entry, const struct stat& about);
    bool link_to_copied(const Entry& entry, const struct stat& about);
    bool link_to_source(const Entry& entry, const struct stat& about);
    bool comes_out_the_same(const struct stat& about) const;
    void make_way(int folder, const std::string& name);
    template <typename Make>
    void make(const Entry& entry, const char* doing, Make make);

    mode_t mode_of(const struct stat& about) const;
    Owner owner_of(const struct stat& about) const;
    std::array<timespec, 2> times_of(const struct stat& about) const;
    void set_attributes(int target, int source, const struct stat& about);

    const Root& source_;
    const Root& target_;
    CopyOptions options_;
    std::vector<bool> required_;
    std::uint64_t bytes_ = 0;
    std::uint64_t entries_ = 0;
    ContentCopier contents_;
    bool can_link_ = true;
    std::vector<Level> levels_;
    std::size_t held_ = 0;  // Bytes of names.
    std::string source_path_;
    std::string target_path_;
    std::string relative_path_;              // Below what was asked for.
    std::map<FileKey, std::string> copied_;  // Files with several names, and the path of the first copy.
    std::set<FileKey> linked_;               // Of these, what has been linked to the source by a copy before.
    std::vector<FileKey> linked_now_;
};

}  // namespace grua::build
