#include "linux/mountinfo.hpp"

#include "base/files.hpp"
#include "base/text.hpp"

namespace grua::linux {

std::string unescape_mount_path(std::string_view text) {
    const auto octal = [](char c) { return c >= '0' && c <= '7'; };
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
            result += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            result += text[i];
        }
    }
    return result;
}

std::vector<std::string> mounts_below(std::string_view folder) {
    std::vector<std::string> out;
    for (const std::string& line : split(read_file("/proc/self/mountinfo", std::size_t{64} << 20U), '\n')) {
        const auto fields = split(line, ' ');
        if (fields.size() < 6) continue;
        std::string point = unescape_mount_path(fields[4]);
        if (point == folder || (point.starts_with(folder) && (folder == "/" || point[folder.size()] == '/')))
            out.push_back(std::move(point));
    }
    return out;
}

}  // namespace grua::linux
