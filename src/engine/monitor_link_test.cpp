#include "engine/monitor_link.hpp"

#include "base/id.hpp"
#include "engine/events.hpp"
#include "engine/saver.hpp"
#include "monitor/messages.hpp"
#include "monitor/socket.hpp"
#include "store/database.hpp"

#include <gmock/gmock.h>
#include <unistd.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <thread>

namespace grua::engine {
namespace {

using testing::ElementsAre;

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

TEST(Events, ReplayFollowAndFilter) {
    asio::io_context loop;
    Events events(loop.get_executor());
    const Time start = now();
    events.publish({.type = "container", .action = "create", .id = "abc", .attributes = {{"name", "web"}, {"image", "i"}}});
    events.publish({.type = "volume", .action = "create", .id = "v"});
    const auto subscription = events.subscribe({{"type", {"container"}}, {"container", {"web"}}}, start);
    std::vector<std::string> seen;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                events.publish({.type = "container", .action = "exec_create: sh", .id = "abc", .attributes = {{"name", "web"}}});
                events.publish({.type = "container", .action = "start", .id = "other"});
                events.close();
                co_return;
            },
            asio::detached);
        while (const auto event = co_await subscription->next()) seen.push_back(event->action);
    });
    EXPECT_THAT(seen, ElementsAre("create", "exec_create: sh"));
}

TEST(Events, UntilInThePastEnds) {
    asio::io_context loop;
    Events events(loop.get_executor());
    events.publish({.type = "daemon", .action = "reload", .id = "x"});
    const auto subscription = events.subscribe({}, Time{}, now());
    int seen = 0;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        while (co_await subscription->next()) ++seen;
    });
    EXPECT_EQ(seen, 1);
}

TEST(Saver, GroupsAndKeepsTheLast) {
    const std::string path = std::filesystem::temp_directory_path() / ("grua-saver-" + random_hex(6));
    std::filesystem::create_directories(path);
    {
        store::Database database(path + "/grua.db");
        Saver::migrate(database);
        asio::io_context loop;
        asio::thread_pool pool(2);
        Saver saver(loop.get_executor(), pool, database);
        ContainerRecord record;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            for (int i = 0; i < 20; ++i) {
                record.id = "id" + std::to_string(i % 10);
                record.restart_count = i;
                saver.save(record);
            }
            saver.remove("id3");
            co_await saver.flushed();
        });
        const auto stored = Saver::load(database);
        ASSERT_EQ(stored.size(), 9U);
        for (const auto& each : stored) EXPECT_GE(each.restart_count, 10);
    }
    std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace grua::engine
