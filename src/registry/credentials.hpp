// Credentials as Docker's clients send them.
#pragma once

#include <string>
#include <string_view>

namespace grua::registry {

struct Credentials {
    std::string username;
    std::string password;
    std::string identity_token;  ///< a refresh token, as /auth gave it
    std::string registry_token;  ///< a bearer token to be used as it is
    std::string server_address;

    bool empty() const noexcept { return username.empty() && password.empty() && identity_token.empty() && registry_token.empty(); }
    friend bool operator==(const Credentials&, const Credentials&) = default;
};

/// X-Registry-Auth: base64url of {"username", "password", "auth", "email", "serveraddress", "identitytoken", "registrytoken"}.
/// An empty text and "{}" are no credentials. Throws invalid_argument `invalid X-Registry-Auth header: …`.
Credentials parse_auth_header(std::string_view header);

/// The body of POST /auth: the same document, not encoded.
Credentials parse_auth_body(std::string_view json);

}  // namespace grua::registry
