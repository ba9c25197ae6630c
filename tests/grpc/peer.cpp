// grpc_peer serve SOCKET: the service test.Test, until its input ends.
// grpc_peer call SOCKET: calls the same service of somebody else, and prints what came of it.
#include "grpc/client.hpp"
#include "grpc/server.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <iostream>
#include <string>

namespace {

using namespace grua;
using namespace std::chrono_literals;

sockaddr_un address_of(const std::string& path) {
    sockaddr_un out{};
    out.sun_family = AF_UNIX;
    path.copy(out.sun_path, sizeof out.sun_path - 1);
    return out;
}

Fd unix_socket() {
    Fd out{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!out) fail_errno("socket");
    return out;
}

void add_methods(grpc::Services& services) {
    services.add("/test.Test/Echo", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        call.begin({{"x-seen", std::string(call.metadata("x-said"))}});
        while (auto message = co_await call.read()) co_await call.write(*message);
    });
    services.add("/test.Test/Size", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        std::size_t size = 0;
        while (auto message = co_await call.read()) size += message->size();
        co_await call.write(fmt::format("{}", size));
    });
    services.add("/test.Test/Many", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        const std::string wish = co_await call.read_only();
        for (int i = 0; i < std::stoi(wish); ++i) co_await call.write(std::string(1000, 'x'));
    });
    services.add("/test.Test/Fail", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        throw grpc::CallError(
            {.code = grpc::Code::failed_precondition, .message = co_await call.read_only(), .details = std::string("\x08\x09", 2)});
    });
    services.add("/test.Test/Wait", [](grpc::ServerCall&) -> asio::awaitable<void> {
        asio::steady_timer timer(co_await asio::this_coro::executor, 60s);
        co_await timer.async_wait(asio::use_awaitable);
    });
}

void serve(const std::string& path) {
    asio::io_context loop;
    grpc::Services services;
    add_methods(services);
    const Fd listener = unix_socket();
    const sockaddr_un address = address_of(path);
    if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(listener.get(), 100) != 0)
        fail_errno("listen at {}", path);
    asio::posix::stream_descriptor incoming(loop, ::dup(listener.get()));
    asio::co_spawn(
        loop,
        [&]() -> asio::awaitable<void> {
            for (;;) {
                co_await incoming.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
                Fd client{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
                if (client)
                    asio::co_spawn(loop, services.serve(loop.get_executor(), grpc::over_socket(loop.get_executor(), std::move(client))),
                                   asio::detached);
            }
        },
        asio::detached);
    asio::posix::stream_descriptor input(loop, ::dup(STDIN_FILENO));
    asio::co_spawn(
        loop,
        [&]() -> asio::awaitable<void> {
            co_await input.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
            loop.stop();
        },
        asio::detached);
    std::cout << "ready" << std::endl;
    loop.run();
}

asio::awaitable<void> try_all(grpc::Http2& connection) {
    std::cout << "echo " << co_await grpc::call(connection, "/test.Test/Upper", "abc") << "\n";
    const std::string large(3'000'000, 'x');
    std::cout << "size " << co_await grpc::call(connection, "/test.Test/Size", large) << "\n";
    {
        grpc::ClientCall many(connection, "/test.Test/Many");
        co_await many.write("5000");
        many.end();
        int count = 0;
        while (co_await many.read()) ++count;
        std::cout << "many " << count << "\n";
    }
    for (const char* method : {"/test.Test/Fail", "/test.Test/Nothing", "/test.Test/Wait"}) {
        try {
            co_await grpc::call(connection, method, "why 100 %\nü", {.metadata = {}, .timeout = 500ms});
        } catch (const grpc::CallError& error) {
            std::cout << method << " " << static_cast<int>(error.status().code) << " " << grpc::encode_message(error.what()) << "\n";
        }
    }
    grpc::ClientCall talk(connection, "/test.Test/Echo");
    for (int i = 0; i < 10; ++i) {
        co_await talk.write(fmt::format("{}", i));
        const auto said = co_await talk.read();
        std::cout << said.value_or("nothing") << " ";
    }
    std::cout << std::endl;
}

void call_all(const std::string& path) {
    asio::io_context loop;
    Fd socket = unix_socket();
    const sockaddr_un address = address_of(path);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail_errno("connect to {}", path);
    const auto connection =
        grpc::Http2::make(loop.get_executor(), grpc::over_socket(loop.get_executor(), std::move(socket)), grpc::Http2::Role::client);
    asio::co_spawn(loop, connection->run(), asio::detached);
    asio::co_spawn(loop, try_all(*connection), [&](const std::exception_ptr& failure) {
        connection->close("all calls are made");
        if (failure) std::rethrow_exception(failure);
    });
    loop.run();
}

}  // namespace

int main(int count, char** words) {
    try {
        if (count == 3 && std::string(words[1]) == "serve") {
            serve(words[2]);
        } else if (count == 3 && std::string(words[1]) == "call") {
            call_all(words[2]);
        } else {
            std::cerr << "usage: grpc_peer serve|call SOCKET\n";
            return 2;
        }
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "grpc_peer: " << error.what() << "\n";
        return 1;
    }
}
