#include "registry/tokens.hpp"

#include "base/codec.hpp"

#include <tuple>

namespace grua::registry {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t cache_limit = 1000;
constexpr std::int64_t default_seconds = 60;
constexpr std::int64_t longest_seconds = 3600;
constexpr std::chrono::seconds margin{5};  // a request that is under way when it expires

struct TokenWire {
    std::string token;
    std::string access_token;
    std::string refresh_token;
    std::int64_t expires_in = 0;

    template <typename Self = TokenWire>
    static json::Fields fields() {
        return json::Fields{json::field("token", &Self::token), json::field("access_token", &Self::access_token),
                            json::field("refresh_token", &Self::refresh_token), json::field("expires_in", &Self::expires_in)};
    }
};

template <typename Map>
void make_room(Map& map) {
    // What is thrown out is fetched again; there is no need for an order.
    if (map.size() >= cache_limit) map.erase(map.begin());
}

}  // namespace

Token parse_token(std::string_view json, Clock::time_point now) {
    TokenWire wire = json::parse<TokenWire>(json);
    Token token{wire.token.empty() ? std::move(wire.access_token) : std::move(wire.token), std::move(wire.refresh_token), {}};
    if (token.text.empty()) fail(ErrorKind::invalid_argument, "authorization server did not include a token in the response");
    for (const char c : token.text) {
        if (static_cast<unsigned char>(c) <= ' ' || c == 127) fail(ErrorKind::invalid_argument, "the token has a byte that none may have");
    }
    const std::int64_t seconds = std::clamp(wire.expires_in > 0 ? wire.expires_in : default_seconds, std::int64_t{1}, longest_seconds);
    token.expires = now + std::chrono::seconds{seconds};
    return token;
}

std::optional<std::string> TokenCache::find(const std::string& key) {
    const MutexLock lock{mutex_};
    const auto found = tokens_.find(key);
    if (found == tokens_.end()) return std::nullopt;
    if (Clock::now() + margin >= found->second.expires) {
        tokens_.erase(found);
        return std::nullopt;
    }
    return found->second.text;
}

void TokenCache::keep(const std::string& key, const Token& token) {
    const MutexLock lock{mutex_};
    make_room(tokens_);
    tokens_.insert_or_assign(key, token);
}

void TokenCache::forget(const std::string& key) {
    const MutexLock lock{mutex_};
    tokens_.erase(key);
}

std::string TokenCache::challenge(const std::string& base) {
    const MutexLock lock{mutex_};
    const auto found = challenges_.find(base);
    return found == challenges_.end() ? std::string{} : found->second;
}

void TokenCache::learn(const std::string& base, std::string header) {
    const MutexLock lock{mutex_};
    make_room(challenges_);
    challenges_.insert_or_assign(base, std::move(header));
}

}  // namespace grua::registry
