#include "layers/compare.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "layers/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace grua::layers {
namespace {

constexpr std::size_t piece = std::size_t{128} << 10U;
constexpr std::size_t depth_limit = 4096;
constexpr std::size_t xattr_names_limit = std::size_t{64} << 10U;

using Inode = std::pair<dev_t, ino_t>;

bool is_before(const timespec& one, const timespec& other) {
    return one.tv_sec != other.tv_sec ? one.tv_sec < other.tv_sec : one.tv_nsec < other.tv_nsec;
}

/// All of them, overlayfs' own too.
std::map<std::string, std::string> xattrs_of(int pinned) {
    const std::string path = fmt::format("/proc/self/fd/{}", pinned);
    std::vector<char> names(xattr_names_limit);
    const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
    if (size < 0) {
        if (errno == ENOTSUP) return {};
        fail_errno("list xattrs");
    }
    std::map<std::string, std::string> out;
    for (const char* name = names.data(); name < names.data() + size; name += std::char_traits<char>::length(name) + 1) {
        std::string value(std::size_t{64} << 10U, '\0');
        const ssize_t length = ::getxattr(path.c_str(), name, value.data(), value.size());
        if (length < 0) {
            if (errno == ENODATA) continue;
            fail_errno("read xattr {}", name);
        }
        value.resize(static_cast<std::size_t>(length));
        out.emplace(name, std::move(value));
    }
    return out;
}

class Comparison {
public:
    explicit Comparison(const CompareOptions& options) : options_(options) {}

    /// `hides`: this folder of `present`, or one that it is in, hides all that lies below.
    bool folder(int fresh, int present, const std::string& path, std::size_t depth, bool hides) {
        if (depth > depth_limit) return differs(path, "it is too deep");
        const std::vector<std::string> names = sorted_names(fresh);
        const auto listed = of_present(path, [&] { return sorted_names(present); });
        if (!listed) return false;
        const std::vector<std::string>& others = *listed;
        if (options_.is_upper) hides = hides || is_opaque(present);
        auto other = others.begin();
        for (const std::string& name : names) {
            const std::string inner = path.empty() ? name : path + "/" + name;
            if (options_.is_upper)
                while (other != others.end() && *other < name) ++other;
            if (other != others.end() && *other < name)
                return differs(path.empty() ? *other : path + "/" + *other, "it is not in the layer");
            if (other == others.end() || *other != name) {
                if (hides && is_whiteout(fresh, name)) continue;
                return differs(inner, "it is missing");
            }
            ++other;
            if (!entry(fresh, present, name, inner, depth, hides)) return false;
        }
        if (other != others.end() && !options_.is_upper)
            return differs(path.empty() ? *other : path + "/" + *other, "it is not in the layer");
        return true;
    }

    bool attributes(int fresh, int present, const std::string& path) {
        struct stat want{};
        struct stat have{};
        if (::fstat(fresh, &want) != 0) fail_errno("stat {}", path);
        if (::fstat(present, &have) != 0) return unreadable(path, std::generic_category().message(errno));
        if ((want.st_mode & S_IFMT) != (have.st_mode & S_IFMT)) return differs(path, "it is of another kind");
        if (want.st_mode != have.st_mode)
            return differs(path, fmt::format("its mode is {:o}, not {:o}", have.st_mode & 07777U, want.st_mode & 07777U));
        if (want.st_uid != have.st_uid || want.st_gid != have.st_gid) return differs(path, "its owner differs");
        if (want.st_rdev != have.st_rdev) return differs(path, "its device number differs");
        if (S_ISCHR(want.st_mode) && want.st_rdev == 0) return true;  // a whiteout has no time of its own
        const bool folder = S_ISDIR(want.st_mode);
        if (!folder && want.st_size != have.st_size)
            return differs(path, fmt::format("it has {} bytes, not {}", have.st_size, want.st_size));
        // What a step wrote may have names outside of its layer: in the folder that a client has sent.
        if (!folder && !options_.is_upper && want.st_nlink != have.st_nlink) return differs(path, "it has another number of hard links");
        const bool by_itself = folder && !is_before(want.st_mtim, options_.made_after);
        if (!by_itself && (want.st_mtim.tv_sec != have.st_mtim.tv_sec || want.st_mtim.tv_nsec != have.st_mtim.tv_nsec))
            return differs(path, "its time of modification differs");
        if (S_ISLNK(want.st_mode)) return link_target(fresh) == link_target(present) || differs(path, "it leads elsewhere");
        const auto xattrs = of_present(path, [&] { return xattrs_to_compare(present, have); });
        if (!xattrs) return false;
        if (xattrs_to_compare(fresh, want) != *xattrs) return differs(path, "its xattrs differ");
        if (folder || (want.st_nlink < 2 && have.st_nlink < 2)) return contents(fresh, present, want, path);
        // Hard links: the same names are one file on both sides.
        const Inode wanted{want.st_dev, want.st_ino};
        const Inode found{have.st_dev, have.st_ino};
        const auto [known, is_new] = links_.try_emplace(wanted, found);
        if (known->second != found || links_back_.try_emplace(found, wanted).first->second != wanted)
            return differs(path, "it is linked with other names");
        return !is_new || contents(fresh, present, want, path);
    }

    std::optional<std::string> take() { return std::move(difference_); }

private:
    std::map<std::string, std::string> xattrs_to_compare(int pinned, const struct stat& status) const {
        return options_.is_upper ? portable_xattrs(pinned, status) : xattrs_of(pinned);
    }

    static bool is_opaque(int folder) {
        char value = 0;
        return ::fgetxattr(folder, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
    }

    static bool is_whiteout(int directory, const std::string& name) {
        struct stat status{};
        return ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == 0;
    }

    bool differs(const std::string& path, const std::string& how) {
        difference_ = (path.empty() ? "/" : path) + ": " + how;
        return false;
    }

    bool unreadable(const std::string& path, std::string_view why) { return differs(path, fmt::format("it cannot be read: {}", why)); }

    /// What cannot be read of the layer that is there is its difference, not this comparison's error.
    template <typename Read>
    auto of_present(const std::string& path, Read read) -> std::optional<decltype(read())> {
        try {
            return read();
        } catch (const Error& error) {
            unreadable(path, error.what());
            return std::nullopt;
        }
    }

    bool entry(int fresh, int present, const std::string& name, const std::string& path, std::size_t depth, bool hides) {
        if (options_.each) options_.each();
        const Fd want{::openat(fresh, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        const Fd have{::openat(present, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        if (!want) fail_errno("open {}", path);
        if (!have) return unreadable(path, std::generic_category().message(errno));
        if (!attributes(want.get(), have.get(), path)) return false;
        struct stat status{};
        if (::fstat(want.get(), &status) != 0) fail_errno("stat {}", path);
        if (!S_ISDIR(status.st_mode)) return true;
        const auto found = of_present(path, [&] { return reopen(have.get(), O_RDONLY | O_DIRECTORY); });
        return found && folder(reopen(want.get(), O_RDONLY | O_DIRECTORY).get(), found->get(), path, depth + 1, hides);
    }

    bool contents(int fresh, int present, const struct stat& status, const std::string& path) {
        if (!S_ISREG(status.st_mode) || status.st_size == 0) return true;
        const Fd want = reopen(fresh, O_RDONLY);
        const auto have = of_present(path, [&] { return reopen(present, O_RDONLY); });
        if (!have) return false;
        for (off_t at = 0; at < status.st_size;) {
            if (options_.each) options_.each();
            const ssize_t count = ::pread(want.get(), wanted_.get(), piece, at);
            if (count < 0) fail_errno("read {}", path);
            const ssize_t other = ::pread(have->get(), found_.get(), piece, at);
            if (other < 0) return unreadable(path, std::generic_category().message(errno));
            if (count != other || !std::equal(wanted_.get(), wanted_.get() + count, found_.get()))
                return differs(path, "its contents differ");
            if (count == 0) break;
            at += count;
        }
        return true;
    }

    const CompareOptions& options_;
    std::map<Inode, Inode> links_;  ///< From `fresh` to `present`,
    std::map<Inode, Inode> links_back_;
    std::unique_ptr<char[]> wanted_ = std::make_unique_for_overwrite<char[]>(piece);
    std::unique_ptr<char[]> found_ = std::make_unique_for_overwrite<char[]>(piece);
    std::optional<std::string> difference_;
};

}  // namespace

std::optional<std::string> first_difference(int fresh, int present, const CompareOptions& options) {
    Comparison comparison{options};
    if (options.is_upper || comparison.attributes(fresh, present, "")) comparison.folder(fresh, present, "", 0, false);
    return comparison.take();
}

}  // namespace grua::layers
