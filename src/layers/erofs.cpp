#include "layers/erofs.hpp"

#include "base/error.hpp"
#include "base/id.hpp"
#include "layers/erofs_tree.hpp"
#include "layers/overlay.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <bit>
#include <limits>

namespace grua::layers {

using namespace erofs;

namespace {

static_assert(std::endian::native == std::endian::little, "erofs is written as the machine keeps its numbers");

constexpr std::uint64_t slot = 32;  // what an inode's number counts

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
    const LayerTree tree = read_tree(tar, out);
    out.finish(Layout{*tree.root, out}.write(), super_offset);
    return tree.size;
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
