// A tar into a tree that exists and that somebody else may be changing at the same time: what `cp` into a container does, and
// what a client does with a container's tar. Names in the tar are resolved as the tree's owner sees them and never lead out of
// its root; what is made is used by its descriptor, so that nothing is done to what took its place meanwhile.
// Unlike a layer's tar this one knows no whiteouts.
#pragma once

#include "layers/tar.hpp"
#include "linux/root.hpp"

#include <sys/types.h>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace grua::layers {

enum class Ownership {
    as_in_tar,
    of_caller,  ///< Nothing is given away; what only root may set is left out.
};

struct ExtractOptions {
    bool keep_kinds = false;  ///< A folder is not replaced by a file nor the other way round (Docker's noOverwriteDirNonDir).
    Ownership ownership = Ownership::as_in_tar;
    std::optional<std::pair<uid_t, gid_t>> owner;           ///< Of everything, whatever the tar says.
    std::string shown;                                      ///< The folder's name in errors; its path where this is empty.
    std::function<std::string(const std::string&)> rename;  ///< Of names and of what hard links name; may be empty.
};

/// `folder` is a path under `root`; its own attributes stay. Throws Error that names the entry.
void extract_tar(TarReader& tar, const Root& root, std::string_view folder, const ExtractOptions& options);

}  // namespace grua::layers
