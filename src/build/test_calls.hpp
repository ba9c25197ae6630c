// For tests: a client of services, on a connection to them.
#pragma once

#include "base/test_loop.hpp"
#include "grpc/client.hpp"
#include "grpc/server.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

class ServiceClient {
public:
    ServiceClient(asio::io_context& loop, const grpc::Services& services) : loop_(loop), services_(services) {}

    /// `body`, a coroutine, while there is a connection.
    template <typename Body>
    void run(Body body) {
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop_, [&]() -> asio::awaitable<void> {
            const auto executor = loop_.get_executor();
            asio::co_spawn(executor, services_.serve(executor, grpc::over_socket(executor, Fd(pair[0]))), asio::detached);
            connection_ = grpc::Http2::make(executor, grpc::over_socket(executor, Fd(pair[1])), grpc::Http2::Role::client);
            asio::co_spawn(executor, connection_->run(), asio::detached);
            std::exception_ptr failure;
            try {
                co_await body();
            } catch (...) {
                failure = std::current_exception();
            }
            connection_->close("the test is over");
            if (failure) std::rethrow_exception(failure);
        });
    }

    grpc::Http2& connection() { return *connection_; }

    template <typename Answer, typename Request>
    asio::awaitable<Answer> ask(std::string method, Request request) {
        co_return grpc::Services::parse<Answer>(co_await grpc::call(*connection_, std::move(method), request.SerializeAsString()));
    }
    /// All that comes.
    template <typename Answer, typename Request>
    asio::awaitable<std::vector<Answer>> ask_all(std::string method, Request request) {
        grpc::ClientCall call(*connection_, method);
        co_await call.write(request.SerializeAsString());
        call.end();
        std::vector<Answer> out;
        while (auto message = co_await call.read()) out.push_back(grpc::Services::parse<Answer>(*message));
        co_return out;
    }
    template <typename Request>
    asio::awaitable<std::string> refusal(std::string method, Request request) {
        try {
            (void)co_await grpc::call(*connection_, std::move(method), request.SerializeAsString());
        } catch (const Error& error) {
            co_return error.what();
        }
        co_return "";
    }
    asio::awaitable<void> settle() {
        asio::steady_timer timer(loop_, std::chrono::milliseconds(10));
        co_await timer.async_wait(asio::use_awaitable);
    }

private:
    asio::io_context& loop_;
    const grpc::Services& services_;
    std::shared_ptr<grpc::Http2> connection_;
};

}  // namespace grua::build
