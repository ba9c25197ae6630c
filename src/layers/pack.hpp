// Files, folders and trees on their way into a tar. Somebody else may change the tree meanwhile - a container that runs, an
// attacker in it: everything is reached through fds below the folder that was given, links are never followed, a device is
// never opened, and what vanishes under way is left out. The same tree gives the same bytes: folders are read in the order
// of their names' bytes.
#pragma once

#include "base/fd.hpp"
#include "layers/tar_writer.hpp"

#include <sys/stat.h>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::layers {

struct PackLimits {
    std::size_t depth = 1000;            ///< Folders in folders.
    std::size_t sparse_segments = 8192;  ///< More are not told apart: other readers bound their map too (CVE-2025-58183).
    std::uint64_t least_holes = 16384;   ///< Bytes of holes for which a file is written as a sparse one.
    std::optional<timespec> latest;      ///< As TarWriter has it.
};

class Packer {
public:
    explicit Packer(Sink& sink, PackLimits limits = {}) : tar_(sink, limits.latest), limits_(limits), buffer_(std::size_t{256} << 10U) {}

    /// `leaf` in `directory`, with all below it where it is a folder, as `name`. Throws Error(not_found) where it does not exist.
    void add_tree(int directory, const std::string& leaf, const std::string& name);

    /// What is in the folder, without itself. Names are put behind `prefix`.
    void add_contents(int folder, const std::string& prefix);

    /// `leaf` alone. False where it vanished, or is what a tar cannot have (a socket).
    bool add_entry(int directory, const std::string& leaf, const std::string& name);

    /// An empty file, as a layer's whiteout is one.
    void add_marker(const std::string& name, timespec mtime);

    void finish() { tar_.finish(); }

private:
    bool add(int directory, const std::string& leaf, const std::string& name, std::size_t depth);
    void add_below(int folder, const std::string& prefix, std::size_t depth);
    mode_t write_entry(int directory, const std::string& leaf, const std::string& name);
    void add_file(int pinned, TarEntry& entry, const struct stat& status);
    void copy(int file, std::uint64_t offset, std::uint64_t size);

    struct Link {
        std::string first;   ///< The name under which the inode is in the tar.
        nlink_t others = 0;  ///< Names of it that may still come; the entry goes with the last.
    };

    TarWriter tar_;
    PackLimits limits_;
    std::vector<char> buffer_;
    std::map<std::pair<dev_t, ino_t>, Link> links_;
};

/// The names in a folder but for "." and "..", sorted by their bytes. Leaves the descriptor's position alone.
std::vector<std::string> sorted_names(int folder);

/// The xattrs of what `pinned` (O_PATH will do) is, as a tar carries them: without overlayfs' own and the host's labels.
std::map<std::string, std::string> portable_xattrs(int pinned, const struct stat& status);

/// The target of the link that `pinned` is.
std::string link_target(int pinned);

/// Opens what `pinned` (O_PATH) is once more, for reading: the same inode, whatever its name is now.
Fd reopen(int pinned, int flags);

}  // namespace grua::layers
