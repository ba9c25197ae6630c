// Docker's stream format: what several streams say in one, in frames. Each stands behind eight bytes - the stream's number, three zeros,
// the length as a big-endian word.
#pragma once

#include "base/error.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace grua {

enum class StdStream : std::uint8_t {
    in = 0,
    out = 1,
    err = 2,
    daemon_error = 3,  ///< What the daemon itself has to say; Docker's clients show it as standard error.
};

inline constexpr std::size_t frame_header_size = 8;

inline std::array<char, frame_header_size> frame_header(StdStream stream, std::uint32_t size) noexcept {
    return {static_cast<char>(stream),
            0,
            0,
            0,
            static_cast<char>(size >> 24U),
            static_cast<char>((size >> 16U) & 0xffU),
            static_cast<char>((size >> 8U) & 0xffU),
            static_cast<char>(size & 0xffU)};
}

/// No bytes are a frame of none; more than a length can say are several frames.
inline void append_frame(std::string& out, StdStream stream, std::string_view bytes) {
    do {
        const std::string_view piece = bytes.substr(0, std::numeric_limits<std::uint32_t>::max());
        const auto header = frame_header(stream, static_cast<std::uint32_t>(piece.size()));
        out.append(header.data(), header.size());
        out += piece;
        bytes.remove_prefix(piece.size());
    } while (!bytes.empty());
}

/// Takes frames apart, however the bytes come. Holds no more than a header.
class FrameReader {
public:
    /// Calls `take(StdStream, std::string_view)` for the pieces of content as they come. Throws Error(invalid_argument) for what is no
    /// frame.
    template <typename Take>
    void feed(std::string_view bytes, Take&& take) {
        while (!bytes.empty()) {
            if (left_ == 0) {
                const std::size_t count = std::min(frame_header_size - have_, bytes.size());
                std::ranges::copy(bytes.substr(0, count), header_.begin() + static_cast<std::ptrdiff_t>(have_));
                have_ += count;
                bytes.remove_prefix(count);
                if (have_ == frame_header_size) begin();
                continue;
            }
            const std::string_view piece = bytes.substr(0, left_);
            take(static_cast<StdStream>(header_[0]), piece);
            left_ -= static_cast<std::uint32_t>(piece.size());
            bytes.remove_prefix(piece.size());
        }
    }

    /// Nothing of a frame is missing.
    bool at_boundary() const noexcept { return left_ == 0 && have_ == 0; }

private:
    void begin() {
        have_ = 0;
        const auto number = static_cast<unsigned char>(header_[0]);
        if (number > static_cast<unsigned char>(StdStream::daemon_error))
            fail(ErrorKind::invalid_argument, "unrecognized stream: {}", number);
        for (std::size_t i = 4; i < frame_header_size; ++i) left_ = left_ << 8U | static_cast<unsigned char>(header_[i]);
    }

    std::array<char, frame_header_size> header_{};
    std::size_t have_ = 0;
    std::uint32_t left_ = 0;
};

}  // namespace grua
