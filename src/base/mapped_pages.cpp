#include "base/mapped_pages.hpp"

#include "base/files.hpp"
#include "base/text.hpp"

#include <sys/mman.h>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace grua {
namespace {

constexpr std::size_t smaps_limit = std::size_t{16} << 20U;

struct Mapping {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
};

/// "7f00-7f10 r-xp 00001000 fe:00 1234   /usr/bin/x": of a file, and not to be written.
std::optional<Mapping> read_mapping(std::string_view line) {
    const std::size_t dash = line.find('-');
    const std::size_t blank = line.find(' ');
    if (dash == std::string_view::npos || blank == std::string_view::npos || dash > blank) return std::nullopt;
    if (line.size() < blank + 5 || line[blank + 1] != 'r' || line[blank + 2] != '-' || line[blank + 4] != 'p') return std::nullopt;
    if (!line.contains(" /")) return std::nullopt;
    Mapping out;
    const auto number = [&](std::string_view text, std::uintptr_t& to) {
        return std::from_chars(text.data(), text.data() + text.size(), to, 16).ec == std::errc();
    };
    if (!number(line.substr(0, dash), out.begin) || !number(line.substr(dash + 1, blank - dash - 1), out.end)) return std::nullopt;
    return out;
}

}  // namespace

std::size_t let_go_of_mapped_pages() noexcept {
    std::size_t out = 0;
    try {
        const std::string text = read_file("/proc/self/smaps", smaps_limit);
        std::optional<Mapping> mapping;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = std::min(text.find('\n', at), text.size());
            const std::string_view line = std::string_view(text).substr(at, end - at);
            at = end + 1;
            // A line about the mapping before begins with a word and a colon.
            const std::size_t colon = line.find(':');
            if (colon == std::string_view::npos || line.find(' ') < colon) {
                mapping = read_mapping(line);
                continue;
            }
            // What was relocated is read only as well, and is our own.
            if (!mapping || !line.starts_with("Anonymous:")) continue;
            if (trim(line.substr(colon + 1)) == "0 kB" &&
                ::madvise(reinterpret_cast<void*>(mapping->begin), mapping->end - mapping->begin, MADV_DONTNEED) == 0)
                out += mapping->end - mapping->begin;
            mapping.reset();
        }
    } catch (const std::exception&) {
        // Without it all is as before.
    }
    return out;
}

}  // namespace grua
