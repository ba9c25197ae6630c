// The end of a large file, written past the page cache by a thread of its own: what nobody reads soon needs no memory, does not drive
// out what others read, and is on the disk when it is asked to be. Where the file system takes no O_DIRECT it is written as any file.
#pragma once

#include "base/mutex.hpp"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

namespace grua::store {

class DirectWriter {
public:
    /// Where it may begin and how much it writes at once.
    static constexpr std::size_t piece_size = std::size_t{1} << 20U;

    /// Goes on at `offset`, a multiple of `piece_size`. `fd` is borrowed, and nobody else writes to it. `name` is for errors.
    DirectWriter(int fd, std::uint64_t offset, std::string name);
    DirectWriter(const DirectWriter&) = delete;
    DirectWriter& operator=(const DirectWriter&) = delete;
    ~DirectWriter();  ///< What is not finished is given up.

    /// Throws what an earlier write met.
    void write(std::string_view bytes);

    /// All of it is in the file; durable as every write is, by fsync.
    void finish();

private:
    struct Free {
        void operator()(char* memory) const noexcept { std::free(memory); }
    };
    struct Piece {
        std::unique_ptr<char, Free> bytes;
        std::size_t size = 0;
    };
    static constexpr std::size_t pieces_ahead = 4;

    Piece& piece(std::uint64_t number) { return pieces_.at(number % pieces_ahead); }
    void take_free_piece();
    void hand_over();
    void write_pieces() noexcept;
    void write_out(std::string_view bytes);
    void leave_direct();
    void give_up() noexcept;

    const int fd_;
    const std::string name_;
    std::uint64_t offset_;  // the thread's, until it has ended
    bool is_direct_ = false;
    std::array<Piece, pieces_ahead> pieces_;  // in turn; one belongs to who fills or writes it
    Piece* filling_ = nullptr;

    Mutex mutex_;
    std::condition_variable_any changed_;
    std::uint64_t filled_ GRUA_GUARDED_BY(mutex_) = 0;  // so many pieces were handed over
    std::uint64_t written_ GRUA_GUARDED_BY(mutex_) = 0;
    bool ended_ GRUA_GUARDED_BY(mutex_) = false;
    std::exception_ptr error_ GRUA_GUARDED_BY(mutex_);
    std::thread thread_;
};

}  // namespace grua::store
