#include "api/filters.hpp"
#include "api/grpc_refusal.hpp"
#include "api/routes.hpp"
#include "base/log.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace grua::api {

namespace {

constexpr std::chrono::seconds longest_talk{30};

struct Talk {
    Talk(const asio::any_io_executor& loop, Fd client) : socket(loop, client.release()), end(loop, longest_talk) {}
    asio::posix::stream_descriptor socket;
    asio::steady_timer end;
    GrpcRefusal refusal{"not implemented: builds"};
};

asio::awaitable<void> talk_with(std::shared_ptr<Talk> talk, std::string early_input) {
    constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
    std::array<char, 4096> piece{};
    std::string_view next = early_input;
    try {
        for (;;) {
            const std::string answer = talk->refusal.take(next);
            if (const auto [error, sent] = co_await asio::async_write(talk->socket, asio::buffer(answer), quiet); error) break;
            if (talk->refusal.is_over()) break;
            const auto [error, size] = co_await talk->socket.async_read_some(asio::buffer(piece), quiet);
            if (error) break;
            next = {piece.data(), size};
        }
    } catch (const std::exception& error) {
        log::info("a build client: {}", error.what());
    }
    talk->end.cancel();
}

}  // namespace

Answer refuse_build_client(const Services&, Exchange& exchange) {
    if (exchange.head().header("upgrade") != "h2c") fail(ErrorKind::invalid_argument, "no upgrade to h2c was asked for");
    const auto loop = co_await asio::this_coro::executor;
    Hijacked client = co_await exchange.hijack("application/grpc");
    const auto talk = std::make_shared<Talk>(loop, std::move(client.socket));
    talk->end.async_wait([weak = std::weak_ptr(talk)](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        boost::system::error_code ignored;
        self->socket.close(ignored);
    });
    asio::co_spawn(loop, talk_with(talk, std::move(client.early_input)), asio::detached);
}

Answer build_prune(const Services&, Exchange& exchange) {
    filters_of(exchange);
    co_await exchange.send(200, "{\"CachesDeleted\":null,\"SpaceReclaimed\":0}\n");
}

}  // namespace grua::api
