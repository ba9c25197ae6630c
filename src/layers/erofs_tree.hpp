// The files of a layer as an erofs image takes them: what each has, in memory, and where its data is in the image. For erofs.cpp.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "layers/tar.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::layers::erofs {

inline constexpr std::uint64_t block = 4096;

inline std::uint64_t rounded(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

inline constexpr std::string_view acl_access = "system.posix_acl_access";
inline constexpr std::string_view acl_default = "system.posix_acl_default";

/// Which extended attributes an image keeps, and the number that stands for the beginning of their names.
struct XattrPrefix {
    std::string_view text;
    std::uint8_t number;
};
inline constexpr std::array prefixes{XattrPrefix{acl_access, 2}, XattrPrefix{acl_default, 3}, XattrPrefix{"user.", 1},
                                     XattrPrefix{"trusted.", 4}, XattrPrefix{"security.", 6}};

inline const XattrPrefix* prefix_of(std::string_view key) {
    return std::ranges::find_if(prefixes, [&](const XattrPrefix& each) { return key.starts_with(each.text); });
}

struct Node {
    mode_t mode = 0;  // with the kind
    uid_t uid = 0;
    gid_t gid = 0;
    timespec mtime{};
    std::uint64_t size = 0;   // of a file; of a folder or link as soon as it has its place
    std::uint64_t start = 0;  // where its data is, or a folder's that is not inline
    dev_t device = 0;
    std::string target;  // of a link
    std::map<std::string, std::string> xattrs;
    std::map<std::string, std::shared_ptr<Node>> children;
    Node* parent = nullptr;  // of a folder
    std::uint32_t links = 0;
    std::uint64_t nid = 0;
    bool is_inline = false;

    bool is_folder() const { return S_ISDIR(mode); }
    bool is_link() const { return S_ISLNK(mode); }
    bool is_whiteout() const { return S_ISCHR(mode) && device == 0; }
};
using NodePtr = std::shared_ptr<Node>;

/// A new file that is written from its beginning to its end, but for the superblock.
class Output {
public:
    explicit Output(const std::string& path) : file_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) {
        if (!file_) fail_errno("create {}", path);
    }

    std::uint64_t at() const { return flushed_ + used_; }

    /// At least one byte; what was put there is taken() then.
    std::span<char> room() {
        if (used_ == buffer_.size()) flush();
        return std::span(buffer_).subspan(used_);
    }
    void taken(std::size_t count) { used_ += count; }

    void put(std::string_view bytes) {
        while (!bytes.empty()) {
            const std::span<char> space = room();
            const std::size_t count = std::min(space.size(), bytes.size());
            std::memcpy(space.data(), bytes.data(), count);
            taken(count);
            bytes.remove_prefix(count);
        }
    }
    template <typename T>
    void put_struct(const T& value) {
        put({reinterpret_cast<const char*>(&value), sizeof value});
    }
    void zeros_to(std::uint64_t offset) {
        while (at() < offset) {
            const std::span<char> space = room();
            const std::size_t count = std::min<std::uint64_t>(space.size(), offset - at());
            std::memset(space.data(), 0, count);
            taken(count);
        }
    }
    void hole_to(std::uint64_t offset) {
        if (offset - at() <= buffer_.size()) return zeros_to(offset);
        flush();
        flushed_ = offset;
        if (::lseek(file_.get(), static_cast<off_t>(offset), SEEK_SET) < 0) fail_errno("seek");
    }

    /// In whole blocks, with what is known only now over what is at `offset`.
    template <typename T>
    void finish(const T& value, std::uint64_t offset) {
        flush();
        if (::ftruncate(file_.get(), static_cast<off_t>(rounded(flushed_, block))) != 0) fail_errno("set size");
        if (::pwrite(file_.get(), &value, sizeof value, static_cast<off_t>(offset)) != sizeof value) fail_errno("write the superblock");
    }

private:
    void flush() {
        write_all(file_.get(), {buffer_.data(), used_}, "image");
        flushed_ += used_;
        used_ = 0;
    }

    Fd file_;
    std::vector<char> buffer_ = std::vector<char>(std::size_t{1} << 20U);
    std::size_t used_ = 0;
    std::uint64_t flushed_ = 0;
};

struct LayerTree {
    NodePtr root;
    std::uint64_t size = 0;  ///< Of the data of all files, which is in the image.
};

/// All of `tar`: the data goes to `out` at once, all else is held in memory, with a bound. An Error names the entry.
LayerTree read_tree(TarReader& tar, Output& out);

}  // namespace grua::layers::erofs
