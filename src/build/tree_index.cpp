#include "build/tree_index.hpp"

#include "base/error.hpp"
#include "base/utf8.hpp"
#include "layers/entry_path.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <tuple>

namespace grua::build {
namespace {

constexpr std::size_t longest_path = 4095;
constexpr std::size_t longest_name = 255;

/// Go's os.FileMode, in which a sender writes modes.
struct GoBit {
    std::uint32_t theirs;
    mode_t ours;
};
constexpr std::array special{GoBit{1U << 23U, S_ISUID}, GoBit{1U << 22U, S_ISGID}, GoBit{1U << 20U, S_ISVTX}};
constexpr std::uint32_t go_character = 1U << 21U;
constexpr std::array kinds{GoBit{1U << 31U, S_IFDIR}, GoBit{1U << 27U, S_IFLNK}, GoBit{1U << 26U | go_character, S_IFCHR},
                           GoBit{1U << 26U, S_IFBLK}, GoBit{1U << 25U, S_IFIFO}, GoBit{1U << 24U, S_IFSOCK},
                           GoBit{0, S_IFREG}};
constexpr std::uint32_t go_kinds = 1U << 31U | 1U << 27U | 1U << 26U | 1U << 25U | 1U << 24U | go_character | 1U << 19U;
constexpr std::uint32_t permissions = 0777;

[[noreturn]] void refuse(std::string_view path, std::string_view why) {
    fail(ErrorKind::invalid_argument, "the client's files: {}: {}", to_valid_utf8(path.substr(0, 200)), why);
}

void check_path(std::string_view path) {
    if (path.empty() || path.size() > longest_path) refuse(path, "a path has 1 to 4095 bytes");
    if (path.contains('\0')) refuse(path, "a path has no NUL byte");
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string_view part = path.substr(at, end - at);
        if (part.empty() || part == "." || part == ".." || part.size() > longest_name) refuse(path, "it is no path below the folder");
        at = end + 1;
    }
}

mode_t read_mode(const wire::files::Stat& stat) {
    const std::uint32_t mode = stat.mode();
    const auto* kind = std::ranges::find(kinds, mode & go_kinds, &GoBit::theirs);
    if (kind == kinds.end()) refuse(stat.path(), "its mode is that of no kind of file");
    mode_t out = kind->ours | (mode & permissions);
    for (const GoBit& each : special)
        if ((mode & each.theirs) != 0) out |= each.ours;
    return out;
}

bool is_folder(const TreeEntry& entry) { return S_ISDIR(entry.mode); }
bool is_file(const TreeEntry& entry) { return S_ISREG(entry.mode) && entry.link.empty(); }
bool is_other_name(const TreeEntry& entry) { return S_ISREG(entry.mode) && !entry.link.empty(); }

}  // namespace

std::string_view parent_of(std::string_view path) noexcept {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

bool TreeEntry::looks_like(const TreeEntry& other) const {
    const auto all = [](const TreeEntry& of) {
        // A folder's size and a link's are the file system's.
        return std::tie(of.mode, of.uid, of.gid, of.mtime, of.ctime, of.link, of.device, of.xattrs);
    };
    return all(*this) == all(other) && (!S_ISREG(mode) || size == other.size);
}

bool PathOrder::operator()(std::string_view a, std::string_view b) const noexcept {
    const auto rank = [](char c) { return c == '/' ? 0 : static_cast<unsigned char>(c) + 1; };
    return std::ranges::lexicographical_compare(a, b, {}, rank, rank);
}

TreeEntry read_stat(const wire::files::Stat& stat) {
    check_path(stat.path());
    TreeEntry out{.mode = read_mode(stat), .uid = stat.uid(), .gid = stat.gid(), .mtime = stat.modtime(), .link = stat.linkname()};
    if (out.link.contains('\0') || out.link.size() > longest_path) refuse(stat.path(), "what it links to is no path");
    if (S_ISLNK(out.mode) && out.link.empty()) refuse(stat.path(), "a symbolic link leads somewhere");
    if (!S_ISLNK(out.mode) && !S_ISREG(out.mode)) out.link.clear();
    if (stat.size() < 0) refuse(stat.path(), "its size is negative");
    if (S_ISREG(out.mode)) out.size = static_cast<std::uint64_t>(stat.size());
    if (is_file(out)) out.ctime = stat.changetime();
    if (S_ISCHR(out.mode) || S_ISBLK(out.mode))
        out.device = makedev(static_cast<unsigned>(stat.devmajor()), static_cast<unsigned>(stat.devminor()));
    // Those of overlayfs would mean something in a layer.
    for (const auto& [name, value] : stat.xattrs())
        if (!layers::is_overlay_xattr(name)) out.xattrs.emplace(name, value);
    return out;
}

wire::files::Stat write_stat(const std::string& path, const TreeEntry& entry) {
    wire::files::Stat out;
    out.set_path(path);
    const auto* kind = std::ranges::find(kinds, entry.mode & S_IFMT, &GoBit::ours);
    std::uint32_t mode = (entry.mode & permissions) | (kind != kinds.end() ? kind->theirs : 0);
    for (const GoBit& each : special)
        if ((entry.mode & each.ours) != 0) mode |= each.theirs;
    out.set_mode(mode);
    out.set_uid(entry.uid);
    out.set_gid(entry.gid);
    out.set_size(static_cast<std::int64_t>(entry.size));
    out.set_modtime(entry.mtime);
    out.set_changetime(entry.ctime);
    out.set_linkname(entry.link);
    out.set_devmajor(major(entry.device));
    out.set_devminor(minor(entry.device));
    for (const auto& [name, value] : entry.xattrs) (*out.mutable_xattrs())[name] = value;
    return out;
}

void TreeList::add(const wire::files::Stat& stat) {
    TreeEntry entry = read_stat(stat);
    const std::string& path = stat.path();
    if (order_.size() >= limit) fail(ErrorKind::invalid_argument, "the client's files: more than {}", limit);
    size_ += path.size() + entry.link.size();
    for (const auto& [name, value] : entry.xattrs) size_ += name.size() + value.size();
    if (size_ > size_limit) fail(ErrorKind::invalid_argument, "the client's files: more than {} bytes of names and attributes", size_limit);
    if (!order_.empty() && !PathOrder{}(order_.back()->first, path))
        refuse(path, fmt::format("it comes after {}", to_valid_utf8(order_.back()->first)));
    if (const std::string_view parent = parent_of(path); !parent.empty()) {
        const auto above = entries_.find(parent);
        if (above == entries_.end() || !is_folder(above->second)) refuse(path, "what it is in is no folder that was sent");
    }
    if (is_other_name(entry)) {
        const auto same = entries_.find(entry.link);
        if (same == entries_.end() || !is_file(same->second)) refuse(path, "it is another name of no file that was sent");
    }
    order_.push_back(&*entries_.emplace_hint(entries_.end(), path, std::move(entry)));
}

TreeChanges changes_between(const TreeIndex& before, TreeIndex& now) {
    TreeChanges out;
    std::set<std::string, PathOrder> touched;
    const auto touch_parent = [&](const std::string& path) { touched.emplace(parent_of(path)); };
    // A file whose contents come anew gets its other names anew.
    std::set<std::string, PathOrder> fresh;
    for (auto& [path, entry] : now) {
        const auto was = before.find(path);
        const bool is_there = was != before.end() && (was->second.mode & S_IFMT) == (entry.mode & S_IFMT);
        const bool is_same = is_there && was->second.looks_like(entry) && (!is_other_name(entry) || !fresh.contains(entry.link));
        if (is_same) {
            entry.digest = was->second.digest;
            continue;
        }
        if (is_there && is_folder(entry)) {
            touched.insert(path);
            continue;
        }
        touch_parent(path);
        if (is_file(entry)) {
            fresh.insert(path);
            out.fetch.push_back(path);
        } else if (is_other_name(entry)) {
            out.link.push_back(path);
        } else {
            out.make.push_back(path);
            if (is_folder(entry)) touched.insert(path);
        }
    }
    const auto stays = [&](const std::string& path, const TreeEntry& was) {
        const auto is = now.find(path);
        return is != now.end() && (is->second.mode & S_IFMT) == (was.mode & S_IFMT) &&
               (is_folder(was) || (is->second.looks_like(was) && (!is_other_name(was) || !fresh.contains(was.link))));
    };
    for (auto each = before.rbegin(); each != before.rend(); ++each) {
        if (stays(each->first, each->second)) continue;
        out.remove.push_back(each->first);
        touch_parent(each->first);
    }
    for (auto each = touched.rbegin(); each != touched.rend(); ++each) {
        const auto is = now.find(*each);
        if (is != now.end() && is_folder(is->second)) out.touch.push_back(*each);
    }
    return out;
}

}  // namespace grua::build
