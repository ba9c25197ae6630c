#include "grpc/transport.hpp"

#include "base/error.hpp"

#include <sys/socket.h>
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/write.hpp>

namespace grua::grpc {
namespace {

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);

int family_of(int socket) {
    int out = 0;
    socklen_t size = sizeof out;
    if (::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &out, &size) != 0) fail_errno("a connection's address family");
    return out;
}

class SocketTransport final : public Transport {
public:
    SocketTransport(const asio::any_io_executor& loop, Fd socket, std::string early) : socket_(loop), early_(std::move(early)) {
        socket_.assign({family_of(socket.get()), 0}, socket.get());
        static_cast<void>(socket.release());
        socket_.native_non_blocking(true);
    }

    asio::awaitable<std::size_t> read(std::span<char> out) override {
        if (!early_.empty()) {
            const std::size_t count = std::min(out.size(), early_.size());
            std::copy_n(early_.begin(), count, out.begin());
            early_.erase(0, count);
            co_return count;
        }
        const auto [error, count] = co_await socket_.async_read_some(asio::buffer(out.data(), out.size()), quiet);
        co_return error ? 0 : count;
    }

    asio::awaitable<bool> write(std::string_view bytes) override {
        const auto [error, count] = co_await asio::async_write(socket_, asio::buffer(bytes), quiet);
        co_return !error;
    }

    void close() override {
        boost::system::error_code ignored;
        socket_.close(ignored);
    }

private:
    asio::generic::stream_protocol::socket socket_;
    std::string early_;
};

}  // namespace

std::unique_ptr<Transport> over_socket(const asio::any_io_executor& loop, Fd socket, std::string early) {
    return std::make_unique<SocketTransport>(loop, std::move(socket), std::move(early));
}

}  // namespace grua::grpc
