// By what the texts are found that are kept with a record.
#pragma once

#include "base/codec.hpp"
#include "base/prepared.hpp"

namespace grua::api {

enum class Shape : std::uint8_t { summary, inspect };

inline std::uint32_t key_of(Shape shape, json::Version version) noexcept {
    return (static_cast<std::uint32_t>(shape) << 24U) | static_cast<std::uint32_t>(version.minor_number);
}

}  // namespace grua::api
