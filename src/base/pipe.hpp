// One side writes a stream in a thread of its own, the other reads it from a descriptor.
#pragma once

#include "base/error.hpp"
#include "base/fd.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <exception>
#include <functional>
#include <thread>

namespace grua {

/// `consume(fd, whole)` reads what `produce(fd)` writes. A stream that breaks off looks like one that ends: `consume` calls
/// `whole` when it has read all, before it makes anything of it, and that throws what `produce` threw. Where both fail, the
/// writing side's error is the one that is thrown, unless it is only that nobody reads any more.
template <typename Produce, typename Consume>
auto through_pipe(Produce produce, Consume consume) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("make a pipe");
    Fd reading{ends[0]};
    std::exception_ptr failure;
    std::jthread producing{[&failure, &produce, writing = Fd{ends[1]}]() mutable {
        const Fd own = std::move(writing);
        try {
            produce(own.get());
        } catch (...) {
            failure = std::current_exception();
        }
    }};
    const std::function<void()> whole = [&] {
        // What follows the end of an archive is nobody's; the writer must not wait for a reader of it.
        std::array<char, 4096> rest{};
        for (ssize_t count = 1; count > 0 || (count < 0 && errno == EINTR);) count = ::read(reading.get(), rest.data(), rest.size());
        if (producing.joinable()) producing.join();
        if (failure) std::rethrow_exception(failure);
    };
    try {
        auto result = consume(reading.get(), whole);
        reading = Fd{};
        return result;
    } catch (...) {
        const std::exception_ptr thrown = std::current_exception();
        reading = Fd{};
        if (producing.joinable()) producing.join();
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const Error& error) {
            if (error.os_error() != EPIPE) throw;
        }
        std::rethrow_exception(thrown);
    }
}

}  // namespace grua
