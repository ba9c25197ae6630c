// Are these the right credentials, and what is there to be found: POST /auth and GET /images/search.
#include "base/text.hpp"
#include "registry/challenge.hpp"
#include "registry/client_impl.hpp"

#include <algorithm>
#include <tuple>

namespace grua::registry {
namespace {

constexpr std::size_t default_search_limit = 25;
constexpr std::size_t search_limit = 100;
constexpr std::size_t search_size_limit = std::size_t{4} << 20U;

struct ResultsWire {
    std::vector<SearchResult> results;
    template <typename Self = ResultsWire>
    static json::Fields fields() {
        return json::Fields{json::field("results", &Self::results)};
    }
};

/// Any name on `address`, so that its hosts can be found; they are asked for nothing of a repository.
oci::Reference any_repository(std::string_view address) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (address.starts_with(scheme)) address.remove_prefix(scheme.size());
    }
    std::string host = to_lower(address.substr(0, address.find('/')));
    if (host.empty() || host == hub_index || host == hub_registry) host = hub_domain;
    // "example" alone is a registry here, which a reference would take for a part of a path.
    if (host.find_first_of(".:") == std::string::npos && host != "localhost") host += ":443";
    return while_doing("unable to parse server address", [&] { return oci::Reference::parse(host + "/library/any"); });
}

/// The registry itself: its mirrors are never asked about its users.
Access without_mirrors(const Credentials& credentials, std::stop_token stop) { return {credentials, std::move(stop), {}, {}}; }

}  // namespace

LoginResult Client::login(const Credentials& credentials, std::stop_token stop) const {
    Core& core = impl_->core;
    const oci::Reference repository = any_repository(credentials.server_address);
    const Access access = without_mirrors(credentials, std::move(stop));
    return from_hosts(core, repository, Operation::account, {}, access, [&](Session& session) -> LoginResult {
        Request request;
        request.url = session.endpoint().base();
        // A challenge of before says nothing about what these credentials are.
        const Response first = session.probe(request);
        LoginResult out{"Login Succeeded", {}};
        if (first.status == 200 && core.tokens.challenge(request.url.text()).empty()) return out;

        const std::vector<Challenge> challenges = parse_challenges(core.tokens.challenge(request.url.text()));
        const auto bearer = std::ranges::find(challenges, std::string_view("bearer"), &Challenge::scheme);
        if (bearer != challenges.end()) {
            try {
                const Token token = session.fetch_token(bearer->parameter("realm"), bearer->parameter("service"), {}, true);
                out.identity_token = token.refresh;
            } catch (const Failure& failure) {
                // Docker names what was to be reached, not the token service.
                if (failure.status() != 401 && failure.status() != 403) throw;
                throw Failure(ErrorKind::unauthorized, fmt::format("{}: {}", request.text(), failure.said), Retry::never, 401);
            }
        }
        const Response response = session.send(request);
        if (response.status != 200) {
            throw Failure(response.status == 401 || response.status == 403 ? ErrorKind::unauthorized : ErrorKind::unavailable,
                          fmt::format("login attempt to {} failed with status: {} {}", request.url.text(), response.status,
                                      response.status == 401   ? "Unauthorized"
                                      : response.status == 403 ? "Forbidden"
                                                               : ""),
                          Retry::never, response.status);
        }
        return out;
    });
}

std::vector<SearchResult> Client::search(std::string_view term, std::size_t limit, const Access& access) const {
    if (term.find("://") != std::string_view::npos) {
        fail(ErrorKind::invalid_argument, "invalid repository name: repository name ({}) should not have a scheme", term);
    }
    if (limit == 0) limit = default_search_limit;
    if (limit > search_limit) fail(ErrorKind::invalid_argument, "limit {} is outside the range of [1, 100]", limit);
    const std::size_t slash = term.find('/');
    const std::string_view first = term.substr(0, slash);
    const bool names_host =
        slash != std::string_view::npos && (first.find_first_of(".:") != std::string_view::npos || first == "localhost");
    std::string_view word = names_host ? term.substr(slash + 1) : term;
    if (!names_host && word.starts_with("library/")) word.remove_prefix(std::string_view("library/").size());

    const oci::Reference repository = any_repository(names_host ? first : std::string_view{});
    return from_hosts(impl_->core, repository, Operation::account, {}, access, [&](Session& session) {
        Request request;
        Url base = session.endpoint().base();
        if (base.host == hub_registry) base.host = hub_index;
        request.url = base.resolve("/v1/search");
        request.url.add_query("q", word);
        request.url.add_query("n", std::to_string(limit));
        request.body_limit = search_size_limit;
        const Response response = session.expect(request, {200});
        ResultsWire wire;
        try {
            wire = json::parse<ResultsWire>(response.body);
        } catch (const Error& error) {
            throw Failure(ErrorKind::unavailable, fmt::format("error decoding registry search results: {}", error.what()), Retry::elsewhere,
                          200);
        }
        if (wire.results.size() > limit) wire.results.resize(limit);
        for (SearchResult& each : wire.results) each.is_automated = false;  // Hub's own builds are no more
        return std::move(wire.results);
    });
}

}  // namespace grua::registry
