// Rotated files of a log, gzip'ed. An archive says in its header which file it was made of, so that a reader that has read that file
// does not read it again.
#pragma once

#include "base/fd.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace grua::monitor {

/// A file whatever its name is: inode numbers alone are given to new files soon.
struct FileId {
    std::uint64_t inode = 0;
    std::int64_t born = 0;  ///< Nanoseconds; 0 where the file system does not know.
    friend bool operator==(const FileId&, const FileId&) = default;
};

/// Throws Error.
FileId file_id(const Fd& file);
/// FileId{} where there is no such file.
FileId file_id_at(const std::string& path);

/// Reads what gzip has packed, from the beginning on.
class ArchiveReader {
public:
    explicit ArchiveReader(int file);
    ~ArchiveReader();
    /// 0 at the end, and where the rest is broken.
    std::size_t read(std::span<char> out);
    /// The file that it was made of; nothing of an archive that grua did not make.
    FileId source();

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Packs `from` into `to`, both from their beginning. Throws Error.
void make_archive(const Fd& from, const Fd& to);

}  // namespace grua::monitor
