// What a fuzz target is: this function, given any bytes. It may refuse them with grua::Error and nothing else.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace grua::fuzz {

inline std::string_view text(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

/// Ends the program where what must hold does not.
inline void check(bool holds) {
    if (!holds) std::abort();
}

/// Runs `body`; nothing else than an Error with a text may leave it.
template <typename Body>
int refuses_or_takes(Body&& body) {
    try {
        body();
    } catch (const Error& error) {
        check(*error.what() != '\0');
    }
    return 0;
}

}  // namespace grua::fuzz
