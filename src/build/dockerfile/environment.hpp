// The variables of a stage at one of its instructions.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// Names and their values. A copy costs nothing and shares what it does not change: a stage begins with the variables of its base, and a
/// Dockerfile may have as many stages as lines.
class Environment {
public:
    void set(std::string_view name, std::string value);

    /// Nothing where it is not set.
    const std::string* find(std::string_view name) const noexcept;
    bool contains(std::string_view name) const noexcept { return find(name) != nullptr; }

    std::size_t size() const noexcept;

    /// In their order, `limit` at most.
    std::vector<std::string_view> names(std::size_t limit) const;

    struct Node;

private:
    std::shared_ptr<const Node> root_;
};

}  // namespace grua::build::dockerfile
