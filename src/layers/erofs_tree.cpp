#include "layers/erofs_tree.hpp"

#include "base/text.hpp"
#include "layers/entry_path.hpp"

#include <sys/sysmacros.h>
#include <cerrno>
#include <limits>
#include <optional>

namespace grua::layers::erofs {
namespace {

constexpr std::uint64_t name_limit = 255;
constexpr std::uint64_t link_limit = 4095;
constexpr std::size_t held_limit = std::size_t{256} << 20U;  // of all names and attributes
constexpr int follow_limit = 40;

/// What the kernel makes of a POSIX access list.
struct Acl {
    mode_t mode = 0;           // permission bits
    bool is_extended = false;  // it says more than those
    bool is_empty = false;
};

/// As system.posix_acl_* have it, <linux/posix_acl_xattr.h>.
std::optional<Acl> read_acl(std::string_view value) {
    enum : std::uint16_t { user_owner = 0x01, user = 0x02, group_owner = 0x04, group = 0x08, mask = 0x10, other = 0x20 };
    constexpr std::size_t head = 4;
    constexpr std::size_t entry = 8;
    const auto number = [&](std::size_t at) {
        return static_cast<std::uint16_t>(static_cast<unsigned char>(value[at]) | static_cast<unsigned char>(value[at + 1]) << 8U);
    };
    if (value.size() < head || (value.size() - head) % entry != 0 || number(0) != 2 || number(2) != 0) return std::nullopt;
    Acl out{.is_empty = value.size() == head};
    std::map<std::uint16_t, std::uint16_t> permissions;
    for (std::size_t at = head; at < value.size(); at += entry) {
        const std::uint16_t tag = number(at);
        const std::uint16_t bits = number(at + 2);
        const bool is_known = tag == user_owner || tag == user || tag == group_owner || tag == group || tag == mask || tag == other;
        if (!is_known || bits > 7) return std::nullopt;
        if (!permissions.emplace(tag, bits).second && tag != user && tag != group) return std::nullopt;
    }
    if (out.is_empty) return out;
    const auto has = [&](std::uint16_t tag) { return permissions.contains(tag); };
    if (!has(user_owner) || !has(group_owner) || !has(other) || ((has(user) || has(group)) && !has(mask))) return std::nullopt;
    out.is_extended = has(user) || has(group) || has(mask);
    const auto bits_of = [&](std::uint16_t tag) { return mode_t{permissions[tag]}; };
    out.mode = bits_of(user_owner) << 6U | bits_of(has(mask) ? mask : group_owner) << 3U | bits_of(other);
    return out;
}

[[noreturn]] void fail_with(int error, std::string_view doing) {
    errno = error;
    fail_errno("{}", doing);
}

/// The layer's files as its tar makes them one after the other: the data in the image at once, all else in memory.
class Builder {
public:
    Builder(TarReader& tar, Output& out) : tar_(tar), out_(out) {
        ::clock_gettime(CLOCK_REALTIME_COARSE, &now_);
        root_ = folder(nullptr);
        out_.zeros_to(block);
    }

    LayerTree run() {
        while (const std::optional<TarEntry> entry = tar_.next()) {
            while_doing(entry->name.empty() ? "entry without a name" : entry->name.substr(0, 200), [&] { add(*entry); });
        }
        return {root_, size_};
    }

private:
    NodePtr folder(Node* parent) {
        auto made = std::make_shared<Node>();
        made->mode = S_IFDIR | 0755;
        made->mtime = now_;
        made->parent = parent ? parent : made.get();
        return made;
    }

    void hold(std::size_t bytes) {
        held_ += bytes;
        if (held_ > held_limit) fail(ErrorKind::invalid_argument, "names and attributes of more than {} MiB", held_limit >> 20U);
    }

    void insert(Node& parent, const std::string& name, NodePtr node) {
        if (name.size() > name_limit) fail_with(ENAMETOOLONG, "create");
        hold(sizeof(Node) + sizeof(std::pair<std::string, NodePtr>) + 48 + name.size());
        parent.children.insert_or_assign(name, std::move(node));
    }

    static NodePtr child(const Node& parent, const std::string& name) {
        const auto found = parent.children.find(name);
        return found == parent.children.end() ? nullptr : found->second;
    }

    /// The folder at `path`. Links in the way lead as the layer's own root shows them; folders that are missing are made, but not
    /// where a link leads.
    Node& folder_at(const std::string& path, bool make) {
        Node* at = root_.get();
        for (std::size_t end = 0; end < path.size();) {
            const std::size_t begin = path.find_first_not_of('/', end);
            if (begin == std::string::npos) break;
            end = std::min(path.find('/', begin), path.size());
            const std::string name = path.substr(begin, end - begin);
            if (make && !at->children.contains(name)) insert(*at, name, folder(at));
            int follows = 0;
            at = step(*at, name, make ? path.substr(0, end) : path, follows);
        }
        return *at;
    }

    /// `shown` is what an error names.
    Node* step(Node& from, const std::string& name, const std::string& shown, int& follows) {
        if (name.empty() || name == ".") return &from;
        if (name == "..") return from.parent;
        const NodePtr next = child(from, name);
        if (!next) fail(ErrorKind::not_found, "{}: no such file or directory", shown);
        if (next->is_folder()) return next.get();
        if (!next->is_link()) fail_with(ENOTDIR, "open " + shown);
        if (++follows > follow_limit) fail_with(ELOOP, "open " + shown);
        Node* at = next->target.starts_with('/') ? root_.get() : &from;
        for (const std::string& each : split(next->target, '/')) at = step(*at, each, shown, follows);
        return at;
    }

    void add(const TarEntry& entry) {
        const std::string path = clean_entry(entry.name);
        if (path.empty()) {
            if (entry.type != TarEntry::Type::directory) fail(ErrorKind::invalid_argument, "only a folder can be the root");
            return set_attributes(*root_, entry);
        }
        const auto [folder, leaf] = split_leaf(path);
        Node& parent = folder_at(folder, true);
        if (leaf == opaque_name) return set_opaque(parent);
        if (leaf.starts_with(whiteout_prefix)) return whiteout(parent, leaf.substr(whiteout_prefix.size()));
        make(parent, leaf, entry);
    }

    void set_opaque(Node& node) { node.xattrs[opaque_xattr] = "y"; }

    void whiteout(Node& parent, const std::string& name) {
        if (name.empty() || name == "." || name == "..") fail(ErrorKind::invalid_argument, "invalid whiteout");
        if (name.starts_with(whiteout_prefix)) return;  // aufs' own files
        if (const NodePtr present = child(parent, name)) {
            // It hides what lies below, not what this layer has itself.
            if (present->is_folder()) set_opaque(*present);
            return;
        }
        auto made = std::make_shared<Node>();
        made->mode = S_IFCHR;
        made->mtime = now_;
        insert(parent, name, std::move(made));
    }

    void make(Node& parent, const std::string& leaf, const TarEntry& entry) {
        using Type = TarEntry::Type;
        const NodePtr old = child(parent, leaf);
        if (entry.type == Type::hard_link) return link(parent, leaf, entry);
        NodePtr made;
        switch (entry.type) {
            case Type::directory:
                made = old && old->is_folder() ? old : folder(&parent);
                break;
            case Type::file:
                made = std::make_shared<Node>();
                made->mode = S_IFREG;
                write(*made, entry);
                break;
            case Type::symlink:
                if (entry.link.empty()) fail_with(ENOENT, "create");
                if (entry.link.size() > link_limit) fail_with(ENAMETOOLONG, "create");
                made = std::make_shared<Node>();
                made->mode = S_IFLNK;
                made->target = entry.link;
                hold(entry.link.size());
                break;
            default:
                made = std::make_shared<Node>();
                made->mode = entry.type == Type::fifo ? S_IFIFO : entry.type == Type::block_device ? S_IFBLK : S_IFCHR;
                if (entry.type != Type::fifo) made->device = ::makedev(entry.device_major, entry.device_minor);
        }
        set_attributes(*made, entry);
        if (made == old) return;
        if (old && old->is_whiteout() && made->is_folder()) set_opaque(*made);
        insert(parent, leaf, std::move(made));
    }

    void write(Node& file, const TarEntry& entry) {
        out_.zeros_to(rounded(out_.at(), block));
        file.start = out_.at();
        file.size = entry.size;
        if (entry.sparse) {
            for (const TarEntry::Segment& segment : entry.segments) {
                out_.hole_to(file.start + segment.offset);
                copy(segment.size);
            }
            out_.hole_to(file.start + entry.size);
        } else {
            copy(entry.size);
        }
        size_ += entry.size;
    }

    void copy(std::uint64_t left) {
        while (left > 0) {
            const std::span<char> room = out_.room();
            const std::size_t count = tar_.read(room.first(std::min<std::uint64_t>(left, room.size())));
            if (count == 0) fail(ErrorKind::invalid_argument, "unexpected end of data");
            out_.taken(count);
            left -= count;
        }
    }

    void link(Node& parent, const std::string& leaf, const TarEntry& entry) {
        const std::string target = clean_entry(entry.link);
        const auto [folder, name] = split_leaf(target);
        if (name.empty()) fail(ErrorKind::invalid_argument, "hard link to the root");
        const auto find = [&] {
            NodePtr found = child(folder_at(folder, false), name);
            if (!found) fail_with(ENOENT, fmt::format("hard link to {}", target));
            if (found->is_folder()) fail_with(EPERM, fmt::format("hard link to {}", target));
            return found;
        };
        const NodePtr source = find();
        if (const NodePtr old = child(parent, leaf)) {
            if (old == source) return;
            parent.children.erase(leaf);
            find();  // not where it was in what has just gone
        }
        insert(parent, leaf, source);
    }

    void set_attributes(Node& node, const TarEntry& entry) {
        node.uid = entry.uid;
        node.gid = entry.gid;
        node.mode = (node.mode & S_IFMT) | (node.is_link() ? 0777U : entry.mode & 07777U);
        node.mtime = entry.mtime;
        for (const auto& [key, value] : entry.xattrs) set_xattr(node, key, value);
    }

    /// What the kernel would not let a file of that kind have is left out, as unpack_tar() does.
    void set_xattr(Node& node, const std::string& key, const std::string& value) {
        if (is_overlay_xattr(key)) return;
        const auto prefix = prefix_of(key);
        if (prefix == prefixes.end()) return;
        if (prefix->text == acl_access || prefix->text == acl_default) {
            if (key != prefix->text || node.is_link()) return;
            if (key == acl_default && !node.is_folder()) fail_with(EACCES, fmt::format("set xattr {}", key));
            const auto acl = read_acl(value);
            if (!acl) fail_with(EINVAL, fmt::format("set xattr {}", key));
            if (acl->is_empty) return;
            if (key == acl_access) node.mode = (node.mode & ~0777U) | acl->mode;
            if (key == acl_access && !acl->is_extended) return;
        } else if (key == prefix->text) {
            fail_with(EINVAL, fmt::format("set xattr {}", key));
        }
        if (prefix->text == "user." && !S_ISREG(node.mode) && !node.is_folder()) return;
        if (key.size() > name_limit) fail_with(ERANGE, fmt::format("set xattr {}", key));
        if (value.size() > std::numeric_limits<std::uint16_t>::max()) fail_with(E2BIG, fmt::format("set xattr {}", key));
        hold(key.size() + value.size() + 128);
        node.xattrs[key] = value;
    }

    TarReader& tar_;
    Output& out_;
    NodePtr root_;
    timespec now_{};
    std::uint64_t size_ = 0;
    std::size_t held_ = 0;
};

}  // namespace

LayerTree read_tree(TarReader& tar, Output& out) { return Builder{tar, out}.run(); }

}  // namespace grua::layers::erofs
