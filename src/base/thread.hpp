// Work in a thread of its own, for what changes the thread that does it: its namespaces, its working folder, its descriptors.
#pragma once

#include "base/error.hpp"
#include "base/fault_point.hpp"

#include <exception>
#include <system_error>
#include <thread>

namespace grua {

/// A std::thread or a std::jthread; where there can be none, that is an Error like any other.
template <typename Thread = std::thread, typename Work>
Thread start_thread(Work&& work) {
    while_doing("start a thread", [] { fault_point("base:start-thread"); });
    try {
        return Thread(std::forward<Work>(work));
    } catch (const std::system_error& error) {
        throw Error(ErrorKind::unavailable, fmt::format("start a thread: {}", error.code().message()), error.code().value());
    }
}

/// Waits for it; what it throws is thrown here.
template <typename Work>
void in_thread(const Work& work) {
    std::exception_ptr failure;
    start_thread([&] {
        try {
            work();
        } catch (...) {
            failure = std::current_exception();
        }
    }).join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace grua
