#include "layers/block_compressor.hpp"

#include "base/error.hpp"
#include "base/thread.hpp"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <zlib.h>
#include <zstd.h>
#include <algorithm>
#include <array>
#include <span>
#include <string>

namespace grua::layers {
namespace {

constexpr std::size_t gzip_block_size = std::size_t{1} << 20U;  // thirty-two times what it looks back
constexpr std::size_t zstd_block_size = std::size_t{8} << 20U;  // four times the window of its default level
constexpr std::size_t plain_block_size = std::size_t{256} << 10U;
constexpr std::size_t blocks_ahead = 3;  // one that is filled, one that waits, one that is written
constexpr unsigned compressor_limit = 16;
constexpr int isal_level_limit = 3;
constexpr int gzip_level_limit = 9;
constexpr int zstd_level_limit = 22;

// RFC 1952: no name, no time, of an unknown system. The blocks end without the mark of the last one, which this empty one has.
constexpr std::string_view gzip_header{"\x1f\x8b\x08\0\0\0\0\0\0\xff", 10};
constexpr std::string_view gzip_last_block{"\x03\0", 2};

std::size_t block_size_of(Compression kind) {
    switch (kind) {
        case Compression::gzip:
            return gzip_block_size;
        case Compression::zstd:
            return zstd_block_size;
        case Compression::uncompressed:
            break;
    }
    return plain_block_size;
}

std::string little_endian(std::uint32_t value) {
    std::string out;
    for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xffU);
    return out;
}

/// What is free of `out` behind `used` bytes. More than a block may ever become: a flush that ends with the room is written once more, and
/// how much room an earlier block has left must not show.
std::span<char> room(std::vector<char>& out, std::size_t used, std::size_t block_size) {
    const std::size_t wanted = used + block_size + block_size / 8 + 4096;
    if (out.size() < wanted) out.resize(wanted);
    return std::span(out).subspan(used);
}

}  // namespace

/// Compresses one block after the other, each as if it were the first.
class BlockCompressor::Codec {
public:
    Codec() = default;
    Codec(const Codec&) = delete;
    Codec& operator=(const Codec&) = delete;
    virtual ~Codec() = default;

    /// Says how many bytes of `out`, which grows where it must, are the result.
    virtual std::size_t compress(std::string_view block, std::vector<char>& out) = 0;

    static std::unique_ptr<Codec> make(const CompressionOptions& options);
};

namespace {

class IsalCodec : public BlockCompressor::Codec {
public:
    explicit IsalCodec(int level) : level_(static_cast<std::uint32_t>(level)), stream_(std::make_unique<isal_zstream>()) {
        constexpr std::array<std::size_t, 3> sizes{ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT};
        buffer_.resize(sizes.at(static_cast<std::size_t>(level - 1)));
    }

    std::size_t compress(std::string_view block, std::vector<char>& out) override {
        isal_deflate_init(stream_.get());
        stream_->gzip_flag = IGZIP_DEFLATE;
        stream_->level = level_;
        stream_->level_buf = buffer_.data();
        stream_->level_buf_size = static_cast<std::uint32_t>(buffer_.size());
        stream_->flush = FULL_FLUSH;
        // The library takes what it reads as bytes that it could write to, and does not.
        stream_->next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(block.data()));
        stream_->avail_in = static_cast<std::uint32_t>(block.size());
        std::size_t made = 0;
        do {
            const std::span<char> free = room(out, made, block.size());
            stream_->next_out = reinterpret_cast<std::uint8_t*>(free.data());
            stream_->avail_out = static_cast<std::uint32_t>(free.size());
            if (const int code = isal_deflate(stream_.get()); code != COMP_OK) fail(ErrorKind::system, "gzip: cannot compress ({})", code);
            made += free.size() - stream_->avail_out;
        } while (stream_->avail_out == 0 || stream_->avail_in > 0);
        return made;
    }

private:
    std::uint32_t level_;
    std::unique_ptr<isal_zstream> stream_;
    std::vector<std::uint8_t> buffer_;
};

class ZlibCodec : public BlockCompressor::Codec {
public:
    explicit ZlibCodec(int level) {
        constexpr int raw = -15;  // no header, the largest window
        constexpr int memory = 8;
        if (::deflateInit2(&stream_, level, Z_DEFLATED, raw, memory, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
    }
    ~ZlibCodec() override { (void)::deflateEnd(&stream_); }

    std::size_t compress(std::string_view block, std::vector<char>& out) override {
        if (::deflateReset(&stream_) != Z_OK) fail(ErrorKind::system, "gzip: cannot compress");
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(block.data()));
        stream_.avail_in = static_cast<unsigned>(block.size());
        std::size_t made = 0;
        do {
            const std::span<char> free = room(out, made, block.size());
            stream_.next_out = reinterpret_cast<Bytef*>(free.data());
            stream_.avail_out = static_cast<unsigned>(free.size());
            // Z_BUF_ERROR says that there was nothing more to do.
            if (const int code = ::deflate(&stream_, Z_FULL_FLUSH); code != Z_OK && code != Z_BUF_ERROR)
                fail(ErrorKind::system, "gzip: cannot compress ({})", code);
            made += free.size() - stream_.avail_out;
        } while (stream_.avail_out == 0);
        return made;
    }

private:
    z_stream stream_{};
};

class ZstdCodec : public BlockCompressor::Codec {
public:
    explicit ZstdCodec(int level) : context_(ZSTD_createCCtx()) {
        if (!context_) throw std::bad_alloc();
        check(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level));
    }

    std::size_t compress(std::string_view block, std::vector<char>& out) override {
        if (out.size() < ZSTD_compressBound(block.size())) out.resize(ZSTD_compressBound(block.size()));
        return check(ZSTD_compress2(context_.get(), out.data(), out.size(), block.data(), block.size()));
    }

private:
    static std::size_t check(std::size_t code) {
        if (ZSTD_isError(code) != 0) fail(ErrorKind::system, "zstd: cannot compress: {}", ZSTD_getErrorName(code));
        return code;
    }
    struct Free {
        void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
    };
    std::unique_ptr<ZSTD_CCtx, Free> context_;
};

}  // namespace

std::unique_ptr<BlockCompressor::Codec> BlockCompressor::Codec::make(const CompressionOptions& options) {
    if (options.kind == Compression::zstd) return std::make_unique<ZstdCodec>(options.level.value_or(ZSTD_CLEVEL_DEFAULT));
    // Where there are both, isa-l has the better speed for the same size; zlib goes further.
    const int level = options.level.value_or(1);
    if (level >= 1 && level <= isal_level_limit) return std::make_unique<IsalCodec>(level);
    return std::make_unique<ZlibCodec>(level);
}

void check_level(const CompressionOptions& options) {
    if (!options.level) return;
    const auto check = [&](std::string_view name, int limit) {
        if (*options.level < 0 || *options.level > limit)
            fail(ErrorKind::invalid_argument, "{}: invalid compression level {}: it is 0 to {}", name, *options.level, limit);
    };
    if (options.kind == Compression::gzip) check("gzip", gzip_level_limit);
    if (options.kind == Compression::zstd) check("zstd", zstd_level_limit);
}

BlockCompressor::BlockCompressor(const CompressionOptions& options, unsigned threads, Write write)
    : options_(options),
      compressors_(options.kind == Compression::uncompressed ? 0 : std::clamp(threads, 1U, compressor_limit)),
      block_size_(block_size_of(options.kind)),
      write_(std::move(write)),
      blocks_(compressors_ + blocks_ahead),
      is_packed_(blocks_.size()) {
    check_level(options_);
}

BlockCompressor::~BlockCompressor() {
    {
        const MutexLock lock{mutex_};
        given_up_ = true;
        changed_.notify_all();
    }
    end_threads();
}

void BlockCompressor::end_threads() {
    for (std::thread& each : threads_) {
        if (each.joinable()) each.join();
    }
}

void BlockCompressor::write(std::string_view bytes) {
    while (!bytes.empty()) {
        if (!filling_) take_free_block();
        const std::size_t count = bytes.copy(filling_->in.get() + filling_->size, block_size_ - filling_->size);
        filling_->size += count;
        bytes.remove_prefix(count);
        if (filling_->size == block_size_) hand_over();
    }
}

void BlockCompressor::take_free_block() {
    MutexLock lock{mutex_};
    changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return filled_ - written_ < blocks_.size() || given_up_; });
    if (error_) std::rethrow_exception(error_);
    filling_ = &block(filled_);
    lock.unlock();
    if (!filling_->in) filling_->in = std::make_unique_for_overwrite<char[]>(block_size_);
    filling_->size = 0;
}

void BlockCompressor::hand_over() {
    filling_ = nullptr;
    {
        const MutexLock lock{mutex_};
        ++filled_;
        changed_.notify_all();
    }
    if (threads_.empty()) start_threads();
}

void BlockCompressor::start_threads() {
    threads_.push_back(start_thread([this] { run(&BlockCompressor::hand_out_blocks); }));
    if (compressors_ > 0) threads_.push_back(start_thread([this] { run(&BlockCompressor::hash_blocks); }));
    for (unsigned count = 0; count < compressors_; ++count) {
        threads_.push_back(start_thread([this] { run(&BlockCompressor::compress_blocks); }));
    }
}

void BlockCompressor::run(void (BlockCompressor::*work)()) noexcept {
    try {
        (this->*work)();
    } catch (...) {
        const MutexLock lock{mutex_};
        if (!error_) error_ = std::current_exception();
        given_up_ = true;
        changed_.notify_all();
    }
}

void BlockCompressor::compress_blocks() {
    const std::unique_ptr<Codec> codec = Codec::make(options_);
    for (;;) {
        MutexLock lock{mutex_};
        changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return taken_ < filled_ || ended_ || given_up_; });
        if (given_up_ || taken_ == filled_) return;
        const std::uint64_t number = taken_++;
        lock.unlock();
        Block& mine = block(number);
        mine.packed = codec->compress({mine.in.get(), mine.size}, mine.out);
        lock.lock();
        is_packed_[number % blocks_.size()] = true;
        changed_.notify_all();
    }
}

void BlockCompressor::hash(const Block& block) {
    hasher_.update({block.in.get(), block.size});
    if (options_.kind == Compression::gzip)
        crc_ = ::crc32_gzip_refl(crc_, reinterpret_cast<const unsigned char*>(block.in.get()), block.size);
    size_ += block.size;
}

void BlockCompressor::hash_blocks() {
    for (std::uint64_t number = 0;; ++number) {
        MutexLock lock{mutex_};
        hashed_ = number;
        changed_.notify_all();
        changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return number < filled_ || ended_ || given_up_; });
        if (given_up_ || number == filled_) return;
        lock.unlock();
        hash(block(number));
    }
}

void BlockCompressor::hand_out_blocks() {
    if (options_.kind == Compression::gzip) write_(gzip_header);
    for (;;) {
        MutexLock lock{mutex_};
        changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return written_ < filled_ || ended_ || given_up_; });
        if (given_up_ || written_ == filled_) return;
        const std::uint64_t number = written_;
        lock.unlock();
        Block& mine = block(number);
        if (compressors_ == 0) {
            write_({mine.in.get(), mine.size});
            lock.lock();
        } else {
            lock.lock();
            const auto is_done = [&]() GRUA_REQUIRES(mutex_) {
                return (is_packed_[number % blocks_.size()] && number < hashed_) || given_up_;
            };
            changed_.wait(lock, is_done);
            if (given_up_) return;
            is_packed_[number % blocks_.size()] = false;
            lock.unlock();
            write_({mine.out.data(), mine.packed});
            lock.lock();
        }
        ++written_;
        changed_.notify_all();
    }
}

std::optional<oci::Digest> BlockCompressor::finish() {
    if (!threads_.empty()) {
        if (filling_) hand_over();
        {
            const MutexLock lock{mutex_};
            ended_ = true;
            changed_.notify_all();
        }
        end_threads();
        const MutexLock lock{mutex_};
        if (error_) std::rethrow_exception(error_);
    } else {
        // One block at most; an empty stream is one, too.
        if (!filling_) take_free_block();
        if (compressors_ == 0) {
            write_({filling_->in.get(), filling_->size});
        } else {
            hash(*filling_);
            if (options_.kind == Compression::gzip) write_(gzip_header);
            filling_->packed = Codec::make(options_)->compress({filling_->in.get(), filling_->size}, filling_->out);
            write_({filling_->out.data(), filling_->packed});
        }
    }
    if (options_.kind == Compression::uncompressed) return std::nullopt;
    if (options_.kind == Compression::gzip) {
        write_(gzip_last_block);
        write_(little_endian(crc_) + little_endian(static_cast<std::uint32_t>(size_)));
    }
    return hasher_.finish();
}

}  // namespace grua::layers
