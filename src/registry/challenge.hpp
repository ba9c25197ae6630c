// WWW-Authenticate (RFC 9110, 11.6.1) and Link (RFC 8288), as far as registries use them. Both come from foreign hosts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::registry {

struct Challenge {
    std::string scheme;                             ///< lower case: "bearer", "basic"
    std::map<std::string, std::string> parameters;  ///< names in lower case; the first of a name counts

    /// Empty where there is no such parameter.
    std::string_view parameter(const std::string& name) const;
};

/// All challenges of a header, whose fields are separated by '\n' (Response::all). What is not understood ends a field: what came before it
/// counts. Never throws.
std::vector<Challenge> parse_challenges(std::string_view fields);

/// The target of `rel="next"`; nothing where there is none.
std::optional<std::string> next_link(std::string_view header);

}  // namespace grua::registry
