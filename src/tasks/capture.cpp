// A program that is run to be asked something: its output within bounds, and its end within a time.
#include "base/log.hpp"
#include "tasks/task.hpp"

#include <sys/socket.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <csignal>

namespace grua::tasks {
namespace {

// For its output to end after it has: something else may hold its streams.
constexpr std::chrono::milliseconds drain{2000};

struct Reading {
    explicit Reading(const asio::any_io_executor& loop) : changed(loop) {}
    Condition changed;
    std::string output;
    bool cut = false;
    bool ended = false;
};

asio::awaitable<void> read(asio::posix::stream_descriptor socket, std::shared_ptr<Reading> reading, std::size_t most) {
    std::array<char, 4096> bytes{};
    for (;;) {
        boost::system::error_code error;
        const std::size_t count = co_await socket.async_read_some(asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
        if (error) break;
        const std::size_t taken = std::min(count, most - reading->output.size());
        reading->output.append(bytes.data(), taken);
        if (taken < count) reading->cut = true;
    }
    reading->ended = true;
    reading->changed.notify_all();
}

}  // namespace

asio::awaitable<Captured> capture(TaskPtr task, std::string exec_id, oci::Process process, CaptureLimits limits, const Clock& clock,
                                  Timers& timers, asio::any_io_executor loop) {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    Fd ours{pair[0]};
    Fd theirs{pair[1]};
    const auto reading = std::make_shared<Reading>(loop);
    asio::co_spawn(loop, read(asio::posix::stream_descriptor(loop, ours.release()), reading, limits.bytes), asio::detached);

    AttachRequest attach;
    attach.exec_id = exec_id;
    attach.multiplexed = false;
    attach.options.use_stdout = attach.options.use_stderr = attach.options.stream = true;
    attach.options.ends_with_client = true;
    const ExecHandle exec = co_await task->exec(exec_id, std::move(process), std::move(attach), std::move(theirs));

    if (limits.started) limits.started(exec);
    Captured out;
    bool timed_out = false;
    const auto alarm = timers.at(clock.steady() + limits.time, [exec, &timed_out] {
        timed_out = true;
        try {
            exec->kill(SIGKILL);
        } catch (const Error& error) {
            log::warn("a program that took too long: {}", error.what());
        }
    });
    out.exit_code = co_await exec->exited();
    const auto deadline = clock.steady() + drain;
    while (!reading->ended && clock.steady() < deadline) co_await wait_until(reading->changed, timers, deadline);
    out.output = std::move(reading->output);
    out.cut = reading->cut;
    out.timed_out = timed_out;
    co_return out;
}

}  // namespace grua::tasks
