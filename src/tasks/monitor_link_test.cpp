#include "tasks/monitor_link.hpp"

#include "monitor/messages.hpp"
#include "monitor/socket.hpp"

#include <gtest/gtest.h>
#include <unistd.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

namespace grua::tasks {
namespace {

template <typename Body>
void run_on_loop(asio::io_context& loop, Body body) {
    std::exception_ptr failure;
    asio::co_spawn(loop, body(), [&](const std::exception_ptr& thrown) { failure = thrown; });
    loop.run();
    loop.restart();
    if (failure) std::rethrow_exception(failure);
}

/// Answers as a monitor would, on the other end of the socket.
std::jthread fake_monitor(Fd socket) {
    return std::jthread([socket = std::move(socket)] {
        const auto send = [&](const auto& message, std::vector<int> fds = {}) {
            monitor::send(socket.get(), monitor::encode(message), fds);
        };
        monitor::Packet packet;
        while (monitor::receive(socket.get(), packet) == monitor::Received::packet) {
            const auto header = monitor::decode<monitor::Header>(packet.text);
            monitor::Reply reply;
            reply.seq = header.seq;
            if (header.type == monitor::Attach::name && packet.fds.size() == 1) (void)!::write(packet.fds[0].get(), "hello", 5);
            if (header.type == monitor::Exec::name) {
                reply.pid = 42;
                if (monitor::decode<monitor::Exec>(packet.text).exec_id == "bad")
                    reply.error = monitor::Failure{.kind = "not_found", .os_error = 2, .message = "exec: \"x\": not there"};
            }
            send(reply);
            if (header.type == monitor::Resize::name) {
                monitor::Exited exited;
                exited.code = 3;
                exited.finished_at = 5;
                send(exited);
                return;
            }
        }
    });
}

TEST(MonitorLink, RequestsRepliesAndTheEnd) {
    asio::io_context loop;
    auto [ours, theirs] = monitor::socket_pair();
    const auto monitor_thread = fake_monitor(std::move(theirs));
    std::optional<ExitReport> exited;
    bool closed = false;
    MonitorEvents events;
    events.exited = [&](const ExitReport& report) { exited = report; };
    events.closed = [&] { closed = true; };
    auto link = std::make_shared<MonitorLink>(loop.get_executor(), std::move(ours), std::move(events));
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const Fd reading(pipe[0]);
    link->run();
    std::string failure;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        co_await link->attach({}, Fd(pipe[1]));
        oci::Process process;
        process.args = {"true"};
        const pid_t pid = co_await link->exec("good", process, std::nullopt, Fd());
        EXPECT_EQ(pid, 42);
        try {
            co_await link->exec("bad", process, std::nullopt, Fd());
        } catch (const Error& error) {
            failure = error.what();
        }
        co_await link->resize("", 24, 80);
    });
    EXPECT_EQ(failure, "exec: \"x\": not there");
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->code, 3);
    EXPECT_TRUE(closed);
    std::array<char, 5> bytes{};
    EXPECT_EQ(::read(reading.get(), bytes.data(), bytes.size()), 5);
}

TEST(MonitorLink, ARequestToAMonitorThatEndsFails) {
    asio::io_context loop;
    auto [ours, theirs] = monitor::socket_pair();
    auto link = std::make_shared<MonitorLink>(loop.get_executor(), std::move(ours), MonitorEvents{});
    link->run();
    theirs = Fd();
    EXPECT_THROW(run_on_loop(loop, [&]() -> asio::awaitable<void> { co_await link->resize("", 1, 1); }), Error);
}

}  // namespace
}  // namespace grua::tasks
