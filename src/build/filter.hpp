// Filters as containerd has them, which clients of BuildKit send: "type==regular,description~=make", selectors that all have to match; of
// several texts one is enough.
//
//     selector := field ("." field)* [("==" | "!=" | "~=") value]
//     field    := [A-Za-z0-9_]+ | quoted
//     value    := what is no comma and no white space | quoted, by "" as Go has it, of "~=" also by // or ||
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// More texts, and longer ones, are refused.
inline constexpr std::size_t filter_limit = 100;
inline constexpr std::size_t filter_size_limit = 4096;

class Filter {
public:
    /// What a record has in a field ("labels.a"); nothing where it has no such field.
    using Fields = std::function<std::optional<std::string>(const std::string& path)>;

    /// Throws Error(invalid_argument) that shows the place.
    static Filter parse(const std::vector<std::string>& texts);

    bool matches(const Fields& fields) const;

    struct Selector;

private:
    using All = std::vector<std::shared_ptr<const Selector>>;
    std::vector<All> any_;
};

/// One line of CSV, as filters of a history come: RFC 4180. Throws Error(invalid_argument).
std::vector<std::string> split_csv(std::string_view line);

}  // namespace grua::build
