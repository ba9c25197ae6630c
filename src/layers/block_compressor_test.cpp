#include "layers/block_compressor.hpp"

#include "base/error.hpp"
#include "content/hash.hpp"
#include "layers/source.hpp"
#include "layers/test_streams.hpp"

#include <gtest/gtest.h>
#include <zlib.h>
#include <random>
#include <string>

namespace grua::layers {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;

/// Half of it repeats, half of it does not.
std::string text_of(std::size_t size) {
    std::mt19937_64 random{size};
    std::string out;
    while (out.size() < size) out += random() % 2 == 0 ? "what is written here comes often, " : std::to_string(random());
    out.resize(size);
    return out;
}

struct Made {
    std::string bytes;
    std::optional<oci::Digest> digest;
};

Made compress(const CompressionOptions& options, const std::string& text, unsigned threads, std::size_t piece) {
    Made out;
    BlockCompressor compressor{options, threads, [&](std::string_view bytes) { out.bytes += bytes; }};
    for (std::size_t at = 0; at < text.size(); at += piece) compressor.write(std::string_view(text).substr(at, piece));
    out.digest = compressor.finish();
    return out;
}

std::string decompressed(const std::string& bytes) {
    TextSource source{bytes};
    const auto plain = decompress(source);
    std::string out;
    std::vector<char> buffer(mebibyte);
    while (const std::size_t count = plain->read(buffer)) out.append(buffer.data(), count);
    return out;
}

/// zlib takes one member and says where it ends.
bool is_one_member(const std::string& bytes, std::size_t size) {
    z_stream stream{};
    if (::inflateInit2(&stream, 16 + 15) != Z_OK) return false;
    std::string out(size + 1, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<unsigned>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<unsigned>(out.size());
    const int code = ::inflate(&stream, Z_FINISH);
    const bool is_whole = code == Z_STREAM_END && stream.avail_in == 0 && stream.total_out == size;
    (void)::inflateEnd(&stream);
    return is_whole;
}

TEST(BlockCompressor, what_goes_in_comes_out_again) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, mebibyte, 2 * mebibyte + 5}) {
        const std::string text = text_of(size);
        for (const std::optional<int> level :
             {std::optional<int>{}, std::optional{0}, std::optional{3}, std::optional{4}, std::optional{9}}) {
            const Made gzip = compress({Compression::gzip, level}, text, 3, 70'000);
            EXPECT_EQ(packing_of(gzip.bytes), Packing::gzip);
            EXPECT_TRUE(decompressed(gzip.bytes) == text) << size << " at level " << level.value_or(-1);
            EXPECT_TRUE(is_one_member(gzip.bytes, size)) << size << " at level " << level.value_or(-1);
            EXPECT_EQ(gzip.digest, content::digest_of(text));
        }
        const Made plain = compress({Compression::uncompressed, {}}, text, 3, 70'000);
        EXPECT_TRUE(plain.bytes == text);
        EXPECT_FALSE(plain.digest);
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, 8 * mebibyte, 9 * mebibyte}) {
        const std::string text = text_of(size);
        for (const std::optional<int> level : {std::optional<int>{}, std::optional{0}, std::optional{5}}) {
            const Made zstd = compress({Compression::zstd, level}, text, 2, mebibyte);
            EXPECT_EQ(packing_of(zstd.bytes), Packing::zstd);
            EXPECT_TRUE(decompressed(zstd.bytes) == text) << size << " at level " << level.value_or(-1);
            EXPECT_EQ(zstd.digest, content::digest_of(text));
        }
    }
}

TEST(BlockCompressor, the_same_bytes_give_the_same_bytes) {
    const std::string text = text_of(9 * mebibyte + 12345);
    for (const CompressionOptions options :
         {CompressionOptions{Compression::gzip, {}}, CompressionOptions{Compression::gzip, 3}, CompressionOptions{Compression::gzip, 5},
          CompressionOptions{Compression::zstd, {}}, CompressionOptions{Compression::uncompressed, {}}}) {
        const Made first = compress(options, text, 1, text.size());
        EXPECT_TRUE(compress(options, text, 1, 512).bytes == first.bytes);
        EXPECT_TRUE(compress(options, text, 2, 256'000).bytes == first.bytes);
        EXPECT_TRUE(compress(options, text, 7, 1'000'001).bytes == first.bytes);
    }
}

// Random bytes do not become smaller, and must not become lost.
TEST(BlockCompressor, what_cannot_be_compressed_is_kept) {
    std::mt19937_64 random{1};
    std::string text(9 * mebibyte, '\0');
    for (char& each : text) each = static_cast<char>(random());
    for (const CompressionOptions options :
         {CompressionOptions{Compression::gzip, {}}, CompressionOptions{Compression::gzip, 6}, CompressionOptions{Compression::zstd, {}}}) {
        const Made made = compress(options, text, 2, mebibyte);
        EXPECT_TRUE(decompressed(made.bytes) == text);
        EXPECT_LT(made.bytes.size(), text.size() + text.size() / 500);
    }
}

TEST(BlockCompressor, levels_that_there_are_not_are_refused) {
    const auto error_of = [](const CompressionOptions& options) -> std::string {
        try {
            const BlockCompressor made{options, 1, [](std::string_view) {}};
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_EQ(error_of({Compression::gzip, 10}), "gzip: invalid compression level 10: it is 0 to 9");
    EXPECT_EQ(error_of({Compression::gzip, -1}), "gzip: invalid compression level -1: it is 0 to 9");
    EXPECT_EQ(error_of({Compression::zstd, 23}), "zstd: invalid compression level 23: it is 0 to 22");
    EXPECT_EQ(error_of({Compression::zstd, 22}), "no error");
    EXPECT_EQ(error_of({Compression::uncompressed, 99}), "no error");
}

TEST(BlockCompressor, a_disk_that_is_full_ends_it) {
    const std::string text = text_of(20 * mebibyte);
    for (const Compression kind : {Compression::gzip, Compression::zstd, Compression::uncompressed}) {
        std::size_t written = 0;
        BlockCompressor compressor{{kind, {}}, 2, [&](std::string_view bytes) {
                                       written += bytes.size();
                                       if (written > 2 * mebibyte) fail(ErrorKind::system, "no space");
                                   }};
        EXPECT_THROW(
            {
                compressor.write(text);
                compressor.finish();
            },
            Error);
    }
}

TEST(BlockCompressor, what_is_not_finished_is_given_up) {
    const std::string text = text_of(5 * mebibyte);
    for (const Compression kind : {Compression::gzip, Compression::uncompressed}) {
        BlockCompressor compressor{{kind, {}}, 2, [](std::string_view) {}};
        compressor.write(text);
    }
    BlockCompressor untouched{{}, 2, [](std::string_view) {}};
}

}  // namespace
}  // namespace grua::layers
