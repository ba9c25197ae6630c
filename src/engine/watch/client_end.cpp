#include "engine/watch/client_end.hpp"

#include <sys/socket.h>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

namespace grua::engine {
namespace {

constexpr std::chrono::seconds linger{10};
constexpr std::size_t block = std::size_t{32} << 10U;
constexpr int most_blocks = 16;

/// False where the peer's end was read. Bounded: one that sends without end must not keep the loop.
bool drop_input(int client) {
    std::array<char, block> bytes;
    for (int turn = 0; turn < most_blocks; ++turn) {
        const ssize_t got = ::recv(client, bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) return false;
        if (got < 0 && errno == EAGAIN) break;
    }
    return true;
}

asio::awaitable<void> drain(std::shared_ptr<asio::posix::stream_descriptor> client, std::shared_ptr<asio::steady_timer> timer) {
    while (client->is_open() && drop_input(client->native_handle())) {
        const auto [error] = co_await client->async_wait(asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
        if (error) break;
    }
    timer->cancel();
}

}  // namespace

asio::awaitable<bool> send_to(asio::posix::stream_descriptor& client, std::string bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
        const ssize_t count = ::send(client.native_handle(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count >= 0) {
            sent += static_cast<std::size_t>(count);
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) co_return false;
        const auto [error] = co_await client.async_wait(asio::posix::stream_descriptor::wait_write, asio::as_tuple(asio::use_awaitable));
        if (error) co_return false;
    }
    co_return true;
}

void end_client(const asio::any_io_executor& loop, Fd client) {
    if (!client) return;
    (void)::shutdown(client.get(), SHUT_WR);
    if (!drop_input(client.get())) return;
    const auto descriptor = std::make_shared<asio::posix::stream_descriptor>(loop, client.release());
    const auto timer = std::make_shared<asio::steady_timer>(loop, linger);
    timer->async_wait([descriptor](const boost::system::error_code&) {
        boost::system::error_code ignored;
        descriptor->close(ignored);
    });
    asio::co_spawn(loop, drain(descriptor, timer), asio::detached);
}

}  // namespace grua::engine
