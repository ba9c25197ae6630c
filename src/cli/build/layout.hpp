// A folder as OCI lays images out: blobs by digest, and an index with their names. What a build's client keeps of images and caches.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace grua::cli {

struct LayoutReference {
    std::string folder;
    std::string tag;
    std::string digest;
};

/// "folder", "folder:tag" or "folder:tag@digest"; a digest that is not said is the index's. Throws Error.
LayoutReference find_in_layout(std::string_view text);

/// The digest of `tag` in the folder's index; empty where there is no such, or no index.
std::string digest_in_layout(const std::string& folder, const std::string& tag);

/// Makes it a layout where it is none, and puts the descriptor, a JSON object, into its index under the names, which are taken from others:
/// tags alone, or images' names with a tag.
void add_to_layout(const std::string& folder, const std::string& descriptor, const std::vector<std::string>& names);

}  // namespace grua::cli
