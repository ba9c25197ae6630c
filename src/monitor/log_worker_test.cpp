#include "monitor/log_worker.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "monitor/log_file.hpp"
#include "monitor/log_reader.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr auto patience = 20s;

/// Writes "<pid> <text>" to a file; while a file "hold" stands beside it, it waits for that to go.
class Slow final : public LogDriver {
public:
    Slow(LogHost& host, std::string folder) : host_(host), folder_(std::move(folder)) {
        if (fs::exists(folder_ + "/broken")) fail(ErrorKind::system, "it is broken");
    }
    void log(const LogLine& line) noexcept override {
        if (fs::exists(folder_ + "/hold")) host_.tell("held");
        while (fs::exists(folder_ + "/hold"))
            if (!host_.wait(-1, 0, 10ms)) return;
        const Fd file(::open((folder_ + "/out").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        const std::string part = line.part == nullptr ? "" : fmt::format("[{} {} {}]", line.part->id, line.part->ordinal, line.part->last);
        write_all(file.get(), fmt::format("{}{}{}\n", line.stream == Stream::standard_error ? "err:" : "", line.text, part), "out");
    }
    void flush() noexcept override {}

private:
    LogHost& host_;
    std::string folder_;
};

class LogWorkerTest : public testing::Test {
protected:
    LogWorkerTest() {
        std::string path = fs::temp_directory_path() / "grua-worker-XXXXXX";
        folder_ = ::mkdtemp(path.data());
    }
    ~LogWorkerTest() override {
        while (::waitpid(-1, nullptr, 0) > 0) {
        }
        fs::remove_all(folder_);
    }

    LogWorker worker(std::size_t bound, WhenFull when_full) const {
        return {"slow", [folder = folder_](LogHost& host) { return std::make_unique<Slow>(host, folder); }, bound, when_full};
    }
    void hold() const { replace_file(folder_ + "/hold", ""); }
    void let_go() const { fs::remove(folder_ + "/hold"); }
    static void log(LogWorker& worker, std::string_view text) { worker.log({.text = text}); }

    /// Serves it as the monitor's loop does; false where that takes too long.
    template <typename Holds>
    static bool serve_until(LogWorker& worker, Holds holds) {
        const auto deadline = std::chrono::steady_clock::now() + patience;
        while (!holds()) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            pollfd wait{.fd = worker.fd(), .events = worker.events(), .revents = 0};
            (void)::poll(&wait, 1, 20);
            worker.serve();
        }
        return true;
    }
    std::string out() const { return fs::exists(folder_ + "/out") ? read_file(folder_ + "/out", 1 << 28) : ""; }
    static pid_t child() {
        const std::string text = read_file(fmt::format("/proc/self/task/{}/children", ::getpid()));
        return static_cast<pid_t>(std::atoi(text.c_str()));
    }

    std::string folder_;
};

TEST_F(LogWorkerTest, GivesEachLineOnceInOrder) {
    LogWorker slow = worker(1 << 20, WhenFull::wait);
    log(slow, "one");
    slow.log({.stream = Stream::standard_error, .text = ""});
    const PartialMark mark{.id = "abc", .ordinal = 7, .last = true};
    slow.log({.text = std::string_view("t\0wo", 4), .part = &mark});
    slow.flush();
    slow.close();
    EXPECT_TRUE(serve_until(slow, [&] { return slow.is_done(); }));
    EXPECT_EQ(out(), std::string("one\nerr:\nt\0wo[abc 7 true]\n", 26));
}

TEST_F(LogWorkerTest, OneThatWaitsLosesNothing) {
    hold();
    LogWorker slow = worker(10'000, WhenFull::wait);
    std::string expected;
    int count = 0;
    for (; !slow.is_full(); ++count) {
        log(slow, fmt::format("{:0100}", count));
        expected += fmt::format("{:0100}\n", count);
    }
    slow.flush();
    EXPECT_LT(count, 120);
    std::vector<std::string> news;
    EXPECT_TRUE(serve_until(slow, [&] {
        for (auto& each : slow.take_news()) news.push_back(each);
        return !news.empty();
    }));
    EXPECT_THAT(news, ElementsAre("slow: held"));
    EXPECT_TRUE(slow.is_full());
    let_go();
    EXPECT_TRUE(serve_until(slow, [&] { return !slow.is_full(); }));
    slow.close();
    EXPECT_TRUE(serve_until(slow, [&] { return slow.is_done(); }));
    EXPECT_EQ(out(), expected);
}

TEST_F(LogWorkerTest, OneThatDropsHasABoundAndSaysSo) {
    hold();
    LogWorker slow = worker(10'000, WhenFull::drop);
    for (int i = 0; i < 100'000; ++i) log(slow, fmt::format("{:0100}", i));
    slow.flush();
    EXPECT_FALSE(slow.is_full());
    EXPECT_GT(slow.lost(), 99'000U);
    EXPECT_THAT(slow.take_news(), testing::Contains("slow: its buffer is full, and lines are left out"));
    let_go();
    std::vector<std::string> news;
    EXPECT_TRUE(serve_until(slow, [&] {
        for (auto& each : slow.take_news()) news.push_back(each);
        return !news.empty() && news.back().contains("caught up");
    }));
    log(slow, "after");
    slow.close();
    EXPECT_TRUE(serve_until(slow, [&] { return slow.is_done(); }));
    // What came first is there, as with Docker's; what came while it was full is not.
    EXPECT_TRUE(out().starts_with(fmt::format("{:0100}\n{:0100}\n", 0, 1)));
    EXPECT_TRUE(out().ends_with("after\n"));
    EXPECT_EQ(static_cast<std::uint64_t>(std::ranges::count(out(), '\n')), 100'001 - slow.lost());
}

TEST_F(LogWorkerTest, ALineIsTakenHoweverLongWhereNothingElseWaits) {
    LogWorker slow = worker(10, WhenFull::drop);
    const std::string line(16 << 10, 'x');
    log(slow, line);
    slow.close();
    EXPECT_TRUE(serve_until(slow, [&] { return slow.is_done(); }));
    EXPECT_EQ(out(), line + "\n");
}

TEST_F(LogWorkerTest, OneThatWasKilledIsReplacedAndNothingIsLost) {
    hold();
    LogWorker slow = worker(1 << 20, WhenFull::wait);
    std::string expected;
    for (int i = 0; i < 1000; ++i) {
        log(slow, std::to_string(i));
        expected += std::to_string(i) + "\n";
    }
    slow.flush();
    EXPECT_TRUE(serve_until(slow, [&] { return !slow.take_news().empty(); }));
    const pid_t first = child();
    ASSERT_GT(first, 0);
    ::kill(first, SIGKILL);
    ::waitpid(first, nullptr, 0);
    slow.child_ended(first);
    let_go();
    EXPECT_TRUE(serve_until(slow, [&] { return slow.is_done() || out() == expected; }));
    EXPECT_EQ(out(), expected);
}

TEST_F(LogWorkerTest, WhatCannotBeMadeIsSaidAndTriedAgain) {
    replace_file(folder_ + "/broken", "");
    LogWorker slow = worker(1 << 20, WhenFull::wait);
    log(slow, "one");
    slow.flush();
    std::vector<std::string> news;
    EXPECT_TRUE(serve_until(slow, [&] {
        for (auto& each : slow.take_news()) news.push_back(each);
        return !news.empty();
    }));
    EXPECT_EQ(news.front(), "slow: it is broken");
    fs::remove(folder_ + "/broken");
    EXPECT_TRUE(serve_until(slow, [&] { return out() == "one\n"; }));
}

TEST_F(LogWorkerTest, ItWritesWhatItHasWhenItsMonitorIsGone) {
    std::string expected;
    pid_t pid = 0;
    {
        hold();
        LogWorker slow = worker(1 << 20, WhenFull::wait);
        for (int i = 0; i < 100; ++i) {
            log(slow, std::to_string(i));
            expected += std::to_string(i) + "\n";
        }
        slow.flush();
        pid = child();
    }
    let_go();
    ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
    EXPECT_EQ(out(), expected);
}

TEST_F(LogWorkerTest, ItHoldsNothingOfItsMonitor) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd read(ends[0]);
    std::optional<Fd> write(ends[1]);
    hold();
    LogWorker slow = worker(1 << 20, WhenFull::wait);
    log(slow, "x");
    slow.flush();
    // It has begun, so it has closed what it does not need.
    EXPECT_TRUE(serve_until(slow, [&] { return !slow.take_news().empty(); }));
    write.reset();
    pollfd ended{.fd = read.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ended, 1, 5000), 1);
    let_go();
}

TEST_F(LogWorkerTest, FilesInIt) {
    const std::string path = folder_ + "/log";
    LogWorker files(
        "file", [path](LogHost&) { return std::make_unique<LogFile>(path, LogLimits{.max_size = 300, .max_files = 100}); }, 1 << 20,
        WhenFull::drop);
    for (int i = 0; i < 50; ++i) log(files, std::to_string(i));
    files.flush();
    files.wait_until_written(static_cast<int>(std::chrono::milliseconds(patience).count()));
    LogReader reader({.path = path, .tail = {}});
    for (int i = 0; i < 50; ++i) EXPECT_EQ(reader.next()->text, fmt::format("{}\n", i));
    EXPECT_FALSE(reader.next());
    fs::rename(path, folder_ + "/elsewhere");
    files.reopen();
    log(files, "new");
    files.close();
    EXPECT_TRUE(serve_until(files, [&] { return files.is_done(); }));
    EXPECT_TRUE(read_file(path).contains("new"));
}

TEST_F(LogWorkerTest, AProgramThatCannotBeTheWorkerIsTold) {
    const auto told = [](const std::string& path) {
        LogWorker worker("syslog", WorkerProgram{.path = path, .spec = "{"}, 1000, WhenFull::wait);
        std::vector<std::string> news;
        EXPECT_TRUE(serve_until(worker, [&] {
            news = worker.take_news();
            return !news.empty();
        }));
        return news.empty() ? "" : news.front();
    };
    EXPECT_EQ(told("/nowhere/grua-log"), "syslog: execute /nowhere/grua-log: No such file or directory");
    const std::string ours = fs::read_symlink("/proc/self/exe").parent_path() / "grua-log";
    EXPECT_THAT(told(ours), HasSubstr("syslog: "));
    EXPECT_THAT(told(ours), testing::Not(HasSubstr("execute")));
}

}  // namespace
}  // namespace grua::monitor
