// Of a long list of files what must be kept to find them again by their numbers: names once, folders by reference. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

class PathTable {
public:
    /// In the order of a walk: what is in a folder comes after it and before what is not.
    void add(std::string_view path, std::uint64_t size, std::size_t part, bool may_be_taken);

    std::size_t count() const noexcept { return rows_.size(); }
    std::string path(std::uint32_t number) const;
    std::uint64_t size(std::uint32_t number) const { return rows_.at(number).size; }
    std::size_t part(std::uint32_t number) const { return rows_.at(number).part; }

    /// Once for each that may be; false for all else, also for numbers that there are not.
    bool take(std::uint32_t number) noexcept;

private:
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    struct Row {
        std::uint64_t size = 0;
        std::uint64_t name_at = 0;
        std::uint32_t parent = none;
        std::uint16_t name_size = 0;
        std::uint16_t part = 0;
        bool may_be_taken = false;
    };
    struct Open {
        std::string path;  ///< With a slash at its end.
        std::uint32_t number = none;
    };
    std::string names_;
    std::vector<Row> rows_;
    std::vector<Open> open_;  ///< The last one added, and the folders that it is in.
};

}  // namespace grua::build
