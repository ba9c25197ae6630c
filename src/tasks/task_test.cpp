// Tasks as they are: the real launcher, monitor and runtime, and a root that holds one static program. For root only.
#include "tasks/task.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/mount.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <filesystem>

namespace grua::tasks {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* shell = "/bin/busybox";  // Debian's busybox-static, which the other tests need too.

class TaskTest : public testing::Test {
protected:
    void SetUp() override {
        const std::string runtime = fs::read_symlink("/proc/self/exe").parent_path() / "grua-runtime";
        if (::geteuid() != 0 || ::access(runtime.c_str(), X_OK) != 0 || ::access(shell, X_OK) != 0)
            GTEST_SKIP() << "needs root, " << runtime << " and " << shell;
        path_ = fs::temp_directory_path() / ("grua-task-" + random_hex(6));
        for (const char* folder : {"/live", "/seccomp"}) fs::create_directories(path_ + folder);
        tasks_ = make_tasks(loop_.get_executor(), pool_, timers_, runtime, path_ + "/seccomp");
    }
    void TearDown() override {
        if (path_.empty()) return;
        if (task_) task_->close();
        if (tasks_) tasks_->end_cgroup(cgroup_);
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }

    /// A root in memory, detached: it is nowhere in this mount namespace.
    static Fd make_root() {
        Fd root = linux::make_filesystem("tmpfs", "root", {"mode=0755"}, 0);
        for (const char* folder : {"bin", "proc", "dev", "sys", "tmp"}) ::mkdirat(root.get(), folder, 0755);
        const Fd program{::openat(root.get(), "bin/busybox", O_WRONLY | O_CREAT | O_CLOEXEC, 0755)};
        write_all(program.get(), read_file(shell, std::size_t{16} << 20U), "busybox");
        return root;
    }

    TaskSpec spec(const std::vector<std::string>& words) {
        TaskSpec out;
        out.id = random_id();
        out.directory = path_ + "/live";
        out.cgroup_path = cgroup_;
        out.document = oci::default_runtime_spec();
        out.document.process->terminal = false;
        out.document.process->args = words;
        out.document.hostname = "task";
        out.root = make_root();
        return out;
    }

    void start(TaskSpec given) {
        TaskEvents events;
        events.exited = [this](const ExitReport& report) { exited_ = report; };
        task_ = tasks_->make(tasks_->prepare(std::move(given)), {}, std::move(events));
        run([&]() -> asio::awaitable<void> { co_await task_->run(clock_.steady() + 60s); });
    }

    template <typename Body>
    void run(Body body) {
        bool done = false;
        std::exception_ptr failure;
        asio::co_spawn(loop_, body(), [&](const std::exception_ptr& thrown) {
            failure = thrown;
            done = true;
        });
        until([&] { return done; });
        if (failure) std::rethrow_exception(failure);
    }
    template <typename Condition>
    void until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + 60s;
        while (!condition()) {
            ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain";
            loop_.restart();
            loop_.run_one_for(100ms);
        }
    }
    Captured capture_in_task(const std::vector<std::string>& words, CaptureLimits limits) {
        Captured out;
        run([&]() -> asio::awaitable<void> {
            oci::Process process;
            process.args = words;
            process.cwd = "/";
            process.env = {"PATH=/bin"};
            out = co_await capture(task_, random_hex(8), process, limits, clock_, timers_, loop_.get_executor());
        });
        return out;
    }

    std::string path_;
    const std::string cgroup_ = "/grua-test-" + random_hex(4) + "/task";
    asio::io_context loop_;
    asio::thread_pool pool_{2};
    SystemClock clock_;
    LoopTimers timers_{loop_.get_executor()};
    std::unique_ptr<Tasks> tasks_;
    TaskPtr task_;
    std::optional<ExitReport> exited_;
};

TEST_F(TaskTest, ATaskThatIsNoContainerTellsItsOutputAndItsEnd) {
    std::string out;
    std::string err;
    TaskSpec wanted = spec({"/bin/busybox", "sh", "-c", "echo said; echo wrong >&2; cat /run/secrets/token; exit 7"});
    wanted.output = [&](bool is_stderr, std::string_view bytes) { (is_stderr ? err : out) += bytes; };
    wanted.mounts.push_back(
        {.destination = "/run/secrets", .mount = memory_mount({{.name = "token", .content = "secret\n"}}), .read_only = true});
    start(std::move(wanted));
    until([&] { return exited_ && out.contains("secret"); });
    EXPECT_EQ(exited_->code, 7);
    EXPECT_EQ(out, "said\nsecret\n");
    EXPECT_EQ(err, "wrong\n");
    EXPECT_FALSE(fs::exists(path_ + "/live/log"));
}

// The end of a program and what it said last come by different sockets.
TEST_F(TaskTest, TheEndOfItsOutputIsToldWhenAllOfItWas) {
    std::size_t count = 0;
    std::optional<std::size_t> at_its_end;
    TaskSpec wanted = spec({"/bin/busybox", "dd", "if=/dev/zero", "bs=65536", "count=512"});
    wanted.output = [&](bool is_stderr, std::string_view bytes) { count += is_stderr ? 0 : bytes.size(); };
    TaskEvents events;
    events.exited = [this](const ExitReport& report) { exited_ = report; };
    events.output_ended = [&] { at_its_end = count; };
    task_ = tasks_->make(tasks_->prepare(std::move(wanted)), {}, std::move(events));
    run([&]() -> asio::awaitable<void> { co_await task_->run(clock_.steady() + 60s); });
    until([&] { return exited_ && at_its_end; });
    EXPECT_EQ(at_its_end, std::size_t{32} << 20U);
}

TEST_F(TaskTest, WhoHasClosedItHearsNothingMore) {
    std::size_t count = 0;
    bool is_told = false;
    TaskSpec wanted = spec({"/bin/busybox", "dd", "if=/dev/zero", "bs=65536"});
    wanted.output = [&](bool, std::string_view bytes) {
        count += bytes.size();
        if (count > 1'000'000 && task_) std::exchange(task_, nullptr)->close();
    };
    TaskEvents events;
    events.output_ended = [&] { is_told = true; };
    task_ = tasks_->make(tasks_->prepare(std::move(wanted)), {}, std::move(events));
    run([&, task = task_]() -> asio::awaitable<void> { co_await task->run(clock_.steady() + 60s); });
    until([&] { return !task_; });
    const std::size_t at_close = count;
    loop_.restart();
    loop_.run_for(200ms);
    EXPECT_EQ(count, at_close);
    EXPECT_FALSE(is_told);
}

TEST_F(TaskTest, AProgramThatIsNotThereIsNamedAsSuch) {
    try {
        start(spec({"/bin/absent"}));
        FAIL() << "it started";
    } catch (const NotStarted& error) {
        EXPECT_THAT(error.what(), HasSubstr("no such file or directory"));
        EXPECT_EQ(error.os_error(), ENOENT);
    }
}

TEST_F(TaskTest, WhatAnExecSaysIsHadWithinBoundsAndATime) {
    start(spec({"/bin/busybox", "sleep", "1000"}));
    const Captured whole = capture_in_task({"/bin/busybox", "sh", "-c", "echo one; echo two >&2; exit 3"}, {});
    EXPECT_EQ(whole.exit_code, 3);
    EXPECT_THAT(whole.output, HasSubstr("one\n"));
    EXPECT_THAT(whole.output, HasSubstr("two\n"));
    EXPECT_FALSE(whole.cut || whole.timed_out);

    const Captured cut =
        capture_in_task({"/bin/busybox", "sh", "-c", "i=0; while [ $i -lt 1000 ]; do echo 0123456789; i=$((i+1)); done"}, {.bytes = 100});
    EXPECT_EQ(cut.output.size(), 100U);
    EXPECT_TRUE(cut.cut);
    EXPECT_EQ(cut.exit_code, 0);

    const Captured late = capture_in_task({"/bin/busybox", "sleep", "1000"}, {.time = 300ms});
    EXPECT_TRUE(late.timed_out);
    EXPECT_EQ(late.exit_code, 137);
}

TEST_F(TaskTest, AnExecCanBeKilled) {
    start(spec({"/bin/busybox", "sleep", "1000"}));
    int code = 0;
    run([&]() -> asio::awaitable<void> {
        oci::Process process;
        process.args = {"/bin/busybox", "sleep", "1000"};
        process.cwd = "/";
        const ExecHandle exec = co_await task_->exec("e", process, std::nullopt, Fd());
        exec->kill(SIGKILL);
        code = co_await exec->exited();
    });
    EXPECT_EQ(code, 137);
    EXPECT_FALSE(exited_);
}

TEST_F(TaskTest, ATaskIsFoundAgain) {
    start(spec({"/bin/busybox", "sleep", "1000"}));
    const pid_t pid = task_->pid();
    // As where gruad is killed: nobody says goodbye.
    task_->close();
    auto found = tasks_->find(path_ + "/live", cgroup_);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->monitor.pid, pid);
    EXPECT_FALSE(found->is_newer);
    TaskEvents events;
    events.exited = [this](const ExitReport& report) { exited_ = report; };
    task_ = tasks_->adopt(std::move(*found), std::move(events));
    EXPECT_EQ(capture_in_task({"/bin/busybox", "echo", "there"}, {}).output, "there\n");
    task_->kill(SIGKILL);
    until([&] { return exited_.has_value(); });
    EXPECT_EQ(exited_->code, 137);
}

// A11: by its number another process could be meant by then.
TEST_F(TaskTest, WhatIsHeldOfATaskIsItsOwnAfterItsEnd) {
    start(spec({"/bin/busybox", "sleep", "1000"}));
    const Fd process = task_->pidfd();
    const Fd netns = task_->open_namespace("net");
    const std::string path = fmt::format("/proc/{}/ns/net", task_->pid());
    struct stat held{};
    struct stat shown{};
    ASSERT_EQ(::fstat(netns.get(), &held), 0);
    ASSERT_EQ(::stat(path.c_str(), &shown), 0);
    EXPECT_EQ(held.st_ino, shown.st_ino);
    task_->kill(SIGKILL);
    until([&] { return exited_.has_value(); });
    // The duplicate of a descriptor that the task has closed.
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ended, 1, 10'000), 1);
    EXPECT_EQ(::fstat(netns.get(), &shown), 0);
    EXPECT_EQ(held.st_ino, shown.st_ino);
    try {
        (void)task_->open_namespace("net");
        FAIL() << "it was opened by a number";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::conflict);
    }
}

TEST_F(TaskTest, PauseStatsAndTheEndOfAll) {
    start(spec({"/bin/busybox", "sh", "-c", "/bin/busybox sleep 1000 & wait"}));
    run([&]() -> asio::awaitable<void> {
        co_await task_->pause();
        EXPECT_TRUE(tasks_->is_frozen(cgroup_));
        co_await task_->resume();
        EXPECT_FALSE((co_await task_->pids()).empty());
        co_await task_->kill_all();
    });
    until([&] { return exited_.has_value(); });
    EXPECT_EQ(exited_->code, 137);
}

}  // namespace
}  // namespace grua::tasks
