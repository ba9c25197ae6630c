// Requests to one host: with what it wants as authorization, over its redirects, and again where it asks for time.
#pragma once

#include "base/mutex.hpp"
#include "registry/answers.hpp"
#include "registry/http.hpp"
#include "registry/rules.hpp"
#include "registry/tokens.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <vector>

namespace grua::registry {

/// What all calls of one Client share.
struct Core {
    explicit Core(const Options& given);

    std::shared_ptr<const Rules> rules() const;
    void reload(const Options& given);

    /// A host that could not be reached is not asked again for a while, where there is another.
    bool is_down(const Endpoint& endpoint) const;
    void note_down(const Endpoint& endpoint);
    void note_up(const Endpoint& endpoint);

    /// The scheme that an insecure host was found to speak; empty where it is not known.
    std::string known_scheme(const std::string& authority) const;
    void note_scheme(const Endpoint& endpoint);
    void forget_scheme(const Endpoint& endpoint);

private:
    mutable Mutex mutex_;
    std::shared_ptr<const Rules> rules_ GRUA_GUARDED_BY(mutex_);

public:
    const Options options;
    Http http;
    mutable TokenCache tokens;
    static constexpr std::ptrdiff_t extra_connections = 6;
    mutable std::counting_semaphore<extra_connections> extra{extra_connections};  ///< for parallel ranges, of all blobs together

private:
    std::map<std::string, std::chrono::steady_clock::time_point> down_ GRUA_GUARDED_BY(mutex_);
    std::map<std::string, std::string> schemes_ GRUA_GUARDED_BY(mutex_);
};

class Session {
public:
    /// `scope` is what a token is asked for: "repository:library/redis:pull"; several are separated by a blank.
    Session(Core& core, std::shared_ptr<const Rules> rules, const Endpoint& endpoint, const oci::Reference* reference, std::string scope,
            const Access& access);
    Session(Core&, std::shared_ptr<const Rules>, const Endpoint&, const oci::Reference*, std::string, Access&&) = delete;  // it is kept

    /// Any answer but a redirect and a challenge that could be met. `accept` sees 2xx only. Throws Failure.
    Response send(Request request, const Accept& accept = {});

    /// send() that throws failure_of() where the status is not one of `wanted`.
    Response expect(Request request, std::initializer_list<int> wanted, const Accept& accept = {});

    /// The answer without any credentials. A challenge is learnt, not met.
    Response probe(Request request);

    /// From the token service that a challenge names. Throws Failure.
    Token fetch_token(std::string_view realm, std::string_view service, std::string_view scope, bool offline);

    const Endpoint& endpoint() const noexcept { return endpoint_; }
    const Access& access() const noexcept { return access_; }
    Core& core() const noexcept { return core_; }
    const Credentials& credentials() const noexcept { return credentials_; }

private:
    struct Authorization {
        std::string header;     ///< empty where none is known
        std::string token_key;  ///< empty where it is no token of the cache
        bool from_cache = false;
    };
    Authorization authorization(const std::string& challenges);
    std::string remembered_challenge() const;
    void remember_challenge(const std::string& challenge);
    Response perform(Request& request, const Accept& accept, bool own_host);
    const Tls& tls_for(const Url& url);

    Core& core_;
    std::shared_ptr<const Rules> rules_;
    Endpoint endpoint_;
    std::string scope_;
    const Access& access_;
    Credentials credentials_;
    std::map<std::string, Tls> tls_;
};

/// Counts attempts at one host and waits between them: as long as the host says, or with exponential back-off and jitter.
class Attempts {
public:
    /// `bound`: of all attempts, whatever they bring.
    Attempts(const Core& core, const Access& access, std::size_t bound) : core_(core), access_(access), left_(bound) {}

    /// After a failure: waits and returns true; false where it was the last. `progressed`: it brought something.
    bool again(const Failure& failure, bool progressed);
    void restart() noexcept { in_a_row_ = 0; }  ///< for another host

private:
    const Core& core_;
    const Access& access_;
    std::size_t left_;
    unsigned in_a_row_ = 0;
};

/// Waits, or throws where it is stopped meanwhile.
void wait_for(std::chrono::milliseconds time, const std::stop_token& stop);

/// The hosts that are asked, in their order; one that was down a moment ago is left out where there is another. Never empty.
std::vector<Endpoint> hosts_for(const Core& core, const Rules& rules, const oci::Reference& reference, Operation operation);

/// The index of the host to ask after `failure`: the same one after a while, or the next. Throws it where there is none.
std::size_t next_host(Core& core, const std::vector<Endpoint>& endpoints, std::size_t index, const Failure& failure, Attempts& attempts,
                      bool progressed = false);

std::string scope_of(const Endpoint& endpoint, std::string_view actions);

/// Where a Location header leads. Throws Failure for what is no place, and where it gives up TLS.
inline constexpr unsigned redirect_limit = 10;
bool is_redirect(int status) noexcept;
bool is_success(int status) noexcept;
Url target_of(const Request& request, const Response& response, const Endpoint& endpoint);

/// `body(session)` of the first host that answers it: each is asked with retries, mirrors before the registry.
/// The last one's failure is thrown.
template <typename Body>
auto from_hosts(Core& core, const oci::Reference& reference, Operation operation, const std::string& actions, const Access& access,
                Body&& body) {
    const std::shared_ptr<const Rules> rules = core.rules();
    const std::vector<Endpoint> endpoints = hosts_for(core, *rules, reference, operation);
    Attempts attempts{core, access, core.options.limits.attempts};
    for (std::size_t index = 0;;) {
        const Endpoint& endpoint = endpoints.at(index);
        try {
            Session session{core, rules, endpoint, &reference, scope_of(endpoint, actions), access};
            auto out = body(session);
            core.note_up(endpoint);
            return out;
        } catch (const Failure& failure) {
            index = next_host(core, endpoints, index, failure, attempts);
        }
    }
}

}  // namespace grua::registry
