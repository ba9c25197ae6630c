// URLs as people write them, before they are taken apart: who is in one, how one is shown, what must be escaped. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

struct UrlUser {
    std::string name;
    std::optional<std::string> password;

    /// What a server is told of them: "Basic dXNlcjpwYXNz".
    std::string authorization() const;
    bool operator==(const UrlUser&) const = default;
};

struct UrlParts {
    std::string scheme;  ///< In lower case; empty where there is none.
    std::optional<UrlUser> user;
    std::string host;   ///< With its port; an IPv6 address in brackets.
    std::string path;   ///< As it is written, with its slash; may be empty.
    std::string query;  ///< Without "?".
    std::string fragment;

    /// Without user, query and fragment: "https://host/path".
    std::string plain() const { return scheme + "://" + host + path; }
    std::string host_name() const;  ///< Without port and brackets.
};

/// Nothing where there is no "scheme://" in front.
std::optional<UrlParts> split_url(std::string_view text);

/// For people and logs: "https://xxxxx:xxxxx@host/path". What is no URL stays as it is.
std::string without_credentials(std::string_view text);

/// %20 is a blank; what is no escape stays. "+" is one only in a query.
std::string percent_decode(std::string_view text);

/// Names and values in their order, decoded; a name without "=" has an empty value.
std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query);

/// Blanks and bytes beyond ASCII, which no URL has and people write. Throws Error(invalid_argument) of control bytes, above `limit` bytes.
std::string escape_url(std::string_view text);

inline constexpr std::size_t url_limit = 16384;

}  // namespace grua::build
