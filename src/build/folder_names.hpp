// The names in a folder, read at once and in order: what is made in it meanwhile is not seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

class FolderNames {
public:
    FolderNames() = default;

    /// Of an open folder, which is read from its beginning. Throws Error that names `path`, also where there are more than `limit` bytes.
    FolderNames(int folder, std::string_view path, std::size_t limit);

    std::size_t size() const noexcept { return entries_.size(); }
    const char* name(std::size_t index) const { return text_.data() + entries_[index].at; }
    unsigned char type(std::size_t index) const { return entries_[index].type; }  ///< DT_REG and so on; DT_UNKNOWN where it is not said.
    std::size_t bytes() const noexcept { return text_.size() + entries_.size() * sizeof(Entry); }

private:
    struct Entry {
        std::uint32_t at = 0;
        unsigned char type = 0;
    };
    std::string text_;
    std::vector<Entry> entries_;
};

}  // namespace grua::build
