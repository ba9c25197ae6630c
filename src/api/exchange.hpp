// HTTP as the rest of this room sees it: one request and its answer. Sockets, parsing and framing stay in connection.cpp
// and http_parser.cpp, so that routes do not pay for them.
#pragma once

#include "api/query.hpp"
#include "base/codec.hpp"
#include "base/fd.hpp"
#include "engine/input.hpp"
#include "engine/principal.hpp"

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::api {

namespace asio = boost::asio;

/// Larger JSON bodies are refused. Docker names no bound; the largest known use (a service with many secrets) is under 1 MiB.
inline constexpr std::size_t json_body_limit = std::size_t{8} << 20U;

/// What stands before a request's body.
struct RequestHead {
    std::string method;  ///< As sent: "GET".
    std::string target;  ///< As sent: "/v1.44/containers/json?all=1".
    std::string path;    ///< Percent-decoded, without the query.
    Query query;
    std::vector<std::pair<std::string, std::string>> headers;  ///< Names in lower case, in the order sent.
    std::optional<std::uint64_t> content_length;
    bool chunked = false;
    bool keep_alive = true;
    bool http_1_0 = false;

    /// Empty where there is none. `name` in lower case.
    std::string_view header(std::string_view name) const noexcept;
    bool has_body() const noexcept { return chunked || content_length.value_or(0) > 0; }
};

class Connection;
struct Route;

/// A connection that is no longer HTTP: the client's own socket and what it had sent early.
struct Hijacked {
    Fd socket;  ///< Nonblocking.
    std::string early_input;
    bool upgraded = false;  ///< Answered with 101, not 200.
};

/// A request's body as it flows in.
using BodyPipe = engine::Input;

/// One request, its body and its answer. Loop only. Every answer ends with exactly one of send, end or hijack.
class Exchange {
public:
    Exchange(Connection& connection, RequestHead head) : head_(std::move(head)), connection_(connection) {}
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    const RequestHead& head() const noexcept { return head_; }
    const Query& query() const noexcept { return head_.query; }

    // Set by the dispatch:
    json::Version version;  ///< What the client speaks.
    std::string name;       ///< The path's variable: a container's ID or name, an image's reference.
    const Route& route() const noexcept { return *route_; }
    void take_route(const Route& route, json::Version client, std::string variable);

    /// The whole body, refused with invalid_argument where it is larger.
    asio::awaitable<std::string> read_body(std::size_t limit = json_body_limit);

    /// The body, for who reads it in another thread.
    BodyPipe body_pipe();

    /// The whole answer. A body is left out for HEAD, 204 and 304.
    asio::awaitable<void> send(int status, std::string body, std::string_view content_type = "application/json");
    asio::awaitable<void> send_empty(int status) { return send(status, {}, {}); }

    /// Sends the headers of an answer whose length is not known yet, at once.
    asio::awaitable<void> begin(int status, std::string_view content_type);
    asio::awaitable<void> write(std::string_view bytes);  ///< Returns when the socket took it, so a slow client slows its stream.
    asio::awaitable<void> end();
    bool begun() const noexcept { return begun_; }

    void add_header(std::string_view header, std::string_view value);

    /// From here on a client that closes cancels the coroutine that answers it. For streams: what changes something runs to its end.
    void cancel_when_client_leaves();

    /// Who asks.
    const engine::PrincipalPtr& principal() const noexcept;

    /// What holds the loop from here on is called that (base/loop_watch.hpp).
    void name_turns(std::string_view name);

    /// Ends HTTP: 101 where the client asked to upgrade, else 200, and the socket is the caller's.
    asio::awaitable<Hijacked> hijack(std::string_view content_type);

    /// The same, where the caller answers.
    Hijacked take_socket();

private:
    friend class Connection;
    RequestHead head_;
    Connection& connection_;
    const Route* route_ = nullptr;
    std::string extra_headers_;
    bool begun_ = false;
    bool ended_ = false;
    bool hijacked_ = false;
};

/// Reads a JSON body of this type; an empty body is its default. Checks the Content-Type as Docker does.
template <json::WireStruct T>
asio::awaitable<T> read_json(Exchange& exchange);

/// Refuses a body that the table of operations does not have.
void check_body(const Exchange& exchange, const json::Fields& table);

/// Refuses a body that is not declared as JSON.
void check_json_content_type(const RequestHead& head);

/// The text as one JSON value; an error says at which byte.
json::Value parse_json(std::string_view text);

template <json::WireStruct T>
asio::awaitable<T> read_json(Exchange& exchange) {
    check_body(exchange, json::fields_of<T>());
    check_json_content_type(exchange.head());
    const std::string text = co_await exchange.read_body();
    T out{};
    if (!text.empty()) json::detail::read(parse_json(text), out, "");
    co_return out;
}

template <json::WireStruct T>
asio::awaitable<void> send_json(Exchange& exchange, int status, const T& value) {
    return exchange.send(status, json::text_of(value, exchange.version) + "\n");
}

template <json::WireStruct T>
asio::awaitable<void> send_json(Exchange& exchange, int status, const std::vector<T>& values) {
    return exchange.send(status, json::text_of(values, exchange.version) + "\n");
}

/// What dockerd writes of a list that nothing was put in: null.
template <typename T>
json::Value null_if_empty(const std::vector<T>& values, json::Version version) {
    return values.empty() ? json::Value(nullptr) : json::detail::write(values, version);
}

}  // namespace grua::api
