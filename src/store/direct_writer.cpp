#include "store/direct_writer.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/thread.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cerrno>
#include <new>

namespace grua::store {
namespace {

/// What memory, offset and length of a direct write are multiples of; no disk asks for more.
constexpr std::size_t alignment = 4096;

bool set_direct(int fd, bool on) {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

}  // namespace

DirectWriter::DirectWriter(int fd, std::uint64_t offset, std::string name)
    : fd_(fd), name_(std::move(name)), offset_(offset), is_direct_(set_direct(fd, true)) {
    thread_ = start_thread([this] { write_pieces(); });
}

DirectWriter::~DirectWriter() { give_up(); }

void DirectWriter::give_up() noexcept {
    {
        const MutexLock lock{mutex_};
        ended_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

void DirectWriter::write(std::string_view bytes) {
    while (!bytes.empty()) {
        if (!filling_) take_free_piece();
        const std::size_t count = bytes.copy(filling_->bytes.get() + filling_->size, piece_size - filling_->size);
        filling_->size += count;
        bytes.remove_prefix(count);
        if (filling_->size == piece_size) hand_over();
    }
}

void DirectWriter::take_free_piece() {
    MutexLock lock{mutex_};
    changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return filled_ - written_ < pieces_ahead || error_; });
    if (error_) std::rethrow_exception(error_);
    filling_ = &piece(filled_);
    lock.unlock();
    if (!filling_->bytes) filling_->bytes.reset(static_cast<char*>(std::aligned_alloc(alignment, piece_size)));
    if (!filling_->bytes) throw std::bad_alloc();
    filling_->size = 0;
}

void DirectWriter::hand_over() {
    filling_ = nullptr;
    const MutexLock lock{mutex_};
    ++filled_;
    changed_.notify_all();
}

void DirectWriter::finish() {
    if (filling_) hand_over();
    {
        MutexLock lock{mutex_};
        changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return written_ == filled_ || error_; });
        ended_ = true;
        changed_.notify_all();
    }
    thread_.join();
    const MutexLock lock{mutex_};
    if (error_) std::rethrow_exception(error_);
}

void DirectWriter::write_pieces() noexcept {
    for (;;) {
        MutexLock lock{mutex_};
        changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return written_ < filled_ || ended_; });
        if (ended_) return;
        const Piece& mine = piece(written_);
        lock.unlock();
        std::exception_ptr error;
        try {
            write_out({mine.bytes.get(), mine.size});
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        ++written_;
        error_ = error;
        changed_.notify_all();
        if (error_) return;
    }
}

void DirectWriter::leave_direct() {
    if (!set_direct(fd_, false)) fail_errno("write {}", name_);
    is_direct_ = false;
}

void DirectWriter::write_out(std::string_view bytes) {
    fault_point("store:write-direct");
    while (!bytes.empty()) {
        // What is no multiple of a block is the last of the file, or what a full disk left.
        const std::size_t whole = bytes.size() - bytes.size() % alignment;
        if (is_direct_ && (whole == 0 || offset_ % alignment != 0)) leave_direct();
        const ssize_t count = ::pwrite(fd_, bytes.data(), is_direct_ ? whole : bytes.size(), static_cast<off_t>(offset_));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EINVAL && is_direct_) {
            leave_direct();
            continue;
        }
        if (count < 0) fail_errno("write {}", name_);
        bytes.remove_prefix(static_cast<std::size_t>(count));
        offset_ += static_cast<std::uint64_t>(count);
    }
}

}  // namespace grua::store
