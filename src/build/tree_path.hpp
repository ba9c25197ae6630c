// Paths that a build names, as its tree sees them: every link is followed inside the root, ".." ends at the root, and what is not there yet
// is a place as well. Each step is made in the descriptor of the folder before, so that nothing that changes meanwhile leads out.
#pragma once

#include "base/fd.hpp"
#include "build/wildcards.hpp"
#include "linux/root.hpp"

#include <sys/stat.h>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// As in the kernel; also of paths of which only a part is in one call.
inline constexpr std::size_t path_limit = 4096;

struct Owner {
    uid_t uid = 0;
    gid_t gid = 0;
    bool operator==(const Owner&) const = default;
};

struct TreePlace {
    Fd folder;                       ///< Of the first name that is missing, or of the last one; O_PATH. The root itself is in the root.
    std::vector<std::string> names;  ///< The path without any link.
    std::size_t missing = 0;         ///< How many names at the end are not there.
    Fd there;                        ///< What is there, O_PATH; nothing where a name is missing.
    struct stat about{};             ///< Of what is there.

    bool exists() const noexcept { return missing == 0; }
    bool is_folder() const noexcept { return exists() && S_ISDIR(about.st_mode); }
    std::string path() const;                   ///< With a slash at its front.
    std::string path(std::size_t count) const;  ///< Of the first names.
    const std::string& name() const;            ///< "." for the root.
};

/// Throws Error that names the path: where something on the way is no folder, where there are too many links.
TreePlace find_place(const Root& root, std::string_view path, LastLink links = LastLink::follow);

struct NewFolders {
    mode_t mode = 0755;
    std::optional<Owner> owner;
    std::optional<timespec> time;
};

/// The folders that were made, so that their times can be set again when there is something in them.
struct MadeFolders {
    std::vector<std::string> names;
    std::size_t first = 0;  ///< How many of the names were there before.

    /// The inner ones first.
    void set_times(const Root& root, const timespec& time) const;
};

/// Makes all that is missing but the last `leave` names. What is there already stays as it is, and must be a folder.
MadeFolders make_place(TreePlace& place, const NewFolders& options, std::size_t leave = 0);

/// A path without links, from the root.
Fd open_path(const Root& root, std::string_view path, int flags);
Fd open_names(const Root& root, const std::vector<std::string>& names, std::size_t count, int flags);

/// A name for what an O_PATH descriptor holds: it leads to the file, not to where it was found.
std::string descriptor_path(int fd);

std::string read_link(int link, std::string_view path);

/// Opens for reading what an O_PATH descriptor holds, which has been looked at: never a pipe or a device.
Fd reopen_file(int fd, std::string_view path);

/// Error of a failed call in the words of Go's, "mkdir /a/b: not a directory"; not_found where that is why.
[[noreturn]] void fail_path(std::string_view call, std::string_view path, int error);
[[noreturn]] void fail_path(std::string_view call, std::string_view path);

}  // namespace grua::build
