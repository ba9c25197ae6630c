#include "build/child_program.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <thread>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

ChildProgram shell(std::string script) { return {.program = "/bin/sh", .words = {"-c", std::move(script)}, .environment = {"A=b"}}; }
ChildOutcome run(const ChildProgram& what) { return run_child_program(what, {}); }

TEST(ChildProgram, ItsOutputAndItsEnd) {
    const ChildOutcome outcome = run(shell("echo out; echo err >&2; env; pwd; cat; exit 3"));
    EXPECT_THAT(outcome.output, HasSubstr("out\n"));
    EXPECT_THAT(outcome.output, HasSubstr("A=b\n"));
    EXPECT_THAT(outcome.output, HasSubstr("\n/\n"));
    EXPECT_EQ(outcome.said, "err\n");
    EXPECT_EQ(describe_status(outcome.status), "exit status 3");
    EXPECT_EQ(describe_status(run(shell("kill -9 $$")).status), "signal: killed");
    std::string heard;
    ChildProgram loud = shell("echo a; echo b >&2");
    loud.printed = [&](int stream, std::string_view bytes) { heard += fmt::format("{}{}", stream, bytes); };
    (void)run(loud);
    EXPECT_THAT(heard, HasSubstr("1a\n"));
    EXPECT_THAT(heard, HasSubstr("2b\n"));
}

TEST(ChildProgram, ItHasNoDescriptorOfOurs) {
    const Fd open{::open("/dev/null", O_RDONLY)};  // Without close-on-exec.
    EXPECT_EQ(run(shell("ls /proc/self/fd | wc -l")).output, "4\n") << "0, 1, 2 and that of ls";
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd reading{ends[0]};
    Fd writing{ends[1]};
    ChildProgram given = shell("echo hello >&3");
    given.inherited = writing.get();
    EXPECT_EQ(run(given).status, 0);
    writing = Fd{};
    std::array<char, 16> bytes{};
    EXPECT_EQ(::read(reading.get(), bytes.data(), bytes.size()), 6);
}

TEST(ChildProgram, ItEndsWhereItIsToldToOrIsSilent) {
    std::stop_source stop;
    const auto begin = Clock::now();
    std::jthread stopper([&] {
        std::this_thread::sleep_for(100ms);
        stop.request_stop();
    });
    try {
        (void)run_child_program(shell("sleep 60 & sleep 60"), stop.get_token());
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "context canceled");
    }
    EXPECT_LT(Clock::now() - begin, 2s);
    EXPECT_THROW((void)run_child_program(shell("true"), stop.get_token()), Error);

    ChildProgram silent = shell("echo x; sleep 60");
    silent.silence = 1s;
    EXPECT_TRUE(run(silent).was_silent);
    ChildProgram stubborn = shell("trap '' TERM; while :; do sleep 1; done");
    stubborn.silence = 1s;
    EXPECT_EQ(describe_status(run(stubborn).status), "signal: killed");
    EXPECT_LT(Clock::now() - begin, 8s);
}

TEST(ChildProgram, WhatItSaysHasBounds) {
    ChildProgram loud = shell("yes");
    loud.output_limit = 1000;
    const ChildOutcome outcome = run(loud);
    EXPECT_TRUE(outcome.was_too_loud);
    EXPECT_LE(outcome.output.size(), 1000U);
    const ChildOutcome errors = run(shell("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done"));
    EXPECT_EQ(errors.said.size(), said_limit);
    EXPECT_THAT(errors.said, HasSubstr("line 2999\n"));
}

TEST(ChildProgram, WhatItLeavesBehindIsNotWaitedFor) {
    const auto begin = Clock::now();
    EXPECT_EQ(run(shell("sleep 60 & echo $!")).status, 0);
    EXPECT_LT(Clock::now() - begin, 2s);
}

TEST(ChildProgram, OneThatIsNotThere) {
    try {
        (void)run({.program = "/no/such/program", .words = {}, .environment = {}});
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::not_found);
    }
    EXPECT_EQ(find_program("no-such-program", "/bin:/usr/bin"), "");
    EXPECT_EQ(find_program("sh", "relative::/bin"), "/bin/sh");
    EXPECT_EQ(find_program("/bin/sh", ""), "/bin/sh");
    EXPECT_EQ(find_program("/etc/passwd", ""), "");
}

}  // namespace
}  // namespace grua::build
