// A directory that someone else controls - a container's rootfs, an unpacked layer, a build context - and paths in it.
//
// Every path that a container, an image or a client names is resolved by the kernel under this root, once, to an fd,
// and used through that fd. A path string is never joined, checked and then used: whatever was checked can be swapped
// for a symlink in between (CVE-2021-30465, CVE-2018-15664, CVE-2025-31133 and a dozen more are this one mistake).
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace grua {

class Root {
public:
    /// `directory` is a trusted host path. Throws Error where it is not a directory.
    static Root open(const char* directory);

    /// Takes a descriptor of a directory (O_PATH will do), such as the root of a detached mount.
    static Root at(Fd directory) noexcept { return Root{std::move(directory)}; }

    /// Opens `path` as the root's owner sees it: absolute links and ".." stay inside the root, and nothing under it
    /// leads through a magic link of /proc. Throws Error(not_found) where it does not exist.
    /// `flags` are open(2)'s; O_CLOEXEC is added.
    Fd open_at(std::string_view path, int flags, mode_t mode = 0) const;

    /// The same for what may be missing, or be below something that is no folder: nothing then. It does not throw for that, because
    /// some of what each start looks for is always missing.
    std::optional<Fd> find_at(std::string_view path, int flags) const;

    enum class Kind { directory, file };

    /// Makes what of `path` is missing, folders with mode 0755 and a file with 0644, and returns its end as an O_PATH fd: a folder, or
    /// where `kind` is file what is there. A link that leads to nothing is followed, inside the root, and what it leads to is made.
    /// `before` is told of each folder and file that is not there, just before it is made: the folder that it will be in, and its name.
    using BeforeMaking = std::function<void(int folder, const std::string& name)>;
    Fd make(std::string_view path, Kind kind, const BeforeMaking& before = {}) const;
    Fd make_directories(std::string_view path) const { return make(path, Kind::directory); }

    int fd() const noexcept { return directory_.get(); }

private:
    explicit Root(Fd directory) noexcept : directory_(std::move(directory)) {}

    Fd directory_;
};

}  // namespace grua
