#include "layers/erofs.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "layers/entry_path.hpp"
#include "layers/overlay.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <memory>

namespace grua::layers {
namespace {

static_assert(std::endian::native == std::endian::little, "erofs is written as the machine keeps its numbers");

constexpr std::uint64_t block = 4096;
constexpr std::uint64_t slot = 32;  // what an inode's number counts
constexpr std::uint64_t name_limit = 255;
constexpr std::uint64_t link_limit = 4095;
constexpr std::size_t held_limit = std::size_t{256} << 20U;  // of all names and attributes
constexpr int follow_limit = 40;

// The format, from the kernel's documentation (Documentation/filesystems/erofs.rst) and fs/erofs/erofs_fs.h.
struct [[gnu::packed]] SuperBlock {
    std::uint32_t magic = 0xe0f5e1e2;
    std::uint32_t checksum = 0;
    std::uint32_t feature_compat = 2;  // the inodes' times are of modification
    std::uint8_t block_bits = 12;
    std::uint8_t extension_slots = 0;
    std::uint16_t root_nid = 0;
    std::uint64_t inodes = 0;
    std::uint64_t build_time = 0;
    std::uint32_t build_time_ns = 0;
    std::uint32_t blocks = 0;
    std::uint32_t meta_block = 0;
    std::uint32_t xattr_block = 0;
    std::uint8_t uuid[16] = {};
    std::uint8_t volume_name[16] = {};
    std::uint32_t feature_incompat = 0;
    std::uint8_t rest[44] = {};
};
static_assert(sizeof(SuperBlock) == 128);
constexpr std::uint64_t super_offset = 1024;

struct [[gnu::packed]] Inode {
    std::uint16_t format = 0;
    std::uint16_t xattr_count = 0;
    std::uint16_t mode = 0;
    std::uint16_t reserved = 0;
    std::uint64_t size = 0;
    std::uint32_t where = 0;  // first block, or device number
    std::uint32_t ino = 0;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::int64_t mtime = 0;
    std::uint32_t mtime_ns = 0;
    std::uint32_t links = 0;
    std::uint8_t rest[16] = {};
};
static_assert(sizeof(Inode) == 64);
constexpr std::uint16_t extended_plain = 1;   // data in whole blocks
constexpr std::uint16_t extended_inline = 5;  // data behind the inode

struct [[gnu::packed]] DirectoryEntry {
    std::uint64_t nid;
    std::uint16_t name_offset;
    std::uint8_t type;
    std::uint8_t reserved;
};
static_assert(sizeof(DirectoryEntry) == 12);

struct [[gnu::packed]] XattrHeader {
    std::uint32_t filter = 0;
    std::uint8_t shared = 0;
    std::uint8_t rest[7] = {};
};
static_assert(sizeof(XattrHeader) == 12);

struct [[gnu::packed]] XattrEntry {
    std::uint8_t name_size;
    std::uint8_t prefix;
    std::uint16_t value_size;
};

constexpr std::string_view acl_access = "system.posix_acl_access";
constexpr std::string_view acl_default = "system.posix_acl_default";

struct XattrPrefix {
    std::string_view text;
    std::uint8_t number;
};
constexpr std::array prefixes{XattrPrefix{acl_access, 2}, XattrPrefix{acl_default, 3}, XattrPrefix{"user.", 1}, XattrPrefix{"trusted.", 4},
                              XattrPrefix{"security.", 6}};

const XattrPrefix* prefix_of(std::string_view key) {
    return std::ranges::find_if(prefixes, [&](const XattrPrefix& each) { return key.starts_with(each.text); });
}

std::uint64_t rounded(std::uint64_t value, std::uint64_t unit) { return (value + unit - 1) / unit * unit; }

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

    void finish(const SuperBlock& super) {
        flush();
        if (::ftruncate(file_.get(), static_cast<off_t>(rounded(flushed_, block))) != 0) fail_errno("set size");
        if (::pwrite(file_.get(), &super, sizeof super, super_offset) != sizeof super) fail_errno("write the superblock");
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

/// The layer's files as its tar makes them one after the other: the data in the image at once, all else in memory.
class Builder {
public:
    Builder(TarReader& tar, Output& out) : tar_(tar), out_(out) {
        ::clock_gettime(CLOCK_REALTIME_COARSE, &now_);
        root_ = folder(nullptr);
        out_.zeros_to(block);
    }

    std::uint64_t run() {
        while (const std::optional<TarEntry> entry = tar_.next()) {
            while_doing(entry->name.empty() ? "entry without a name" : entry->name.substr(0, 200), [&] { add(*entry); });
        }
        return size_;
    }

    Node& root() { return *root_; }

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

std::uint8_t type_number(mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFREG:
            return 1;
        case S_IFDIR:
            return 2;
        case S_IFCHR:
            return 3;
        case S_IFBLK:
            return 4;
        case S_IFIFO:
            return 5;
        default:
            return 7;
    }
}

/// As the kernel keeps device numbers in 32 bits.
std::uint32_t device_number(dev_t device) {
    const unsigned major = ::gnu_dev_major(device);
    const unsigned minor = ::gnu_dev_minor(device);
    return (minor & 0xffU) | (major << 8U) | ((minor & ~0xffU) << 12U);
}

std::uint64_t xattrs_size(const Node& node) {
    if (node.xattrs.empty()) return 0;
    std::uint64_t size = sizeof(XattrHeader);
    for (const auto& [key, value] : node.xattrs) {
        const auto prefix = prefix_of(key);
        size += rounded(sizeof(XattrEntry) + key.size() - prefix->text.size() + value.size(), 4);
    }
    return size;
}

void put_xattrs(const Node& node, Output& out) {
    if (node.xattrs.empty()) return;
    out.put_struct(XattrHeader{});
    for (const auto& [key, value] : node.xattrs) {
        const auto prefix = prefix_of(key);
        const std::string_view name = std::string_view(key).substr(prefix->text.size());
        out.put_struct(XattrEntry{static_cast<std::uint8_t>(name.size()), prefix->number, static_cast<std::uint16_t>(value.size())});
        out.put(name);
        out.put(value);
        out.zeros_to(rounded(out.at(), 4));
    }
}

struct Named {
    std::string_view name;
    const Node* node;
};

/// By name, in the order of their bytes, with "." and "..".
std::vector<Named> entries_of(const Node& folder) {
    std::vector<Named> out{{".", &folder}, {"..", folder.parent}};
    for (const auto& [name, node] : folder.children) out.push_back({name, node.get()});
    std::ranges::sort(out, {}, &Named::name);
    return out;
}

/// Calls `each` with the entries of one block after the other; returns the bytes of all, of which only the last may not be full.
template <typename Each>
std::uint64_t for_blocks(std::span<const Named> entries, Each each) {
    std::uint64_t size = 0;
    while (!entries.empty()) {
        std::uint64_t used = 0;
        std::size_t count = 0;
        for (; count < entries.size(); ++count) {
            const std::uint64_t more = sizeof(DirectoryEntry) + entries[count].name.size();
            if (used + more > block) break;
            used += more;
        }
        each(entries.first(count));
        entries = entries.subspan(count);
        size += entries.empty() ? used : block;
    }
    return size;
}

void put_block(std::span<const Named> entries, Output& out) {
    std::size_t offset = entries.size() * sizeof(DirectoryEntry);
    for (const Named& each : entries) {
        out.put_struct(DirectoryEntry{each.node->nid, static_cast<std::uint16_t>(offset), type_number(each.node->mode), 0});
        offset += each.name.size();
    }
    for (const Named& each : entries) out.put(each.name);
}

/// Gives each inode its place behind the data, and writes them.
class Layout {
public:
    Layout(Node& root, Output& out) : root_(root), out_(out) {}

    SuperBlock write() {
        collect();
        out_.zeros_to(rounded(out_.at(), block));
        place();
        for (const Node* each : nodes_) {
            if (!each->is_folder() || each->is_inline) continue;
            for_blocks(entries_of(*each), [&](std::span<const Named> entries) {
                put_block(entries, out_);
                out_.zeros_to(rounded(out_.at(), block));
            });
        }
        const std::uint64_t meta = out_.at();
        for (const Node* each : nodes_) put(*each, meta);
        out_.zeros_to(rounded(out_.at(), block));
        if (out_.at() / block > std::numeric_limits<std::uint32_t>::max())
            fail(ErrorKind::invalid_argument, "an image of more than 16 TiB");
        SuperBlock super;
        super.root_nid = static_cast<std::uint16_t>(root_.nid);
        super.inodes = nodes_.size();
        super.blocks = static_cast<std::uint32_t>(out_.at() / block);
        super.meta_block = static_cast<std::uint32_t>(meta / block);
        return super;
    }

private:
    /// Folder by folder, so that neighbours are read together; the root first, because its number has 16 bits only.
    void collect() {
        root_.links = 2;
        nodes_.push_back(&root_);
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            for (const auto& [name, node] : nodes_[i]->children) {
                if (node->links++ == 0) nodes_.push_back(node.get());
                if (!node->is_folder()) continue;
                ++node->links;
                ++nodes_[i]->links;
            }
        }
    }

    static std::uint64_t content_size(const Node& node) {
        if (node.is_link()) return node.target.size();
        if (node.is_folder()) return for_blocks(entries_of(node), [](std::span<const Named> /*entries*/) {});
        return 0;
    }

    void place() {
        std::uint64_t data = out_.at();
        std::uint64_t at = slot;  // readdir(3) takes an inode of number 0 for none
        for (Node* each : nodes_) {
            const std::uint64_t head = sizeof(Inode) + xattrs_size(*each);
            const std::uint64_t content = content_size(*each);
            if (content > 0) each->size = content;
            at = rounded(at, slot);
            each->is_inline = content > 0 && head + content <= block;
            if (each->is_inline && at % block + head + content > block) at = rounded(at, block);
            if (!each->is_inline && content > 0) {
                each->start = data;
                data += rounded(content, block);
            }
            each->nid = at / slot;
            at += head + (each->is_inline ? content : 0);
        }
    }

    void put(const Node& node, std::uint64_t meta) {
        out_.zeros_to(meta + node.nid * slot);
        const std::uint64_t xattrs = xattrs_size(node);
        const std::uint64_t count = xattrs == 0 ? 0 : (xattrs - sizeof(XattrHeader)) / 4 + 1;
        if (count > std::numeric_limits<std::uint16_t>::max()) fail(ErrorKind::invalid_argument, "a file with xattrs of {} bytes", xattrs);
        Inode inode{.format = node.is_inline ? extended_inline : extended_plain,
                    .xattr_count = static_cast<std::uint16_t>(count),
                    .mode = static_cast<std::uint16_t>(node.mode),
                    .size = node.size,
                    .where = static_cast<std::uint32_t>(node.start / block),
                    .uid = node.uid,
                    .gid = node.gid,
                    .mtime = node.mtime.tv_sec,
                    .mtime_ns = static_cast<std::uint32_t>(node.mtime.tv_nsec),
                    .links = node.links};
        if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) inode.where = device_number(node.device);
        out_.put_struct(inode);
        put_xattrs(node, out_);
        if (!node.is_inline) return;
        if (node.is_link()) return out_.put(node.target);
        for_blocks(entries_of(node), [&](std::span<const Named> entries) { put_block(entries, out_); });
    }

    Node& root_;
    Output& out_;
    std::vector<Node*> nodes_;
};

}  // namespace

std::uint64_t write_erofs(TarReader& tar, const std::string& path) {
    Output out{path};
    Builder builder{tar, out};
    const std::uint64_t size = builder.run();
    out.finish(Layout{builder.root(), out}.write());
    return size;
}

Fd mount_erofs(const std::string& path) {
    const Fd context{static_cast<int>(::syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC))};
    if (!context) fail_errno("erofs: fsopen");
    const auto configure = [&](unsigned command, const char* key, const char* value) {
        return ::syscall(SYS_fsconfig, context.get(), command, key, value, 0) == 0;
    };
    // By descriptor: a path may be longer than fsconfig(2) takes.
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) fail_errno("open {}", path);
    if (!configure(FSCONFIG_SET_STRING, "source", fmt::format("/proc/self/fd/{}", file.get()).c_str()))
        fail_errno("erofs: source {}", path);
    // Else what is read is in the page cache twice, as the image's and as its files'.
    configure(FSCONFIG_SET_FLAG, "directio", nullptr);
    if (!configure(FSCONFIG_CMD_CREATE, nullptr, nullptr)) fail_errno("erofs: mount {}", path);
    Fd mount{static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY))};
    if (!mount) fail_errno("erofs: fsmount {}", path);
    return mount;
}

void check_erofs(const std::string& directory) {
    struct Nothing : Source {
        std::size_t read(std::span<char> /*out*/) override { return 0; }
    };
    const std::string path = fmt::format("{}/probe-{}", directory, random_hex(16));
    try {
        Nothing nothing;
        TarReader tar{nothing};
        write_erofs(tar, path);
        const Fd image = mount_erofs(path);
        const std::string lower = fmt::format("/proc/self/fd/{}", image.get());
        mount_overlay({.lower = {lower, directory}, .read_only = true});
    } catch (...) {
        ::unlink(path.c_str());
        throw;
    }
    ::unlink(path.c_str());
}

}  // namespace grua::layers
