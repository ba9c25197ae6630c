// Bearer tokens (distribution spec's token authentication and OAuth2): fetched by scope, kept until they expire.
#pragma once

#include "base/mutex.hpp"
#include "registry/credentials.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace grua::registry {

struct Token {
    std::string text;
    std::string refresh;  ///< an identity token, where one was asked for and given
    std::chrono::steady_clock::time_point expires;
};

/// A token server's answer: `token` or `access_token`, expires_in (60 s where it says none). Throws invalid_argument where there is none.
Token parse_token(std::string_view json, std::chrono::steady_clock::time_point now);

class TokenCache {
public:
    /// Nothing where there is none, or not for long enough.
    std::optional<std::string> find(const std::string& key);
    void keep(const std::string& key, const Token& token);
    void forget(const std::string& key);

    /// Which challenge a host answers with, so that the next request brings what it wants. Empty: not known.
    std::string challenge(const std::string& base);
    void learn(const std::string& base, std::string header);

private:
    Mutex mutex_;
    std::map<std::string, Token> tokens_ GRUA_GUARDED_BY(mutex_);
    std::map<std::string, std::string> challenges_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::registry
