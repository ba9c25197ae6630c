// A file that only takes room on a disk, to be given back when the disk is full: with it what makes room can be written down.
#pragma once

#include <cstdint>
#include <string>

namespace grua::store {

class Reserve {
public:
    /// Removals, and a start that finds nothing changed, write some dozens of pages.
    static constexpr std::uint64_t size = std::uint64_t{4} << 20U;

    explicit Reserve(std::string path) : path_(std::move(path)) {}

    /// Less is free than it would give.
    bool is_needed() const noexcept;

    /// True where there was something to give back.
    bool release() noexcept;

    /// Takes the room again where at least as much is left beside it; else nothing happens.
    void fill() noexcept;

private:
    std::string path_;
};

}  // namespace grua::store
