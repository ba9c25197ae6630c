#include "client/client.hpp"

#include "base/text.hpp"

#include <sys/socket.h>
#include <boost/json.hpp>

namespace grua::client {

namespace {

ErrorKind kind_of(int status) {
    switch (status) {
        case 304:
            return ErrorKind::not_modified;
        case 400:
            return ErrorKind::invalid_argument;
        case 401:
            return ErrorKind::unauthorized;
        case 403:
            return ErrorKind::forbidden;
        case 404:
            return ErrorKind::not_found;
        case 409:
            return ErrorKind::conflict;
        case 501:
            return ErrorKind::not_implemented;
        case 503:
            return ErrorKind::unavailable;
        default:
            return ErrorKind::system;
    }
}

[[noreturn]] void refuse(int status, const std::string& body) {
    boost::system::error_code error;
    const boost::json::value parsed = boost::json::parse(body, error);
    if (!error && parsed.is_object()) {
        const auto* code = parsed.get_object().if_contains("exitCode");
        const auto exit_code = code && code->is_int64() ? std::optional(static_cast<int>(code->get_int64())) : std::nullopt;
        if (const auto* message = parsed.get_object().if_contains("message"); message && message->is_string()) {
            throw ApiError(status, std::string(message->get_string()), exit_code);
        }
    }
    const std::string_view text = trim(body);
    if (!text.empty()) throw ApiError(status, std::string(text));
    throw ApiError(status, fmt::format("request failed with status {}", status));
}

boost::json::value parse_answer(const std::string& text) {
    if (trim(text).empty()) return nullptr;
    boost::system::error_code error;
    boost::json::value value = boost::json::parse(text, error);
    if (error) fail(ErrorKind::unavailable, "the daemon's answer is not JSON: {}", error.message());
    return value;
}

/// Nothing where it is no "1.N".
std::optional<int> minor_of(std::string_view version) {
    if (!version.starts_with("1.")) return std::nullopt;
    const auto minor = parse_uint(version.substr(2));
    return minor && *minor < 1000 ? std::optional(static_cast<int>(*minor)) : std::nullopt;
}

}  // namespace

ApiError::ApiError(int status, std::string message, std::optional<int> exit_code)
    : Error(kind_of(status), std::move(message)), status_(status), exit_code_(exit_code) {}

void Client::negotiate() {
    if (minor_ != 0) return;
    if (!connection_) connection_ = std::make_unique<Connection>(endpoint_);
    connection_->send({.method = "GET", .target = "/_ping"});
    Response response = connection_->receive();
    const std::string body = response.read_all();
    if (response.status >= 400) refuse(response.status, body);
    // A daemon that says no version is older than the oldest that does.
    const int theirs = minor_of(response.header("api-version")).value_or(oldest_minor);
    minor_ = std::min(theirs, newest_minor);
    if (const char* wanted = std::getenv("DOCKER_API_VERSION"); wanted && *wanted) {
        const auto minor = minor_of(wanted);
        if (!minor) fail(ErrorKind::invalid_argument, "DOCKER_API_VERSION: not a version: {:?}", wanted);
        minor_ = *minor;
    }
    if (!connection_->reusable()) connection_.reset();
}

int Client::api_minor() {
    negotiate();
    return minor_;
}

std::string Client::api_version() { return fmt::format("1.{}", api_minor()); }

std::string Client::versioned(std::string_view path) { return fmt::format("/v1.{}{}", api_minor(), path); }

std::string Client::call(Request request, int* status) {
    request.target = versioned(request.target);
    const bool kept = connection_ != nullptr;
    if (!connection_) connection_ = std::make_unique<Connection>(endpoint_);
    const auto exchange = [&] {
        connection_->expect(request);
        connection_->send(request);
        return connection_->receive();
    };
    Response response;
    try {
        response = exchange();
    } catch (const Error& error) {
        // A kept connection may have been closed while it was idle; only what changes nothing is asked twice.
        if (!kept || error.kind() != ErrorKind::unavailable || request.method != "GET") throw;
        connection_ = std::make_unique<Connection>(endpoint_);
        response = exchange();
    }
    std::string body = response.read_all();
    if (!connection_->reusable()) connection_.reset();
    if (status) *status = response.status;
    if (response.status >= 400) refuse(response.status, body);
    return body;
}

boost::json::value Client::get(std::string_view path) { return parse_answer(call({.method = "GET", .target = std::string(path)})); }

boost::json::value Client::post(std::string_view path, const boost::json::value* body) {
    Request request{.method = "POST", .target = std::string(path)};
    if (body) {
        request.body = boost::json::serialize(*body);
        request.content_type = "application/json";
    }
    return parse_answer(call(std::move(request)));
}

boost::json::value Client::remove(std::string_view path) { return parse_answer(call({.method = "DELETE", .target = std::string(path)})); }

std::unique_ptr<Connection> Client::begin(Request request) {
    request.target = versioned(request.target);
    auto connection = std::make_unique<Connection>(endpoint_);
    connection->expect(request);
    connection->send(request);
    return connection;
}

Response Client::finish(Connection& connection) {
    Response response = connection.receive();
    if (response.status >= 400) refuse(response.status, response.read_all());
    return response;
}

Stream Client::stream(Request request) {
    Stream out;
    if (request.body_source) {
        // A daemon that tells its progress while it reads would wait for us to read that.
        request.target = versioned(request.target);
        out.connection = std::make_unique<Connection>(endpoint_);
        out.connection->expect(request);
        out.sender = std::jthread([connection = out.connection.get(), request = std::move(request)] {
            try {
                connection->send(request);
            } catch (const std::exception&) {
                // The daemon's answer, or its absence, tells more.
                ::shutdown(connection->fd(), SHUT_WR);
            }
        });
    } else {
        out.connection = begin(std::move(request));
    }
    out.response = finish(*out.connection);
    return out;
}

RawStream Client::hijack(std::string_view path, std::string body) {
    Request request{.method = "POST", .target = std::string(path), .body = std::move(body), .upgrade = true};
    if (!request.body.empty()) request.content_type = "application/json";
    const std::unique_ptr<Connection> connection = begin(std::move(request));
    const Response response = finish(*connection);
    RawStream out;
    out.multiplexed = response.header("content-type") == "application/vnd.docker.multiplexed-stream";
    std::tie(out.socket, out.already_read) = connection->take_stream();
    return out;
}

}  // namespace grua::client
