// A reader of tar streams: ustar, pax (with SCHILY.xattr), GNU long names, GNU sparse files old and in pax 0.0, 0.1, 1.0.
// Everything that it takes from the stream has a bound. It interprets names not at all: that is the unpacker's.
#pragma once

#include "layers/source.hpp"

#include <sys/stat.h>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::layers {

struct TarLimits {
    std::uint64_t entries = 4'000'000;
    std::size_t name = 4096;                            ///< bytes of a name or link target
    std::size_t header = std::size_t{1} << 20U;         ///< bytes of one pax or GNU long name header, and of all before one entry
    std::size_t global = std::size_t{64} << 10U;        ///< bytes of all records of global headers: each entry has them
    std::size_t sparse_segments = 262'144;              ///< CVE-2025-58183: a map without a bound
    std::size_t sparse_map = std::size_t{8} << 20U;     ///< bytes of a pax 1.0 map
    std::uint64_t file_size = std::uint64_t{1} << 40U;  ///< bytes of one file, holes included
};

struct TarEntry {
    enum class Type { file, hard_link, symlink, character_device, block_device, directory, fifo };
    struct Segment {
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
    };

    std::string name;
    std::string link;
    Type type = Type::file;
    mode_t mode = 0;  ///< permission bits with setuid, setgid and sticky
    uid_t uid = 0;
    gid_t gid = 0;
    std::uint64_t size = 0;  ///< of the file, holes included
    timespec mtime{};
    unsigned device_major = 0;
    unsigned device_minor = 0;
    std::map<std::string, std::string> xattrs;
    bool sparse = false;
    std::vector<Segment> segments;  ///< where the data goes, in order; for sparse files only
};

class TarReader {
public:
    explicit TarReader(Source& source, TarLimits limits = {}) : source_(&source), limits_(limits) {}

    /// The next entry; what is unread of the one before is skipped. Nothing at the end of the archive.
    std::optional<TarEntry> next();

    std::uint64_t entries() const noexcept { return entries_; }  ///< So far.

    /// After the last entry: a block of zeros followed. Where the stream just ended it may be a part of what it was.
    bool has_end_mark() const noexcept { return has_end_mark_; }

    /// The entry's data (of a sparse file: all segments one after the other); 0 at its end.
    std::size_t read(std::span<char> out);

private:
    using Records = std::map<std::string, std::string>;

    bool read_block(std::span<char> block);
    void read_exactly(std::span<char> out);
    void skip_rest();
    std::string read_header_data(std::uint64_t size, std::string_view what);
    void parse_pax(const std::string& data, Records& records, std::size_t limit, std::vector<TarEntry::Segment>* map);
    void apply_pax(const Records& records, TarEntry& entry);
    void read_old_sparse(std::span<const char> header, TarEntry& entry);
    void read_sparse_map(TarEntry& entry);
    void parse_map_list(const std::string& list, TarEntry& entry) const;
    void check_sparse(const TarEntry& entry) const;
    void check_entry(const TarEntry& entry) const;

    Source* source_;
    TarLimits limits_;
    std::uint64_t entries_ = 0;
    bool has_end_mark_ = false;
    std::uint64_t data_left_ = 0;     // of the present entry
    std::uint64_t padding_left_ = 0;  // to the next block
    Records global_;
};

}  // namespace grua::layers
