// Images on their way in and out: pull, push, load, save, import; and what registries are asked besides.
#include "api/filters.hpp"
#include "api/image_wire.hpp"
#include "api/progress.hpp"
#include "api/routes.hpp"

#include <algorithm>
#include <boost/asio/this_coro.hpp>

namespace grua::api {
namespace {

engine::Credentials credentials_of(const Exchange& exchange) {
    return engine::credentials_of_header(exchange.head().header("x-registry-auth"));
}

std::optional<oci::Platform> platform_asked(const Exchange& exchange) {
    const std::string_view text = exchange.query().get("platform");
    return text.empty() ? std::nullopt : std::optional(platform_of(text));
}

Answer import(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    engine::ImportRequest request{.source = std::string(query.get("fromSrc")),
                                  .reference = engine::reference_of(query.get("repo"), query.get("tag")),
                                  .message = std::string(query.get("message")),
                                  .changes = query.all("changes"),
                                  .platform = platform_asked(exchange)};
    const bool remote = request.source != "-";
    auto transfer = services.images.import(std::move(request), [&exchange] { return exchange.body_pipe(); });
    co_await stream(services.transfers, exchange, remote, std::move(transfer));
}

Answer save(const Services& services, Exchange& exchange, std::vector<std::string> names) {
    auto write = services.images.save(std::move(names), platforms_of(exchange));
    co_await send_written(co_await asio::this_coro::executor, services.transfers, exchange, "application/x-tar", std::move(write));
}

}  // namespace

Answer image_create(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    if (query.get("fromImage").empty()) {
        if (query.get("fromSrc").empty()) fail(ErrorKind::invalid_argument, "one of fromImage and fromSrc is needed");
        co_return co_await import(services, exchange);
    }
    engine::PullRequest request{.name = std::string(query.get("fromImage")),
                                .tag = std::string(query.get("tag")),
                                .platform = platform_asked(exchange),
                                .credentials = credentials_of(exchange)};
    co_await stream(services.transfers, exchange, true, services.images.pull(std::move(request)));
}

Answer image_push(const Services& services, Exchange& exchange) {
    engine::PushRequest request{.name = exchange.name,
                                .tag = std::string(exchange.query().get("tag")),
                                .platform = platform_asked(exchange),
                                .credentials = credentials_of(exchange)};
    co_await stream(services.transfers, exchange, true, services.images.push(std::move(request)));
}

Answer image_load(const Services& services, Exchange& exchange) {
    engine::LoadRequest request{.platforms = platforms_of(exchange), .quiet = exchange.query().flag("quiet", true)};
    auto transfer = services.images.load(std::move(request), [&exchange] { return exchange.body_pipe(); });
    std::string failed;
    try {
        co_await stream(services.transfers, exchange, false, std::move(transfer));
        co_return;
    } catch (const Error& error) {
        if (exchange.begun()) throw;
        failed = error.what();
    }
    // As dockerd answers an archive that it cannot load: 200, and the error is a line of the stream; docker-py's ImageLoadError comes of
    // it.
    co_await exchange.begin(200, "application/json");
    co_await exchange.write(error_line(failed));
    co_await exchange.end();
}

Answer image_save(const Services& services, Exchange& exchange) { return save(services, exchange, {exchange.name}); }

Answer image_save_all(const Services& services, Exchange& exchange) { return save(services, exchange, exchange.query().all("names")); }

Answer image_search(const Services& services, Exchange& exchange) {
    const std::string term(exchange.query().get("term"));
    if (term.empty()) fail(ErrorKind::invalid_argument, "search: a term is needed");
    const std::string_view asked = exchange.query().get("limit");
    const auto limit = asked.empty() ? std::optional<std::int64_t>(25) : parse_int(asked);
    if (!limit || *limit < 0 || *limit > 100) fail(ErrorKind::invalid_argument, "limit {} is outside the range of [1, 100]", asked);
    const Filters filters = filters_of(exchange);
    const auto official = filters.flag("is-official");
    const auto automated = filters.flag("is-automated");
    std::int64_t stars = 0;
    for (const std::string& each : filters.get("stars")) {
        const auto number = parse_int(each);
        if (!number) fail(ErrorKind::invalid_argument, "invalid filter 'stars={}'", each);
        stars = std::max(stars, *number);
    }
    std::vector<wire::FoundImage> out;
    for (engine::FoundImage& each :
         co_await services.images.search(term, static_cast<std::size_t>(*limit == 0 ? 25 : *limit), credentials_of(exchange))) {
        if ((official && *official != each.is_official) || (automated && *automated != each.is_automated) || each.star_count < stars)
            continue;
        out.push_back({.name = std::move(each.name),
                       .description = std::move(each.description),
                       .star_count = each.star_count,
                       .is_official = each.is_official,
                       .is_automated = each.is_automated});
    }
    co_await send_json(exchange, 200, out);
}

Answer registry_login(const Services& services, Exchange& exchange) {
    check_json_content_type(exchange.head());
    const std::string body = co_await exchange.read_body();
    engine::LoginResult result = co_await services.images.login(engine::credentials_of_body(body));
    co_await send_json(exchange, 200, wire::AuthAnswer{std::move(result.status), std::move(result.identity_token)});
}

Answer distribution_inspect(const Services& services, Exchange& exchange) {
    engine::RemoteImage image = co_await services.images.remote(exchange.name, credentials_of(exchange));
    const wire::DistributionInspect out{.descriptor = std::move(image.descriptor), .platforms = std::move(image.platforms)};
    co_await send_json(exchange, 200, out);
}

}  // namespace grua::api
