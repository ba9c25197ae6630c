#include "layers/source.hpp"

#include "base/error.hpp"
#include "base/mutex.hpp"
#include "base/thread.hpp"
#include "content/hash.hpp"

#include <bzlib.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <unistd.h>
#include <zstd.h>
#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <thread>
#include <vector>

namespace grua::layers {
namespace {

constexpr std::size_t input_size = std::size_t{128} << 10U;
constexpr std::size_t chunk_size = std::size_t{256} << 10U;
constexpr std::size_t chunks_ahead = 8;
constexpr int zstd_window_log_limit = 27;                             // 128 MiB, what zstd itself allows without --long
constexpr std::uint64_t xz_memory_limit = std::uint64_t{128} << 20U;  // xz -9 needs half of it

[[noreturn]] void fail_limit(std::uint64_t limit) {
    fail(ErrorKind::invalid_argument, "the decompressed data is larger than {} bytes", limit);
}

/// The compressed bytes, a block at a time; starts with those that were read to find out what they are.
class Input {
public:
    Input(Source& inner, std::vector<char> first) : inner_(&inner), buffer_(std::move(first)), end_(buffer_.size()) {
        buffer_.resize(input_size);
    }
    /// False at the end of the source.
    bool fill() {
        if (at_ < end_) return true;
        at_ = 0;
        end_ = inner_->read(buffer_);
        return end_ > 0;
    }
    std::span<char> rest() { return std::span(buffer_).subspan(at_, end_ - at_); }
    void consume(std::size_t count) { at_ += count; }

private:
    Source* inner_;
    std::vector<char> buffer_;
    std::size_t at_ = 0;
    std::size_t end_;
};

class PlainSource : public Source {
public:
    PlainSource(Input input, std::uint64_t limit) : input_(std::move(input)), limit_(limit) {}
    std::size_t read(std::span<char> out) override {
        if (!input_.fill()) return 0;
        const std::span<char> rest = input_.rest();
        const std::size_t count = std::min(rest.size(), out.size());
        std::memcpy(out.data(), rest.data(), count);
        input_.consume(count);
        if ((done_ += count) > limit_) fail_limit(limit_);
        return count;
    }

private:
    Input input_;
    std::uint64_t limit_;
    std::uint64_t done_ = 0;
};

class GzipSource : public Source {
public:
    GzipSource(Input input, std::uint64_t limit) : input_(std::move(input)), limit_(limit) { begin_member(); }

    std::size_t read(std::span<char> out) override {
        if (out.empty()) return 0;
        while (!ended_) {
            if (between_ && !next_member()) break;
            if (!input_.fill()) fail(ErrorKind::invalid_argument, "gzip: unexpected end of data");
            const std::span<char> rest = input_.rest();
            state_->next_in = reinterpret_cast<std::uint8_t*>(rest.data());
            state_->avail_in = static_cast<std::uint32_t>(rest.size());
            state_->next_out = reinterpret_cast<std::uint8_t*>(out.data());
            state_->avail_out = static_cast<std::uint32_t>(std::min(out.size(), chunk_size));
            const std::uint32_t room = state_->avail_out;
            const int code = isal_inflate(state_.get());
            if (code < 0) fail(ErrorKind::invalid_argument, "gzip: damaged data ({})", code);
            input_.consume(rest.size() - state_->avail_in);
            between_ = state_->block_state == ISAL_BLOCK_FINISH;
            const std::size_t made = room - state_->avail_out;
            if ((done_ += made) > limit_) fail_limit(limit_);
            if (made > 0) return made;
        }
        return 0;
    }

private:
    void begin_member() {
        isal_inflate_init(state_.get());
        state_->crc_flag = ISAL_GZIP;
    }
    /// False where nothing but padding follows.
    bool next_member() {
        while (input_.fill()) {
            if (input_.rest().front() != '\0') {
                between_ = false;
                begin_member();
                return true;
            }
            input_.consume(1);
        }
        ended_ = true;
        return false;
    }

    Input input_;
    std::uint64_t limit_;
    std::uint64_t done_ = 0;
    std::unique_ptr<inflate_state> state_ = std::make_unique<inflate_state>();
    bool between_ = false;
    bool ended_ = false;
};

class ZstdSource : public Source {
public:
    ZstdSource(Input input, std::uint64_t limit) : input_(std::move(input)), limit_(limit), stream_(ZSTD_createDStream()) {
        if (!stream_) throw std::bad_alloc();
        ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, zstd_window_log_limit);
    }
    std::size_t read(std::span<char> out) override {
        if (out.empty()) return 0;
        for (;;) {
            const bool more = input_.fill();
            if (!more && complete_) return 0;
            const std::span<char> rest = input_.rest();
            ZSTD_inBuffer in{rest.data(), more ? rest.size() : 0, 0};
            ZSTD_outBuffer room{out.data(), out.size(), 0};
            const std::size_t code = ZSTD_decompressStream(stream_.get(), &room, &in);
            if (ZSTD_isError(code) != 0) fail(ErrorKind::invalid_argument, "zstd: {}", ZSTD_getErrorName(code));
            input_.consume(in.pos);
            complete_ = code == 0;
            if ((done_ += room.pos) > limit_) fail_limit(limit_);
            if (room.pos > 0) return room.pos;
            if (!more && !complete_) fail(ErrorKind::invalid_argument, "zstd: unexpected end of data");
        }
    }

private:
    struct Free {
        void operator()(ZSTD_DStream* stream) const noexcept { ZSTD_freeDStream(stream); }
    };
    Input input_;
    std::uint64_t limit_;
    std::uint64_t done_ = 0;
    std::unique_ptr<ZSTD_DStream, Free> stream_;
    bool complete_ = true;
};

class Bzip2Source : public Source {
public:
    Bzip2Source(Input input, std::uint64_t limit) : input_(std::move(input)), limit_(limit) { begin_stream(); }
    ~Bzip2Source() override { end_stream(); }
    Bzip2Source(const Bzip2Source&) = delete;
    Bzip2Source& operator=(const Bzip2Source&) = delete;

    std::size_t read(std::span<char> out) override {
        if (out.empty()) return 0;
        for (;;) {
            const bool more = input_.fill();
            if (!more && between_) return 0;
            if (!more) fail(ErrorKind::invalid_argument, "bzip2: unexpected end of data");
            if (between_) begin_stream();
            const std::span<char> rest = input_.rest();
            stream_.next_in = rest.data();
            stream_.avail_in = static_cast<unsigned>(rest.size());
            const auto room = static_cast<unsigned>(std::min(out.size(), chunk_size));
            stream_.next_out = out.data();
            stream_.avail_out = room;
            const int code = ::BZ2_bzDecompress(&stream_);
            if (code == BZ_MEM_ERROR) throw std::bad_alloc();
            if (code != BZ_OK && code != BZ_STREAM_END) fail(ErrorKind::invalid_argument, "bzip2: damaged data ({})", code);
            input_.consume(rest.size() - stream_.avail_in);
            if (code == BZ_STREAM_END) end_stream();
            const std::size_t made = room - stream_.avail_out;
            if ((done_ += made) > limit_) fail_limit(limit_);
            if (made > 0) return made;
        }
    }

private:
    void begin_stream() {
        stream_ = bz_stream{};
        if (::BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
        between_ = false;
    }
    void end_stream() {
        if (!between_) (void)::BZ2_bzDecompressEnd(&stream_);
        between_ = true;
    }

    Input input_;
    std::uint64_t limit_;
    std::uint64_t done_ = 0;
    bz_stream stream_{};
    bool between_ = true;  ///< What was begun has been ended.
};

class XzSource : public Source {
public:
    XzSource(Input input, std::uint64_t limit) : input_(std::move(input)), limit_(limit) {
        if (::lzma_stream_decoder(&stream_, xz_memory_limit, LZMA_CONCATENATED) != LZMA_OK) throw std::bad_alloc();
    }
    ~XzSource() override { ::lzma_end(&stream_); }
    XzSource(const XzSource&) = delete;
    XzSource& operator=(const XzSource&) = delete;

    std::size_t read(std::span<char> out) override {
        if (out.empty()) return 0;
        while (!ended_) {
            const bool more = input_.fill();
            const std::span<char> rest = more ? input_.rest() : std::span<char>{};
            stream_.next_in = reinterpret_cast<const std::uint8_t*>(rest.data());
            stream_.avail_in = rest.size();
            stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
            stream_.avail_out = out.size();
            const lzma_ret code = ::lzma_code(&stream_, more ? LZMA_RUN : LZMA_FINISH);
            input_.consume(rest.size() - stream_.avail_in);
            ended_ = code == LZMA_STREAM_END;
            if (code != LZMA_OK && !ended_) fail_with(code);
            const std::size_t made = out.size() - stream_.avail_out;
            if ((done_ += made) > limit_) fail_limit(limit_);
            if (made > 0) return made;
        }
        return 0;
    }

private:
    [[noreturn]] static void fail_with(lzma_ret code) {
        if (code == LZMA_MEM_ERROR) throw std::bad_alloc();
        if (code == LZMA_MEMLIMIT_ERROR)
            fail(ErrorKind::invalid_argument, "xz: unpacking it takes more than {} MiB of memory", xz_memory_limit >> 20U);
        if (code == LZMA_BUF_ERROR) fail(ErrorKind::invalid_argument, "xz: unexpected end of data");
        fail(ErrorKind::invalid_argument, "xz: damaged data ({})", static_cast<int>(code));
    }

    Input input_;
    std::uint64_t limit_;
    std::uint64_t done_ = 0;
    lzma_stream stream_ = LZMA_STREAM_INIT;
    bool ended_ = false;
};

}  // namespace

Packing packing_of(std::string_view first_bytes) {
    using namespace std::string_view_literals;
    if (first_bytes.starts_with("\x1f\x8b"sv)) return Packing::gzip;
    if (first_bytes.starts_with("\x28\xb5\x2f\xfd"sv)) return Packing::zstd;
    if (first_bytes.starts_with("BZh"sv)) return Packing::bzip2;
    if (first_bytes.starts_with("\xfd\x37zXZ\0"sv)) return Packing::xz;
    return Packing::plain;
}

std::size_t FdSource::read(std::span<char> out) {
    for (;;) {
        const ssize_t count = ::read(fd_, out.data(), out.size());
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno != EINTR) fail_errno("read");
    }
}

std::size_t ExtentSource::read(std::span<char> out) {
    const std::size_t wanted = std::min<std::uint64_t>(out.size(), end_ - at_);
    if (wanted == 0) return 0;
    for (;;) {
        const ssize_t count = ::pread(fd_, out.data(), wanted, static_cast<off_t>(at_));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail_errno("read");
        if (count == 0) fail(ErrorKind::invalid_argument, "unexpected end of file");
        at_ += static_cast<std::uint64_t>(count);
        return static_cast<std::size_t>(count);
    }
}

std::size_t ReplaySource::read(std::span<char> out) {
    if (at_ == first_.size()) return inner_.read(out);
    const std::size_t count = first_.copy(out.data(), out.size(), at_);
    at_ += count;
    return count;
}

std::unique_ptr<Source> decompress(Source& inner, std::uint64_t limit, bool* was_packed) {
    std::vector<char> first(input_size);
    std::size_t have = 0;
    while (have < packing_mark_size) {
        const std::size_t count = inner.read(std::span(first).subspan(have));
        if (count == 0) break;
        have += count;
    }
    first.resize(have);
    const Packing packing = packing_of({first.data(), have});
    Input input{inner, std::move(first)};
    if (was_packed) *was_packed = packing != Packing::plain;
    switch (packing) {
        case Packing::gzip:
            return std::make_unique<GzipSource>(std::move(input), limit);
        case Packing::zstd:
            return std::make_unique<ZstdSource>(std::move(input), limit);
        case Packing::bzip2:
            return std::make_unique<Bzip2Source>(std::move(input), limit);
        case Packing::xz:
            return std::make_unique<XzSource>(std::move(input), limit);
        case Packing::plain:
            break;
    }
    return std::make_unique<PlainSource>(std::move(input), limit);
}

struct HashingReader::Shared {
    Shared(Source& source, std::string_view algorithm) : inner(source), hasher(algorithm) {}

    void run() {
        try {
            for (;;) {
                std::vector<char> chunk(chunk_size);
                std::size_t have = 0;
                for (std::size_t count = 1; have < chunk.size() && count > 0; have += count) {
                    count = inner.read(std::span(chunk).subspan(have));
                }
                chunk.resize(have);
                hasher.update({chunk.data(), have});
                MutexLock lock{mutex};
                changed.wait(lock, [&]() GRUA_REQUIRES(mutex) { return chunks.size() < chunks_ahead || stopped; });
                if (stopped) return;
                const bool last = have < chunk_size;
                if (have > 0) chunks.push_back(std::move(chunk));
                ended = last;
                changed.notify_all();
                if (last) return;
            }
        } catch (...) {
            const MutexLock lock{mutex};
            error = std::current_exception();
            ended = true;
            changed.notify_all();
        }
    }

    Source& inner;
    content::Hasher hasher;
    Mutex mutex;
    std::condition_variable_any changed;
    std::deque<std::vector<char>> chunks GRUA_GUARDED_BY(mutex);
    std::size_t at = 0;  // in the first chunk; the reader's alone
    bool ended GRUA_GUARDED_BY(mutex) = false;
    bool stopped GRUA_GUARDED_BY(mutex) = false;
    std::exception_ptr error GRUA_GUARDED_BY(mutex);
    std::thread thread;
};

HashingReader::HashingReader(Source& inner, std::string_view algorithm) : shared_(std::make_unique<Shared>(inner, algorithm)) {
    shared_->thread = start_thread([shared = shared_.get()] { shared->run(); });
}

HashingReader::~HashingReader() {
    {
        const MutexLock lock{shared_->mutex};
        shared_->stopped = true;
        shared_->changed.notify_all();
    }
    if (shared_->thread.joinable()) shared_->thread.join();
}

std::size_t HashingReader::read(std::span<char> out) {
    MutexLock lock{shared_->mutex};
    shared_->changed.wait(lock, [&]() GRUA_REQUIRES(shared_->mutex) { return !shared_->chunks.empty() || shared_->ended; });
    if (shared_->chunks.empty()) {
        if (shared_->error) std::rethrow_exception(shared_->error);
        return 0;
    }
    const std::vector<char>& chunk = shared_->chunks.front();
    lock.unlock();  // the front stays where it is: only this thread takes it away
    const std::size_t count = std::min(out.size(), chunk.size() - shared_->at);
    std::memcpy(out.data(), chunk.data() + shared_->at, count);
    shared_->at += count;
    if (shared_->at == chunk.size()) {
        lock.lock();
        shared_->chunks.pop_front();
        shared_->at = 0;
        shared_->changed.notify_all();
    }
    return count;
}

oci::Digest HashingReader::finish() {
    std::vector<char> rest(chunk_size);
    while (read(rest) > 0) {
    }
    shared_->thread.join();
    return shared_->hasher.finish();
}

}  // namespace grua::layers
