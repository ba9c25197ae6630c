#include "api/server.hpp"

#include "api/router.hpp"
#include "base/log.hpp"

#include <sys/socket.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace grua::api {

using namespace std::chrono_literals;

struct Server::Listener {
    explicit Listener(const asio::any_io_executor& loop, Fd socket) : descriptor(loop, socket.release()), pause(loop) {}
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer pause;
};

Server::Server(asio::any_io_executor loop, const Services& services)
    : loop_(loop),
      connections_(
          std::move(loop), [&services](Exchange& exchange) { return dispatch(services, exchange); },
          fmt::format("Api-Version: {}.{}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Grua/{} (linux)\r\n",
                      newest_version.major_number, newest_version.minor_number, GRUA_VERSION)) {}

Server::~Server() = default;

void Server::accept_from(Fd listener) {
    auto shared = std::make_shared<Listener>(loop_, std::move(listener));
    listeners_.push_back(shared);
    asio::co_spawn(loop_, accept_clients(std::move(shared)), asio::detached);
}

asio::awaitable<void> Server::accept_clients(std::shared_ptr<Listener> from) {
    constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
    for (;;) {
        const auto [error] = co_await from->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, quiet);
        if (error) co_return;
        Fd client{::accept4(from->descriptor.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (client) {
            connections_.serve(std::move(client));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            // The client stays in the backlog; trying again at once would only spin.
            log::error("accept: {}", std::generic_category().message(errno));
            from->pause.expires_after(100ms);
            co_await from->pause.async_wait(quiet);
        }
    }
}

asio::awaitable<void> Server::stop(std::chrono::milliseconds patience) {
    for (const auto& listener : listeners_) listener->descriptor.close();
    listeners_.clear();
    co_await connections_.stop(patience);
}

}  // namespace grua::api
