// The files of an image archive, spooled into one unnamed file: an archive may come through a pipe, its index last.
#pragma once

#include "base/fd.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace grua::images {

class Archive {
public:
    /// Reads the tar (plain, gzip, zstd) from `input` to its end, its files into `spool`, an empty file.
    Archive(int input, Fd spool);

    struct Extent {
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
    };
    /// Links inside the archive are followed, by name only.
    std::optional<Extent> find(const std::string& path) const;
    Extent get(const std::string& path) const;  ///< Throws "invalid archive: … is missing".
    std::string read(const std::string& path, std::size_t limit) const;
    int fd() const noexcept { return spool_.get(); }

private:
    Fd spool_;
    std::map<std::string, Extent> files_;
    std::map<std::string, std::string> links_;
};

}  // namespace grua::images
