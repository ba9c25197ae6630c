#include "registry/credentials.hpp"

#include "base/codec.hpp"

#include <array>
#include <tuple>

namespace grua::registry {
namespace {

constexpr std::size_t auth_limit = std::size_t{64} << 10U;  // an identity token is a few kilobytes
constexpr unsigned char no_digit = 255;

constexpr auto digit_values = [] {
    std::array<unsigned char, 256> values{};
    values.fill(no_digit);
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (std::size_t at = 0; at < digits.size(); ++at) values[static_cast<unsigned char>(digits[at])] = static_cast<unsigned char>(at);
    values['-'] = values['+'];
    values['_'] = values['/'];
    return values;
}();

struct AuthConfig {
    std::string username;
    std::string password;
    std::string auth;
    std::string server_address;
    std::string identity_token;
    std::string registry_token;

    static constexpr auto fields() {
        return std::tuple{json::field("username", &AuthConfig::username),
                          json::field("password", &AuthConfig::password),
                          json::field("auth", &AuthConfig::auth),
                          json::field("serveraddress", &AuthConfig::server_address),
                          json::field("identitytoken", &AuthConfig::identity_token),
                          json::field("registrytoken", &AuthConfig::registry_token)};
    }
};

Credentials parse(std::string_view text) {
    if (text.size() > auth_limit) fail(ErrorKind::invalid_argument, "longer than {} bytes", auth_limit);
    AuthConfig config = json::parse<AuthConfig>(text);
    Credentials out{std::move(config.username), std::move(config.password), std::move(config.identity_token),
                    std::move(config.registry_token), std::move(config.server_address)};
    // "user:password" as config.json keeps it; some clients send that alone.
    if (out.username.empty() && out.password.empty() && !config.auth.empty()) {
        std::string pair;
        const bool decoded = base64_decode(config.auth, pair);
        const std::size_t colon = pair.find(':');
        if (!decoded || colon == std::string::npos) fail(ErrorKind::invalid_argument, "auth is not base64 of user:password");
        out.username = pair.substr(0, colon);
        out.password = pair.substr(colon + 1);
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

std::string base64_encode(std::string_view bytes) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
        std::uint32_t group = 0;
        for (std::size_t index = 0; index < 3; ++index) {
            group = (group << 8U) | (index < count ? static_cast<unsigned char>(bytes[at + index]) : 0U);
        }
        for (std::size_t index = 0; index < 4; ++index) out += index <= count ? digits[(group >> (18U - 6U * index)) & 63U] : '=';
    }
    return out;
}

bool base64_decode(std::string_view text, std::string& out) {
    while (text.ends_with('=')) text.remove_suffix(1);
    out.clear();
    std::uint32_t group = 0;
    unsigned bits = 0;
    for (const char c : text) {
        const unsigned char value = digit_values[static_cast<unsigned char>(c)];
        if (value == no_digit) return false;
        group = (group << 6U) | value;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        out += static_cast<char>((group >> bits) & 255U);
    }
    return bits < 6;  // six bits left over are a digit that ends in nothing
}

Credentials parse_auth_header(std::string_view header) {
    if (header.empty()) return {};
    return while_doing("invalid X-Registry-Auth header", [&] {
        std::string text;
        if (header.size() > 2 * auth_limit || !base64_decode(header, text)) {
            fail(ErrorKind::invalid_argument, "must be a valid base64url-encoded string");
        }
        return text.empty() ? Credentials{} : parse(text);
    });
}

Credentials parse_auth_body(std::string_view json) {
    return while_doing("invalid credentials", [&] { return parse(json); });
}

}  // namespace grua::registry
