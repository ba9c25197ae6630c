// How cp decides what a copy is called: the rules of docker's cp, which are those of POSIX cp -R with one more, that a source
// ending in "/." means what is in the folder. Texts only; nothing is looked up.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace grua::cli {

/// "a/b" of the local system; "CONTAINER:a/b" of a container.
struct CopyArgument {
    std::string container;  ///< Empty: a local path.
    std::string path;
};
CopyArgument split_copy_argument(const std::string& argument);

/// One side of a copy.
struct CopySide {
    std::string path;
    bool exists = false;
    bool is_folder = false;
    std::string rename;  ///< The name that the user gave, where links led to another; empty where it is the same.
};

/// Where a tar is to be unpacked, and what its entries are to be called.
struct CopyPlan {
    std::string folder;
    std::string from;  ///< Empty: names stay.
    std::string to;
};
/// Throws Error(invalid_argument): "cannot copy directory", "no such directory".
CopyPlan plan_copy(const CopySide& source, const CopySide& target);

/// Replaces the first part of names. Empty for a plan that leaves them.
std::function<std::string(const std::string&)> renaming(const CopyPlan& plan);

/// "a//b/../c/" is "a/c".
std::string clean_text(std::string_view path);
/// Cleaned, and taken apart: {"/a", "b"} of "/a/b/", {"/a/b", "."} of "/a/b/.".
std::pair<std::string, std::string> split_entry(const std::string& path);
/// Its "/" or "/." at the end is kept.
std::string keep_end(std::string cleaned, std::string_view original);
bool ends_in_slash(std::string_view path);
/// The last part is ".".
bool means_contents(std::string_view path);
/// `resolved` with the end of `path`, and the name that `path` gives it where that is another one.
std::pair<std::string, std::string> renamed_by_links(const std::string& path, std::string resolved);

}  // namespace grua::cli
