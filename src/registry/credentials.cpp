#include "registry/credentials.hpp"

#include "base/codec.hpp"
#include "base/encoding.hpp"

#include <tuple>

namespace grua::registry {
namespace {

constexpr std::size_t auth_limit = std::size_t{64} << 10U;  // an identity token is a few kilobytes

struct AuthConfig {
    std::string username;
    std::string password;
    std::string auth;
    std::string server_address;
    std::string identity_token;
    std::string registry_token;

    template <typename Self = AuthConfig>
    static json::Fields fields() {
        return json::Fields{json::field("username", &Self::username),
                            json::field("password", &Self::password),
                            json::field("auth", &Self::auth),
                            json::field("serveraddress", &Self::server_address),
                            json::field("identitytoken", &Self::identity_token),
                            json::field("registrytoken", &Self::registry_token)};
    }
};

Credentials parse(std::string_view text) {
    if (text.size() > auth_limit) fail(ErrorKind::invalid_argument, "longer than {} bytes", auth_limit);
    AuthConfig config = json::parse<AuthConfig>(text);
    Credentials out{std::move(config.username), std::move(config.password), std::move(config.identity_token),
                    std::move(config.registry_token), std::move(config.server_address)};
    // "user:password" as config.json keeps it; some clients send that alone.
    if (out.username.empty() && out.password.empty() && !config.auth.empty()) {
        const auto pair = base64_decode_any(config.auth);
        const std::size_t colon = pair ? pair->find(':') : std::string::npos;
        if (colon == std::string::npos) fail(ErrorKind::invalid_argument, "auth is not base64 of user:password");
        out.username = pair->substr(0, colon);
        out.password = pair->substr(colon + 1);
    }
    // They become headers.
    for (const std::string* each : {&out.username, &out.password, &out.identity_token, &out.registry_token}) {
        if (each->find_first_of(std::string_view{"\r\n\0", 3}) != std::string::npos) {
            fail(ErrorKind::invalid_argument, "a line break or a null byte in it");
        }
    }
    return out;
}

}  // namespace

Credentials parse_auth_header(std::string_view header) {
    if (header.empty()) return {};
    return while_doing("invalid X-Registry-Auth header", [&] {
        const auto text = header.size() > 2 * auth_limit ? std::nullopt : base64_decode_any(header);
        if (!text) fail(ErrorKind::invalid_argument, "must be a valid base64url-encoded string");
        return text->empty() ? Credentials{} : parse(*text);
    });
}

Credentials parse_auth_body(std::string_view json) {
    return while_doing("invalid credentials", [&] { return parse(json); });
}

}  // namespace grua::registry
