// Who a process is: "user[:group]" looked up in the container's own /etc/passwd and /etc/group.
//
// The files are the image's, so they are hostile: read through the rootfs with bounds on the file and the line, and only
// where they are regular files (a FIFO would stop the start for ever, CVE-2024-9676; a huge group file ate a daemon's
// memory, CVE-2026-47262). A number is a number: a user that the image names "1000" never answers for --user 1000
// (CVE-2026-46680), and what only begins as a number is refused (CVE-2026-30892).
#pragma once

#include "linux/root.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::runtime {

struct Identity {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::vector<std::uint32_t> groups;  ///< Without gid.
    std::string home;                   ///< "/" where the files do not say.
};

/// The text of the two files; empty where there is none.
struct UserFiles {
    std::string passwd;
    std::string group;
};
UserFiles read_user_files(const Root& root);

/// Pure. `user` is "", "name", "uid", "name:group", "uid:gid" and mixes; "" is 0:0 with root's groups.
/// With an explicit group there are no further groups but `additional` (names or numbers), as in Docker.
/// Throws Error(not_found): `unable to find user x: no matching entries in passwd file`; Error(invalid_argument).
Identity find_user(const UserFiles& files, std::string_view user, const std::vector<std::string>& additional);

/// The home folder of a uid, "/" where passwd does not say.
std::string home_of(std::string_view passwd, std::uint32_t uid);

}  // namespace grua::runtime
