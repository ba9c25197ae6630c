#include "registry/session.hpp"

#include "base/encoding.hpp"
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"
#include "content/hash.hpp"
#include "registry/challenge.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <random>

namespace grua::registry {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds down_time{30};
constexpr std::size_t memory_limit = 1000;        // hosts that are remembered
constexpr std::string_view client_id = "docker";  // token services know this one

/// A host that is down is so whatever it is spoken to with.
std::string down_key(const Endpoint& endpoint) { return endpoint.authority() + endpoint.location.api; }

std::string environment(std::initializer_list<const char*> names) {
    for (const char* name : names) {
        if (const char* value = ::getenv(name); value && *value) return value;
    }
    return {};
}

/// HTTP_PROXY in upper case is left out where a CGI could have set it; a daemon is none.
Options with_proxies(Options options) {
    if (options.http_proxy.empty()) options.http_proxy = environment({"http_proxy", "HTTP_PROXY"});
    if (options.https_proxy.empty()) options.https_proxy = environment({"https_proxy", "HTTPS_PROXY"});
    if (options.no_proxy.empty()) options.no_proxy = environment({"no_proxy", "NO_PROXY"});
    return options;
}

/// The file's limits hold from the start to the end; its rules can be read again.
Options with_limits(Options options, const Rules& rules) {
    options.limits = rules.limits();
    return options;
}

/// The host of a server address as clients write it: "https://index.docker.io/v1/", "registry.example.com:5000".
std::string host_of_address(std::string_view address) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (address.starts_with(scheme)) address.remove_prefix(scheme.size());
    }
    std::string host = to_lower(address.substr(0, address.find('/')));
    return host == hub_domain || host == hub_index ? std::string(hub_registry) : host;
}

/// A caller's credentials are for the registry that it named, and for no mirror of it.
Credentials credentials_for(const Endpoint& endpoint, const oci::Reference* reference, const Credentials& given) {
    if (!endpoint.location.credentials.empty()) return endpoint.location.credentials;
    if (endpoint.is_mirror) return {};
    std::string host = host_of_address(given.server_address);
    if (host.empty() && reference) host = host_of_address(reference->domain());
    return host.empty() || host == endpoint.authority() ? given : Credentials{};
}

/// Whose token it is, without keeping the secret.
std::string identity_of(const Credentials& credentials) {
    if (credentials.empty()) return {};
    const std::string all = credentials.username + '\0' + credentials.password + '\0' + credentials.identity_token;
    return content::digest_of(all).text();
}

/// By what a challenge would be met. Its scope is left out, which differs from repository to repository.
std::string way_of(const std::string& header) {
    for (const Challenge& each : parse_challenges(header)) {
        if (each.scheme == "bearer") return fmt::format("{}\n{}", each.parameter("realm"), each.parameter("service"));
    }
    return {};
}

bool wants_only_basic(const std::string& header) {
    const std::vector<Challenge> challenges = parse_challenges(header);
    const auto has = [&](std::string_view scheme) { return std::ranges::find(challenges, scheme, &Challenge::scheme) != challenges.end(); };
    return has("basic") && !has("bearer");
}

[[noreturn]] void fail_without_credentials(const Request& request) {
    Failure failure{ErrorKind::unauthorized, request.text() + ": no basic auth credentials", Retry::elsewhere, 401};
    failure.said = "no basic auth credentials";
    throw failure;
}

}  // namespace

Core::Core(const Options& given)
    : rules_(std::make_shared<const Rules>(given)), options(with_limits(with_proxies(given), *rules_)), http(options) {}

std::shared_ptr<const Rules> Core::rules() const {
    const MutexLock lock{mutex_};
    return rules_;
}

void Core::reload(const Options& given) {
    Options wanted = options;
    wanted.mirrors = given.mirrors;
    wanted.insecure_registries = given.insecure_registries;
    auto fresh = std::make_shared<const Rules>(wanted);
    const MutexLock lock{mutex_};
    rules_ = std::move(fresh);
    down_.clear();
    schemes_.clear();
}

bool Core::is_down(const Endpoint& endpoint) const {
    const MutexLock lock{mutex_};
    const auto found = down_.find(down_key(endpoint));
    return found != down_.end() && Clock::now() < found->second;
}

void Core::note_down(const Endpoint& endpoint) {
    const MutexLock lock{mutex_};
    if (down_.size() >= memory_limit) down_.clear();
    down_.insert_or_assign(down_key(endpoint), Clock::now() + down_time);
}

void Core::note_up(const Endpoint& endpoint) {
    note_scheme(endpoint);
    const MutexLock lock{mutex_};
    if (!down_.empty()) down_.erase(down_key(endpoint));
}

std::string Core::known_scheme(const std::string& authority) const {
    const MutexLock lock{mutex_};
    const auto found = schemes_.find(authority);
    return found == schemes_.end() ? std::string{} : found->second;
}

void Core::forget_scheme(const Endpoint& endpoint) {
    const MutexLock lock{mutex_};
    if (!schemes_.empty()) schemes_.erase(endpoint.authority());
}

void Core::note_scheme(const Endpoint& endpoint) {
    if (!endpoint.location.scheme.empty() || !endpoint.location.insecure) return;
    const MutexLock lock{mutex_};
    if (schemes_.size() >= memory_limit) schemes_.clear();
    schemes_.insert_or_assign(endpoint.authority(), endpoint.scheme);
}

bool is_redirect(int status) noexcept { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }
bool is_success(int status) noexcept { return status >= 200 && status < 300; }

Url target_of(const Request& request, const Response& response, const Endpoint& endpoint) {
    Url target;
    try {
        target = request.url.resolve(response.header("location"));
    } catch (const Error& error) {
        throw Failure(ErrorKind::unavailable, fmt::format("{}: Location: {}", request.text(), error.what()), Retry::elsewhere,
                      response.status);
    }
    if (request.url.scheme == "https" && target.scheme == "http" && !endpoint.location.insecure) {
        throw Failure(ErrorKind::forbidden, fmt::format("{}: refused to be redirected from https to {}", request.text(), target.text()),
                      Retry::elsewhere);
    }
    return target;
}

std::string scope_of(const Endpoint& endpoint, std::string_view actions) {
    return actions.empty() ? std::string{} : fmt::format("repository:{}:{}", endpoint.repository, actions);
}

std::vector<Endpoint> hosts_for(const Core& core, const Rules& rules, const oci::Reference& reference, Operation operation) {
    std::vector<Endpoint> all = rules.endpoints(reference, operation);
    if (all.empty()) {
        throw Failure(
            ErrorKind::forbidden,
            fmt::format("no host serves {}: its rule names mirrors only, and none of them takes this request", reference.familiar()),
            Retry::never);
    }
    // An insecure host is listed with https and with http; one of them is enough once it is known which.
    std::erase_if(all, [&](const Endpoint& each) {
        if (!each.location.scheme.empty() || !each.location.insecure) return false;
        const std::string known = core.known_scheme(each.authority());
        return !known.empty() && known != each.scheme;
    });
    std::vector<Endpoint> out;
    for (std::size_t index = 0; index < all.size(); ++index) {
        const bool last = index + 1 == all.size();
        if (last || !all[index].is_mirror || !core.is_down(all[index])) out.push_back(std::move(all[index]));
    }
    return out;
}

std::size_t next_host(Core& core, const std::vector<Endpoint>& endpoints, std::size_t index, const Failure& failure, Attempts& attempts,
                      bool progressed) {
    const Endpoint& endpoint = endpoints.at(index);
    if (failure.retry() == Retry::never) throw failure;
    std::size_t next = index + 1;
    if (failure.unanswered) {
        // It may come back with another.
        core.forget_scheme(endpoint);
    } else {
        // It answered, so this is the scheme that it speaks.
        core.note_scheme(endpoint);
        while (next < endpoints.size() && endpoints[next].authority() == endpoint.authority() &&
               endpoints[next].scheme != endpoint.scheme && endpoint.location.scheme.empty()) {
            ++next;
        }
    }
    const bool last = next >= endpoints.size();
    const bool try_http = failure.unanswered && !last && endpoints[next].authority() == endpoint.authority();
    // Where there is another host it is asked at once, unless this one is just being slow about a blob.
    if (failure.retry() == Retry::again && !try_http && (last || progressed) && attempts.again(failure, progressed)) return index;
    if (last) throw failure;
    if (failure.unanswered && !try_http) core.note_down(endpoint);
    if (!try_http) log::warn("registry {}: {}; going on with {}", endpoint.authority(), failure.what(), endpoints[next].authority());
    attempts.restart();
    return next;
}

Session::Session(Core& core, std::shared_ptr<const Rules> rules, const Endpoint& endpoint, const oci::Reference* reference,
                 std::string scope, const Access& access)
    : core_(core),
      rules_(std::move(rules)),
      endpoint_(endpoint),
      scope_(std::move(scope)),
      access_(access),
      credentials_(credentials_for(endpoint, reference, access.credentials)) {}

const Tls& Session::tls_for(const Url& url) {
    const std::string authority = url.authority();
    const auto known = tls_.find(authority);
    if (known != tls_.end()) return known->second;
    const Options& options = core_.options;
    const std::vector<std::string> directories{options.config_directory + "/certs.d", options.certs_directory,
                                               options.containerd_directory};
    // What a registry redirects to, and its token service, may be signed by the same private authority; as with Docker.
    Tls tls = tls_of(directories, endpoint_.authority(), endpoint_.location.tls);
    if (authority != endpoint_.authority()) {
        const Tls own = tls_of(directories, authority, {});
        tls.authorities += own.authorities;
        tls.certificate = own.certificate;
        tls.key = own.key;
    }
    return tls_.emplace(authority, std::move(tls)).first->second;
}

Response Session::perform(Request& request, const Accept& accept, bool own_host) {
    if (!own_host) rules_->check_host(request.url.authority());
    std::vector<std::string> headers = request.headers;
    if (own_host) request.headers.insert(request.headers.end(), endpoint_.location.headers.begin(), endpoint_.location.headers.end());
    const Accept only_success = [&](const Response& head) { return accept && is_success(head.status) ? accept(head) : Sink{}; };
    // The first packet to a host that may speak either: plain HTTP answers nothing to TLS, or does not answer at all.
    request.probes = own_host && request.url.scheme == "https" && endpoint_.location.insecure && endpoint_.location.scheme.empty();
    Response response = core_.http.perform(request, tls_for(request.url), only_success, access_.stop);
    request.headers = std::move(headers);
    return response;
}

Response Session::send(Request request, const Accept& accept) {
    const Url origin = endpoint_.base();
    // How to be let in is remembered, and what was remembered may have become wrong: then the host is asked anew, once.
    std::string known = remembered_challenge();
    bool challenged = false;
    for (unsigned hops = 0;;) {
        const bool own_host = request.url.same_origin(origin);
        const std::vector<std::string> plain_headers = request.headers;
        Authorization authorized;
        if (own_host) {
            try {
                authorized = authorization(known);
            } catch (const Failure& failure) {
                if (challenged || failure.retry() == Retry::never) throw;
                log::info("registry: {}; {} is asked anew how to be let in", failure.what(), endpoint_.authority());
                known.clear();
                continue;
            }
            if (!authorized.header.empty()) request.headers.push_back("Authorization: " + authorized.header);
        }
        Response response = perform(request, accept, own_host);
        request.headers = plain_headers;

        if (response.status == 401 && own_host) {
            const std::string challenge = response.all("www-authenticate");
            const bool is_another = way_of(challenge) != way_of(known);
            remember_challenge(challenge);
            known = challenge;
            if (authorized.header.empty() && credentials_.username.empty() && wants_only_basic(challenge))
                fail_without_credentials(request);
            if (!authorized.token_key.empty()) core_.tokens.forget(authorized.token_key);
            // A token may have expired or been revoked; what was just fetched, or a password, is not tried twice.
            const bool stale = authorized.from_cache || authorized.header.empty() || is_another;
            if (!challenged && stale && !challenge.empty()) {
                challenged = true;
                continue;
            }
            return response;
        }
        // A token of a service that is not this repository's may also be refused so.
        if (response.status == 403 && own_host && !challenged && !authorized.token_key.empty() && !known.empty()) {
            core_.tokens.forget(authorized.token_key);
            known.clear();
            continue;
        }
        if (!is_redirect(response.status) || response.header("location").empty()) return response;

        if (++hops > redirect_limit) {
            throw Failure(ErrorKind::unavailable, request.text() + ": stopped after 10 redirects", Retry::elsewhere);
        }
        const Url target = target_of(request, response, endpoint_);
        if (response.status == 303 && request.method != "HEAD") {
            request.method = "GET";
            request.body.clear();
            request.source = {};
        }
        request.url = target;
    }
}

Response Session::probe(Request request) {
    Response response = perform(request, {}, true);
    remember_challenge(response.status == 401 ? response.all("www-authenticate") : std::string{});
    return response;
}

/// A repository may have a way of its own; one that is new is tried with the way of the last.
std::string Session::remembered_challenge() const {
    const std::string origin = endpoint_.base().text();
    const std::string own = core_.tokens.challenge(origin + endpoint_.repository);
    return own.empty() ? core_.tokens.challenge(origin) : own;
}

void Session::remember_challenge(const std::string& challenge) {
    const std::string origin = endpoint_.base().text();
    core_.tokens.learn(origin, challenge);
    if (!endpoint_.repository.empty()) core_.tokens.learn(origin + endpoint_.repository, challenge);
}

Response Session::expect(Request request, std::initializer_list<int> wanted, const Accept& accept) {
    const Response response = send(request, accept);
    if (std::ranges::find(wanted, response.status) == wanted.end()) throw failure_of(request, response);
    return response;
}

Session::Authorization Session::authorization(const std::string& header) {
    if (!credentials_.registry_token.empty()) return {"Bearer " + credentials_.registry_token, {}, false};
    if (header.empty()) return {};
    const std::vector<Challenge> challenges = parse_challenges(header);
    const auto bearer = std::ranges::find(challenges, std::string_view("bearer"), &Challenge::scheme);
    if (bearer != challenges.end() && !bearer->parameter("realm").empty()) {
        const std::string_view realm = bearer->parameter("realm");
        const std::string_view service = bearer->parameter("service");
        // The host knows best which scope it wants, but only asks for what this request needs.
        std::string scope = scope_;
        if (scope.empty()) scope = bearer->parameter("scope");
        const std::string key = fmt::format("{}\n{}\n{}\n{}", realm, service, scope, identity_of(credentials_));
        if (auto token = core_.tokens.find(key)) return {"Bearer " + *token, key, true};
        const Token token = fetch_token(realm, service, scope, false);
        core_.tokens.keep(key, token);
        return {"Bearer " + token.text, key, false};
    }
    const auto basic = std::ranges::find(challenges, std::string_view("basic"), &Challenge::scheme);
    // Without credentials it is asked all the same: a registry may close one repository and not the next.
    if (basic == challenges.end() || credentials_.username.empty()) return {};
    return {"Basic " + base64_encode(credentials_.username + ":" + credentials_.password), {}, false};
}

Token Session::fetch_token(std::string_view realm, std::string_view service, std::string_view scope, bool offline) {
    Request request;
    try {
        request.url = endpoint_.base().resolve(realm);
    } catch (const Error& error) {
        throw Failure(ErrorKind::unavailable, fmt::format("the token service of {}: {}", endpoint_.authority(), error.what()),
                      Retry::elsewhere);
    }
    const bool secret = !credentials_.empty();
    if (secret && request.url.scheme == "http" && endpoint_.scheme == "https" && !endpoint_.location.insecure) {
        throw Failure(
            ErrorKind::forbidden,
            fmt::format("{} names the token service {}: credentials are not sent without TLS", endpoint_.authority(), request.url.text()),
            Retry::elsewhere);
    }
    const std::vector<std::string> scopes = scope.empty() ? std::vector<std::string>{} : split(scope, ' ');
    if (!credentials_.identity_token.empty()) {
        request.method = "POST";
        request.headers.emplace_back("Content-Type: application/x-www-form-urlencoded");
        Url form;
        form.add_query("grant_type", "refresh_token");
        form.add_query("service", service);
        form.add_query("client_id", client_id);
        if (!scopes.empty()) form.add_query("scope", scope);
        form.add_query("refresh_token", credentials_.identity_token);
        request.body = form.query;
    } else {
        if (!service.empty()) request.url.add_query("service", service);
        for (const std::string& each : scopes) request.url.add_query("scope", each);
        if (offline) {
            request.url.add_query("offline_token", "true");
            request.url.add_query("client_id", client_id);
        }
        if (!credentials_.username.empty()) {
            request.url.add_query("account", credentials_.username);
            request.headers.push_back("Authorization: Basic " + base64_encode(credentials_.username + ":" + credentials_.password));
        }
    }
    const Response response = perform(request, {}, false);
    if (response.status != 200) {
        // The query has the account and the scopes; what failed is the realm.
        request.url.query.clear();
        throw failure_of(request, response);
    }
    try {
        return parse_token(response.body, Clock::now());
    } catch (const Error& error) {
        throw Failure(ErrorKind::unavailable, fmt::format("token service {}: {}", request.url.authority(), error.what()), Retry::elsewhere);
    }
}

bool Attempts::again(const Failure& failure, bool progressed) {
    const Limits& limits = core_.options.limits;
    if (progressed) in_a_row_ = 0;
    if (left_ == 0 || ++in_a_row_ >= limits.attempts) return false;
    --left_;
    if (failure.retry_after && *failure.retry_after > limits.retry_after_limit) return false;
    std::chrono::milliseconds wait{0};
    if (failure.retry_after) {
        wait = *failure.retry_after;
    } else if (!progressed) {
        const auto doubled = limits.backoff * (1U << std::min(in_a_row_ - 1, 16U));
        thread_local std::minstd_rand random{std::random_device{}()};
        const auto whole = std::min<std::chrono::milliseconds>(doubled, limits.backoff_limit).count();
        wait = std::chrono::milliseconds{std::uniform_int_distribution<std::int64_t>{whole / 2, whole}(random)};
    }
    log::info("registry: {}; again in {} ms", failure.what(), wait.count());
    if (access_.notice && wait >= std::chrono::seconds{1}) {
        const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
        access_.notice(fmt::format("Retrying in {} second{}", seconds, seconds == 1 ? "" : "s"));
    }
    wait_for(wait, access_.stop);
    return true;
}

void wait_for(std::chrono::milliseconds time, const std::stop_token& stop) {
    Mutex mutex;
    std::condition_variable_any wake;
    MutexLock lock{mutex};
    wake.wait_for(lock, stop, time, [] { return false; });
    check_stopped(stop);
}

}  // namespace grua::registry
