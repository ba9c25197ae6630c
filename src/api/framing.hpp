// Docker's stream format: frames of stdout and stderr in one stream, each behind eight bytes - the stream's number, three
// zeros, the length as a big-endian word.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace grua::api {

inline constexpr std::string_view raw_stream = "application/vnd.docker.raw-stream";
inline constexpr std::string_view multiplexed_stream = "application/vnd.docker.multiplexed-stream";

enum class StdStream : std::uint8_t { in = 0, out = 1, err = 2 };

inline void append_frame(std::string& out, StdStream stream, std::string_view bytes) {
    const auto size = static_cast<std::uint32_t>(bytes.size());
    const std::array<char, 8> header{static_cast<char>(stream),
                                     0,
                                     0,
                                     0,
                                     static_cast<char>(size >> 24U),
                                     static_cast<char>((size >> 16U) & 0xffU),
                                     static_cast<char>((size >> 8U) & 0xffU),
                                     static_cast<char>(size & 0xffU)};
    out.append(header.data(), header.size());
    out += bytes;
}

}  // namespace grua::api
