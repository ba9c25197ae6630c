#include "runtime/user.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <optional>

namespace grua::runtime {
namespace {

constexpr std::size_t file_limit = std::size_t{4} << 20U;
constexpr std::size_t group_limit = 65536;  // NGROUPS_MAX
// 2^31 - 1 as in Docker and runc: above it some file systems and tools go wrong, and -1 means "leave" to the kernel.
constexpr std::uint64_t id_limit = (std::uint64_t{1} << 31U) - 1;

std::string read_regular(const Root& root, const char* path) {
    // Opened without blocking and looked at before anything is read: it may be a FIFO or a device.
    const auto found = root.find_at(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!found) return {};
    const Fd& fd = *found;
    struct stat about{};
    if (::fstat(fd.get(), &about) != 0) fail_errno("stat {}", path);
    if (!S_ISREG(about.st_mode)) fail(ErrorKind::invalid_argument, "{} of the container is not a regular file", path);
    if (static_cast<std::uint64_t>(about.st_size) > file_limit)
        fail(ErrorKind::invalid_argument, "{} of the container is larger than {} bytes", path, file_limit);
    return read_all(fd.get(), path, file_limit);
}

/// Calls `visit` with the fields of each line until it returns true.
template <std::size_t fields, typename Visit>
void each_line(std::string_view text, Visit visit) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.front() == '#') continue;

        std::array<std::string_view, fields> parts{};
        std::string_view rest = line;
        for (std::size_t i = 0; i < fields; ++i) {
            const std::size_t colon = i + 1 == fields ? std::string_view::npos : rest.find(':');
            parts[i] = rest.substr(0, colon);
            rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
        }
        if (visit(parts)) return;
    }
}

std::optional<std::uint32_t> parse_id(std::string_view text) {
    const auto number = parse_uint(text);
    if (!number || *number > id_limit) return std::nullopt;
    return static_cast<std::uint32_t>(*number);
}

bool looks_numeric(std::string_view text) {
    return !text.empty() && (text.front() == '+' || text.front() == '-' || (text.front() >= '0' && text.front() <= '9'));
}

/// The number that `text` is, or nothing where it is a name. What is neither is refused.
std::optional<std::uint32_t> number_or_name(std::string_view text, std::string_view what) {
    if (const auto id = parse_id(text)) return id;
    const bool digits = std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
    if (digits) fail(ErrorKind::invalid_argument, "uids and gids must be in range 0-{}", id_limit);
    if (looks_numeric(text) && (text.front() == '+' || text.front() == '-'))
        fail(ErrorKind::invalid_argument, "{:?} is not a valid {}", text, what);
    return std::nullopt;
}

struct PasswdEntry {
    std::uint32_t uid;
    std::uint32_t gid;
    std::string name;
    std::string home;
};

template <typename Matches>
std::optional<PasswdEntry> find_passwd(std::string_view passwd, Matches matches) {
    std::optional<PasswdEntry> found;
    each_line<7>(passwd, [&](const auto& field) {
        const auto uid = parse_id(field[2]);
        const auto gid = parse_id(field[3]);
        if (!uid || !gid || !matches(field[0], *uid)) return false;
        found = PasswdEntry{*uid, *gid, std::string(field[0]), std::string(field[5])};
        return true;
    });
    return found;
}

std::optional<std::uint32_t> find_group(std::string_view group, std::string_view name) {
    std::optional<std::uint32_t> found;
    each_line<4>(group, [&](const auto& field) {
        if (field[0] != name) return false;
        found = parse_id(field[2]);
        return found.has_value();
    });
    return found;
}

std::uint32_t group_id(const UserFiles& files, std::string_view text) {
    if (const auto number = number_or_name(text, "group")) return *number;
    if (const auto found = find_group(files.group, text)) return *found;
    fail(ErrorKind::not_found, "unable to find group {}: no matching entries in group file", text);
}

bool is_member(std::string_view members, std::string_view name) {
    while (!members.empty()) {
        const std::size_t comma = std::min(members.find(','), members.size());
        if (members.substr(0, comma) == name) return true;
        members.remove_prefix(std::min(comma + 1, members.size()));
    }
    return false;
}

void add_group(Identity& identity, std::uint32_t gid) {
    if (gid == identity.gid || std::ranges::count(identity.groups, gid) != 0) return;
    if (identity.groups.size() == group_limit) fail(ErrorKind::invalid_argument, "more than {} groups", group_limit);
    identity.groups.push_back(gid);
}

void add_groups_of(Identity& identity, std::string_view group, std::string_view name) {
    each_line<4>(group, [&](const auto& field) {
        const auto gid = parse_id(field[2]);
        if (gid && is_member(field[3], name)) add_group(identity, *gid);
        return false;
    });
}

}  // namespace

UserFiles read_user_files(const Root& root) { return {read_regular(root, "/etc/passwd"), read_regular(root, "/etc/group")}; }

Identity find_user(const UserFiles& files, std::string_view user, const std::vector<std::string>& additional) {
    const std::size_t colon = user.find(':');
    const std::string_view who = user.substr(0, colon);
    const std::string_view group = colon == std::string_view::npos ? std::string_view{} : user.substr(colon + 1);

    const auto named = [&](std::string_view name, std::uint32_t) { return name == who; };
    const bool names_first = is_left_out("CVE-2026-46680") && find_passwd(files.passwd, named);
    const auto number = names_first ? std::nullopt : who.empty() ? std::optional<std::uint32_t>{0} : number_or_name(who, "user");
    const auto entry = number ? find_passwd(files.passwd, [&](std::string_view, std::uint32_t uid) { return uid == *number; })
                              : find_passwd(files.passwd, named);
    if (!number && !entry) {
        if (looks_numeric(who)) fail(ErrorKind::invalid_argument, "{:?} is not a valid user", who);
        fail(ErrorKind::not_found, "unable to find user {}: no matching entries in passwd file", who);
    }

    Identity identity;
    identity.uid = number ? *number : entry->uid;
    identity.gid = entry ? entry->gid : 0;
    identity.home = entry && !entry->home.empty() ? entry->home : "/";
    if (!group.empty())
        identity.gid = group_id(files, group);
    else if (entry)
        add_groups_of(identity, files.group, entry->name);
    for (const std::string& each : additional) add_group(identity, group_id(files, each));
    return identity;
}

std::string home_of(std::string_view passwd, std::uint32_t uid) {
    const auto entry = find_passwd(passwd, [&](std::string_view, std::uint32_t each) { return each == uid; });
    return entry && !entry->home.empty() ? entry->home : "/";
}

}  // namespace grua::runtime
