// The keys by which a client leaves a terminal: "ctrl-p,ctrl-q".
#pragma once

#include <string>
#include <string_view>

namespace grua::monitor {

inline constexpr std::string_view default_detach_keys = "ctrl-p,ctrl-q";

/// The bytes that the keys send. Throws Error(invalid_argument) for an unknown key.
std::string parse_detach_keys(std::string_view text);

/// What a request asks for, empty for the default. Throws Error(invalid_argument) in Docker's words.
void check_detach_keys(std::string_view text);

/// Looks for the keys in what a client types. A beginning of them is held back until it is clear.
class DetachMatcher {
public:
    explicit DetachMatcher(std::string keys) : keys_(std::move(keys)) {}

    /// Appends to `out` what goes to the program. True where the keys are complete; what follows them is dropped.
    bool feed(std::string_view bytes, std::string& out);

private:
    std::string keys_;
    std::size_t matched_ = 0;
};

}  // namespace grua::monitor
