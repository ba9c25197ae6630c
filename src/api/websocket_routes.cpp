// Attach over a WebSocket (RFC 6455), for who has no socket of its own: browsers. Bytes as they are in binary frames, both streams in one.
#include "api/framing.hpp"
#include "api/routes.hpp"
#include "base/log.hpp"

#include <sys/socket.h>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket.hpp>

namespace grua::api {

namespace {

namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t piece_size = std::size_t{32} << 10U;

int family_of(int socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) < 0) fail_errno("a client's socket");
    return address.ss_family;
}

/// Between a client and a container's monitor, which knows sockets only.
struct Relay {
    Relay(const asio::any_io_executor& loop, Fd from_client, Fd to_container)
        : client(asio::generic::stream_protocol::socket(loop, asio::generic::stream_protocol(family_of(from_client.get()), 0),
                                                        from_client.release())),
          container(loop, to_container.release()) {
        client.set_option(websocket::stream_base::timeout::suggested(boost::beast::role_type::server));
        client.binary(true);
    }

    websocket::stream<asio::generic::stream_protocol::socket> client;
    asio::posix::stream_descriptor container;
};

asio::awaitable<void> to_container(std::shared_ptr<Relay> relay) {
    std::vector<char> piece(piece_size);
    for (;;) {
        const auto [error, size] = co_await relay->client.async_read_some(asio::buffer(piece), quiet);
        if (error) break;
        if (const auto [failed, sent] = co_await asio::async_write(relay->container, asio::buffer(piece.data(), size), quiet); failed)
            break;
    }
    boost::system::error_code ignored;
    relay->container.close(ignored);
}

asio::awaitable<void> to_client(std::shared_ptr<Relay> relay) {
    std::vector<char> piece(piece_size);
    for (;;) {
        const auto [error, size] = co_await relay->container.async_read_some(asio::buffer(piece), quiet);
        if (error) break;
        if (const auto [failed, sent] = co_await relay->client.async_write(asio::buffer(piece.data(), size), quiet); failed) co_return;
    }
    co_await relay->client.async_close(websocket::close_code::normal, quiet);
}

http::request<http::string_body> request_of(const RequestHead& head) {
    http::request<http::string_body> out{http::verb::get, head.target, 11};
    for (const auto& [name, value] : head.headers) out.insert(name, value);
    return out;
}

}  // namespace

Answer container_attach_websocket(const Services& services, Exchange& exchange) {
    const auto request = request_of(exchange.head());
    if (!websocket::is_upgrade(request)) fail(ErrorKind::invalid_argument, "it is no request for a WebSocket");
    engine::AttachOptions options = attach_options(exchange.query());
    options.raw = true;
    if (exchange.version < json::Version{1, 42}) options.use_stdin = options.use_stdout = options.use_stderr = true;
    engine::Stream stream = services.watch.attach(exchange.name, options);
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    Fd ours{pair[0]};
    Fd theirs{pair[1]};
    const auto loop = co_await asio::this_coro::executor;
    Hijacked client = exchange.take_socket();
    // It has to wait for the answer before it says more.
    if (!client.early_input.empty()) co_return;
    const auto relay = std::make_shared<Relay>(loop, std::move(client.socket), std::move(ours));
    if (const auto [error] = co_await relay->client.async_accept(request, quiet); error) {
        log::info("a WebSocket: {}", error.message());
        co_return;
    }
    asio::co_spawn(loop, to_container(relay), asio::detached);
    asio::co_spawn(loop, to_client(relay), asio::detached);
    co_await stream.hand_over(std::move(theirs), {});
}

}  // namespace grua::api
