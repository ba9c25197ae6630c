#include "monitor/log_archive.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>
#include <array>
#include <cstring>

namespace grua::monitor {
namespace {

constexpr int gzip_window = 15 + 16;
constexpr int level = 3;  // Of one to nine: most of what can be had, for half of the time that gzip's own takes.
constexpr std::size_t block = std::size_t{64} << 10U;

/// A field of gzip's header (RFC 1952, 2.3.1.1), of the two machines' byte order.
struct Extra {
    std::array<char, 2> name{'G', 'R'};
    std::uint16_t size = sizeof(FileId);
    std::array<char, sizeof(FileId)> id{};
};
static_assert(sizeof(Extra) == 4 + sizeof(FileId));

FileId id_of(const struct statx& status) {
    FileId out{.inode = status.stx_ino, .born = 0};
    if ((status.stx_mask & STATX_BTIME) != 0) out.born = status.stx_btime.tv_sec * 1'000'000'000 + status.stx_btime.tv_nsec;
    return out;
}

std::size_t read_some(int file, std::span<char> out) {
    for (;;) {
        const ssize_t got = ::read(file, out.data(), out.size());
        if (got >= 0) return static_cast<std::size_t>(got);
        if (errno != EINTR) fail_errno("read a log file");
    }
}

}  // namespace

FileId file_id(const Fd& file) {
    struct statx status{};
    if (::statx(file.get(), "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) < 0) fail_errno("stat a log file");
    return id_of(status);
}

FileId file_id_at(const std::string& path) {
    struct statx status{};
    return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &status) == 0 ? id_of(status) : FileId{};
}

struct ArchiveReader::State {
    int file = -1;
    std::int64_t offset = 0;
    z_stream stream{};
    gz_header header{};
    std::array<std::uint8_t, sizeof(Extra)> extra{};
    std::array<std::uint8_t, block> in{};
    bool ended = false;
};

ArchiveReader::ArchiveReader(int file) : state_(std::make_unique<State>()) {
    state_->file = file;
    if (::inflateInit2(&state_->stream, gzip_window) != Z_OK) fail(ErrorKind::system, "zlib: no memory");
    state_->header.extra = state_->extra.data();
    state_->header.extra_max = static_cast<uInt>(state_->extra.size());
    ::inflateGetHeader(&state_->stream, &state_->header);
}

ArchiveReader::~ArchiveReader() { ::inflateEnd(&state_->stream); }

std::size_t ArchiveReader::read(std::span<char> out) {
    State& state = *state_;
    std::uint8_t nothing = 0;  // The library refuses a null, even of no bytes.
    state.stream.next_out = out.empty() ? &nothing : reinterpret_cast<std::uint8_t*>(out.data());
    state.stream.avail_out = static_cast<uInt>(out.size());
    while (!state.ended && state.stream.avail_out == out.size()) {
        if (state.stream.avail_in == 0) {
            const ssize_t got = ::pread(state.file, state.in.data(), state.in.size(), state.offset);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) fail_errno("read a log file");
            if (got == 0) break;
            state.offset += got;
            state.stream.next_in = state.in.data();
            state.stream.avail_in = static_cast<uInt>(got);
        }
        const int done = ::inflate(&state.stream, out.empty() ? Z_BLOCK : Z_NO_FLUSH);
        if (out.empty() && state.header.done != 0) return 0;
        state.ended = done != Z_OK && done != Z_BUF_ERROR;
    }
    return out.size() - state.stream.avail_out;
}

FileId ArchiveReader::source() {
    State& state = *state_;
    // A block's worth is more than any header of ours.
    if (state.header.done == 0 && !state.ended) (void)read({});
    Extra extra;
    if (state.header.done != 1 || state.header.extra_len != sizeof extra) return {};
    std::memcpy(&extra, state.extra.data(), sizeof extra);
    if (extra.name != Extra{}.name || extra.size != sizeof(FileId)) return {};
    FileId out;
    std::memcpy(&out, extra.id.data(), sizeof out);
    return out;
}

void make_archive(const Fd& from, const Fd& to) {
    struct Packing {
        Packing() {
            if (::deflateInit2(&stream, level, Z_DEFLATED, gzip_window, MAX_MEM_LEVEL - 1, Z_DEFAULT_STRATEGY) != Z_OK)
                fail(ErrorKind::system, "zlib: no memory");
        }
        Packing(const Packing&) = delete;
        Packing& operator=(const Packing&) = delete;
        ~Packing() { ::deflateEnd(&stream); }
        z_stream stream{};
    } packing;
    const FileId source = file_id(from);
    Extra extra;
    std::memcpy(extra.id.data(), &source, sizeof source);
    gz_header header{};
    header.extra = reinterpret_cast<std::uint8_t*>(&extra);
    header.extra_len = sizeof extra;
    header.os = 3;  // Unix.
    ::deflateSetHeader(&packing.stream, &header);
    std::array<char, block> in{};
    std::array<char, block> out{};
    for (bool last = false; !last;) {
        const std::size_t got = read_some(from.get(), in);
        last = got == 0;
        packing.stream.next_in = reinterpret_cast<std::uint8_t*>(in.data());
        packing.stream.avail_in = static_cast<uInt>(got);
        do {
            packing.stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
            packing.stream.avail_out = static_cast<uInt>(out.size());
            if (::deflate(&packing.stream, last ? Z_FINISH : Z_NO_FLUSH) == Z_STREAM_ERROR) fail(ErrorKind::system, "zlib: deflate");
            write_all(to.get(), {out.data(), out.size() - packing.stream.avail_out}, "a packed log file");
        } while (packing.stream.avail_out == 0);
    }
    // Who asks for lines since a time need not unpack what is older.
    struct stat status{};
    if (::fstat(from.get(), &status) < 0) fail_errno("stat a log file");
    const std::array<timespec, 2> times{status.st_atim, status.st_mtim};
    if (::futimens(to.get(), times.data()) < 0) fail_errno("set the time of a packed log file");
}

}  // namespace grua::monitor
