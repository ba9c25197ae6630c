#include "build/tree_scan.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/folder_names.hpp"
#include "build/ignore_file.hpp"
#include "build/selection.hpp"
#include "build/tree_path.hpp"
#include "build/wildcards.hpp"
#include "content/hash.hpp"
#include "layers/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <optional>
#include <utility>

namespace grua::build {
namespace {

constexpr int most_links = 255;
/// Folders in folders; each holds a descriptor.
constexpr std::size_t deepest = 1000;
constexpr std::size_t names_limit = std::size_t{64} << 20U;
constexpr std::size_t piece_size = std::size_t{1} << 20U;

std::string join_path(const std::string& folder, std::string_view name) {
    return folder.empty() ? std::string(name) : fmt::format("{}/{}", folder, name);
}

using FileKey = std::pair<dev_t, ino_t>;

class Scanner {
public:
    explicit Scanner(const Root& root) : root_(root), piece_(piece_size) {}

    void take(const Selection& selection) {
        if (selection.is_wildcard && has_wildcards(selection.path)) return take_matches(selection);
        if (const auto path = follow(selection.path, selection.follows_links)) take_below(*path, selection);
    }

    TreeIndex finish() && {
        // Whatever the order in which they were found.
        std::map<FileKey, std::string_view> first;
        for (auto& [path, entry] : index_) {
            const auto several = several_.find(path);
            if (several == several_.end()) continue;
            const auto [known, is_new] = first.try_emplace(several->second, path);
            if (!is_new) entry.link = known->second;
        }
        return std::move(index_);
    }

private:
    Fd open_folder(const std::string& path) const { return open_path(root_, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW); }

    /// Into the list, without its contents; null where there is none.
    TreeEntry* look(const std::string& path) {
        if (const auto known = index_.find(path); known != index_.end()) return &known->second;
        std::optional<Fd> found;
        try {
            found = open_path(root_, path, O_PATH | O_NOFOLLOW);
        } catch (const Error& error) {
            if (error.os_error() != ENOENT && error.os_error() != ENOTDIR && error.kind() != ErrorKind::not_found) throw;
            return nullptr;
        }
        return &add(path, found->get());
    }

    TreeEntry& add(const std::string& path, int pinned) {
        struct stat about{};
        if (::fstat(pinned, &about) != 0) fail_errno("look at /{}", path);
        TreeEntry entry{.mode = about.st_mode, .uid = about.st_uid, .gid = about.st_gid};
        if (S_ISREG(about.st_mode)) entry.size = static_cast<std::uint64_t>(about.st_size);
        if (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode)) entry.device = about.st_rdev;
        if (S_ISLNK(about.st_mode)) entry.link = read_link(pinned, path);
        entry.xattrs = layers::portable_xattrs(pinned, about);
        if (S_ISREG(about.st_mode) && about.st_nlink > 1) several_.insert_or_assign(path, FileKey{about.st_dev, about.st_ino});
        return index_.insert_or_assign(path, std::move(entry)).first->second;
    }

    /// As resolve() follows, with all that it passes into the list.
    std::optional<std::string> follow(std::string_view path, bool follows_last) {
        std::vector<std::string> rest = reversed(path);
        std::string at;
        for (int links = 0; !rest.empty();) {
            const std::string part = std::move(rest.back());
            rest.pop_back();
            if (part == "..") {
                at = std::string(parent_of(at));
                continue;
            }
            std::string next = join_path(at, part);
            const TreeEntry* entry = look(next);
            if (!entry) return std::nullopt;
            if (S_ISLNK(entry->mode) && (!rest.empty() || follows_last)) {
                if (++links > most_links) fail(ErrorKind::invalid_argument, "{}: too many links", to_valid_utf8(path));
                if (entry->link.starts_with('/')) at.clear();
                for (std::string& each : reversed(entry->link)) rest.push_back(std::move(each));
                continue;
            }
            if (!rest.empty() && !S_ISDIR(entry->mode)) return std::nullopt;
            at = std::move(next);
        }
        return at;
    }

    static std::vector<std::string> reversed(std::string_view path) {
        std::vector<std::string> out;
        for (std::string& each : split(path, '/'))
            if (!each.empty() && each != ".") out.insert(out.begin(), std::move(each));
        return out;
    }

    void take_matches(const Selection& selection) {
        std::vector<std::string> rest = reversed(selection.path);
        std::string folder;
        while (!rest.empty() && !has_wildcards(rest.back())) {
            folder += "/" + rest.back();
            rest.pop_back();
        }
        const auto base = follow(folder, true);
        if (!base || (!base->empty() && !S_ISDIR(index_.at(*base).mode))) return;
        std::string pattern;
        match_below(*base, rest, pattern, {}, selection);
    }

    /// `rest`: names of the pattern that are left, the next one last.
    void match_below(const std::string& folder, std::vector<std::string> rest, std::string pattern, const std::string& name,
                     const Selection& selection) {
        pattern = join_path(pattern, rest.back());
        rest.pop_back();
        const Fd open = open_folder(folder);
        const FolderNames names(open.get(), folder, names_limit);
        for (std::size_t at = 0; at < names.size(); ++at) {
            const std::string found = join_path(name, names.name(at));
            if (!matches_wildcards(pattern, found)) continue;
            const std::string path = join_path(folder, names.name(at));
            const TreeEntry* entry = look(path);
            if (!entry) continue;
            if (!rest.empty()) {
                if (S_ISDIR(entry->mode)) match_below(path, rest, pattern, found, selection);
                continue;
            }
            if (const auto target = follow(path, selection.follows_links)) take_below(*target, selection);
        }
    }

    void take_below(const std::string& path, const Selection& selection) {
        std::optional<IgnoreFile> include;
        std::optional<IgnoreFile> exclude;
        if (!selection.include.empty()) include.emplace(selection.include);
        if (!selection.exclude.empty()) exclude.emplace(selection.exclude);
        const auto is_read = [&](const std::string& name) {
            return (!include || include->ignores(name)) && (!exclude || !exclude->ignores(name));
        };
        if (!path.empty()) {
            TreeEntry& entry = index_.at(path);
            if (S_ISREG(entry.mode)) return read(path, entry);
            if (!S_ISDIR(entry.mode)) return;
        }
        take_folder(open_folder(path), path, path.empty() ? 0 : path.size() + 1, is_read, 0);
    }

    template <typename IsRead>
    void take_folder(const Fd& folder, const std::string& path, std::size_t front, const IsRead& is_read, std::size_t depth) {
        if (depth > deepest) fail(ErrorKind::invalid_argument, "/{}: more than {} folders in each other", path, deepest);
        const FolderNames names(folder.get(), path, names_limit);
        for (std::size_t at = 0; at < names.size(); ++at) {
            const std::string below = join_path(path, names.name(at));
            Fd pinned{::openat(folder.get(), names.name(at), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
            if (!pinned) fail_errno("open /{}", below);
            const auto known = index_.find(below);
            TreeEntry& entry = known != index_.end() ? known->second : add(below, pinned.get());
            if (S_ISDIR(entry.mode)) {
                Fd inner{::openat(folder.get(), names.name(at), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
                if (!inner) fail_errno("open /{}", below);
                pinned = Fd{};
                take_folder(inner, below, front, is_read, depth + 1);
            } else if (S_ISREG(entry.mode) && is_read(below.substr(front))) {
                read_pinned(pinned.get(), below, entry);
            }
        }
    }

    void read(const std::string& path, TreeEntry& entry) {
        if (!entry.digest.empty()) return;
        read_pinned(open_path(root_, path, O_PATH | O_NOFOLLOW).get(), path, entry);
    }

    void read_pinned(int pinned, const std::string& path, TreeEntry& entry) {
        if (!entry.digest.empty()) return;
        struct stat about{};
        if (::fstat(pinned, &about) != 0) fail_errno("look at /{}", path);
        // A file with several names is read once.
        std::string* known = nullptr;
        if (about.st_nlink > 1) {
            known = &digests_[{about.st_dev, about.st_ino}];
            if (!known->empty()) {
                entry.digest = *known;
                return;
            }
        }
        const Fd file = reopen_file(pinned, path);
        content::Hasher hash;
        for (;;) {
            const ssize_t count = ::read(file.get(), piece_.data(), piece_.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail_errno("read /{}", path);
            if (count == 0) break;
            hash.update({piece_.data(), static_cast<std::size_t>(count)});
        }
        entry.digest = hash.finish().text();
        if (known) *known = entry.digest;
    }

    const Root& root_;
    TreeIndex index_;
    std::vector<char> piece_;
    std::map<FileKey, std::string> digests_;
    std::map<std::string, FileKey> several_;  ///< Files that may have other names here.
};

}  // namespace

TreeIndex scan_tree(const Root& root, const std::vector<Selection>& selections) {
    Scanner scanner(root);
    for (const Selection& each : selections) scanner.take(each);
    return std::move(scanner).finish();
}

}  // namespace grua::build
