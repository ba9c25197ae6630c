// What the result of an operation depends on. Pure.
//
// An operation has two keys. One is made of its definition and its inputs' definitions: where a result by it is known, nothing needs to be
// fetched or made to find that out. The other is made of the inputs as they came out - of what is read of them only, where that can be
// told: then a file that is not copied changes nothing, nor does one that was touched. Times are no part of either, as in BuildKit.
#pragma once

#include "build/graph.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// A part of an input's files.
struct Selection {
    std::string path = "/";
    bool is_wildcard = false;
    bool follows_links = false;  ///< Also that of the last name.
    std::vector<std::string> include;
    std::vector<std::string> exclude;

    friend auto operator<=>(const Selection&, const Selection&) = default;
};

struct InputUse {
    /// Its contents count, these of them. Otherwise it counts as a whole, by the key under which it came out.
    bool by_content = false;
    std::vector<Selection> selections;
};

struct KeyPlan {
    std::string operation;  ///< Digest of all that is the operation's own.
    std::vector<InputUse> inputs;
};

KeyPlan plan_key(const pb::Op& op);

/// `inputs`: what each input counts with, in their order.
std::string make_key(const KeyPlan& plan, const std::vector<std::string>& inputs);

/// One of several results by the key of them all.
std::string key_of_result(std::string_view key, int index);

}  // namespace grua::build
