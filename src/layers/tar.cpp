#include "layers/tar.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace grua::layers {
namespace {

constexpr std::size_t block_size = 512;
using Block = std::array<char, block_size>;

// Offsets of the header's members (POSIX.1-2001 pax, ustar interchange format; GNU's after 345).
struct Member {
    std::size_t offset;
    std::size_t size;
};
constexpr Member name_member{0, 100};
constexpr Member mode_member{100, 8};
constexpr Member uid_member{108, 8};
constexpr Member gid_member{116, 8};
constexpr Member size_member{124, 12};
constexpr Member mtime_member{136, 12};
constexpr Member checksum_member{148, 8};
constexpr std::size_t type_offset = 156;
constexpr Member link_member{157, 100};
constexpr Member magic_member{257, 6};
constexpr Member major_member{329, 8};
constexpr Member minor_member{337, 8};
constexpr Member prefix_member{345, 155};
constexpr std::size_t gnu_sparse_offset = 386;
constexpr std::size_t gnu_sparse_count = 4;
constexpr std::size_t gnu_extended_offset = 482;
constexpr Member gnu_real_size_member{483, 12};
constexpr std::size_t extension_count = 21;
constexpr std::size_t extension_extended_offset = 504;
constexpr std::size_t number_size = 12;
constexpr std::string_view xattr_prefix = "SCHILY.xattr.";

std::string_view raw(std::span<const char> block, Member member) { return {block.data() + member.offset, member.size}; }

std::string text(std::span<const char> block, Member member) {
    const std::string_view bytes = raw(block, member);
    return std::string(bytes.substr(0, bytes.find('\0')));
}

[[noreturn]] void bad(std::string_view what) { fail(ErrorKind::invalid_argument, "not a valid tar: {}", what); }

/// Octal with spaces and NULs around, or base 256 where the first bit is set (GNU).
std::int64_t number(std::string_view bytes, std::string_view what) {
    const auto first = static_cast<unsigned char>(bytes.front());
    if ((first & 0x80U) != 0) {
        const bool negative = first == 0xff;
        std::int64_t value = negative ? -1 : first & 0x3f;
        for (const char c : bytes.substr(1)) {
            if (value > (std::numeric_limits<std::int64_t>::max() >> 8) || value < (std::numeric_limits<std::int64_t>::min() >> 8))
                bad(what);
            value = value * 256 + static_cast<unsigned char>(c);
        }
        return value;
    }
    const std::size_t begin = bytes.find_first_not_of(std::string_view(" \0", 2));
    std::int64_t value = 0;
    if (begin == std::string_view::npos) return 0;
    for (const char c : bytes.substr(begin)) {
        if (c == ' ' || c == '\0') break;
        if (c < '0' || c > '7' || value > (std::numeric_limits<std::int64_t>::max() >> 3)) bad(what);
        value = value * 8 + (c - '0');
    }
    return value;
}

std::uint64_t positive(std::string_view bytes, std::string_view what) {
    const std::int64_t value = number(bytes, what);
    if (value < 0) bad(what);
    return static_cast<std::uint64_t>(value);
}

/// The sum of all bytes with the checksum's own as spaces; some old writers summed signed chars.
bool checksum_is_right(std::span<const char> block) {
    std::int64_t sum = 0;
    std::int64_t signed_sum = 0;
    for (std::size_t at = 0; at < block_size; ++at) {
        const bool own = at >= checksum_member.offset && at < checksum_member.offset + checksum_member.size;
        sum += own ? ' ' : static_cast<unsigned char>(block[at]);
        signed_sum += own ? ' ' : static_cast<signed char>(block[at]);
    }
    const std::int64_t wanted = number(raw(block, checksum_member), "checksum");
    return wanted == sum || wanted == signed_sum;
}

std::uint64_t pax_number(std::string_view value, std::string_view key) {
    const auto parsed = parse_uint(value);
    if (!parsed) fail(ErrorKind::invalid_argument, "not a valid tar: pax {} \"{}\"", key, value.substr(0, 40));
    return *parsed;
}

/// "seconds[.fraction]", negative too.
timespec pax_time(std::string_view value) {
    const std::size_t dot = std::min(value.find('.'), value.size());
    const auto seconds = parse_int(value.substr(0, dot));
    if (!seconds) bad("pax mtime");
    timespec time{*seconds, 0};
    std::string fraction{dot < value.size() ? value.substr(dot + 1) : std::string_view{}};
    fraction.resize(9, '0');
    const auto nanoseconds = parse_uint(fraction);
    if (!nanoseconds) bad("pax mtime");
    time.tv_nsec = static_cast<long>(*nanoseconds);
    if (value.starts_with('-') && time.tv_nsec != 0) {
        time.tv_sec -= 1;
        time.tv_nsec = 1'000'000'000 - time.tv_nsec;
    }
    return time;
}

/// Comments and what only other programs read are not kept.
bool means_something(std::string_view key) {
    constexpr std::array<std::string_view, 6> keys{"path", "linkpath", "uid", "gid", "mtime", "size"};
    return std::ranges::find(keys, key) != keys.end() || key.starts_with(xattr_prefix) || key.starts_with("GNU.sparse.");
}

/// A '=' in the name is written "%3D", because a record's key ends at its first one.
std::string xattr_name(std::string_view key) {
    std::string name{key.substr(xattr_prefix.size())};
    for (std::size_t at = 0; (at = name.find("%3D", at)) != std::string::npos; ++at) name.replace(at, 3, "=");
    return name;
}

std::uint32_t id(std::uint64_t value, std::string_view what) {
    // -1 would mean "leave it" to chown.
    if (value >= std::numeric_limits<std::uint32_t>::max()) bad(what);
    return static_cast<std::uint32_t>(value);
}

TarEntry::Type type_of(char flag, const std::string& name) {
    using Type = TarEntry::Type;
    switch (flag) {
        case '\0':
        case '0':
        case '7':
        case 'S':
            return name.ends_with('/') ? Type::directory : Type::file;
        case '1':
            return Type::hard_link;
        case '2':
            return Type::symlink;
        case '3':
            return Type::character_device;
        case '4':
            return Type::block_device;
        case '5':
        case 'D':
            return Type::directory;
        case '6':
            return Type::fifo;
        default:
            fail(ErrorKind::invalid_argument, "{}: unknown tar entry type '{}'", name, flag);
    }
}

}  // namespace

bool TarReader::read_block(std::span<char> block) {
    std::size_t have = 0;
    while (have < block.size()) {
        const std::size_t count = source_->read(block.subspan(have));
        if (count == 0) break;
        have += count;
    }
    if (have != 0 && have != block.size()) bad("it ends in the middle of a header");
    return have != 0;
}

void TarReader::read_exactly(std::span<char> out) {
    while (!out.empty()) {
        const std::size_t count = source_->read(out);
        if (count == 0) bad("unexpected end of data");
        out = out.subspan(count);
    }
}

void TarReader::skip_rest() {
    std::array<char, std::size_t{64} << 10U> scrap;
    std::uint64_t left = data_left_ + padding_left_;
    while (left > 0) {
        const std::size_t count = std::min<std::uint64_t>(left, scrap.size());
        read_exactly(std::span(scrap).first(count));
        left -= count;
    }
    data_left_ = padding_left_ = 0;
}

std::size_t TarReader::read(std::span<char> out) {
    const std::size_t wanted = std::min<std::uint64_t>(out.size(), data_left_);
    if (wanted == 0) return 0;
    const std::size_t count = source_->read(out.first(wanted));
    if (count == 0) bad("unexpected end of data");
    data_left_ -= count;
    return count;
}

std::string TarReader::read_header_data(std::uint64_t size, std::string_view what) {
    if (size > limits_.header) fail(ErrorKind::invalid_argument, "not a valid tar: {} of {} bytes", what, size);
    std::string data(size, '\0');
    read_exactly(data);
    data_left_ = 0;
    padding_left_ = (block_size - size % block_size) % block_size;
    skip_rest();
    return data;
}

void TarReader::parse_pax(const std::string& data, Records& records, std::size_t limit, std::vector<TarEntry::Segment>* map) {
    std::string_view rest = data;
    while (!rest.empty() && rest.front() != '\0') {
        const std::size_t space = rest.find(' ');
        const auto length = space == std::string_view::npos ? std::nullopt : parse_uint(rest.substr(0, space));
        if (!length || *length <= space + 2 || *length > rest.size() || rest[*length - 1] != '\n') bad("pax record");
        const std::string_view record = rest.substr(space + 1, *length - space - 2);
        const std::size_t equal = record.find('=');
        if (equal == std::string_view::npos || equal == 0) bad("pax record");
        const std::string key{record.substr(0, equal)};
        const std::string_view value = record.substr(equal + 1);
        // The 0.0 sparse format repeats these two.
        if (map && key == "GNU.sparse.offset") {
            if (map->size() >= limits_.sparse_segments) bad("too many sparse segments");
            map->push_back({pax_number(value, key), 0});
        } else if (map && key == "GNU.sparse.numbytes") {
            if (map->empty()) bad("sparse map");
            map->back().size = pax_number(value, key);
        } else if (value.empty() && !key.starts_with(xattr_prefix)) {
            records.erase(key);
        } else if (means_something(key)) {
            records[key] = value;
        }
        rest.remove_prefix(*length);
    }
    // One header has a bound; any number of them may come before an entry.
    std::size_t sum = 0;
    for (const auto& [key, value] : records) sum += key.size() + value.size();
    if (sum > limit) fail(ErrorKind::invalid_argument, "not a valid tar: pax records of {} bytes", sum);
}

void TarReader::apply_pax(const Records& records, TarEntry& entry) {
    for (const auto& [key, value] : records) {
        if (key == "path") entry.name = value;
        if (key == "linkpath") entry.link = value;
        if (key == "uid") entry.uid = id(pax_number(value, key), "uid");
        if (key == "gid") entry.gid = id(pax_number(value, key), "gid");
        if (key == "mtime") entry.mtime = pax_time(value);
        if (key.starts_with(xattr_prefix)) entry.xattrs[xattr_name(key)] = value;
    }
    if (const auto name = records.find("GNU.sparse.name"); name != records.end()) entry.name = name->second;
}

void TarReader::read_old_sparse(std::span<const char> header, TarEntry& entry) {
    entry.sparse = true;
    entry.size = positive(raw(header, gnu_real_size_member), "sparse size");
    Block block;
    std::copy(header.begin(), header.end(), block.begin());
    std::size_t offset = gnu_sparse_offset;
    std::size_t count = gnu_sparse_count;
    std::size_t extended = gnu_extended_offset;
    for (;;) {
        for (std::size_t index = 0; index < count; ++index, offset += 2 * number_size) {
            const std::string_view pair{block.data() + offset, 2 * number_size};
            if (pair.front() == '\0') break;
            if (entry.segments.size() >= limits_.sparse_segments) bad("too many sparse segments");
            entry.segments.push_back(
                {positive(pair.substr(0, number_size), "sparse map"), positive(pair.substr(number_size), "sparse map")});
        }
        if (block[extended] == '\0') return;
        read_exactly(block);
        // A chain of extension blocks without segments would go on for as long as the stream does.
        if (block[0] == '\0') bad("empty sparse map");
        offset = 0;
        count = extension_count;
        extended = extension_extended_offset;
    }
}

/// pax 1.0: decimal numbers with newlines at the start of the data, padded to a block: count, then offset and size of each.
void TarReader::read_sparse_map(TarEntry& entry) {
    std::size_t used = 0;
    Block block;
    std::size_t at = block_size;
    const auto next_number = [&] {
        std::string digits;
        for (;;) {
            if (at == block_size) {
                if (data_left_ < block_size || (used += block_size) > limits_.sparse_map) bad("sparse map");
                read_exactly(block);
                data_left_ -= block_size;
                at = 0;
            }
            const char c = block[at++];
            if (c == '\n') return pax_number(digits, "sparse map");
            digits += c;
            if (digits.size() > 20) bad("sparse map");
        }
    };
    const std::uint64_t count = next_number();
    if (count > limits_.sparse_segments) bad("too many sparse segments");
    for (std::uint64_t index = 0; index < count; ++index) {
        const std::uint64_t offset = next_number();
        entry.segments.push_back({offset, next_number()});
    }
}

void TarReader::parse_map_list(const std::string& list, TarEntry& entry) const {
    entry.segments.clear();
    const std::vector<std::string> numbers = split(list, ',');
    if (numbers.size() % 2 != 0 || numbers.size() / 2 > limits_.sparse_segments) bad("sparse map");
    for (std::size_t index = 0; index < numbers.size(); index += 2) {
        entry.segments.push_back({pax_number(numbers[index], "sparse map"), pax_number(numbers[index + 1], "sparse map")});
    }
}

void TarReader::check_sparse(const TarEntry& entry) const {
    std::uint64_t end = 0;
    std::uint64_t data = 0;
    for (const TarEntry::Segment& segment : entry.segments) {
        if (segment.offset < end || segment.offset > entry.size || segment.size > entry.size - segment.offset) bad("sparse map");
        end = segment.offset + segment.size;
        data += segment.size;
    }
    if (data != data_left_) bad("sparse map does not fit its data");
}

void TarReader::check_entry(const TarEntry& entry) const {
    const std::string_view shown = std::string_view(entry.name).substr(0, 200);
    if (entry.name.size() > limits_.name || entry.link.size() > limits_.name) {
        fail(ErrorKind::invalid_argument, "{}…: name is longer than {} bytes", shown, limits_.name);
    }
    if (entry.name.find('\0') != std::string::npos || entry.link.find('\0') != std::string::npos) {
        fail(ErrorKind::invalid_argument, "tar entry whose name has a NUL byte");
    }
    if (entry.size > limits_.file_size) fail(ErrorKind::invalid_argument, "{}: file is larger than {} bytes", shown, limits_.file_size);
}

std::optional<TarEntry> TarReader::next() {
    std::optional<std::string> long_name;
    std::optional<std::string> long_link;
    Records records = global_;
    std::vector<TarEntry::Segment> map;
    bool belongs_to_next = false;
    for (;;) {
        skip_rest();
        Block block;
        if (!read_block(block)) {
            if (belongs_to_next) bad("it ends behind a header that belongs to the next entry");
            return std::nullopt;
        }
        if (std::ranges::all_of(block, [](char c) { return c == '\0'; })) {
            has_end_mark_ = true;
            return std::nullopt;
        }
        if (!checksum_is_right(block)) bad("wrong checksum of a header");
        // Headers of headers count too: a stream of nothing but them must end.
        if (++entries_ > limits_.entries) fail(ErrorKind::invalid_argument, "tar with more than {} entries", limits_.entries);

        const char flag = block[type_offset];
        const std::uint64_t size = positive(raw(block, size_member), "size");
        belongs_to_next = belongs_to_next || flag == 'L' || flag == 'K' || flag == 'x';
        const auto until_nul = [](std::string data) { return data.substr(0, data.find('\0')); };
        if (flag == 'L') {
            long_name = until_nul(read_header_data(size, "long name"));
        } else if (flag == 'K') {
            long_link = until_nul(read_header_data(size, "long link"));
        } else if (flag == 'x') {
            parse_pax(read_header_data(size, "pax header"), records, limits_.header + limits_.global, &map);
        } else if (flag == 'g') {
            parse_pax(read_header_data(size, "global pax header"), global_, limits_.global, nullptr);
            for (const auto& [key, value] : global_) records.try_emplace(key, value);
        } else {
            TarEntry entry;
            entry.name = text(block, name_member);
            const bool ustar = raw(block, magic_member) == std::string_view("ustar\0", 6);
            if (const std::string prefix = ustar ? text(block, prefix_member) : ""; !prefix.empty()) entry.name = prefix + "/" + entry.name;
            entry.link = text(block, link_member);
            entry.mode = static_cast<mode_t>(positive(raw(block, mode_member), "mode") & 07777U);
            entry.uid = id(records.contains("uid") ? 0 : positive(raw(block, uid_member), "uid"), "uid");
            entry.gid = id(records.contains("gid") ? 0 : positive(raw(block, gid_member), "gid"), "gid");
            entry.mtime = {number(raw(block, mtime_member), "mtime"), 0};
            if (long_name) entry.name = *long_name;
            if (long_link) entry.link = *long_link;
            apply_pax(records, entry);
            entry.type = type_of(flag, entry.name);
            if (flag == '3' || flag == '4') {
                entry.device_major = id(positive(raw(block, major_member), "device"), "device");
                entry.device_minor = id(positive(raw(block, minor_member), "device"), "device");
            }

            const auto record = [&](const char* key) { return records.contains(key) ? &records.at(key) : nullptr; };
            const std::string* pax_size = record("size");
            const std::uint64_t stored = pax_size ? pax_number(*pax_size, "size") : size;
            if (stored > limits_.file_size)
                fail(ErrorKind::invalid_argument, "{}: file is larger than {} bytes", entry.name.substr(0, 200), limits_.file_size);
            // Links and folders have no data, whatever their size says (old tars put the target's size there).
            const bool has_data = entry.type == TarEntry::Type::file;
            data_left_ = has_data ? stored : 0;
            padding_left_ = has_data ? (block_size - stored % block_size) % block_size : 0;
            entry.size = data_left_;

            const std::string* real = record("GNU.sparse.realsize") ? record("GNU.sparse.realsize") : record("GNU.sparse.size");
            if (has_data && flag == 'S') {
                read_old_sparse(block, entry);
            } else if (has_data && real) {
                entry.sparse = true;
                entry.size = pax_number(*real, "sparse size");
                entry.segments = std::move(map);
                if (const std::string* list = record("GNU.sparse.map")) parse_map_list(*list, entry);
                if (const std::string* version = record("GNU.sparse.major"); version && *version == "1") read_sparse_map(entry);
            }
            if (entry.sparse) check_sparse(entry);
            check_entry(entry);
            return entry;
        }
    }
}

}  // namespace grua::layers
