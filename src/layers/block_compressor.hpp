// A stream on its way into a layer's blob: hashed, compressed and handed on, each by threads of its own. It is cut into blocks of one
// size that know nothing of each other, so that several can be compressed at once: the same bytes in give the same bytes out, however
// many threads there are and in what pieces the bytes come. gzip's blocks are one member, as every reader takes it; zstd's are a frame
// each. What fits one block is done without threads.
#pragma once

#include "base/mutex.hpp"
#include "content/hash.hpp"
#include "layers/tar_writer.hpp"
#include "oci/digest.hpp"

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

namespace grua::layers {

enum class Compression { uncompressed, gzip, zstd };

struct CompressionOptions {
    Compression kind = Compression::gzip;
    /// gzip: 0 to 9, zstd: 0 (its own default) to 22. Where none is said, what is fast: isa-l's first level, zstd's default.
    std::optional<int> level;
};

/// Throws Error(invalid_argument) for a level that there is not.
void check_level(const CompressionOptions& options);

class BlockCompressor : public Sink {
public:
    using Write = std::function<void(std::string_view)>;

    /// `write` gets what comes out, in order, by one thread at a time. `threads`: that compress. Throws as check_level().
    BlockCompressor(const CompressionOptions& options, unsigned threads, Write write);
    BlockCompressor(const BlockCompressor&) = delete;
    BlockCompressor& operator=(const BlockCompressor&) = delete;
    ~BlockCompressor() override;  ///< What is not finished is given up.

    /// Throws what one of the threads threw.
    void write(std::string_view bytes) override;

    /// The SHA-256 of all that came in; nothing where it goes out as it came in: who takes it hashes it anyway.
    std::optional<oci::Digest> finish();

    class Codec;

private:
    struct Block {
        std::unique_ptr<char[]> in;
        std::size_t size = 0;
        std::vector<char> out;
        std::size_t packed = 0;  ///< Bytes of `out`.
    };
    Block& block(std::uint64_t number) { return blocks_[number % blocks_.size()]; }
    void take_free_block();
    void hand_over();
    void start_threads();
    void compress_blocks();
    void hash_blocks();
    void hand_out_blocks();
    void hash(const Block& block);
    void end_threads();
    void run(void (BlockCompressor::*work)()) noexcept;

    const CompressionOptions options_;
    const unsigned compressors_;
    const std::size_t block_size_;
    const Write write_;
    content::Hasher hasher_;
    std::uint32_t crc_ = 0;
    std::uint64_t size_ = 0;     // of what was hashed
    std::vector<Block> blocks_;  // in turn; one belongs to who fills, compresses or writes it
    Block* filling_ = nullptr;

    Mutex mutex_;
    std::condition_variable_any changed_;
    std::uint64_t filled_ GRUA_GUARDED_BY(mutex_) = 0;  // so many blocks were handed over
    std::uint64_t taken_ GRUA_GUARDED_BY(mutex_) = 0;   // … taken to be compressed
    std::uint64_t hashed_ GRUA_GUARDED_BY(mutex_) = 0;
    std::uint64_t written_ GRUA_GUARDED_BY(mutex_) = 0;
    std::vector<bool> is_packed_ GRUA_GUARDED_BY(mutex_);
    bool ended_ GRUA_GUARDED_BY(mutex_) = false;
    bool given_up_ GRUA_GUARDED_BY(mutex_) = false;
    std::exception_ptr error_ GRUA_GUARDED_BY(mutex_);
    std::vector<std::thread> threads_;
};

}  // namespace grua::layers
