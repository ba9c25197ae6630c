#include "engine/watch/log_watch.hpp"

#include "base/async.hpp"
#include "base/condition.hpp"
#include "base/files.hpp"
#include "engine/watch/log_streams.hpp"
#include "monitor/log_writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <vector>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

int inotify_instances() {
    int count = 0;
    for (const auto& each : fs::directory_iterator("/proc/self/fd")) {
        std::error_code ignored;
        count += fs::read_symlink(each.path(), ignored) == "anon_inode:inotify" ? 1 : 0;
    }
    return count;
}

class LogFollowing : public testing::Test {
protected:
    LogFollowing() {
        std::string path = fs::temp_directory_path() / "grua-follow-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        ContainerRecord record;
        record.id = "c1";
        record.log_path = folder_ + "/c1-json.log";
        record.state.status = Status::running;
        container_ = std::make_shared<Container>(loop_.get_executor(), record);
    }
    ~LogFollowing() override { fs::remove_all(folder_); }

    void write(const std::string& text) {
        monitor::LogWriter writer(container_->record->log_path, {});
        writer.add(monitor::Stream::standard_output, text, now());
        writer.flush();
    }
    void end_container() {
        container_->update([](ContainerRecord& next) { next.state.status = Status::exited; });
        container_->changed.notify_all();
    }
    static LogOptions following() { return {.use_stdout = true, .use_stderr = true, .since = {}, .until = {}, .follow = true}; }

    /// Everything that a stream has, to its end.
    static asio::awaitable<void> read_all(std::shared_ptr<LogStream> stream, std::string& out, bool& ended) {
        for (;;) {
            const auto lines = co_await stream->next();
            if (lines.empty()) break;
            for (const LogLine& each : lines) out += each.text;
        }
        ended = true;
    }

    /// Runs the loop until it is true; false where that takes too long.
    template <typename Holds>
    bool run_until(Holds holds) {
        const auto deadline = std::chrono::steady_clock::now() + 20s;
        while (!holds()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            loop_.restart();
            loop_.run_one_for(50ms);
        }
        return true;
    }

    std::string folder_;
    asio::io_context loop_;
    ContainerPtr container_;
};

// C2, G6: a user has 128 instances, and this is one of them.
TEST_F(LogFollowing, HundredsOfFollowersShareOneInstance) {
    LogStreams streams{loop_.get_executor()};
    constexpr std::size_t count = 300;
    std::vector<std::string> out(count);
    std::unique_ptr<bool[]> ended{new bool[count]{}};
    write("first\n");
    for (std::size_t n = 0; n < count; ++n)
        asio::co_spawn(loop_, read_all(streams.open(container_, following()), out[n], ended[n]), asio::detached);
    const auto all_have = [&](const std::string& text) {
        return run_until([&] { return std::ranges::all_of(out, [&](const std::string& each) { return each == text; }); });
    };
    EXPECT_TRUE(all_have("first\n"));
    EXPECT_EQ(inotify_instances(), 1);
    write("second\n");
    EXPECT_TRUE(all_have("first\nsecond\n"));
    write("last\n");
    end_container();
    EXPECT_TRUE(run_until([&] { return std::all_of(ended.get(), ended.get() + count, [](bool each) { return each; }); }));
    EXPECT_TRUE(all_have("first\nsecond\nlast\n"));
}

// C2: it ends while the reading threads look, when nobody waits for it.
TEST_F(LogFollowing, AnEndThatComesWhileTheLogIsReadIsSeen) {
    LogStreams streams{loop_.get_executor()};
    for (int turn = 0; turn < 200; ++turn) {
        container_->found([](ContainerRecord& next) { next.state.status = Status::running; });
        std::string out;
        bool ended = false;
        asio::co_spawn(loop_, read_all(streams.open(container_, following()), out, ended), asio::detached);
        // The read is on its way; its answer comes to a loop that has not run since.
        loop_.restart();
        loop_.run_one();
        ::usleep(static_cast<useconds_t>(turn % 20 * 100));
        end_container();
        ASSERT_TRUE(run_until([&] { return ended; })) << turn;
    }
}

// G17: as with Docker, whose client would wait for ever otherwise.
TEST_F(LogFollowing, OneThatDoesNotRunIsReadToItsEnd) {
    LogStreams streams{loop_.get_executor()};
    for (const Status status : {Status::created, Status::exited}) {
        container_->found([&](ContainerRecord& next) { next.state.status = status; });
        std::string out;
        bool ended = false;
        asio::co_spawn(loop_, read_all(streams.open(container_, following()), out, ended), asio::detached);
        EXPECT_TRUE(run_until([&] { return ended; }));
    }
}

/// Exits with 0 where a log is followed though this user may have no inotify instance.
[[noreturn]] void follow_without_instances(const std::string& log_path) {
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(2);
    try {
        const auto set = [](const char* path, std::string_view text) {
            const Fd file{::open(path, O_WRONLY | O_CLOEXEC)};
            if (!file) fail_errno("open {}", path);
            write_all(file.get(), text, path);
        };
        set("/proc/self/uid_map", "0 0 1");
        set("/proc/sys/user/max_inotify_instances", "0");
    } catch (const Error&) {
        ::_exit(2);
    }
    asio::io_context loop;
    ContainerRecord record;
    record.id = "c1";
    record.log_path = log_path;
    record.state.status = Status::running;
    const auto container = std::make_shared<Container>(loop.get_executor(), record);
    LogStreams streams{loop.get_executor()};
    std::string out;
    LogOptions options{.use_stdout = true, .use_stderr = true, .since = {}, .until = {}, .follow = true};
    const auto stream = streams.open(container, options);
    const auto append = [&](const std::string& text) {
        monitor::LogWriter writer(log_path, {});
        writer.add(monitor::Stream::standard_output, text, now());
        writer.flush();
    };
    auto task = [&]() -> asio::awaitable<void> {
        for (const LogLine& each : co_await stream->next()) out += each.text;
        append("second\n");
        for (const LogLine& each : co_await stream->next()) out += each.text;
    };
    append("first\n");
    asio::co_spawn(loop, task(), asio::detached);
    loop.run_for(20s);
    ::_exit(out == "first\nsecond\n" && inotify_instances() == 0 ? 0 : 1);
}

// C2, G6: it is looked at instead.
TEST_F(LogFollowing, ALogThatCannotBeWatchedIsFollowed) {
    const pid_t child = ::fork();
    if (child == 0) follow_without_instances(container_->record->log_path);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) GTEST_SKIP() << "no user namespaces here";
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(LogFollowing, AFolderThatGoesAwayIsNoLongerWatched) {
    LogWatch watch{loop_.get_executor()};
    fs::create_directory(folder_ + "/d");
    int calls = 0;
    const auto follower = watch.follow(folder_ + "/d", [&] { ++calls; });
    auto other = watch.follow(folder_ + "/d", [&] { ++calls; });
    EXPECT_FALSE(follower->must_poll());
    replace_file(folder_ + "/d/f", "x");
    EXPECT_TRUE(run_until([&] { return calls >= 2; }));
    other.reset();
    fs::remove_all(folder_ + "/d");
    EXPECT_TRUE(run_until([&] { return follower->must_poll(); }));
    EXPECT_TRUE(watch.follow(folder_ + "/missing", [] {})->must_poll());
}

}  // namespace
}  // namespace grua::engine
