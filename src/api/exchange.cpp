#include "api/exchange.hpp"
#include "api/connection.hpp"
#include "api/router.hpp"
#include "base/text.hpp"
#include "engine/containers.hpp"

namespace grua::api {

std::string_view RequestHead::header(std::string_view name) const noexcept {
    for (const auto& [key, value] : headers) {
        if (key == name) return value;
    }
    return {};
}

void Exchange::take_route(const Route& route, json::Version client, std::string variable) {
    route_ = &route;
    version = client;
    name = std::move(variable);
    head_.query.declare(route.parameters, client.minor_number);
}

void check_body(const Exchange& exchange, const json::Fields& table) {
    const Route& route = exchange.route();
    if (!route.body || &route.body() != &table)
        fail(ErrorKind::system, "{}: its body is read and not in the table of operations", route.title());
}

void check_json_content_type(const RequestHead& head) {
    const std::string_view given = head.header("content-type");
    if (given.empty() && !head.has_body()) return;
    const std::string type = to_lower(trim(given.substr(0, given.find(';'))));
    if (type.empty()) fail(ErrorKind::invalid_argument, "malformed Content-Type header ({}): mime: no media type", given);
    if (type != "application/json") {
        fail(ErrorKind::invalid_argument, "unsupported Content-Type header ({}): must be 'application/json'", given);
    }
}

json::Value parse_json(std::string_view text) {
    boost::json::parse_options options;
    options.max_depth = json::depth_limit;
    boost::json::stream_parser parser{{}, options};
    boost::system::error_code error;
    std::size_t used = parser.write_some(text.data(), text.size(), error);
    if (!error && parser.done()) {
        if (!trim(text.substr(used)).empty()) fail(ErrorKind::invalid_argument, "unexpected content after JSON");
    } else if (!error) {
        parser.finish(error);
        if (error == boost::json::error::incomplete) {
            fail(ErrorKind::invalid_argument, "invalid JSON: got EOF while reading request body, after byte {}", text.size());
        }
    }
    if (error) fail(ErrorKind::invalid_argument, "invalid JSON: {} at byte {}", error.message(), used);
    return parser.release();
}

int status_of(const Error& error) noexcept {
    switch (error.kind()) {
        case ErrorKind::invalid_argument:
            return 400;
        case ErrorKind::not_found:
            return 404;
        case ErrorKind::conflict:
            return 409;
        case ErrorKind::not_modified:
            return 304;
        case ErrorKind::unauthorized:
            return 401;
        case ErrorKind::forbidden:
            return 403;
        case ErrorKind::unavailable:
            return 503;
        case ErrorKind::not_implemented:
            return 501;
        case ErrorKind::system:
            return 500;
    }
    return 500;
}

std::optional<int> exit_code_of(const Error& error) noexcept {
    const auto* failed = dynamic_cast<const engine::StartFailed*>(&error);
    return failed ? std::optional(failed->exit_code) : std::nullopt;
}

std::string error_body(std::string_view message, std::optional<int> exit_code) {
    boost::json::object out{{"message", message}};
    if (exit_code) out["exitCode"] = *exit_code;
    return boost::json::serialize(out) + "\n";
}

}  // namespace grua::api
