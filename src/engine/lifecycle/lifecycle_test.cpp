// The life of containers as logic: the kernel's side is a fake that remembers (test_ground.hpp), the clock is turned.
#include "engine/lifecycle/lifecycle.hpp"

#include "engine/lifecycle/start_mark.hpp"
#include "engine/lifecycle/test_ground.hpp"
#include "engine/lifecycle/waiter.hpp"
#include "monitor/messages.hpp"

#include <gmock/gmock.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class LifecycleTest : public testing::Test {
protected:
    std::string start(const std::string& id) {
        return world.error_of([&]() -> asio::awaitable<void> { co_await world.life->start(id); });
    }
    std::string remove(const std::string& id, RemoveOptions options = {}) {
        return world.error_of([&, options]() -> asio::awaitable<void> { co_await world.life->remove(id, options); });
    }
    bool has_traces(const std::string& id) const { return std::filesystem::exists(world.path + "/exec/containers/" + id + "/start.json"); }

    World world;
};

TEST_F(LifecycleTest, AStartHandsOverWhatItTookAndAnExitLetsGoOfIt) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    EXPECT_EQ(world.status(container), Status::running);
    EXPECT_EQ(container->phase, Phase::running);
    EXPECT_TRUE(container->owned.has(Held::network) && container->owned.has(Held::cgroup) && container->owned.has(Held::monitor) &&
                container->owned.has(Held::traces) && container->owned.has(Held::layers));
    EXPECT_TRUE(has_traces("a"));
    EXPECT_EQ(world.roots.held.load(), 1);

    world.tasks.last->end(3);
    world.settle();
    EXPECT_EQ(world.status(container), Status::exited);
    EXPECT_EQ(container->record->state.exit_code, 3);
    EXPECT_EQ(container->phase, Phase::idle);
    EXPECT_FALSE(container->owned.has_between(first_of_run, last_of_run));
    EXPECT_TRUE(world.sandboxes.attached.empty());
    EXPECT_EQ(world.roots.held.load(), 0);
    EXPECT_FALSE(has_traces("a"));
    EXPECT_EQ(world.notes.count("end cgroup /grua/a"), 1);
    EXPECT_EQ(world.notes.count("close a"), 1);
}

TEST_F(LifecycleTest, AStartThatFailsAtAnyStepLeavesNothingAndCanBeRepeated) {
    world.volumes.with_mounts = {"data"};
    for (const char* step :
         {"start:last", "start:plan", "start:log", "start:volumes", "start:parts", "start:binds", "start:given", "start:folder",
          "start:network", "start:mark", "start:files", "start:root", "start:spec", "start:task", "start:launch"}) {
        const std::string id = std::string("of-") + (step + 6);
        const auto container = world.add(id, [](ContainerRecord& record) {
            record.mounts = {{.type = "volume", .name = "data", .destination = "/x"}, {.type = "image", .name = "i", .destination = "/i"}};
            record.mount_details = {{"/x", {.subpath = "sub"}}, {"/i", {.chain = {"sha256:1"}}}};
        });
        ASSERT_EQ(::setenv("GRUA_FAIL_AT", fmt::format("{}:ENOSPC", step).c_str(), 1), 0);
        const std::string error = start(id);
        ::unsetenv("GRUA_FAIL_AT");
        world.settle();
        EXPECT_THAT(error, HasSubstr("No space left")) << step;
        EXPECT_EQ(world.status(container), Status::created) << step;
        EXPECT_EQ(container->phase, Phase::idle) << step;
        EXPECT_FALSE(container->owned.has_between(first_of_run, last_of_run)) << step;
        EXPECT_TRUE(world.sandboxes.attached.empty()) << step;
        EXPECT_EQ(world.roots.held.load(), 0) << step;
        EXPECT_TRUE(world.volumes.held.empty()) << step;
        EXPECT_FALSE(has_traces(id)) << step;
        EXPECT_EQ(start(id), "") << step;
        EXPECT_EQ(world.volumes.held, std::set<std::string>{id}) << step;
        world.tasks.last->end(0);
        world.settle();
    }
}

TEST_F(LifecycleTest, WhatItsVolumesMountGoesWhenItHasEnded) {
    world.volumes.with_mounts = {"data"};
    world.add("a", [](ContainerRecord& record) { record.mounts = {{.type = "volume", .name = "data", .destination = "/x"}}; });
    world.add("b", [](ContainerRecord& record) { record.mounts = {{.type = "volume", .name = "plain", .destination = "/x"}}; });
    ASSERT_EQ(start("b"), "");
    EXPECT_EQ(world.notes.count("mount volumes of b"), 0);
    ASSERT_EQ(start("a"), "");
    EXPECT_EQ(world.volumes.held, std::set<std::string>{"a"});
    world.tasks.last->end(0);
    world.settle();
    EXPECT_TRUE(world.volumes.held.empty());
    EXPECT_EQ(world.notes.count("unmount volumes of a"), 1);
}

TEST_F(LifecycleTest, AnExceptionThatIsNoErrorIsAFailureLikeOthers) {
    const auto container = world.add("a");
    ASSERT_EQ(::setenv("GRUA_FAIL_AT", "start:root:exception", 1), 0);
    EXPECT_NE(start("a"), "");
    ASSERT_EQ(::setenv("GRUA_FAIL_AT", "exit:cgroup:exception,release:layers:exception", 1), 0);
    EXPECT_EQ(start("a"), "");
    world.tasks.last->end(0);
    world.settle();
    ::unsetenv("GRUA_FAIL_AT");
    // C5: it does not stay half ended.
    EXPECT_EQ(container->phase, Phase::idle);
    EXPECT_EQ(start("a"), "");
}

TEST_F(LifecycleTest, WhatCannotBeLetGoOfIsTriedAgainAndTheRestGoes) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    world.notes.fail_at("release a");
    world.tasks.last->end(0);
    world.settle();
    EXPECT_EQ(container->phase, Phase::idle);
    EXPECT_TRUE(container->owned.has(Held::network));
    EXPECT_FALSE(container->owned.has(Held::cgroup) || container->owned.has(Held::layers));
    world.turn(4s);
    EXPECT_TRUE(container->owned.has(Held::network));
    world.turn(2s);
    EXPECT_FALSE(container->owned.has(Held::network));
    EXPECT_TRUE(world.sandboxes.attached.empty());
}

TEST_F(LifecycleTest, AStartBeginsWithWhatItsLastRunCouldNotLetGoOf) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    world.notes.fail_at("end cgroup /grua/a", 2);
    world.tasks.last->end(0);
    world.settle();
    EXPECT_THAT(start("a"), HasSubstr("could not be let go of"));
    EXPECT_EQ(start("a"), "");
    EXPECT_EQ(world.status(container), Status::running);
}

TEST_F(LifecycleTest, TheRestartPolicyWaitsLongerEachTime) {
    const auto container = world.add("a", [](ContainerRecord& record) { record.host_config.restart_policy.name = "always"; });
    ASSERT_EQ(start("a"), "");
    for (const auto delay : {100ms, 200ms, 400ms}) {
        world.tasks.last->end(1);
        world.settle();
        EXPECT_EQ(world.status(container), Status::restarting);
        world.turn(delay - 1ms);
        EXPECT_EQ(world.status(container), Status::restarting);
        world.turn(1ms);
        EXPECT_EQ(world.status(container), Status::running);
    }
    EXPECT_EQ(container->record->restart_count, 3);
}

// F
TEST_F(LifecycleTest, ARestartThatWasPlannedInAnOlderRoundIsVoid) {
    const auto container = world.add("a", [](ContainerRecord& record) { record.host_config.restart_policy.name = "always"; });
    ASSERT_EQ(start("a"), "");
    world.tasks.last->end(1);  // Again after 100 ms.
    world.settle();
    world.turn(60ms);
    ASSERT_EQ(start("a"), "");  // By its user.
    world.tasks.last->end(1);   // 100 ms from now.
    world.settle();
    world.turn(50ms);
    EXPECT_EQ(world.status(container), Status::restarting);
    world.turn(60ms);
    EXPECT_EQ(world.status(container), Status::running);
}

// A7
TEST_F(LifecycleTest, AStartThatGetsNoAnswerHasAnEnd) {
    const auto container = world.add("a");
    world.tasks.answer = Answer::nothing;
    std::string said;
    asio::co_spawn(world.loop, world.life->start("a"), [&](const std::exception_ptr& thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const std::exception& error) {
            said = error.what();
        }
    });
    world.settle();
    EXPECT_EQ(container->phase, Phase::starting);
    world.turn(119s);
    EXPECT_EQ(said, "");
    world.turn(1s);
    EXPECT_THAT(said, HasSubstr("no answer in time"));
    EXPECT_EQ(container->phase, Phase::idle);
    EXPECT_TRUE(world.sandboxes.attached.empty());
}

// A7
TEST_F(LifecycleTest, ARemovalByForceCallsOffAStartThatHangs) {
    world.add("a");
    world.tasks.answer = Answer::nothing;
    bool ended = false;
    asio::co_spawn(world.loop, world.life->start("a"), [&](const std::exception_ptr&) { ended = true; });
    world.settle();
    EXPECT_EQ(remove("a", {.force = true}), "");
    EXPECT_TRUE(ended);
    EXPECT_FALSE(world.life->find_container("a"));
    EXPECT_TRUE(world.roots.there.empty());
}

// B5
TEST_F(LifecycleTest, ARemovalThatFailedCanBeAskedForAgain) {
    const auto container = world.add("a");
    world.notes.fail_at("remove layer a");
    EXPECT_THAT(remove("a"), HasSubstr("remove layer a failed"));
    EXPECT_EQ(world.status(container), Status::dead);
    EXPECT_THAT(container->record->state.error, HasSubstr("remove:released"));
    // With its row, which was there still and had been stored anew.
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    EXPECT_EQ(world.database->query("SELECT id FROM containers").size(), 1U);
    EXPECT_EQ(remove("a"), "");
    EXPECT_TRUE(container->is_gone());
    EXPECT_TRUE(world.roots.there.empty());
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    EXPECT_TRUE(world.database->query("SELECT id FROM containers").empty());
}

// B5
TEST_F(LifecycleTest, ARemovalByItselfThatFailedCanBeAskedForToo) {
    const auto container = world.add("a", [](ContainerRecord& record) { record.host_config.auto_remove = true; });
    ASSERT_EQ(start("a"), "");
    const auto waiter = std::make_shared<WaiterState>(world.loop.get_executor(), WaitCondition::removed);
    container->waiters.push_back(waiter);
    world.notes.fail_at("remove layer a");
    world.tasks.last->end(7);
    world.settle();
    EXPECT_EQ(world.status(container), Status::dead);
    ASSERT_TRUE(waiter->value) << "it waits for what has failed";
    EXPECT_EQ(waiter->value->exit_code, 7);
    EXPECT_THAT(waiter->value->error, HasSubstr("its removal failed"));
    EXPECT_EQ(remove("a"), "");
    EXPECT_TRUE(container->is_gone());
}

TEST_F(LifecycleTest, AFailedStartOfOneThatGoesWithItsExitRemovesIt) {
    const auto container = world.add("a", [](ContainerRecord& record) { record.host_config.auto_remove = true; });
    world.tasks.answer = Answer::fails;
    EXPECT_THAT(start("a"), HasSubstr("no such file"));
    EXPECT_EQ(container->record->state.exit_code, 127);
    EXPECT_TRUE(container->is_gone());
}

// F: and lets go of it however it fails.
TEST_F(LifecycleTest, ARestartKeepsOneThatGoesWithItsExit) {
    const auto container = world.add("a", [](ContainerRecord& record) { record.host_config.auto_remove = true; });
    ASSERT_EQ(start("a"), "");
    const auto restart = [&]() -> asio::awaitable<void> { co_await world.life->restart("a", {.timeout = 0, .signal = "SIGKILL"}); };
    ASSERT_EQ(world.error_of(restart), "");
    world.settle();
    EXPECT_EQ(world.status(container), Status::running);
    // One whose start throws what is no Error is not kept for ever.
    ASSERT_EQ(::setenv("GRUA_FAIL_AT", "start:plan:exception", 1), 0);
    EXPECT_NE(world.error_of(restart), "");
    ::unsetenv("GRUA_FAIL_AT");
    world.settle();
    EXPECT_TRUE(container->is_gone());
}

// A15
TEST_F(LifecycleTest, ExecsThatAreNeverStartedDoNotPileUp) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    std::vector<std::string> ids;
    const auto make = [&]() -> asio::awaitable<void> {
        ExecConfig config;
        config.cmd = {"true"};
        ids.push_back(co_await world.life->exec_create("a", config));
    };
    for (int i = 0; i < 2000; ++i) {
        ASSERT_EQ(world.error_of(make), "");
        world.clock.turn(1ms);
    }
    EXPECT_LE(world.life->execs.size(), 1024U);
    EXPECT_EQ(container->record->exec_ids.size(), world.life->execs.size());
    // The oldest are nobody's any more; whoever made the last can start it.
    EXPECT_FALSE(world.life->execs.contains(ids.front()));
    EXPECT_EQ(world.error_of([&]() -> asio::awaitable<void> { co_await world.life->exec_start(ids.back(), {.detach = true}, Fd(), {}); }),
              "");
    world.tasks.last->end(0);
    world.settle();
    EXPECT_EQ(world.life->execs.size(), 1U);  // The one that has run can be looked at for a while.
    EXPECT_TRUE(container->record->exec_ids.empty());
}

TEST_F(LifecycleTest, AnExecThatFailsAtAnyStepHasEndedAndTheNextOneRuns) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    std::string id;
    const auto execute = [&]() -> asio::awaitable<void> {
        ExecConfig config;
        config.cmd = {"true"};
        id = co_await world.life->exec_create("a", config);
        co_await world.life->exec_start(id, {.detach = true}, Fd(), {});
    };
    for (const char* step : {"exec:client", "exec:process", "exec:launch"}) {
        ASSERT_EQ(::setenv("GRUA_FAIL_AT", fmt::format("{}:EMFILE", step).c_str(), 1), 0);
        EXPECT_THAT(world.error_of(execute), testing::AllOf(HasSubstr(step), HasSubstr("Too many open files")));
        ::unsetenv("GRUA_FAIL_AT");
        EXPECT_FALSE(world.life->exec_find(id)->running) << step;
        EXPECT_EQ(world.life->exec_find(id)->exit_code, 127) << step;
        EXPECT_TRUE(container->record->exec_ids.empty()) << step;
        EXPECT_EQ(world.error_of(execute), "") << step;
        world.tasks.last->events.exec_exited(id, 0);
    }
}

// B10: its frames use what is destroyed next.
TEST_F(LifecycleTest, TheEndWaitsForWhatWasBegunByItself) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    std::size_t left = 1;
    world.tasks.last->end(0);
    world.run([&]() -> asio::awaitable<void> { left = co_await world.life->shutdown(); });
    EXPECT_EQ(left, 0U);
    EXPECT_EQ(container->phase, Phase::idle);
    EXPECT_FALSE(container->owned.has_between(first_of_run, last_of_run));
}

// C3
TEST_F(LifecycleTest, AnExecWhoseMonitorIsKilledHasFailed) {
    const auto container = world.add("a");
    ASSERT_EQ(start("a"), "");
    std::string id;
    world.run([&]() -> asio::awaitable<void> {
        ExecConfig config;
        config.cmd = {"sleep"};
        id = co_await world.life->exec_create("a", config);
        co_await world.life->exec_start(id, {.detach = true}, Fd(), {});
    });
    EXPECT_TRUE(world.life->exec_find(id)->running);
    world.tasks.last->events.exec_exited(id, 137);
    world.tasks.last->events.closed("killed");
    EXPECT_FALSE(world.life->exec_find(id)->running);
    EXPECT_EQ(world.life->exec_find(id)->exit_code, 137);
    world.settle();
    EXPECT_EQ(world.status(container), Status::exited);
    EXPECT_EQ(container->record->state.exit_code, 255);
}

class RecoverTest : public LifecycleTest {
protected:
    void next_gruad() {
        world.end();
        world.begin();
        world.run([&]() -> asio::awaitable<void> { co_await world.life->recover(); });
        world.settle();
    }
};

TEST_F(RecoverTest, WhatAKilledGruadLeftOfAReplacementGoes) {
    world.add("a");
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    std::vector<std::string> left;
    for (const std::string folder : {"/data/containers/a", "/exec/containers/a"}) {
        std::filesystem::create_directories(world.path + folder);
        left.push_back(world.path + folder + "/hosts.tmp-0123456789abcdef");
        std::ofstream(left.back()) << "half";
        std::ofstream(world.path + folder + "/kept") << "whole";
    }
    next_gruad();
    for (const std::string& each : left) EXPECT_FALSE(std::filesystem::exists(each)) << each;
    EXPECT_TRUE(std::filesystem::exists(world.path + "/data/containers/a/kept"));
}

// B2
TEST_F(RecoverTest, WhatCannotBeReadIsKeptAndShownAsDead) {
    world.add("whole");
    world.settle();
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    const std::string row = R"({"id":"newer","name":"n","status":"hibernating"})";
    world.database->execute("INSERT INTO containers (id, document) VALUES (?, ?)", {"newer", row});
    world.roots.there.insert("newer");
    std::filesystem::create_directories(world.path + "/data/containers/newer");
    std::filesystem::create_directories(world.path + "/exec/containers/live");
    std::ofstream(world.path + "/exec/containers/live/record.json") << "{";
    next_gruad();

    for (const char* id : {"newer", "live"}) {
        const auto container = world.life->find_container(id);
        ASSERT_TRUE(container) << id;
        EXPECT_EQ(world.status(container), Status::dead);
        EXPECT_EQ(world.notes.count(std::string("remove layer ") + id), 0);
        EXPECT_EQ(world.notes.count(std::string("end cgroup /grua/") + id), 0);
    }
    EXPECT_TRUE(std::filesystem::exists(world.path + "/data/containers/newer"));
    EXPECT_TRUE(std::filesystem::exists(world.path + "/exec/containers/live/record.json"));
    EXPECT_EQ(world.database->query("SELECT document FROM containers WHERE id = 'newer'").front().text(0), row);
    EXPECT_TRUE(world.life->find_container("whole"));
    // Only by force, and then all of it.
    EXPECT_NE(remove("newer"), "");
    EXPECT_EQ(remove("newer", {.force = true}), "");
    EXPECT_FALSE(world.roots.there.contains("newer"));
    EXPECT_TRUE(world.database->query("SELECT document FROM containers WHERE id = 'newer'").empty());
}

// B11
TEST_F(RecoverTest, WhatOthersNeedIsStartedFirst) {
    const auto always = [](ContainerRecord& record) { record.host_config.restart_policy.name = "always"; };
    world.add("a-dependent", [&](ContainerRecord& record) {
        always(record);
        record.networks.clear();
        record.host_config.network_mode = "container:z-needed";
        record.state.status = Status::running;
    });
    world.add("b-linked", [&](ContainerRecord& record) {
        always(record);
        record.links["alias"] = "z-needed";
        record.state.status = Status::running;
    });
    world.add("z-needed", [&](ContainerRecord& record) {
        always(record);
        record.restart_count = 5;
        record.state.status = Status::running;
    });
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    next_gruad();
    for (const char* id : {"a-dependent", "b-linked", "z-needed"}) {
        EXPECT_EQ(world.status(world.life->find_container(id)), Status::running) << id;
        EXPECT_EQ(world.life->find_container(id)->record->restart_count, 0) << id;
    }
    const auto all = world.notes.all();
    const auto at = [&](const char* what) { return std::ranges::find(all, what) - all.begin(); };
    EXPECT_LT(at("launch z-needed"), at("launch a-dependent"));
    EXPECT_LT(at("launch z-needed"), at("launch b-linked"));
}

// B11
TEST_F(RecoverTest, AStartThatFailsIsTriedAgain) {
    world.add("a", [](ContainerRecord& record) {
        record.host_config.restart_policy.name = "always";
        record.state.status = Status::running;
    });
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    world.notes.fail_at("attach a", 2);
    next_gruad();
    EXPECT_EQ(world.status(world.life->find_container("a")), Status::exited);
    world.turn(1s);
    EXPECT_EQ(world.status(world.life->find_container("a")), Status::exited);
    world.turn(2s);
    EXPECT_EQ(world.status(world.life->find_container("a")), Status::running);
}

TEST_F(RecoverTest, WhatFailsForOneDoesNotKeepTheOthersAway) {
    world.add("a", [](ContainerRecord& record) { record.state.status = Status::removing; });
    world.add("b");
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    world.roots.there.insert("nobody");
    world.notes.fail_at("remove layer a");
    world.notes.fail_at("remove layer nobody");
    next_gruad();
    EXPECT_EQ(world.status(world.life->find_container("a")), Status::dead);
    EXPECT_TRUE(world.life->find_container("b"));
    EXPECT_EQ(remove("a"), "");
}

// B2: the status of one in a thousand was unknown then.
TEST_F(RecoverTest, AnEndThatIsStoredIsKnownHoweverFarItsTracesWereRemoved) {
    for (const char* point : {"traces:socket", "traces:status", "traces:mark"}) {
        const std::string id = std::string("a-") + (point + 7);
        const auto ended = world.clock.wall();
        const auto container = world.add(id, [&](ContainerRecord& record) {
            record.state.status = Status::exited;
            record.state.exit_code = 54;
            record.state.started_at = ended - 5s;
            record.state.finished_at = ended;
        });
        world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
        const std::string live = world.path + "/exec/containers/" + id;
        std::filesystem::create_directories(live);
        write_start_mark(live, *container->record);
        const monitor::Exited exited{
            .code = 54, .started_at = (ended - 5s).time_since_epoch().count(), .finished_at = ended.time_since_epoch().count()};
        std::ofstream(live + "/exit.json") << monitor::encode(exited);
        std::ofstream(live + "/monitor.sock") << "nobody listens";
        ASSERT_EQ(::setenv("GRUA_FAIL_AT", fmt::format("{}:EIO", point).c_str(), 1), 0);
        EXPECT_THROW(remove_start_traces(live, false), Error);
        ::unsetenv("GRUA_FAIL_AT");
        next_gruad();
        const State& state = world.life->find_container(id)->record->state;
        EXPECT_EQ(state.status, Status::exited) << point;
        EXPECT_EQ(state.exit_code, 54) << point;
        EXPECT_EQ(state.error, "") << point;
        EXPECT_FALSE(has_traces(id)) << point;
    }
}

TEST_F(RecoverTest, AStartThatNeverCameToItsMonitorIsNoRun) {
    const auto container = world.add("a");
    world.run([&]() -> asio::awaitable<void> { co_await world.life->saver.flushed(); });
    const std::string live = world.path + "/exec/containers/a";
    std::filesystem::create_directories(live);
    write_start_mark(live, *container->record);
    next_gruad();
    EXPECT_EQ(world.status(world.life->find_container("a")), Status::created);
    EXPECT_FALSE(has_traces("a"));
}

}  // namespace
}  // namespace grua::engine
