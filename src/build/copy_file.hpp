// What is in a file, and what it has beside it, from one file to another by their descriptors.
#pragma once

#include <sys/stat.h>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// Remembers what the file systems have refused, so that it is not tried for every file.
class ContentCopier {
public:
    /// After each piece; may throw.
    using Copied = std::function<void(std::uint64_t bytes)>;

    explicit ContentCopier(Copied copied) : copied_(std::move(copied)) {}

    /// Shares the blocks where that can be, and makes no holes full. `to` is an empty file. What `from` grows by meanwhile is left out:
    /// `about` is what it was. Throws Error that names `path`.
    void copy(int from, int to, const struct stat& about, std::string_view path);

private:
    bool clone(int from, int to, std::uint64_t size);
    void copy_parts(int from, int to, off_t size, std::string_view path);
    bool copy_range(int from, int to, off_t at, off_t end, std::string_view path);
    off_t copy_in_kernel(int from, int to, off_t at, off_t end, std::string_view path);

    Copied copied_;
    bool can_clone_ = true;
    bool can_copy_in_kernel_ = true;
    std::vector<char> buffer_;
};

/// As far as they can be: the first one that cannot is the last one that is tried, as in BuildKit. overlayfs' own are left out.
void copy_xattrs(int from, int to);

/// The same for what no descriptor can be had of: names in folders of /proc/self/fd, of which a link at the end is not followed.
void copy_link_xattrs(const std::string& from, const std::string& to);

}  // namespace grua::build
