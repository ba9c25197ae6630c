#include "tasks/monitor_link.hpp"

#include "base/test_loop.hpp"
#include "monitor/messages.hpp"
#include "monitor/socket.hpp"

#include <gtest/gtest.h>
#include <unistd.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

namespace grua::tasks {
namespace {

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
    events.closed = [&](const std::string&) { closed = true; };
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
        const auto started = co_await link->exec("good", process, std::nullopt, Fd());
        EXPECT_EQ(started.pid, 42);
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

// A7
TEST(MonitorLink, AMessageThatCannotBeReadAnswersWhoeverWaits) {
    asio::io_context loop;
    auto [ours, theirs] = monitor::socket_pair();
    std::string why;
    MonitorEvents events;
    events.closed = [&](const std::string& said) { why = said; };
    auto link = std::make_shared<MonitorLink>(loop.get_executor(), std::move(ours), std::move(events));
    link->run();
    const std::jthread monitor_thread([socket = std::move(theirs)] {
        monitor::Packet packet;
        (void)monitor::receive(socket.get(), packet);
        // A text that ends in the middle of a character.
        monitor::send(socket.get(), "{\"type\":\"reply\",\"seq\":1,\"error\":{\"message\":\"\xc3\"}}");
        (void)monitor::receive(socket.get(), packet);
    });
    EXPECT_THROW(run_on_loop(loop, [&]() -> asio::awaitable<void> { co_await link->resize("", 1, 1); }), Error);
    EXPECT_NE(why.find("cannot be read"), std::string::npos) << why;
}

// A7
TEST(MonitorLink, AStartWhoseDescriptorWasLostEndsTheLink) {
    asio::io_context loop;
    auto [ours, theirs] = monitor::socket_pair();
    bool started = false;
    bool closed = false;
    MonitorEvents events;
    events.started = [&](pid_t, Time, Fd) { started = true; };
    events.closed = [&](const std::string&) { closed = true; };
    auto link = std::make_shared<MonitorLink>(loop.get_executor(), std::move(ours), std::move(events));
    link->run();
    monitor::send(theirs.get(), monitor::encode(monitor::Started{.pid = 42, .started_at = 1}));
    loop.run_for(std::chrono::seconds(10));
    EXPECT_FALSE(started);
    EXPECT_TRUE(closed);
}

}  // namespace
}  // namespace grua::tasks
