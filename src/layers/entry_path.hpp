// Names of tar entries as paths below a root, and what a layer's names mean beyond.
#pragma once

#include "base/error.hpp"
#include "base/text.hpp"

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

}  // namespace grua::layers
