#include "api/server.hpp"

#include "api/http_parser.hpp"
#include "api/peer.hpp"
#include "api/router.hpp"
#include "base/log.hpp"

#include <sys/resource.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <climits>

namespace grua::api {

using namespace std::chrono_literals;

namespace {

using Clock = asio::steady_timer::clock_type;

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
constexpr int accepts_at_once = 32;
constexpr auto shortage_pause = 100ms;
constexpr auto shortage_log_interval = 10s;
constexpr auto refusal_log_interval = 1s;

/// So many of this process's descriptors no client gets: a container that is stopped or removed needs some.
constexpr int least_headroom = 8;
constexpr int most_headroom = 256;

/// A client whose descriptor's number is beyond this is refused: the kernel gives the lowest that is free, so all below are in use.
int last_for_clients() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX) return INT_MAX;
    const int all = static_cast<int>(limit.rlim_cur);
    return all - 1 - std::clamp(all / 8, least_headroom, most_headroom);
}

/// Its request is not read; what is there of it is taken, so that the answer is not lost in a reset.
void refuse(const Fd& client) {
    std::array<char, 16384> request{};
    while (::recv(client.get(), request.data(), request.size(), MSG_DONTWAIT) > 0) {
    }
    const std::string body = error_body("gruad has no descriptors left for more clients");
    const std::string answer =
        fmt::format("HTTP/1.1 503 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                    reason_of(503), body.size(), body);
    static_cast<void>(::send(client.get(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
    ::shutdown(client.get(), SHUT_WR);
}

}  // namespace

struct Server::Listener {
    Listener(const asio::any_io_executor& loop, Fd socket, std::string address, std::optional<tls::Context> protection)
        : descriptor(loop, socket.release()), pause(loop), name(std::move(address)), tls(std::move(protection)) {}
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer pause;
    const std::string name;
    std::optional<tls::Context> tls;
};

Server::Server(asio::any_io_executor loop, const Backend& backend)
    : loop_(loop),
      connections_(
          std::move(loop), [&backend](Exchange& exchange) { return dispatch(backend, exchange); },
          fmt::format("Api-Version: {}.{}\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Grua/{} (linux)\r\n",
                      newest_version.major_number, newest_version.minor_number, GRUA_VERSION)),
      last_for_clients_(last_for_clients()) {}

Server::~Server() = default;

void Server::accept_from(Fd listener, std::string name, std::optional<tls::Context> tls) {
    if (tls && !relays_) relays_ = std::make_unique<tls::Relays>();
    auto shared = std::make_shared<Listener>(loop_, std::move(listener), std::move(name), std::move(tls));
    listeners_.push_back(shared);
    asio::co_spawn(loop_, accept_clients(std::move(shared)), asio::detached);
}

void Server::use(const tls::Context& tls) {
    for (const auto& listener : listeners_) {
        if (listener->tls) listener->tls = tls;
    }
}

/// The handshake is the relays' business; here there is a client when it is done.
void Server::secure(Fd client, const tls::Context& tls, engine::Principal who) {
    keep_alive(client.get());
    relays_->accept(std::move(client), tls, [this, loop = loop_, who = std::move(who)](tls::Shaken how) {
        asio::post(loop, [this, how = std::move(how), who]() mutable { admit(std::move(how), std::move(who)); });
    });
}

void Server::admit(tls::Shaken how, engine::Principal who) {
    if (!how.plain) {
        const bool tell = Clock::now() >= refusal_logged_ + refusal_log_interval;
        if (tell) refusal_logged_ = Clock::now();
        // Anybody can have as many of these as he likes.
        if (const log::Level level = tell ? log::Level::info : log::Level::debug; log::enabled(level))
            log::write(level, fmt::format("TLS handshake with {} at {} failed: {}", who.address, who.listener, how.failure));
        return;
    }
    if (how.plain.get() > last_for_clients_) return;
    who.certificate = std::move(how.peer);
    try {
        connections_.serve(std::move(how.plain), std::move(who));
    } catch (const std::exception& failure) {
        log::error("a client's connection: {}", failure.what());
    }
}

asio::awaitable<void> Server::accept_clients(std::shared_ptr<Listener> from) {
    const int last = last_for_clients_;
    Clock::time_point logged{};
    // Who holds a connection for later must give way to who needs one now.
    const auto make_room = [&] {
        connections_.close_idle();
        if (relays_) relays_->drop_slow();
        if (Clock::now() < logged + shortage_log_interval) return;
        logged = Clock::now();
        log::error("descriptors are used up ({} connections): clients are refused until there are some again", connections_.count());
    };
    const auto serve = [&](Fd client) {
        try {
            engine::Principal who = principal_of(client.get(), from->name);
            if (from->tls) return secure(std::move(client), *from->tls, std::move(who));
            connections_.serve(std::move(client), std::move(who));
        } catch (const std::exception& failure) {
            log::error("a client's connection: {}", failure.what());
        }
    };
    for (;;) {
        const auto [error] = co_await from->descriptor.async_wait(asio::posix::stream_descriptor::wait_read, quiet);
        if (error) co_return;
        const int listener = from->descriptor.native_handle();
        Fd client{::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        // Many at once are let in at once, but not for longer than others can wait.
        for (int turn = 0; turn < accepts_at_once && client && client.get() <= last; ++turn) {
            serve(std::move(client));
            client = Fd{::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        }
        const bool shortage = !client && is_shortage(errno);
        if (shortage || client.get() > last) {
            make_room();
            if (shortage) client = spare_.accept(listener);
            if (client && !from->tls) refuse(client);
            client = Fd{};
            // Trying again at once would only spin: whatever there is, others are quicker.
            if (!spare_.keep() || shortage) {
                from->pause.expires_after(shortage_pause);
                co_await from->pause.async_wait(quiet);
            }
        } else if (client) {
            serve(std::move(client));
        }
    }
}

asio::awaitable<std::size_t> Server::stop(std::chrono::milliseconds patience) {
    for (const auto& listener : listeners_) listener->descriptor.close();
    listeners_.clear();
    co_return co_await connections_.stop(patience);
}

}  // namespace grua::api
