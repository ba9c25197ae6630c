#include "build/owner.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <string_view>

namespace grua::build {
namespace {

constexpr std::size_t file_limit = std::size_t{10} << 20U;
constexpr std::size_t passwd_line_limit = std::size_t{64} << 10U;
constexpr std::size_t group_line_limit = std::size_t{1} << 20U;

/// Nothing where there is none.
std::optional<std::string> read_user_file(const Root& root, const char* path) {
    const TreePlace place = [&] {
        try {
            return find_place(root, path);
        } catch (const Error& error) {
            if (error.os_error() != ENOTDIR) throw;
            TreePlace nothing;
            nothing.missing = 1;
            return nothing;
        }
    }();
    if (!place.exists()) return std::nullopt;
    if (!S_ISREG(place.about.st_mode)) fail(ErrorKind::invalid_argument, "{} is not a regular file", path);
    // As large as an image has it (GHSA-72x6-4j93-7w86).
    const std::size_t limit = is_left_out("GHSA-72x6-4j93-7w86") ? std::numeric_limits<std::int32_t>::max() : file_limit;
    if (static_cast<std::uint64_t>(place.about.st_size) > limit) fail(ErrorKind::invalid_argument, "{:?} exceeds {} bytes", path, limit);
    return read_all(reopen_file(place.there.get(), path).get(), path, limit);
}

/// A field that is no number is 0, as Go's users of these files have it.
std::uint32_t number_in(std::string_view field, const char* path) {
    std::int64_t value = 0;
    if (field.starts_with('+')) field.remove_prefix(1);
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    const bool is_whole = end == field.data() + field.size();
    if (error == std::errc::invalid_argument || !is_whole) return 0;
    if (error != std::errc() || value < 0 || value > std::numeric_limits<std::uint32_t>::max())
        fail(ErrorKind::invalid_argument, "{}: {} is out of range", path, field);
    return static_cast<std::uint32_t>(value);
}

using Fields = std::array<std::string_view, 4>;

/// The fields of the first line of this name.
std::optional<Fields> find_line(std::string_view text, std::string_view name, std::size_t line_limit, bool has_comments) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        if (end >= line_limit) fail(ErrorKind::invalid_argument, "bufio.Scanner: token too long");
        std::string_view rest = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (rest.empty() || (has_comments && rest.front() == '#')) continue;
        Fields fields;
        for (std::string_view& field : fields) {
            const std::size_t colon = std::min(rest.find(':'), rest.size());
            field = rest.substr(0, colon);
            rest.remove_prefix(std::min(colon + 1, rest.size()));
        }
        if (fields[0] == name) return fields;
    }
    return std::nullopt;
}

}  // namespace

std::optional<Owner> find_owner(const wire::graph::ChownOpt* owner, const Root* users, const Root* groups) {
    if (!owner) return std::nullopt;
    Owner out;
    if (owner->user().has_byname()) {
        if (!users) fail(ErrorKind::invalid_argument, "invalid missing user mount");
        const char* path = "/etc/passwd";
        if (const auto text = read_user_file(*users, path)) {
            if (const auto line = find_line(*text, owner->user().byname().name(), passwd_line_limit, false))
                out = {.uid = number_in((*line)[2], path), .gid = number_in((*line)[3], path)};
        }
    } else if (owner->user().has_byid()) {
        out = {.uid = owner->user().byid(), .gid = owner->user().byid()};
    }
    if (owner->group().has_byname()) {
        if (!groups) fail(ErrorKind::invalid_argument, "invalid missing group mount");
        const char* path = "/etc/group";
        if (const auto text = read_user_file(*groups, path)) {
            if (const auto line = find_line(*text, owner->group().byname().name(), group_line_limit, true))
                out.gid = number_in((*line)[2], path);
        }
    } else if (owner->group().has_byid()) {
        out.gid = owner->group().byid();
    }
    return out;
}

}  // namespace grua::build
