// http and https URLs by libcurl's own parser, so that what is checked is what is connected to.
#pragma once

#include <string>
#include <string_view>

namespace grua::registry {

struct Url {
    std::string scheme;  ///< "http" or "https"
    std::string host;    ///< lower case; an IPv6 address in brackets
    std::string port;    ///< empty where it is the scheme's own
    std::string path;    ///< begins with '/'
    std::string query;   ///< without '?'; may be empty

    /// Throws invalid_argument for another scheme, user names, control bytes.
    static Url parse(std::string_view text);

    /// Of a Location header: relative to this one.
    Url resolve(std::string_view location) const;

    std::string authority() const { return port.empty() ? host : host + ":" + port; }  ///< host[:port]
    std::string text() const;
    void add_query(std::string_view name, std::string_view value);

    bool same_origin(const Url& other) const noexcept { return scheme == other.scheme && host == other.host && port == other.port; }
};

}  // namespace grua::registry
