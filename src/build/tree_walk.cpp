#include "build/tree_walk.hpp"

#include "base/error.hpp"
#include "base/timespec.hpp"
#include "base/utf8.hpp"
#include "build/follow_paths.hpp"
#include "layers/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <tuple>

namespace grua::build {
namespace {

constexpr std::size_t open_levels = 64;  ///< Of folders in folders, at once.
constexpr mode_t folder_mode = S_IFDIR | 0755;
constexpr mode_t file_mode = S_IFREG | 0600;

std::string shown(std::string_view path) { return to_valid_utf8(path.substr(0, 200)); }

/// What is to be included of a part. Nothing where that is everything.
IgnoreFile includes_of(const TreePart& part, const TreeFilter& filter) {
    std::vector<std::string> patterns = filter.include;
    if (!filter.follow.empty() && part.folder) {
        const std::vector<std::string> followed = follow_paths(*part.folder, filter.follow);
        if (std::ranges::find(followed, ".") == followed.end()) patterns.insert(patterns.end(), followed.begin(), followed.end());
    }
    if (std::ranges::find(patterns, ".") != patterns.end()) return {};
    return IgnoreFile(patterns);
}

bool may_include_below(const IgnoreFile& include, std::string_view folder) {
    return std::ranges::any_of(include.rules(),
                               [&](const IgnoreFile::Rule& rule) { return !rule.exception && rule.pattern.may_match_below(folder); });
}

bool has_vanished(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

}  // namespace

TreeWalk::TreeWalk(const std::vector<TreePart>& parts, TreeView view)
    : parts_(parts), view_(std::move(view)), exclude_(view_.filter.exclude) {}

std::optional<TreeWalk::Entry> TreeWalk::next() {
    while (ready_.empty()) {
        if (levels_.empty() && has_begun_) {
            has_begun_ = false;
            ++part_;
        }
        if (part_ == parts_.size()) return std::nullopt;
        if (has_begun_)
            step();
        else
            begin_part();
    }
    Entry out = std::move(ready_.front());
    ready_.pop_front();
    return out;
}

std::string TreeWalk::whole(const std::string& path) const { return part().name.empty() ? path : part().name + "/" + path; }

void TreeWalk::begin_part() {
    has_begun_ = true;
    links_.clear();
    include_ = includes_of(part(), view_.filter);
    if (!part().name.empty()) say({.path = part().name, .about = {.mode = folder_mode, .mtime = view_.new_mtime}, .part = part_});
    Level top;
    if (part().folder) {
        top.folder = Fd{::openat(part().folder->fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        if (!top.folder) fail_errno("open the folder");
        top.names = layers::sorted_names(top.folder.get());
    }
    for (const auto& [name, contents] : part().files) {
        const auto place = std::ranges::lower_bound(top.names, name);
        if (place == top.names.end() || *place != name) top.names.insert(place, name);
    }
    levels_.push_back(std::move(top));
}

void TreeWalk::step() {
    Level& level = levels_.back();
    if (level.at == level.names.size() || (!level.folder && part().folder && !reopen(level))) {
        levels_.pop_back();
        return;
    }
    const std::string name = std::move(level.names[level.at++]);
    const auto file = levels_.size() == 1 ? part().files.find(name) : part().files.end();
    if (file != part().files.end())
        say_file(name, file->second);
    else
        look_at(name);
}

bool TreeWalk::reopen(Level& level) const {
    try {
        level.folder = open_path(*part().folder, level.path, O_RDONLY | O_DIRECTORY);
    } catch (const Error& error) {
        if (!has_vanished(error.os_error())) throw;
        return false;
    }
    return true;
}

TreeWalk::Decision TreeWalk::decide(const Level& level, const std::string& path) const {
    Decision out;
    if (!include_.empty()) {
        IgnoreFile::Answer answer = include_.match(path, level.include);
        out.include = std::move(answer.above);
        if (!answer.ignored) {
            out.is_wanted = false;
            out.goes_below = may_include_below(include_, path);
        }
    }
    if (!exclude_.empty()) {
        IgnoreFile::Answer answer = exclude_.match(path, level.exclude);
        out.exclude = std::move(answer.above);
        if (answer.ignored) {
            out.is_wanted = false;
            out.goes_below = out.goes_below && exclude_.may_take_back_below(path);
        }
    }
    return out;
}

void TreeWalk::look_at(const std::string& name) {
    const Level& level = levels_.back();
    const std::string path = level.path + name;
    Decision decision = decide(level, path);
    if (!decision.is_wanted && !decision.goes_below) return;
    const Fd pinned{::openat(level.folder.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!pinned) {
        if (has_vanished(errno)) return;
        fail_errno("open {}", shown(path));
    }
    struct stat status{};
    if (::fstat(pinned.get(), &status) != 0) fail_errno("stat {}", shown(path));
    const bool is_folder = S_ISDIR(status.st_mode);
    if (!decision.is_wanted && !is_folder) return;
    std::optional<Entry> entry = while_doing(shown(path), [&] { return read(pinned.get(), path, status); });
    if (S_ISREG(status.st_mode) && status.st_nlink > 1) link(*entry, status);
    if (decision.is_wanted) say(*std::exchange(entry, std::nullopt));
    if (is_folder && decision.goes_below) enter(pinned.get(), path, std::move(decision), std::move(entry));
}

TreeWalk::Entry TreeWalk::read(int pinned, const std::string& path, const struct stat& status) const {
    Entry out{.path = whole(path), .part = part_};
    TreeEntry& about = out.about;
    about = {.mode = status.st_mode, .uid = status.st_uid, .gid = status.st_gid};
    about.mtime = nanoseconds_of(status.st_mtim);
    if (view_.owner) std::tie(about.uid, about.gid) = std::pair(view_.owner->uid, view_.owner->gid);
    about.xattrs = layers::portable_xattrs(pinned, status);
    if (S_ISLNK(status.st_mode)) {
        about.link = layers::link_target(pinned);
        about.size = about.link.size();
    } else if (S_ISREG(status.st_mode)) {
        about.size = static_cast<std::uint64_t>(status.st_size);
        if (view_.tells_changes) about.ctime = nanoseconds_of(status.st_ctim);
    } else if (S_ISSOCK(status.st_mode)) {
        // Nobody can have the socket itself; others' senders make an empty file of it.
        about.mode = S_IFREG | (status.st_mode & 07777U);
    } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
        about.device = status.st_rdev;
    }
    return out;
}

/// Of what is wanted only: the first name of a file in the list is the one with the contents.
void TreeWalk::link(Entry& entry, const struct stat& status) {
    const auto [known, is_new] = links_.try_emplace({status.st_dev, status.st_ino}, Linked{entry.path, status.st_nlink - 1});
    if (is_new) return;
    entry.about.link = known->second.first;
    entry.about.size = 0;
    entry.about.ctime = 0;
    if (--known->second.others == 0) links_.erase(known);
}

void TreeWalk::enter(int pinned, const std::string& path, Decision decision, std::optional<Entry> unsaid) {
    Fd folder{::openat(pinned, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) {
        const bool is_wanted = !unsaid;
        if (has_vanished(errno) || (errno == EACCES && !is_wanted)) return;
        fail_errno("open {}", shown(path));
    }
    Level level{.path = path + "/",
                .folder = std::move(folder),
                .include = std::move(decision.include),
                .exclude = std::move(decision.exclude),
                .unsaid = std::move(unsaid)};
    try {
        level.names = layers::sorted_names(level.folder.get());
    } catch (Error& error) {
        if (has_vanished(error.os_error())) return;
        error.add_context(shown(path));
        throw;
    }
    if (levels_.size() >= open_levels) levels_[levels_.size() - open_levels].folder = {};
    levels_.push_back(std::move(level));
}

void TreeWalk::say(Entry entry) {
    const auto add = [&](Entry each) {
        if (++count_ > view_.limit) fail(ErrorKind::invalid_argument, "more than {} files", view_.limit);
        if (view_.mtime) each.about.mtime = *view_.mtime;
        ready_.push_back(std::move(each));
    };
    for (Level& level : levels_)
        if (level.unsaid) add(*std::exchange(level.unsaid, std::nullopt));
    add(std::move(entry));
}

void TreeWalk::say_file(const std::string& name, const std::string& contents) {
    say({.path = whole(name), .about = {.mode = file_mode, .size = contents.size(), .mtime = view_.new_mtime}, .part = part_});
}

FileReader::FileReader(const TreePart& part, std::string_view path, std::uint64_t size) : path_(path), left_(size) {
    if (!part.name.empty()) path.remove_prefix(part.name.size() + 1);
    if (const auto own = part.files.find(std::string(path)); own != part.files.end()) {
        contents_ = own->second;
        return;
    }
    try {
        // What was a file may be a pipe by now, which is not waited for.
        file_ = open_path(*part.folder, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    } catch (Error& error) {
        if (error.os_error() == ENXIO && size == 0) return;
        error.add_context("read a file that was listed");
        throw;
    }
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) fail_errno("stat {}", shown(path_));
    if (!S_ISREG(status.st_mode)) fail(ErrorKind::conflict, "{}: it is no file any more", shown(path_));
}

std::size_t FileReader::read(std::span<char> out) {
    if (!file_) {
        const std::size_t count = std::min(out.size(), contents_.size());
        std::ranges::copy(contents_.substr(0, count), out.begin());
        contents_.remove_prefix(count);
        return count;
    }
    ssize_t count = -1;
    do {
        count = ::read(file_.get(), out.data(), out.size());
    } while (count < 0 && errno == EINTR);
    if (count < 0) fail_errno("read {}", shown(path_));
    const auto got = static_cast<std::uint64_t>(count);
    if (got > left_) fail(ErrorKind::conflict, "{}: it has become longer while it was read", shown(path_));
    if (got == 0 && left_ > 0) fail(ErrorKind::conflict, "{}: it has become shorter while it was read", shown(path_));
    left_ -= got;
    return static_cast<std::size_t>(got);
}

}  // namespace grua::build
