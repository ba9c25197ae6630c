#include "build/operations/tree_difference.hpp"

#include "base/error.hpp"
#include "build/copy_tree.hpp"
#include "build/folder_names.hpp"
#include "build/tree_path.hpp"
#include "layers/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <array>
#include <set>
#include <string>
#include <vector>

namespace grua::build {
namespace {

constexpr std::size_t names_limit = std::size_t{64} << 20U;
constexpr std::size_t piece_size = std::size_t{256} << 10U;

struct stat look(int fd, std::string_view path) {
    struct stat about{};
    if (::fstat(fd, &about) != 0) fail_path("stat", path);
    return about;
}

std::string below(const std::string& folder, std::string_view name) {
    return folder.empty() ? std::string(name) : fmt::format("{}/{}", folder, name);
}

class Difference {
public:
    Difference(const Root& lower, const Root& upper, const Root& layer, const std::stop_token& stop)
        : lower_(lower),
          upper_(upper),
          layer_(layer),
          stop_(stop),
          copier_(upper, layer,
                  {.owner = {}, .mode = {}, .time = {}, .include = {}, .exclude = {}, .required = {}, .stop = stop, .progress = {}}) {}

    bool write() {
        if (!is_same_kind_of_folder("")) (void)folder("");
        folders_.emplace_back();
        while (!folders_.empty()) {
            const std::string next = std::move(folders_.back());
            folders_.pop_back();
            compare(next);
        }
        // The inner ones first: what is made in a folder changes its time.
        for (auto each = made_.rbegin(); each != made_.rend(); ++each) set_attributes(*each);
        return is_changed_;
    }

private:
    static Fd open_folder(const Root& root, const std::string& path) { return open_path(root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW); }
    static Fd pin(const Root& root, const std::string& path) { return open_path(root, path, O_PATH | O_NOFOLLOW); }

    std::set<std::string> names_in(const Root& root, const std::string& path) const {
        const FolderNames names(open_folder(root, path).get(), path, names_limit);
        std::set<std::string> out;
        for (std::size_t at = 0; at < names.size(); ++at) out.emplace(names.name(at));
        return out;
    }

    /// A folder that both have.
    void compare(const std::string& path) {
        if (stop_.stop_requested()) fail(ErrorKind::unavailable, "canceled");
        const auto lower = names_in(lower_, path);
        const auto upper = names_in(upper_, path);
        for (const std::string& name : lower)
            if (!upper.contains(name)) hide(path, name);
        for (const std::string& name : upper) {
            const std::string full = below(path, name);
            if (!lower.contains(name)) {
                copy(path, name);
                continue;
            }
            const bool are_folders = is_folder(lower_, full) && is_folder(upper_, full);
            if (!are_folders) {
                if (!is_same_file(full)) copy(path, name);
                continue;
            }
            if (!is_same_kind_of_folder(full)) (void)folder(full);
            folders_.push_back(full);
        }
    }

    static bool is_folder(const Root& root, const std::string& path) { return S_ISDIR(look(pin(root, path).get(), path).st_mode); }

    static bool has_same_owner_and_mode(const struct stat& one, const struct stat& other) {
        return one.st_mode == other.st_mode && one.st_uid == other.st_uid && one.st_gid == other.st_gid;
    }

    bool is_same_kind_of_folder(const std::string& path) const {
        const Fd one = pin(lower_, path);
        const Fd other = pin(upper_, path);
        const struct stat about_one = look(one.get(), path);
        const struct stat about_other = look(other.get(), path);
        return has_same_owner_and_mode(about_one, about_other) &&
               layers::portable_xattrs(one.get(), about_one) == layers::portable_xattrs(other.get(), about_other);
    }

    bool is_same_file(const std::string& path) {
        const Fd one = pin(lower_, path);
        const Fd other = pin(upper_, path);
        const struct stat about_one = look(one.get(), path);
        const struct stat about_other = look(other.get(), path);
        if (!has_same_owner_and_mode(about_one, about_other) || about_one.st_rdev != about_other.st_rdev ||
            about_one.st_mtim.tv_sec != about_other.st_mtim.tv_sec || about_one.st_mtim.tv_nsec != about_other.st_mtim.tv_nsec)
            return false;
        if (layers::portable_xattrs(one.get(), about_one) != layers::portable_xattrs(other.get(), about_other)) return false;
        if (S_ISLNK(about_one.st_mode)) return read_link(one.get(), path) == read_link(other.get(), path);
        if (!S_ISREG(about_one.st_mode)) return true;
        return about_one.st_size == about_other.st_size && has_same_contents(one.get(), other.get(), path);
    }

    bool has_same_contents(int one, int other, const std::string& path) {
        const Fd first = reopen_file(one, path);
        const Fd second = reopen_file(other, path);
        for (;;) {
            if (stop_.stop_requested()) fail(ErrorKind::unavailable, "canceled");
            const std::size_t count = read_piece(first.get(), 0, path);
            if (read_piece(second.get(), 1, path) != count) return false;
            if (count == 0) return true;
            if (!std::equal(pieces_[0].begin(), pieces_[0].begin() + static_cast<std::ptrdiff_t>(count), pieces_[1].begin())) return false;
        }
    }

    std::size_t read_piece(int file, std::size_t number, const std::string& path) {
        std::vector<char>& piece = pieces_.at(number);
        piece.resize(piece_size);
        std::size_t got = 0;
        while (got < piece.size()) {
            const ssize_t count = ::read(file, piece.data() + got, piece.size() - got);
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail_path("read", path);
            if (count == 0) break;
            got += static_cast<std::size_t>(count);
        }
        return got;
    }

    /// The folder in the layer, as the upper tree has it; made with those that it is in.
    Fd folder(const std::string& path) {
        is_changed_ = true;
        if (made_names_.contains(path)) return open_folder(layer_, path);
        if (!path.empty()) {
            const std::size_t slash = path.rfind('/');
            const Fd above = folder(slash == std::string::npos ? std::string() : path.substr(0, slash));
            if (::mkdirat(above.get(), path.substr(slash == std::string::npos ? 0 : slash + 1).c_str(), 0700) != 0)
                fail_path("mkdir", path);
        }
        made_names_.insert(path);
        made_.push_back(path);
        return open_folder(layer_, path);
    }

    void hide(const std::string& path, const std::string& name) {
        if (::mknodat(folder(path).get(), name.c_str(), S_IFCHR, makedev(0, 0)) != 0) fail_path("mknod", below(path, name));
    }

    void copy(const std::string& path, const std::string& name) {
        const std::string full = below(path, name);
        copier_.copy(find_place(upper_, full, LastLink::keep), {.folder = folder(path), .name = name, .path = full});
    }

    void set_attributes(const std::string& path) const {
        const Fd from = open_folder(upper_, path);
        const Fd to = open_folder(layer_, path);
        const struct stat about = look(from.get(), path);
        if (::fchown(to.get(), about.st_uid, about.st_gid) != 0) fail_path("chown", path);
        if (::fchmod(to.get(), about.st_mode & 07777U) != 0) fail_path("chmod", path);
        copy_xattrs(from.get(), to.get());
        const std::array<timespec, 2> times{about.st_atim, about.st_mtim};
        if (::futimens(to.get(), times.data()) != 0) fail_path("chtimes", path);
    }

    const Root& lower_;
    const Root& upper_;
    const Root& layer_;
    const std::stop_token& stop_;
    TreeCopier copier_;
    std::vector<std::string> folders_;  ///< That both have, and that are still to be compared.
    std::vector<std::string> made_;     ///< Of the layer, each after the one that it is in.
    std::set<std::string> made_names_;
    std::array<std::vector<char>, 2> pieces_;
    bool is_changed_ = false;
};

}  // namespace

bool write_difference(const Root& lower, const Root& upper, const Root& layer, const std::stop_token& stop) {
    return Difference(lower, upper, layer, stop).write();
}

}  // namespace grua::build
