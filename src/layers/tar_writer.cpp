#include "layers/tar_writer.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <array>
#include <cstring>

namespace grua::layers {
namespace {

constexpr std::size_t block_size = 512;
constexpr std::size_t name_size = 100;
constexpr std::uint64_t id_limit = 07777777;        // of ustar's seven digits
constexpr std::uint64_t size_limit = 077777777777;  // of its eleven
constexpr std::string_view xattr_prefix = "SCHILY.xattr.";

/// One header block, filled in by offset (POSIX.1-2001 pax, ustar interchange format).
class Block {
public:
    void text(std::size_t offset, std::string_view value, std::size_t size) {
        std::memcpy(bytes_.data() + offset, value.data(), std::min(value.size(), size));
    }
    void octal(std::size_t offset, std::uint64_t value, int digits) { text(offset, fmt::format("{:0{}o}", value, digits), block_size); }
    std::string_view finish() {
        text(257, std::string_view("ustar\00000", 8), 8);
        text(148, "        ", 8);
        unsigned sum = 0;
        for (const char c : bytes_) sum += static_cast<unsigned char>(c);
        octal(148, sum, 6);
        bytes_[154] = '\0';
        return {bytes_.data(), bytes_.size()};
    }

private:
    std::array<char, block_size> bytes_{};
};

char flag_of(TarEntry::Type type) {
    using enum TarEntry::Type;
    switch (type) {
        case file:
            return '0';
        case hard_link:
            return '1';
        case symlink:
            return '2';
        case character_device:
            return '3';
        case block_device:
            return '4';
        case directory:
            return '5';
        case fifo:
            return '6';
    }
    return '0';
}

std::uint64_t padding_of(std::uint64_t size) { return (block_size - size % block_size) % block_size; }

/// "LENGTH KEY=VALUE\n", the length being the record's own.
void add_record(std::string& records, std::string_view key, std::string_view value) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length) ++length;
    records += fmt::format("{} {}=", length, key);
    records += value;
    records += '\n';
}

/// Seconds with a fraction; before 1970 both are negative.
std::string time_text(timespec time) {
    std::int64_t seconds = time.tv_sec;
    long nanoseconds = time.tv_nsec;
    const bool negative = seconds < 0;
    if (negative && nanoseconds != 0) {
        seconds += 1;
        nanoseconds = 1'000'000'000 - nanoseconds;
    }
    std::string out = fmt::format("{}{}", negative && seconds == 0 ? "-" : "", seconds);
    if (nanoseconds == 0) return out;
    out += fmt::format(".{:09}", nanoseconds);
    out.erase(out.find_last_not_of('0') + 1);
    return out;
}

bool is_later(const timespec& one, const timespec& other) {
    return one.tv_sec != other.tv_sec ? one.tv_sec > other.tv_sec : one.tv_nsec > other.tv_nsec;
}

/// A record's name ends at its first '='.
std::string xattr_key(std::string_view name) {
    std::string out{xattr_prefix};
    for (const char c : name) {
        if (c == '=') {
            out += "%3D";
        } else {
            out += c;
        }
    }
    return out;
}

std::string sparse_map(const TarEntry& entry) {
    std::string out = fmt::format("{}\n", entry.segments.size());
    for (const TarEntry::Segment& each : entry.segments) out += fmt::format("{}\n{}\n", each.offset, each.size);
    out.resize(out.size() + padding_of(out.size()), '\0');
    return out;
}

std::string last_part(std::string_view name) {
    while (name.ends_with('/')) name.remove_suffix(1);
    return std::string(name.substr(name.rfind('/') + 1));
}

}  // namespace

void FdSink::write(std::string_view bytes) { write_all(fd_, bytes, "tar"); }

void TarWriter::add(const TarEntry& entry) {
    using Type = TarEntry::Type;
    end_entry();
    std::string name = entry.name;
    if (entry.type == Type::directory && !name.ends_with('/')) name += '/';
    if (name.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos)
        fail(ErrorKind::invalid_argument, "tar entry whose name has a NUL byte");

    const bool sparse = entry.type == Type::file && entry.sparse;
    std::string map;
    std::uint64_t stored = entry.type == Type::file ? entry.size : 0;
    if (sparse) {
        map = sparse_map(entry);
        stored = map.size();
        for (const TarEntry::Segment& each : entry.segments) stored += each.size;
    }

    std::string records;
    if (sparse) {
        add_record(records, "GNU.sparse.major", "1");
        add_record(records, "GNU.sparse.minor", "0");
        add_record(records, "GNU.sparse.name", name);
        add_record(records, "GNU.sparse.realsize", std::to_string(entry.size));
        // For readers that know nothing of it: the data is not the file.
        name = "GNUSparseFile.0/" + last_part(name);
    }
    if (name.size() > name_size) {
        add_record(records, "path", name);
    }
    if (entry.link.size() > name_size) add_record(records, "linkpath", entry.link);
    if (entry.uid > id_limit) add_record(records, "uid", std::to_string(entry.uid));
    if (entry.gid > id_limit) add_record(records, "gid", std::to_string(entry.gid));
    if (stored > size_limit) add_record(records, "size", std::to_string(stored));
    const timespec mtime = latest_ && is_later(entry.mtime, *latest_) ? *latest_ : entry.mtime;
    const bool fits = mtime.tv_sec >= 0 && static_cast<std::uint64_t>(mtime.tv_sec) <= size_limit;
    if (!fits || mtime.tv_nsec != 0) add_record(records, "mtime", time_text(mtime));
    for (const auto& [key, value] : entry.xattrs) add_record(records, xattr_key(key), value);

    if (!records.empty()) {
        Block block;
        block.text(0, "PaxHeaders.0/" + last_part(name), name_size);
        block.octal(100, 0644, 7);
        block.octal(108, 0, 7);
        block.octal(116, 0, 7);
        block.octal(124, records.size(), 11);
        block.octal(136, 0, 11);
        block.text(156, "x", 1);
        sink_.write(block.finish());
        records.resize(records.size() + padding_of(records.size()), '\0');
        sink_.write(records);
    }

    Block block;
    block.text(0, name, name_size);
    block.octal(100, entry.mode & 07777U, 7);
    block.octal(108, entry.uid > id_limit ? 0 : entry.uid, 7);
    block.octal(116, entry.gid > id_limit ? 0 : entry.gid, 7);
    block.octal(124, stored > size_limit ? 0 : stored, 11);
    block.octal(136, fits ? static_cast<std::uint64_t>(mtime.tv_sec) : 0, 11);
    block.text(156, std::string_view(std::array{flag_of(entry.type)}), 1);
    block.text(157, entry.link, name_size);
    if (entry.type == Type::character_device || entry.type == Type::block_device) {
        block.octal(329, entry.device_major, 7);
        block.octal(337, entry.device_minor, 7);
    }
    sink_.write(block.finish());
    padding_ = padding_of(stored);
    left_ = stored - map.size();
    if (!map.empty()) sink_.write(map);
}

void TarWriter::write(std::string_view data) {
    if (data.size() > left_) fail(ErrorKind::system, "tar: more data than the entry was said to have");
    left_ -= data.size();
    sink_.write(data);
}

void TarWriter::end_entry() {
    if (left_ > 0) fail(ErrorKind::system, "tar: less data than the entry was said to have");
    if (padding_ > 0) sink_.write(std::string(padding_, '\0'));
    padding_ = 0;
}

void TarWriter::finish() {
    end_entry();
    sink_.write(std::string(2 * block_size, '\0'));
}

}  // namespace grua::layers
