#include "api/router.hpp"

#include "api/services.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace grua::api {

namespace {

/// Matches `path` to `pattern`, which has at most one variable, and gives the variable's text.
std::optional<std::string_view> match_pattern(std::string_view pattern, std::string_view path) {
    const std::size_t open = pattern.find('{');
    if (open == std::string_view::npos) return pattern == path ? std::optional{std::string_view{}} : std::nullopt;
    const std::size_t close = pattern.find('}', open);
    const std::string_view before = pattern.substr(0, open);
    const std::string_view after = pattern.substr(close + 1);
    if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after)) return std::nullopt;
    const std::string_view name = path.substr(before.size(), path.size() - before.size() - after.size());
    if (pattern[close - 1] != '*' && name.contains('/')) return std::nullopt;
    return name;
}

std::optional<json::Version> parse_version(std::string_view text) {
    const std::size_t dot = text.find('.');
    const auto major_number = parse_uint(text.substr(0, dot));
    const auto minor_number = dot == std::string_view::npos ? std::optional<std::uint64_t>{0} : parse_uint(text.substr(dot + 1));
    if (!major_number || !minor_number || *major_number > 1000 || *minor_number > 1000) return std::nullopt;
    return json::Version{static_cast<int>(*major_number), static_cast<int>(*minor_number)};
}

}  // namespace

Target split_version(std::string_view path, json::Version oldest) {
    Target target{.path = path};
    if (!path.starts_with("/v")) return target;
    const std::size_t end = path.find('/', 2);
    const std::string_view text = path.substr(2, end == std::string_view::npos ? end : end - 2);
    if (text.empty() || text.find_first_not_of("0123456789.") != std::string_view::npos) return target;
    const auto version = parse_version(text);
    if (!version) fail(ErrorKind::invalid_argument, "invalid API version {}", text);
    if (*version > newest_version) {
        fail(ErrorKind::invalid_argument, "client version {} is too new. Maximum supported API version is {}.{}", text,
             newest_version.major_number, newest_version.minor_number);
    }
    if (*version < oldest) {
        fail(ErrorKind::invalid_argument,
             "client version {} is too old. Minimum supported API version is {}.{}, please upgrade your client to a newer version", text,
             oldest.major_number, oldest.minor_number);
    }
    target.version = *version;
    target.path = end == std::string_view::npos ? "/" : path.substr(end);
    return target;
}

std::string with_single_slashes(std::string_view path) {
    std::string out{path};
    const auto is_second = [](char before, char c) { return before == '/' && c == '/'; };
    out.erase(std::unique(out.begin(), out.end(), is_second), out.end());
    return out;
}

Match find_route(std::span<const Route> table, std::string_view method, std::string_view path) {
    for (const Route& route : table) {
        if (route.method != method) continue;
        if (const auto name = match_pattern(route.pattern, path)) return {&route, std::string(*name)};
    }
    return {};
}

asio::awaitable<void> dispatch(const Backend& backend, Exchange& exchange) {
    const std::string path = with_single_slashes(exchange.head().path);
    const Target target = split_version(path, backend.settings.oldest_version);
    if (exchange.head().method == "OPTIONS") co_return co_await exchange.send_empty(200);
    Match match = find_route(routes(), exchange.head().method, target.path);
    if (!match.route) fail(ErrorKind::not_found, "page not found");
    if (!match.route->handler) fail(ErrorKind::not_implemented, "not implemented: {} {}", match.route->method, match.route->pattern);
    if (target.version.minor_number < match.route->since) {
        fail(ErrorKind::invalid_argument, "{} {} requires API version 1.{}, but the client speaks {}.{}", match.route->method,
             match.route->pattern, match.route->since, target.version.major_number, target.version.minor_number);
    }
    exchange.name_turns(match.route->title());
    exchange.take_route(*match.route, target.version, std::move(match.name));
    const Services services{
        {backend.engine.services_for(exchange.principal())}, backend.pool, backend.settings, backend.transfers, backend.builds};
    co_await match.route->handler(services, exchange);
    for (const std::string_view name : exchange.query().unread())
        log::debug("{}: nobody reads the parameter {}", match.route->title(), printable(name));
}

}  // namespace grua::api
