// Steps of builds as logic: the kernel's side is a fake that remembers (test_ground.hpp), the clock is turned.
#include "engine/steps/step_run.hpp"

#include "engine/lifecycle/step_mark.hpp"
#include "engine/lifecycle/test_ground.hpp"
#include "monitor/messages.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <boost/asio/cancellation_signal.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// One that is waited for by somebody who may lose interest.
struct Waiting {
    asio::cancellation_signal cancel;
    std::optional<StepEnd> end;
    std::exception_ptr failure;
    bool is_done = false;

    std::string error() const {
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            return error.what();
        }
        return {};
    }
    bool is_aborted() const {
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const boost::system::system_error& error) {
            return error.code() == asio::error::operation_aborted;
        } catch (const std::exception&) {
            return false;
        }
        return false;
    }
};

class StepTest : public testing::Test {
protected:
    StepTest() {
        for (const char* folder : {"proc", "dev", "sys", "etc"}) fs::create_directories(tree() + "/" + folder);
        for (const char* file : {"etc/hosts", "etc/resolv.conf"}) std::ofstream(tree() + "/" + file) << "";
        runs.emplace(*world.life);
    }

    std::string tree() const { return world.path + "/tree"; }
    Fd open_tree() const { return Fd{::open(tree().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)}; }
    std::string live_root() const { return world.path + "/exec/steps"; }

    StepRequest request() const {
        StepRequest out;
        out.root = open_tree();
        out.args = {"/bin/sh", "-c", "make"};
        return out;
    }

    void begin(Waiting& waiting, StepRequest asked) {
        auto body = [](StepRuns& all, Waiting& who, StepRequest what) -> asio::awaitable<void> {
            who.end = co_await all.run(std::move(what));
        };
        const auto ended = [&](const std::exception_ptr& thrown) {
            waiting.failure = thrown;
            waiting.is_done = true;
        };
        asio::co_spawn(world.loop, body(*runs, waiting, std::move(asked)), asio::bind_cancellation_slot(waiting.cancel.slot(), ended));
    }

    /// Up to where its program runs.
    std::string start(Waiting& waiting, StepRequest asked) {
        begin(waiting, std::move(asked));
        world.settle();
        EXPECT_FALSE(waiting.is_done) << waiting.error();
        const auto all = folders();
        return all.empty() ? std::string() : all.front();
    }

    std::vector<std::string> folders() const {
        std::vector<std::string> out;
        std::error_code none;
        for (const auto& each : fs::directory_iterator(live_root(), none)) out.push_back(each.path().filename());
        return out;
    }

    void expect_nothing_left(const std::string& when = {}) const {
        EXPECT_TRUE(world.sandboxes.attached.empty()) << when;
        EXPECT_TRUE(folders().empty()) << when;
        EXPECT_EQ(runs->running(), 0U) << when;
        EXPECT_EQ(fs::exists(tree() + "/cache"), false) << when;
    }

    std::vector<std::string> notes_of(const std::string& id) const {
        std::vector<std::string> out;
        for (std::string each : world.notes.all()) {
            if (const auto at = each.find(id); at != std::string::npos) each.replace(at, id.size(), "ID");
            out.push_back(std::move(each));
        }
        return out;
    }

    World world;
    std::optional<StepRuns> runs;
};

TEST_F(StepTest, WhatAStepTakesIsLetGoOfInOrderWhenItHasEnded) {
    Waiting waiting;
    std::string said;
    StepRequest asked = request();
    asked.output = [&](int stream, std::string_view bytes) { said += fmt::format("{}:{} ", stream, bytes); };
    const std::string id = start(waiting, std::move(asked));
    EXPECT_TRUE(fs::exists(live_root() + "/" + id + "/step.json"));
    world.tasks.last->say(false, "out");
    world.tasks.last->say(true, "err");
    world.tasks.last->used.cpu.usage_ns = 5000;
    world.tasks.last->used.memory.max_usage = 4096;
    world.tasks.last->used.io.service_bytes = {{.op = "read", .value = 10}, {.op = "Write", .value = 20}, {.op = "Total", .value = 30}};
    world.tasks.last->end(3);
    world.settle();
    ASSERT_TRUE(waiting.end) << waiting.error();
    EXPECT_EQ(waiting.end->exit_code, 3);
    EXPECT_EQ(waiting.end->cpu_time, 5us);
    EXPECT_EQ(waiting.end->peak_memory, 4096U);
    EXPECT_EQ(waiting.end->read_bytes, 10U);
    EXPECT_EQ(waiting.end->written_bytes, 20U);
    EXPECT_EQ(said, "1:out 2:err ");
    EXPECT_THAT(notes_of(id),
                ElementsAre("attach ID", "write files", "prepare ID", "launch ID", "release ID", "end cgroup /grua/ID", "close ID"));
    expect_nothing_left();
    EXPECT_TRUE(world.life->containers.empty());
    EXPECT_FALSE(world.life->events.has_unsaved());
}

TEST_F(StepTest, EveryByteIsThereBeforeTheEndIsTold) {
    Waiting waiting;
    std::string said;
    StepRequest asked = request();
    asked.output = [&](int, std::string_view bytes) { said += bytes; };
    start(waiting, std::move(asked));
    world.tasks.last->output_lags = true;
    world.tasks.last->end(0);
    world.settle();
    EXPECT_FALSE(waiting.is_done);
    world.tasks.last->say(false, "the last");
    std::function(world.tasks.last->events.output_ended)();
    world.settle();
    EXPECT_TRUE(waiting.end);
    EXPECT_EQ(said, "the last");

    Waiting for_ever;
    asked = request();
    asked.output = [](int, std::string_view) {};
    start(for_ever, std::move(asked));
    world.tasks.last->output_lags = true;
    world.tasks.last->end(0);
    world.settle();
    world.turn(9s);
    EXPECT_FALSE(for_ever.is_done);
    world.turn(1s);
    EXPECT_THAT(for_ever.error(), HasSubstr("its output has no end"));
    expect_nothing_left();
}

TEST_F(StepTest, AStepThatFailsAtAnyPointLeavesNothingAndCanBeRepeated) {
    for (const char* step : {"step:plan", "step:folder", "step:mark", "step:network", "step:files", "step:spec", "step:points",
                             "step:draft", "step:task", "step:launch", "step:exit", "step:output", "step:used"}) {
        for (const char* kind : {"ENOSPC", "exception"}) {
            Waiting waiting;
            StepRequest asked = request();
            asked.mounts.push_back({.destination = "/cache/here", .mount = open_tree()});
            ASSERT_EQ(::setenv("GRUA_FAIL_AT", fmt::format("{}:{}", step, kind).c_str(), 1), 0);
            begin(waiting, std::move(asked));
            world.settle();
            if (!waiting.is_done) {
                world.tasks.last->end(0);
                world.settle();
            }
            ::unsetenv("GRUA_FAIL_AT");
            ASSERT_TRUE(waiting.is_done) << step;
            EXPECT_NE(waiting.error(), "") << step;
            expect_nothing_left(step);

            Waiting again;
            start(again, request());
            world.tasks.last->end(0);
            world.settle();
            EXPECT_TRUE(again.end) << step << again.error();
            expect_nothing_left(step);
        }
    }
}

TEST_F(StepTest, AFailureWhileItRunsEndsItsProcessesFirst) {
    Waiting waiting;
    ASSERT_EQ(::setenv("GRUA_FAIL_AT", "step:exit:EIO", 1), 0);
    begin(waiting, request());
    world.settle();
    ::unsetenv("GRUA_FAIL_AT");
    ASSERT_TRUE(waiting.is_done);
    const auto all = world.notes.all();
    const auto at = [&](std::string_view what) {
        return std::ranges::find_if(all, [&](const std::string& each) { return each.starts_with(what); }) - all.begin();
    };
    EXPECT_LT(at("signal 9"), at("release"));
    EXPECT_LT(at("release"), at("end cgroup"));
    expect_nothing_left();
}

TEST_F(StepTest, ACancellationAtAnyTurnLetsGoOfAll) {
    bool ran = false;
    for (int turns = 0; !ran; ++turns) {
        ASSERT_LT(turns, 1000);
        Waiting waiting;
        StepRequest asked = request();
        asked.mounts.push_back({.destination = "/cache", .mount = open_tree()});
        begin(waiting, std::move(asked));
        world.loop.restart();
        for (int turn = 0; turn < turns && !ran; ++turn) ran = world.loop.run_one_for(200ms) == 0;
        waiting.cancel.emit(asio::cancellation_type::terminal);
        world.settle();
        ASSERT_TRUE(waiting.is_done) << turns;
        EXPECT_TRUE(waiting.is_aborted()) << turns << waiting.error();
        expect_nothing_left(fmt::format("after {} turns", turns));
        if (!ran) continue;
        EXPECT_EQ(std::ranges::count_if(world.notes.all(), [](const std::string& each) { return each.starts_with("signal 9"); }) > 0, true);
    }
}

TEST_F(StepTest, OneThatCannotBeKilledIsHeldAndTriedAgain) {
    Waiting waiting;
    const std::string id = start(waiting, request());
    const auto task = world.tasks.last;
    task->hangs = true;
    waiting.cancel.emit(asio::cancellation_type::terminal);
    world.settle();
    EXPECT_FALSE(waiting.is_done);
    world.turn(10s);
    EXPECT_TRUE(waiting.is_aborted());
    // What is left of it the next gruad would find.
    EXPECT_THAT(folders(), ElementsAre(id));
    EXPECT_EQ(world.notes.count("release " + id), 1);
    world.turn(5s);
    expect_nothing_left();
}

TEST_F(StepTest, WhatCannotBeLetGoOfIsTriedAgain) {
    Waiting waiting;
    const std::string id = start(waiting, request());
    world.notes.fail_at("end cgroup /grua/" + id);
    world.tasks.last->end(0);
    world.settle();
    EXPECT_TRUE(waiting.end) << waiting.error();
    EXPECT_THAT(folders(), ElementsAre(id));
    world.turn(4s);
    EXPECT_THAT(folders(), ElementsAre(id));
    world.turn(2s);
    expect_nothing_left();
    EXPECT_EQ(world.notes.count("end cgroup /grua/" + id), 1);
}

TEST_F(StepTest, AMonitorThatWasKilledIsSaidAndWhatItWroteCounts) {
    Waiting waiting;
    start(waiting, request());
    std::function(world.tasks.last->events.closed)("killed");
    world.settle();
    EXPECT_THAT(waiting.error(), HasSubstr("exit status unknown: the step's monitor was killed"));
    expect_nothing_left();

    Waiting noted;
    const std::string id = start(noted, request());
    std::ofstream(live_root() + "/" + id + "/exit.json") << monitor::encode(monitor::Exited{.code = 4, .started_at = 1, .finished_at = 2});
    std::function(world.tasks.last->events.closed)("killed");
    world.settle();
    ASSERT_TRUE(noted.end) << noted.error();
    EXPECT_EQ(noted.end->exit_code, 4);
    expect_nothing_left();
}

TEST_F(StepTest, AProgramThatIsNotThereIsToldAsSuch) {
    world.tasks.answer = Answer::fails;
    Waiting waiting;
    begin(waiting, request());
    world.settle();
    ASSERT_TRUE(waiting.is_done);
    try {
        std::rethrow_exception(waiting.failure);
    } catch (const StepNotStarted& error) {
        EXPECT_EQ(error.exit_code, 127);
        EXPECT_STREQ(error.what(), "exec: \"x\": no such file or directory");
    }
    expect_nothing_left();
}

TEST_F(StepTest, AStartThatGetsNoAnswerHasAnEndAndSoonerWhenItIsCalledOff) {
    world.tasks.answer = Answer::nothing;
    Waiting waiting;
    start(waiting, request());
    world.turn(119s);
    EXPECT_FALSE(waiting.is_done);
    world.turn(1s);
    EXPECT_THAT(waiting.error(), HasSubstr("no answer in time"));
    expect_nothing_left();

    Waiting cancelled;
    start(cancelled, request());
    cancelled.cancel.emit(asio::cancellation_type::terminal);
    world.settle();
    EXPECT_FALSE(cancelled.is_done) << "what is being started has not ended";
    world.turn(10s);
    EXPECT_TRUE(cancelled.is_aborted());
    expect_nothing_left();
}

TEST_F(StepTest, TheEndOfGruadIsTheEndOfItsSteps) {
    Waiting waiting;
    start(waiting, request());
    std::size_t left = 1;
    world.run([&]() -> asio::awaitable<void> { left = co_await runs->shutdown(); });
    EXPECT_EQ(left, 0U);
    EXPECT_EQ(waiting.error(), "the daemon is shutting down");
    expect_nothing_left();
    Waiting late;
    begin(late, request());
    world.settle();
    EXPECT_EQ(late.error(), "the daemon is shutting down");
}

TEST_F(StepTest, AStepHasWhatAContainerHas) {
    Waiting waiting;
    StepRequest asked = request();
    asked.env = {"A=b"};
    asked.user = "web:staff";
    asked.cwd = "/src/";
    asked.hostname = "builder";
    asked.limits.memory = 64 << 20;
    asked.limits.ulimits = std::vector<Ulimit>{{.name = "nofile", .hard = 20, .soft = 10}};
    asked.limits.cgroup_parent = "../builds/";
    asked.mounts.push_back({.destination = "/cache/", .mount = open_tree(), .read_only = true});
    asked.mounts.push_back({.destination = "/tmp/x", .tmpfs_size = 4096});
    const std::string id = start(waiting, std::move(asked));
    const oci::RuntimeSpec& document = world.tasks.document;
    EXPECT_THAT(document.process->args, ElementsAre("/bin/sh", "-c", "make"));
    EXPECT_THAT(document.process->env, ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=b"));
    EXPECT_EQ(document.process->user.username, "web:staff");
    EXPECT_EQ(document.process->cwd, "/src");
    EXPECT_EQ(document.hostname, "builder");
    EXPECT_FALSE(document.process->no_new_privileges);
    EXPECT_EQ(document.process->rlimits.at(0).type, "RLIMIT_NOFILE");
    ASSERT_TRUE(document.linux_);
    EXPECT_TRUE(document.linux_->seccomp);
    EXPECT_THAT(document.linux_->masked_paths, testing::Contains("/proc/kcore"));
    EXPECT_EQ(document.linux_->cgroups_path, "/builds/" + id);
    EXPECT_EQ(document.linux_->resources->memory->limit, 64 << 20);
    const auto options_of = [&](const std::string& destination) {
        const auto found = std::ranges::find(document.mounts, destination, &oci::Mount::destination);
        return found == document.mounts.end() ? StringList{"not there"} : found->options;
    };
    EXPECT_THAT(options_of("/etc/hosts"), testing::IsSupersetOf({"ro", "nosuid", "noexec", "nodev"}));
    EXPECT_THAT(options_of("/etc/resolv.conf"), testing::IsSupersetOf({"ro", "nosuid", "noexec", "nodev"}));
    EXPECT_THAT(options_of("/etc/hostname"), ElementsAre("not there"));
    EXPECT_THAT(options_of("/cache"), testing::Contains("rro"));
    EXPECT_THAT(options_of("/tmp/x"), testing::IsSupersetOf({"nosuid", "exec", "size=4096"}));
    EXPECT_TRUE(fs::exists(tree() + "/cache") && fs::exists(tree() + "/tmp/x"));
    ASSERT_EQ(world.tasks.mounts.size(), 1U);
    EXPECT_EQ(world.tasks.mounts.front().destination, "/cache");
    world.tasks.last->end(0);
    world.settle();
    EXPECT_TRUE(waiting.end) << waiting.error();
    EXPECT_EQ(world.notes.count("end cgroup /builds/" + id), 1);
    EXPECT_FALSE(fs::exists(tree() + "/cache") || fs::exists(tree() + "/tmp"));

    Waiting insecure;
    asked = request();
    asked.insecure = true;
    asked.network = StepNetwork::none;
    const std::string other = start(insecure, std::move(asked));
    EXPECT_FALSE(world.tasks.document.linux_->seccomp);
    EXPECT_TRUE(world.tasks.document.linux_->masked_paths.empty());
    EXPECT_EQ(world.notes.count("attach " + other), 0);
    world.tasks.last->end(0);
    world.settle();
    EXPECT_EQ(world.notes.count("release " + other), 0);
}

TEST_F(StepTest, WhatCannotBeIsRefusedBeforeAnythingIsMade) {
    const auto refusal = [&](const std::function<void(StepRequest&)>& change) {
        Waiting waiting;
        StepRequest asked = request();
        change(asked);
        begin(waiting, std::move(asked));
        world.settle();
        EXPECT_TRUE(waiting.is_done);
        return waiting.error();
    };
    EXPECT_EQ(refusal([](StepRequest& asked) { asked.args.clear(); }), "no command specified");
    EXPECT_THAT(refusal([](StepRequest& asked) { asked.mounts.push_back({.destination = "src/../.."}); }),
                HasSubstr("invalid mount target"));
    EXPECT_THAT(refusal([](StepRequest& asked) { asked.mounts.push_back({.destination = "//"}); }), HasSubstr("invalid mount target"));
    EXPECT_THAT(refusal([](StepRequest& asked) { asked.cwd = "src"; }), HasSubstr("needs to be an absolute path"));
    EXPECT_THAT(refusal([](StepRequest& asked) { asked.limits.ulimits = std::vector<Ulimit>{{.name = "nosuch"}}; }),
                HasSubstr("invalid ulimit type"));
    EXPECT_THAT(refusal([](StepRequest& asked) { asked.extra_hosts = {"no-address"}; }), HasSubstr("no-address"));
    EXPECT_TRUE(world.notes.all().empty());
    expect_nothing_left();
}

TEST_F(StepTest, ALaterMountAtTheSamePlaceCounts) {
    Waiting waiting;
    StepRequest asked = request();
    asked.mounts.push_back({.destination = "/cache", .mount = open_tree()});
    asked.mounts.push_back({.destination = "/cache/.", .tmpfs_size = 4096});
    asked.mounts.push_back({.destination = "/dev/shm", .tmpfs_size = 8192});
    start(waiting, std::move(asked));
    EXPECT_TRUE(world.tasks.mounts.empty());
    EXPECT_EQ(std::ranges::count(world.tasks.document.mounts, "/cache", &oci::Mount::destination), 1);
    EXPECT_EQ(std::ranges::count(world.tasks.document.mounts, "/dev/shm", &oci::Mount::destination), 1);
    world.tasks.last->end(0);
    world.settle();
    EXPECT_TRUE(waiting.end) << waiting.error();
}

class LeftoverTest : public StepTest {
protected:
    void next_gruad() {
        runs.reset();
        world.end();
        world.begin();
        world.run([&]() -> asio::awaitable<void> { co_await world.life->recover(); });
        world.settle();
        runs.emplace(*world.life);
    }
};

TEST_F(LeftoverTest, AStepOfAKilledGruadIsEndedBeforeTheNetworksAreLookedAt) {
    for (const char* id : {"ran", "asked"}) fs::create_directories(live_root() + "/" + id);
    write_step_mark(live_root() + "/ran", "/builds/ran");
    next_gruad();
    const auto all = world.notes.all();
    const auto at = [&](const std::string& what) { return std::ranges::find(all, what) - all.begin(); };
    EXPECT_LT(at("find " + live_root() + "/ran"), at("end cgroup /builds/ran"));
    EXPECT_LT(at("end cgroup /builds/ran"), at("recover networks"));
    EXPECT_EQ(world.notes.count("find " + live_root() + "/asked"), 0);
    expect_nothing_left();
    EXPECT_TRUE(world.life->containers.empty());
}

TEST_F(LeftoverTest, OneThatCannotBeEndedIsLeftToTheNextAndKeepsNoOther) {
    for (const char* id : {"a", "b"}) {
        fs::create_directories(live_root() + "/" + id);
        write_step_mark(live_root() + "/" + id, std::string("/grua/") + id);
    }
    world.notes.fail_at("end cgroup /grua/a");
    next_gruad();
    EXPECT_THAT(folders(), ElementsAre("a"));
    next_gruad();
    expect_nothing_left();
}

}  // namespace
}  // namespace grua::engine
