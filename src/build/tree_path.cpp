#include "build/tree_path.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <array>
#include <cctype>
#include <iterator>
#include <utility>

namespace grua::build {
namespace {

constexpr int most_links = 255;
constexpr std::size_t shown_limit = 512;

/// A walk along a path, one name after the other.
class Walk {
public:
    Walk(const Root& root, std::string_view path, LastLink links) : root_(root), links_(links) {
        if (path.size() >= path_limit) fail_path("lstat", path, ENAMETOOLONG);
        push(path);
        go_to_root();
    }

    TreePlace run() {
        while (!steps_.empty()) {
            const std::string step = std::move(steps_.back());
            steps_.pop_back();
            if (step == "..")
                go_up();
            else
                go_into(step);
        }
        out_.about = about_;
        if (out_.missing > 0) {
            out_.folder = std::move(here_);
            return std::move(out_);
        }
        if (!folder_) folder_ = open_names(root_, out_.names, out_.names.empty() ? 0 : out_.names.size() - 1, O_PATH | O_DIRECTORY);
        out_.folder = std::move(folder_);
        out_.there = std::move(here_);
        return std::move(out_);
    }

private:
    void push(std::string_view path) {
        std::vector<std::string> parts = split(path, '/');
        std::erase_if(parts, [](const std::string& each) { return each.empty() || each == "."; });
        if (steps_.size() + parts.size() > path_limit) fail_path("lstat", path, ENAMETOOLONG);
        steps_.insert(steps_.end(), std::move_iterator(parts.rbegin()), std::move_iterator(parts.rend()));
    }

    void look() {
        if (::fstat(here_.get(), &about_) != 0) fail_path("lstat", out_.path());
    }

    void go_to_root() {
        out_.names.clear();
        out_.missing = 0;
        folder_ = {};
        here_ = open_names(root_, out_.names, 0, O_PATH | O_DIRECTORY);
        look();
    }

    void go_up() {
        if (out_.names.empty()) return;
        out_.names.pop_back();
        if (out_.missing > 0) {
            --out_.missing;
            if (out_.missing > 0) return;
        }
        folder_ = {};
        here_ = open_names(root_, out_.names, out_.names.size(), O_PATH);
        look();
    }

    void go_into(const std::string& step) {
        if (out_.missing > 0) {
            ++out_.missing;
            out_.names.push_back(step);
            return;
        }
        if (!S_ISDIR(about_.st_mode)) fail_path("lstat", out_.path() + "/" + step, ENOTDIR);
        Fd next{::openat(here_.get(), step.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        out_.names.push_back(step);
        if (!next && errno == ENOENT) {
            out_.missing = 1;
            return;
        }
        if (!next) fail_path("lstat", out_.path());
        struct stat about{};
        if (::fstat(next.get(), &about) != 0) fail_path("lstat", out_.path());
        if (S_ISLNK(about.st_mode) && (links_ == LastLink::follow || !steps_.empty())) return follow(next.get());
        folder_ = std::exchange(here_, std::move(next));
        about_ = about;
    }

    void follow(int link) {
        const std::string target = read_link(link, out_.path());
        if (++links_followed_ > most_links) fail(ErrorKind::invalid_argument, "{}: too many links", out_.path());
        out_.names.pop_back();
        if (target.starts_with('/')) go_to_root();
        push(target);
    }

    const Root& root_;
    LastLink links_;
    std::vector<std::string> steps_;  // The next one is the last.
    TreePlace out_;
    Fd folder_;  // Of what is here; nothing where it is not known.
    Fd here_;
    struct stat about_{};
    int links_followed_ = 0;
};

void set_up(int folder, const std::string& path, const NewFolders& options) {
    if (::fchmod(folder, options.mode & 0777U) != 0) fail_path("chmod", path);
    if (options.owner && ::fchown(folder, options.owner->uid, options.owner->gid) != 0) fail_path("lchown", path);
    if (!options.time) return;
    const std::array times{*options.time, *options.time};
    if (::futimens(folder, times.data()) != 0) fail_path("failed to utime", path);
}

}  // namespace

std::string TreePlace::path() const { return path(names.size()); }

std::string TreePlace::path(std::size_t count) const {
    if (count == 0) return "/";
    std::string out;
    for (std::size_t index = 0; index < count; ++index) out.append(1, '/').append(names[index]);
    return out;
}

const std::string& TreePlace::name() const {
    static const std::string itself = ".";
    return names.empty() ? itself : names.back();
}

TreePlace find_place(const Root& root, std::string_view path, LastLink links) { return Walk{root, path, links}.run(); }

void MadeFolders::set_times(const Root& root, const timespec& time) const {
    const std::array times{time, time};
    for (std::size_t count = names.size(); count > first; --count) {
        const Fd folder = open_names(root, names, count, O_RDONLY | O_DIRECTORY);
        if (::futimens(folder.get(), times.data()) != 0) fail_errno("failed to utime {}", names[count - 1]);
    }
}

MadeFolders make_place(TreePlace& place, const NewFolders& options, std::size_t leave) {
    MadeFolders made{.names = place.names, .first = place.names.size() - place.missing};
    if (place.missing <= leave && (leave > 0 || place.is_folder())) return {};
    if (place.exists()) fail_path("mkdir", place.path(), ENOTDIR);
    made.names.resize(made.names.size() - leave);
    for (; place.missing > leave; --place.missing) {
        const std::size_t count = place.names.size() - place.missing + 1;
        const std::string& name = place.names[count - 1];
        if (place.there) place.folder = std::move(place.there);
        const bool is_new = ::mkdirat(place.folder.get(), name.c_str(), 0700) == 0;
        if (!is_new && errno != EEXIST) fail_path("mkdir", place.path(count));
        Fd folder{::openat(place.folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!folder) fail_path("mkdir", place.path(count));
        if (is_new) set_up(folder.get(), place.path(count), options);
        place.there = std::move(folder);
    }
    if (place.missing > 0)
        place.folder = std::move(place.there);
    else if (::fstat(place.there.get(), &place.about) != 0)
        fail_path("stat", place.path());
    return made;
}

Fd open_path(const Root& root, std::string_view path, int flags) {
    open_how how{};
    how.flags = static_cast<__u64>(flags | O_NOFOLLOW | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    const std::string below = "./" + std::string(path);
    Fd out{static_cast<int>(::syscall(SYS_openat2, root.fd(), below.c_str(), &how, sizeof how))};
    if (!out) fail_path("open", path);
    return out;
}

Fd open_names(const Root& root, const std::vector<std::string>& names, std::size_t count, int flags) {
    std::string path;
    for (std::size_t index = 0; index < count; ++index) path.append(1, '/').append(names[index]);
    return open_path(root, path.empty() ? "/" : path, flags);
}

std::string descriptor_path(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

std::string read_link(int link, std::string_view path) {
    std::array<char, path_limit> text{};
    const ssize_t size = ::readlinkat(link, "", text.data(), text.size());
    if (size < 0) fail_path("failed to read link", path);
    return {text.data(), static_cast<std::size_t>(size)};
}

Fd reopen_file(int fd, std::string_view path) {
    Fd out{::open(descriptor_path(fd).c_str(), O_RDONLY | O_CLOEXEC)};
    if (!out) fail_path("open", path);
    return out;
}

void fail_path(std::string_view call, std::string_view path, int error) {
    std::string why = std::generic_category().message(error);
    if (!why.empty()) why.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(why.front())));
    const bool is_long = path.size() > shown_limit;
    const ErrorKind kind = error == ENOENT ? ErrorKind::not_found : ErrorKind::system;
    throw Error(kind, fmt::format("{} {}{}: {}", call, path.substr(0, shown_limit), is_long ? "..." : "", why), error);
}

void fail_path(std::string_view call, std::string_view path) { fail_path(call, path, errno); }

}  // namespace grua::build
