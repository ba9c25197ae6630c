#include "build/tree_tar.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <utility>

namespace grua::build {
namespace {

constexpr std::size_t piece_bytes = std::size_t{256} << 10U;
constexpr std::size_t read_bytes = std::size_t{64} << 10U;
constexpr std::int64_t second = 1'000'000'000;

timespec time_of(std::int64_t nanoseconds) {
    std::int64_t seconds = nanoseconds / second;
    std::int64_t rest = nanoseconds % second;
    if (rest < 0) {
        rest += second;
        --seconds;
    }
    return {.tv_sec = seconds, .tv_nsec = rest};
}

layers::TarEntry::Type type_of(const TreeEntry& about) {
    using enum layers::TarEntry::Type;
    switch (about.mode & S_IFMT) {
        case S_IFDIR:
            return directory;
        case S_IFLNK:
            return symlink;
        case S_IFCHR:
            return character_device;
        case S_IFBLK:
            return block_device;
        case S_IFIFO:
            return fifo;
        default:
            return about.link.empty() ? file : hard_link;
    }
}

}  // namespace

TreeTar::TreeTar(std::vector<TreePart> parts, TreeView view)
    : parts_(std::move(parts)), walk_(parts_, std::move(view)), tar_(out_), buffer_(read_bytes) {}

std::string TreeTar::read() {
    while (out_.text.size() < piece_bytes && !is_finished_) {
        if (file_) {
            const std::size_t count = file_->read(buffer_);
            if (count == 0)
                file_.reset();
            else
                tar_.write({buffer_.data(), count});
        } else if (const auto entry = walk_.next()) {
            add(*entry);
        } else {
            tar_.finish();
            is_finished_ = true;
        }
    }
    return std::exchange(out_.text, {});
}

void TreeTar::add(const TreeWalk::Entry& entry) {
    const TreeEntry& about = entry.about;
    layers::TarEntry out;
    out.name = entry.path;
    out.link = about.link;
    out.type = type_of(about);
    out.mode = about.mode & 07777U;
    out.uid = about.uid;
    out.gid = about.gid;
    out.mtime = time_of(about.mtime);
    out.device_major = ::gnu_dev_major(about.device);
    out.device_minor = ::gnu_dev_minor(about.device);
    out.xattrs = about.xattrs;
    if (out.type == layers::TarEntry::Type::file) {
        out.size = about.size;
        file_.emplace(parts_.at(entry.part), entry.path, about.size);
    }
    tar_.add(out);
}

}  // namespace grua::build
