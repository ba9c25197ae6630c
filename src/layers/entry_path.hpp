// Names of tar entries as paths below a root, and what a layer's names mean beyond.
#pragma once

#include "base/error.hpp"
#include "base/text.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::layers {

inline constexpr std::string_view whiteout_prefix = ".wh.";
inline constexpr std::string_view opaque_name = ".wh..wh..opq";
inline constexpr const char* opaque_xattr = "trusted.overlay.opaque";

/// overlayfs' own would let an image redirect its files (and mean nothing elsewhere).
inline bool is_overlay_xattr(std::string_view key) { return key.starts_with("trusted.overlay.") || key.starts_with("user.overlay."); }

/// "/a/./b/" is "a/b"; ".." may not lead above the root.
inline std::string clean_entry(std::string_view name) {
    std::vector<std::string> parts;
    for (std::string& part : split(name, '/')) {
        if (part.empty() || part == ".") continue;
        if (part != "..") {
            parts.push_back(std::move(part));
        } else if (parts.empty()) {
            fail(ErrorKind::invalid_argument, "path leads out of the root");
        } else {
            parts.pop_back();
        }
    }
    return join(parts, "/");
}

/// The folder and the last name.
inline std::pair<std::string, std::string> split_leaf(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

/// The folder that an entry goes into, made where it is missing. A link that leads to nothing is no folder, as for whoever unpacks the
/// archive with this as the root.
inline Fd make_parents(const Root& root, const std::string& path) {
    if (path.empty()) return root.make_directories(path);
    if (auto there = root.find_at(path, O_PATH | O_DIRECTORY)) return std::move(*there);
    // Looked for from the end, where most of it is there: the lowest folder that is, and the first name below it that leads nowhere.
    std::string missing;
    std::string above = path;
    do {
        missing = std::move(above);
        const std::size_t slash = missing.rfind('/');
        above = slash == std::string::npos ? std::string() : missing.substr(0, slash);
    } while (!above.empty() && !root.find_at(above, O_PATH));
    if (!root.find_at(missing, O_PATH) && root.find_at(missing, O_PATH | O_NOFOLLOW))
        fail(ErrorKind::not_found, "{}: no such file or directory", missing);
    return root.make_directories(path);
}

}  // namespace grua::layers
