#include "build/copy_tree.hpp"

#include "base/error.hpp"
#include "layers/tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <array>

namespace grua::build {
namespace {

constexpr std::size_t open_levels = 64;
constexpr std::size_t names_limit = std::size_t{512} << 20U;
constexpr int make_tries = 8;
constexpr int open_folder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/// Like BuildKit, which takes the bits of a socket away: a socket becomes an empty file, and a block device a character device.
mode_t device_mode(mode_t mode) { return mode & ~mode_t{S_IFSOCK}; }

std::string name_in(int folder, const std::string& name) { return descriptor_path(folder) + "/" + name; }

void append(std::string& path, std::string_view name) {
    if (!path.empty() && path != "/") path += '/';
    if (path.empty() && name.empty()) return;
    path += name;
    if (path.size() >= path_limit) fail_path("failed to stat", path, ENAMETOOLONG);
}

}  // namespace

TreeCopier::TreeCopier(const Root& source, const Root& target, CopyOptions options)
    : source_(source),
      target_(target),
      options_(std::move(options)),
      required_(options_.required.size(), false),
      contents_([this](std::uint64_t bytes) {
          bytes_ += bytes;
          if (options_.progress) options_.progress(bytes_, entries_);
          check_stop();
      }) {}

void TreeCopier::check_stop() const {
    if (options_.stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
}

void TreeCopier::copied() {
    ++entries_;
    if (options_.progress) options_.progress(bytes_, entries_);
}

void TreeCopier::note_required() {
    for (std::size_t index = 0; index < required_.size(); ++index)
        if (source_path_.starts_with(options_.required[index])) required_[index] = true;
}

void TreeCopier::check_required() const {
    for (std::size_t index = 0; index < required_.size(); ++index)
        if (!required_[index]) fail(ErrorKind::not_found, "{:?}: not found", options_.required[index]);
}

void TreeCopier::copy(const TreePlace& from, const CopyTarget& target) {
    check_stop();
    copied_.clear();
    linked_.insert(linked_now_.begin(), linked_now_.end());
    linked_now_.clear();
    levels_.clear();
    held_ = 0;
    source_path_ = from.path();
    target_path_ = target.path;
    relative_path_.clear();
    note_required();
    Entry entry{.source_folder = from.folder.get(),
                .target_folder = target.folder.get(),
                .source_name = from.name(),
                .target_name = target.name,
                .type = DT_UNKNOWN};
    if (!S_ISDIR(from.about.st_mode)) return copy_entry(entry);
    Fd folder{::openat(entry.source_folder, entry.source_name.c_str(), open_folder)};
    struct stat about{};
    if (!folder || ::fstat(folder.get(), &about) != 0) fail_path("failed to read", source_path_);
    enter(entry, std::move(folder), about, {}, true);
    run();
}

void TreeCopier::run() {
    while (!levels_.empty()) {
        Level& level = levels_.back();
        if (level.next < level.names.size())
            visit(level.next++);
        else
            leave();
    }
}

TreeCopier::Filtered TreeCopier::filter(const IgnoreFile::Above& include_above, const IgnoreFile::Above& exclude_above) const {
    Filtered out;
    if (options_.include) {
        IgnoreFile::Answer answer = options_.include->match(relative_path_, include_above);
        out.is_included = answer.ignored;
        out.include_above = std::move(answer.above);
    }
    if (options_.exclude) {
        IgnoreFile::Answer answer = options_.exclude->match(relative_path_, exclude_above);
        out.is_excluded = answer.ignored;
        out.exclude_above = std::move(answer.above);
        if (out.is_excluded) out.is_included = false;
    }
    return out;
}

/// Whether there may be something to copy in a folder that is not copied for itself.
bool TreeCopier::may_have_more(const Filtered& filtered) const {
    if (filtered.is_excluded && !options_.exclude->may_take_back_below(relative_path_)) return false;
    if (!options_.include) return true;
    return std::ranges::any_of(options_.include->rules(), [&](const IgnoreFile::Rule& rule) {
        return !rule.exception && (rule.pattern.may_match_below(relative_path_) || rule.pattern.matches_or_above(relative_path_));
    });
}

void TreeCopier::visit(std::size_t index) {
    check_stop();
    const Level& level = levels_.back();
    Entry entry{.source_folder = level.source.get(),
                .target_folder = level.target.get(),
                .source_name = level.names.name(index),
                .target_name = level.names.name(index),
                .type = level.names.type(index)};
    source_path_.resize(level.source_length);
    target_path_.resize(level.target_length);
    relative_path_.resize(level.relative_length);
    append(source_path_, entry.source_name);
    append(target_path_, entry.target_name);
    append(relative_path_, entry.source_name);

    Filtered filtered = filter(level.include_above, level.exclude_above);
    if (entry.type == DT_UNKNOWN) {
        struct stat about{};
        if (::fstatat(entry.source_folder, entry.source_name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0)
            fail_path("failed to stat", source_path_);
        entry.type = IFTODT(about.st_mode);
    }
    if (!filtered.is_included && (entry.type != DT_DIR || !may_have_more(filtered))) return;
    if (filtered.is_included) {
        note_required();
        make_parents();
        entry.target_folder = levels_.back().target.get();
    }
    if (entry.type != DT_DIR) return copy_entry(entry);
    Fd folder{::openat(entry.source_folder, entry.source_name.c_str(), open_folder)};
    struct stat about{};
    if (!folder || ::fstat(folder.get(), &about) != 0) fail_path("failed to read", source_path_);
    enter(entry, std::move(folder), about, std::move(filtered), false);
}

void TreeCopier::enter(const Entry& entry, Fd source, const struct stat& about, Filtered filtered, bool is_top) {
    Level level;
    level.source = std::move(source);
    level.about = about;
    level.name = entry.target_name;
    level.names = FolderNames{level.source.get(), source_path_, names_limit - std::min(held_, names_limit)};
    level.source_length = source_path_.size();
    level.target_length = target_path_.size();
    level.relative_length = relative_path_.size();
    level.is_included = is_top || filtered.is_included;
    level.include_above = std::move(filtered.include_above);
    level.exclude_above = std::move(filtered.exclude_above);
    if (level.is_included) open_target(level, entry.target_folder, options_.replaces_kinds ? InTheWay::replace : InTheWay::refuse);
    held_ += level.names.bytes();
    levels_.push_back(std::move(level));
    if (levels_.size() > open_levels) trim(levels_.size() - 1 - open_levels);
}

void TreeCopier::open_target(Level& level, int folder, InTheWay in_the_way) {
    const std::string path = target_path_.substr(0, level.target_length);
    for (int tries = 0; !level.target; ++tries) {
        level.is_new = ::mkdirat(folder, level.name.c_str(), 0700) == 0;
        if (!level.is_new && errno != EEXIST) fail_path("failed to mkdir", path);
        level.target = Fd{::openat(folder, level.name.c_str(), open_folder)};
        if (level.target) break;
        const bool is_other = errno == ENOTDIR || errno == ELOOP;
        if (!is_other || tries == make_tries) fail_path("failed to open", path);
        if (in_the_way == InTheWay::refuse) fail(ErrorKind::conflict, "cannot copy to non-directory: {}", path);
        if (::unlinkat(folder, level.name.c_str(), 0) != 0 && errno != ENOENT) fail_path("failed to replace", path);
    }
    struct stat about{};
    if (::fstat(level.target.get(), &about) != 0) fail_path("failed to stat", path);
    level.target_key = {about.st_dev, about.st_ino};
    level.is_made = true;
}

/// What was not asked for itself is made for what is in it.
void TreeCopier::make_parents() {
    std::size_t first = levels_.size();
    while (first > 0 && !levels_[first - 1].is_made) --first;
    for (std::size_t index = first; index < levels_.size(); ++index) {
        Level& level = levels_[index];
        open_target(level, levels_[index - 1].target.get(), InTheWay::refuse);
        if (level.is_new) {
            open_source(level);
            set_attributes(level.target.get(), level.source.get(), level.about);
            copied();
        } else if (::fchmod(level.target.get(), level.about.st_mode & 07777U) != 0) {
            fail_path("failed to chmod on", target_path_.substr(0, level.target_length));
        }
        trim(index - 1);
    }
}

/// Where it was closed.
void TreeCopier::open_source(Level& level) {
    if (level.source) return;
    const std::string path = source_path_.substr(0, level.source_length);
    level.source = open_path(source_, path, O_RDONLY | O_DIRECTORY);
    check_key(level.source.get(), {level.about.st_dev, level.about.st_ino}, path);
}

void TreeCopier::check_key(int folder, const FileKey& key, const std::string& path) {
    struct stat about{};
    if (::fstat(folder, &about) != 0) fail_path("failed to stat", path);
    if (FileKey{about.st_dev, about.st_ino} != key) fail(ErrorKind::conflict, "{}: it was moved while it was copied", path);
}

/// Closes what is too far out to be held.
void TreeCopier::trim(std::size_t index) {
    if (index + open_levels >= levels_.size()) return;
    Level& level = levels_[index];
    level.source = {};
    if (levels_[index + 1].is_made) level.target = {};
}

void TreeCopier::leave() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    const bool is_top = levels_.empty();
    if (!is_top) go_back_to(levels_.back(), level);
    held_ -= level.names.bytes();
    source_path_.resize(level.source_length);
    target_path_.resize(level.target_length);
    if (!level.is_included) return;
    if (level.is_new || !is_top) {
        set_attributes(level.target.get(), level.source.get(), level.about);
    } else if (::futimens(level.target.get(), times_of(level.about).data()) != 0) {
        // As in BuildKit a folder that was there gets the source's time, but nothing else of it.
        fail_path("failed to restore file timestamp", target_path_);
    }
    copied();
}

/// Opens again what was closed, and makes sure that it is the same folder.
void TreeCopier::go_back_to(Level& level, const Level& from) {
    const auto reopen = [&](int below, const FileKey& key, const std::string& path) {
        Fd folder{::openat(below, "..", open_folder)};
        if (!folder) fail_path("failed to open", path);
        check_key(folder.get(), key, path);
        return folder;
    };
    if (!level.source)
        level.source = reopen(from.source.get(), {level.about.st_dev, level.about.st_ino}, source_path_.substr(0, level.source_length));
    if (level.is_made && !level.target)
        level.target = reopen(from.target.get(), level.target_key, target_path_.substr(0, level.target_length));
}

void TreeCopier::copy_entry(const Entry& entry) {
    struct stat about{};
    Fd file;
    const bool opens = options_.sharing == Sharing::copy || !can_link_;
    const auto open = [&] {
        file = Fd{::openat(entry.source_folder, entry.source_name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        if (!file || ::fstat(file.get(), &about) != 0) fail_path("failed to stat", source_path_);
    };
    if (entry.type == DT_REG && opens)
        open();
    else if (::fstatat(entry.source_folder, entry.source_name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0)
        fail_path("failed to stat", source_path_);
    if (S_ISREG(about.st_mode)) {
        // Two names of a file in the source are two names of it here as well, where it is linked.
        if (!link_to_source(entry, about) && !link_to_copied(entry, about)) {
            if (!file) open();
            if (!S_ISREG(about.st_mode)) fail(ErrorKind::conflict, "{}: it was replaced while it was copied", source_path_);
            copy_file(entry, std::move(file), about);
        }
    } else if (S_ISLNK(about.st_mode)) {
        copy_link(entry, about);
    } else if (S_ISDIR(about.st_mode)) {
        fail(ErrorKind::conflict, "{}: it was replaced while it was copied", source_path_);
    } else {
        copy_device(entry, about);
    }
    copied();
}

void TreeCopier::make_way(int folder, const std::string& name) {
    struct stat about{};
    if (::fstatat(folder, name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return;
        fail_path("failed to stat", target_path_);
    }
    if (!S_ISDIR(about.st_mode)) {
        if (::unlinkat(folder, name.c_str(), 0) != 0 && errno != ENOENT) fail_path("failed to replace", target_path_);
        return;
    }
    if (!options_.replaces_kinds) fail(ErrorKind::conflict, "cannot replace to directory {} with file", target_path_);
    if (name == ".") fail_path("failed to replace", target_path_, EBUSY);
    while_doing(target_path_, [&] {
        if (!layers::remove_tree(folder, name, options_.stop)) fail(ErrorKind::unavailable, "context canceled");
    });
}

/// `make` is true where it has made it, or says EEXIST.
template <typename Make>
void TreeCopier::make(const Entry& entry, const char* doing, Make make) {
    for (int tries = 0; !make(); ++tries) {
        if (errno != EEXIST || tries == make_tries) fail_path(doing, target_path_);
        make_way(entry.target_folder, entry.target_name);
    }
}

void TreeCopier::copy_file(const Entry& entry, Fd file, const struct stat& about) {
    const Fd from = reopen_file(file.get(), source_path_);
    file = {};
    Fd to;
    make(entry, "failed to open target", [&] {
        to = Fd{::openat(entry.target_folder, entry.target_name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
        return static_cast<bool>(to);
    });
    contents_.copy(from.get(), to.get(), about, source_path_);
    set_attributes(to.get(), from.get(), about);
}

void TreeCopier::copy_link(const Entry& entry, const struct stat& about) {
    std::array<char, path_limit> text{};
    const ssize_t size = ::readlinkat(entry.source_folder, entry.source_name.c_str(), text.data(), text.size() - 1);
    if (size < 0) fail_path("failed to read link:", source_path_);
    const char* name = entry.target_name.c_str();
    make(entry, "failed to create symlink:", [&] { return ::symlinkat(text.data(), entry.target_folder, name) == 0; });
    const Owner owner = owner_of(about);
    if (::fchownat(entry.target_folder, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0) fail_path("failed to chown", target_path_);
    if (::utimensat(entry.target_folder, name, times_of(about).data(), AT_SYMLINK_NOFOLLOW) != 0)
        fail_path("failed to utime", target_path_);
    copy_link_xattrs(name_in(entry.source_folder, entry.source_name), name_in(entry.target_folder, entry.target_name));
}

void TreeCopier::copy_device(const Entry& entry, const struct stat& about) {
    const bool has_number = S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode);
    const char* name = entry.target_name.c_str();
    const mode_t kind = device_mode(about.st_mode);
    make(entry, "failed to create device",
         [&] { return ::mknodat(entry.target_folder, name, kind & (S_IFMT | 0700U), has_number ? about.st_rdev : 0) == 0; });
    // Its mode can only be set by a name that would follow a link, so the name is one for the descriptor.
    const Fd made{::openat(entry.target_folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    struct stat status{};
    if (!made || ::fstat(made.get(), &status) != 0) fail_path("failed to create device", target_path_);
    const mode_t expected = (kind & S_IFMT) == 0 ? mode_t{S_IFREG} : kind & S_IFMT;
    if ((status.st_mode & S_IFMT) != expected) fail(ErrorKind::conflict, "{}: it was replaced while it was made", target_path_);
    const std::string path = descriptor_path(made.get());
    const Owner owner = owner_of(about);
    if (::fchownat(made.get(), "", owner.uid, owner.gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
        fail_path("failed to chown", target_path_);
    if (::chmod(path.c_str(), mode_of(about)) != 0) fail_path("failed to chmod", target_path_);
    if (::utimensat(AT_FDCWD, path.c_str(), times_of(about).data(), 0) != 0) fail_path("failed to utime", target_path_);
    copy_link_xattrs(name_in(entry.source_folder, entry.source_name), name_in(entry.target_folder, entry.target_name));
}

/// The second and further names of a file in the source.
bool TreeCopier::link_to_copied(const Entry& entry, const struct stat& about) {
    if (about.st_nlink < 2) return false;
    const auto [found, is_first] = copied_.try_emplace({about.st_dev, about.st_ino}, target_path_);
    if (is_first) return false;
    const std::string& path = found->second;
    const Fd first = open_path(target_, path, O_PATH);
    struct stat status{};
    if (::fstat(first.get(), &status) != 0) fail_path("failed to create hard link", path);
    if (!S_ISREG(status.st_mode)) fail(ErrorKind::conflict, "{}: it was replaced while it was copied", path);
    const std::string from = descriptor_path(first.get());
    bool has_too_many = false;
    make(entry, "failed to create hard link", [&] {
        if (::linkat(AT_FDCWD, from.c_str(), entry.target_folder, entry.target_name.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
        return has_too_many = errno == EMLINK;
    });
    if (has_too_many) found->second = target_path_;
    return !has_too_many;
}

bool TreeCopier::comes_out_the_same(const struct stat& about) const {
    const Owner owner = owner_of(about);
    const timespec time = times_of(about)[1];
    return owner.uid == about.st_uid && owner.gid == about.st_gid && mode_of(about) == (about.st_mode & 07777U) &&
           time.tv_sec == about.st_mtim.tv_sec && time.tv_nsec == about.st_mtim.tv_nsec;
}

bool TreeCopier::link_to_source(const Entry& entry, const struct stat& about) {
    if (options_.sharing != Sharing::hard_link || !can_link_ || !comes_out_the_same(about)) return false;
    const FileKey key{about.st_dev, about.st_ino};
    if (about.st_nlink > 1 && linked_.contains(key)) return false;
    bool cannot = false;
    make(entry, "failed to create hard link", [&] {
        // Without AT_SYMLINK_FOLLOW what is there is linked itself, whatever it has become.
        if (::linkat(entry.source_folder, entry.source_name.c_str(), entry.target_folder, entry.target_name.c_str(), 0) == 0) return true;
        if (errno == EXDEV || errno == EPERM || errno == EOPNOTSUPP) can_link_ = false;
        return cannot = !can_link_ || errno == EMLINK;
    });
    if (!cannot && about.st_nlink > 1) linked_now_.push_back(key);
    return !cannot;
}

mode_t TreeCopier::mode_of(const struct stat& about) const {
    return options_.mode ? options_.mode->apply(about.st_mode) : about.st_mode & 07777U;
}

Owner TreeCopier::owner_of(const struct stat& about) const { return options_.owner.value_or(Owner{about.st_uid, about.st_gid}); }

std::array<timespec, 2> TreeCopier::times_of(const struct stat& about) const {
    if (options_.time) return {*options_.time, *options_.time};
    return {about.st_atim, about.st_mtim};
}

/// The owner first, since a change of it takes set-user-ID and capabilities away.
void TreeCopier::set_attributes(int target, int source, const struct stat& about) {
    const Owner owner = owner_of(about);
    if (::fchown(target, owner.uid, owner.gid) != 0) fail_path("failed to chown", target_path_);
    if (::fchmod(target, mode_of(about)) != 0) fail_path("failed to chmod", target_path_);
    if (::futimens(target, times_of(about).data()) != 0) fail_path("failed to utime", target_path_);
    if (source >= 0) copy_xattrs(source, target);
}

}  // namespace grua::build
