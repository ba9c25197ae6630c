#include "engine/watch/stats.hpp"

#include <algorithm>
#include <array>

namespace grua::engine {

std::map<std::string, InterfaceStats> parse_net_dev(std::string_view text) {
    std::map<std::string, InterfaceStats> out;
    for (const auto& line : split(text, '\n')) {
        const auto colon = line.find(':');
        if (colon == std::string::npos) continue;
        const std::string name(trim(std::string_view(line).substr(0, colon)));
        if (name == "lo") continue;
        std::array<std::uint64_t, 16> numbers{};
        std::size_t count = 0;
        for (const auto& word : split(std::string_view(line).substr(colon + 1), ' ')) {
            if (word.empty() || count == numbers.size()) continue;
            numbers.at(count++) = parse_uint(word).value_or(0);
        }
        if (count < numbers.size()) continue;
        out[name] = {.rx_bytes = numbers[0],
                     .rx_packets = numbers[1],
                     .rx_errors = numbers[2],
                     .rx_dropped = numbers[3],
                     .tx_bytes = numbers[8],
                     .tx_packets = numbers[9],
                     .tx_errors = numbers[10],
                     .tx_dropped = numbers[11]};
    }
    return out;
}

}  // namespace grua::engine
