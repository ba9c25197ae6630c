// Streams of bytes on their way into a layer: from a file, decompressed, hashed.
#pragma once

#include "oci/digest.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace grua::layers {

class Source {
public:
    virtual ~Source() = default;

    /// Fills some of `out` and says how much; 0 is the end. Throws Error.
    virtual std::size_t read(std::span<char> out) = 0;
};

/// Reads a descriptor to its end; does not own it.
class FdSource : public Source {
public:
    explicit FdSource(int fd) noexcept : fd_(fd) {}
    std::size_t read(std::span<char> out) override;

private:
    int fd_;
};

/// Part of a seekable file, whose own position is left alone.
class ExtentSource : public Source {
public:
    ExtentSource(int fd, std::uint64_t offset, std::uint64_t size) noexcept : fd_(fd), at_(offset), end_(offset + size) {}
    std::size_t read(std::span<char> out) override;

private:
    int fd_;
    std::uint64_t at_;
    std::uint64_t end_;
};

/// Counts what `inner` gives.
class CountingSource : public Source {
public:
    explicit CountingSource(Source& inner) noexcept : inner_(inner) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = inner_.read(out);
        count_ += count;
        return count;
    }
    std::uint64_t count() const noexcept { return count_; }

private:
    Source& inner_;
    std::uint64_t count_ = 0;
};

/// What was read of `inner` already, and then the rest of it.
class ReplaySource : public Source {
public:
    ReplaySource(std::string first, Source& inner) noexcept : first_(std::move(first)), inner_(inner) {}
    std::size_t read(std::span<char> out) override;

private:
    std::string first_;
    std::size_t at_ = 0;
    Source& inner_;
};

/// More than this from one stream is taken for a bomb.
inline constexpr std::uint64_t decompressed_limit = std::uint64_t{1} << 40U;

enum class Packing { plain, gzip, zstd, bzip2, xz };

/// How what begins with these bytes is packed; packing_mark_size of them are enough.
Packing packing_of(std::string_view first_bytes);
inline constexpr std::size_t packing_mark_size = 6;

/// No type of a layer stands for it: what comes so is not kept so.
constexpr bool is_no_layer_packing(Packing packing) { return packing == Packing::bzip2 || packing == Packing::xz; }

/// gzip, zstd, bzip2, xz (also several of them in a row) or the bytes as they are: found out by the first bytes.
/// `inner` must outlive it. Throws Error(invalid_argument) for damaged data and past `limit` bytes.
std::unique_ptr<Source> decompress(Source& inner, std::uint64_t limit = decompressed_limit, bool* was_packed = nullptr);

/// Reads `inner` ahead in a thread of its own and hashes there, so that inflating and hashing run beside the file system.
class HashingReader : public Source {
public:
    HashingReader(Source& inner, std::string_view algorithm);
    ~HashingReader() override;
    std::size_t read(std::span<char> out) override;

    /// Reads what is left and gives the digest of everything.
    oci::Digest finish();

private:
    struct Shared;
    std::unique_ptr<Shared> shared_;
};

}  // namespace grua::layers
