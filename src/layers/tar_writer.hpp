// A writer of tar streams: ustar where an entry fits it, pax records for what does not - long names, times to the nanosecond,
// large IDs and sizes, xattrs (SCHILY.xattr), sparse files (GNU's pax 1.0). The same entries give the same bytes.
#pragma once

#include "layers/tar.hpp"

#include <cstdint>
#include <ctime>
#include <optional>
#include <string_view>

namespace grua::layers {

class Sink {
public:
    virtual ~Sink() = default;
    /// Takes all of it. Throws Error.
    virtual void write(std::string_view bytes) = 0;
};

/// Writes to a descriptor that it does not own.
class FdSink : public Sink {
public:
    explicit FdSink(int fd) noexcept : fd_(fd) {}
    void write(std::string_view bytes) override;

private:
    int fd_;
};

class TarWriter {
public:
    /// `latest`: no entry is younger; what is, is said to be of then (SOURCE_DATE_EPOCH).
    explicit TarWriter(Sink& sink, std::optional<timespec> latest = {}) : sink_(sink), latest_(latest) {}

    /// The header. `entry.size` bytes of data must follow for a file, of a sparse one those of its segments.
    /// A folder's name gets its slash here.
    void add(const TarEntry& entry);

    /// Data of the entry before. More than was announced is a mistake of the caller.
    void write(std::string_view data);

    /// The end of the archive.
    void finish();

private:
    void end_entry();

    Sink& sink_;
    std::optional<timespec> latest_;
    std::uint64_t left_ = 0;     // of the entry's data
    std::uint64_t padding_ = 0;  // to its last block
};

}  // namespace grua::layers
