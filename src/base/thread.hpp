// Work in a thread of its own, for what changes the thread that does it: its namespaces, its working folder, its descriptors.
#pragma once

#include <exception>
#include <thread>

namespace grua {

/// Waits for it; what it throws is thrown here.
template <typename Work>
void in_thread(const Work& work) {
    std::exception_ptr failure;
    std::thread{[&] {
        try {
            work();
        } catch (...) {
            failure = std::current_exception();
        }
    }}.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace grua
