#include "base/stream_frames.hpp"

#include <gtest/gtest.h>
#include <utility>
#include <vector>

namespace grua {
namespace {

using Pieces = std::vector<std::pair<StdStream, std::string>>;

/// Fed in pieces of `size` bytes; neighbours of one stream are one.
Pieces read(std::string_view bytes, std::size_t size, FrameReader& reader) {
    Pieces out;
    for (std::size_t at = 0; at < bytes.size(); at += size) {
        reader.feed(bytes.substr(at, size), [&](StdStream stream, std::string_view piece) {
            if (out.empty() || out.back().first != stream) out.emplace_back(stream, "");
            out.back().second += piece;
        });
    }
    return out;
}

TEST(StreamFrames, the_length_is_big_endian) {
    std::string out;
    append_frame(out, StdStream::err, std::string(0x12345, 'x'));
    EXPECT_EQ(out.substr(0, 8), std::string("\x02\0\0\0\0\x01\x23\x45", 8));
    EXPECT_EQ(out.size(), 8U + 0x12345);
}

TEST(StreamFrames, what_is_put_together_is_taken_apart_however_it_comes) {
    std::string bytes;
    append_frame(bytes, StdStream::out, "one");
    append_frame(bytes, StdStream::err, "");
    append_frame(bytes, StdStream::err, std::string(300, 'e'));
    append_frame(bytes, StdStream::daemon_error, std::string("\0\xff", 2));
    const Pieces expected{
        {StdStream::out, "one"}, {StdStream::err, std::string(300, 'e')}, {StdStream::daemon_error, std::string("\0\xff", 2)}};
    for (std::size_t size = 1; size < 20; ++size) {
        FrameReader reader;
        EXPECT_EQ(read(bytes, size, reader), expected) << size;
        EXPECT_TRUE(reader.at_boundary());
        read(std::string("\1\0\0\0\0\0\0\2x", 9), size, reader);
        EXPECT_FALSE(reader.at_boundary());
    }
}

TEST(StreamFrames, a_stream_that_does_not_exist_is_refused) {
    FrameReader reader;
    EXPECT_THROW(read(std::string("\x04\0\0\0\0\0\0\1x", 9), 4, reader), Error);
}

}  // namespace
}  // namespace grua
