#include "build/path_table.hpp"

namespace grua::build {

void PathTable::add(std::string_view path, std::uint64_t size, std::size_t part, bool may_be_taken) {
    while (!open_.empty() && !path.starts_with(open_.back().path)) open_.pop_back();
    const std::string_view name = open_.empty() ? path : path.substr(open_.back().path.size());
    rows_.push_back({.size = size,
                     .name_at = names_.size(),
                     .parent = open_.empty() ? none : open_.back().number,
                     .name_size = static_cast<std::uint16_t>(name.size()),
                     .part = static_cast<std::uint16_t>(part),
                     .may_be_taken = may_be_taken});
    names_ += name;
    if (!may_be_taken) open_.push_back({std::string(path) + "/", static_cast<std::uint32_t>(rows_.size() - 1)});
}

std::string PathTable::path(std::uint32_t number) const {
    std::vector<std::string_view> names;
    for (; number != none; number = rows_.at(number).parent) {
        const Row& row = rows_.at(number);
        names.push_back(std::string_view(names_).substr(row.name_at, row.name_size));
    }
    std::string out;
    for (std::size_t index = names.size(); index-- > 0;) out.append(names[index]).append(index > 0 ? "/" : "");
    return out;
}

bool PathTable::take(std::uint32_t number) noexcept {
    if (number >= rows_.size() || !rows_[number].may_be_taken) return false;
    rows_[number].may_be_taken = false;
    return true;
}

}  // namespace grua::build
