#include "build/dockerfile/environment.hpp"

#include <algorithm>

namespace grua::build::dockerfile {

// A balanced (AVL) tree whose nodes never change: a new value makes new nodes on the way to it.
struct Environment::Node {
    using Link = std::shared_ptr<const Node>;

    Node(std::string_view its_name, std::shared_ptr<const std::string> its_value, Link its_left, Link its_right)
        : name(its_name),
          value(std::move(its_value)),
          left(std::move(its_left)),
          right(std::move(its_right)),
          height(1 + std::max(height_of(left), height_of(right))),
          size(1 + size_of(left) + size_of(right)) {}

    static int height_of(const Link& link) noexcept { return link ? link->height : 0; }
    static std::size_t size_of(const Link& link) noexcept { return link ? link->size : 0; }

    std::string name;
    std::shared_ptr<const std::string> value;
    Link left;
    Link right;
    int height;
    std::size_t size;
};

namespace {

using Node = Environment::Node;
using Link = Node::Link;
using Value = std::shared_ptr<const std::string>;

Link make(const Node& what, Link left, Link right) {
    return std::make_shared<const Node>(what.name, what.value, std::move(left), std::move(right));
}

/// `what` above two trees whose heights differ by two at most.
Link balanced(const Node& what, Link left, Link right) {
    const int difference = Node::height_of(left) - Node::height_of(right);
    if (difference > 1) {
        if (Node::height_of(left->left) >= Node::height_of(left->right)) {
            return make(*left, left->left, make(what, left->right, std::move(right)));
        }
        const Link middle = left->right;
        return make(*middle, make(*left, left->left, middle->left), make(what, middle->right, std::move(right)));
    }
    if (difference < -1) {
        if (Node::height_of(right->right) >= Node::height_of(right->left)) {
            return make(*right, make(what, std::move(left), right->left), right->right);
        }
        const Link middle = right->left;
        return make(*middle, make(what, std::move(left), middle->left), make(*right, middle->right, right->right));
    }
    return make(what, std::move(left), std::move(right));
}

Link with(const Link& tree, std::string_view name, const Value& value) {
    if (!tree) return std::make_shared<const Node>(name, value, nullptr, nullptr);
    if (name < tree->name) return balanced(*tree, with(tree->left, name, value), tree->right);
    if (name > tree->name) return balanced(*tree, tree->left, with(tree->right, name, value));
    return std::make_shared<const Node>(name, value, tree->left, tree->right);
}

void collect(const Link& tree, std::size_t limit, std::vector<std::string_view>& out) {
    if (!tree || out.size() >= limit) return;
    collect(tree->left, limit, out);
    if (out.size() < limit) out.push_back(tree->name);
    collect(tree->right, limit, out);
}

}  // namespace

void Environment::set(std::string_view name, std::string value) {
    root_ = with(root_, name, std::make_shared<const std::string>(std::move(value)));
}

const std::string* Environment::find(std::string_view name) const noexcept {
    const Node* at = root_.get();
    while (at && at->name != name) at = name < at->name ? at->left.get() : at->right.get();
    return at ? at->value.get() : nullptr;
}

std::size_t Environment::size() const noexcept { return Node::size_of(root_); }

std::vector<std::string_view> Environment::names(std::size_t limit) const {
    std::vector<std::string_view> out;
    collect(root_, limit, out);
    return out;
}

}  // namespace grua::build::dockerfile
