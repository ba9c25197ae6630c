#include "build/journal.hpp"

#include "base/test_clock.hpp"
#include "base/test_loop.hpp"

#include <gtest/gtest.h>
#include <boost/asio/detached.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

class JournalTest : public testing::Test {
protected:
    JournalTest() {
        auto base = std::make_shared<Vertex>();
        base->digest = "sha256:1";
        base->name = "FROM x";
        vertex.digest = "sha256:2";
        vertex.name = "RUN y";
        vertex.inputs = {{base, 0}};
    }
    std::vector<wire::control::StatusResponse> all(std::size_t at = 0) {
        std::vector<wire::control::StatusResponse> out;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            while (auto next = co_await journal.next(at)) out.push_back(*next);
        });
        return out;
    }
    asio::io_context loop;
    TurnedClock clock;
    Journal journal{loop.get_executor(), clock};
    Vertex vertex;
};

TEST_F(JournalTest, TellsWhatHappenedInItsOrder) {
    journal.started(vertex);
    journal.printed(vertex, 1, "out\n");
    journal.printed(vertex, 2, "err\xff");
    journal.advanced(vertex, "transferring context:", 5, 10, false);
    clock.turn(1500ms);
    journal.advanced(vertex, "transferring context:", 10, 10, true);
    journal.completed(vertex, false, "exit code: 3");
    journal.end();
    const auto told = all();
    ASSERT_EQ(told.size(), 1U);
    ASSERT_EQ(told[0].vertexes_size(), 2);
    EXPECT_EQ(told[0].vertexes(0).name(), "RUN y");
    EXPECT_EQ(told[0].vertexes(0).inputs(0), "sha256:1");
    EXPECT_FALSE(told[0].vertexes(0).has_completed());
    EXPECT_EQ(told[0].vertexes(1).error(), "exit code: 3");
    const auto nanoseconds = [](const wire::common::Timestamp& time) { return time.seconds() * 1'000'000'000 + time.nanos(); };
    EXPECT_EQ(nanoseconds(told[0].vertexes(1).completed()) - nanoseconds(told[0].vertexes(1).started()), 1'500'000'000);
    ASSERT_EQ(told[0].logs_size(), 2);
    EXPECT_EQ(told[0].logs(1).msg(), "err\xff");
    EXPECT_EQ(told[0].logs(1).stream(), 2);
    ASSERT_EQ(told[0].statuses_size(), 2);
    EXPECT_FALSE(told[0].statuses(0).has_completed());
    EXPECT_EQ(told[0].statuses(1).current(), 10);
    EXPECT_TRUE(told[0].statuses(1).has_completed());
    EXPECT_EQ(journal.counts().steps, 1);
    EXPECT_EQ(journal.counts().completed, 1);
    // Whoever comes late hears it all again.
    EXPECT_EQ(all().size(), 1U);
}

TEST_F(JournalTest, WhatAdvancesAllTheTimeIsToldNowAndThen) {
    for (int i = 0; i <= 1000; ++i) {
        journal.advanced(vertex, "transferring context:", i, 1000, i == 1000);
        journal.advanced(vertex, "extracting", i, 1000, false);
        clock.turn(1ms);
    }
    journal.end();
    int context = 0;
    std::int64_t last = 0;
    for (const auto& each : all())
        for (const auto& status : each.statuses()) {
            if (status.id() != "transferring context:") continue;
            ++context;
            last = status.current();
        }
    EXPECT_GE(context, 10);
    EXPECT_LE(context, 12);
    EXPECT_EQ(last, 1000);
}

TEST_F(JournalTest, WhatAStepHasUsedIsToldWithItsEnd) {
    journal.started(vertex);
    journal.used(vertex, {.cpu_time = 250ms, .peak_memory = 5 << 20U, .layer_bytes = 7});
    journal.completed(vertex, false, {});
    journal.end();
    const auto told = all();
    ASSERT_EQ(told[0].vertexes_size(), 2);
    EXPECT_FALSE(told[0].vertexes(0).has_account());
    EXPECT_EQ(told[0].vertexes(1).account().cpunanoseconds(), 250'000'000);
    EXPECT_EQ(told[0].vertexes(1).account().peakmemory(), 5 << 20);
    EXPECT_EQ(told[0].vertexes(1).account().layerbytes(), 7);
}

TEST_F(JournalTest, OutputIsBoundedAndComesInPieces) {
    journal.started(vertex);
    for (int i = 0; i < 100; ++i) journal.printed(vertex, 1, std::string(50'000, 'x'));
    journal.end();
    std::size_t bytes = 0;
    std::string last;
    const auto told = all();
    EXPECT_GT(told.size(), 5U);
    for (const auto& each : told)
        for (const auto& log : each.logs()) {
            bytes += log.msg().size();
            last = log.msg();
        }
    EXPECT_LT(bytes, Journal::output_limit + 100);
    EXPECT_TRUE(last.ends_with("log limit 2MiB reached]\n"));
}

TEST_F(JournalTest, WhatComesWithoutEndIsBounded) {
    for (int number = 0; number < 100'000; ++number) journal.advanced(vertex, "transferring", number, 0, false);
    for (int number = 0; number < 3000; ++number) journal.warned({});
    wire::control::VertexWarning large;
    large.set_short_(std::string(5'000'000, 'x'));
    journal.warned(large);
    std::vector<Vertex> steps(100);
    for (std::size_t number = 0; number < steps.size(); ++number) {
        steps[number].digest = fmt::format("sha256:{}", number + 10);
        steps[number].name = std::string(1'000'000, 'n');
        journal.started(steps[number]);
        for (int line = 0; line < 200; ++line) journal.printed(steps[number], 1, std::string(10'000, 'x'));
    }
    journal.end();
    std::size_t bytes = 0;
    int statuses = 0;
    int warnings = 0;
    for (const auto& each : all()) {
        EXPECT_LT(each.ByteSizeLong(), 2'000'000U);
        bytes += each.ByteSizeLong();
        statuses += each.statuses_size();
        warnings += each.warnings_size();
    }
    EXPECT_EQ(statuses, 1);
    EXPECT_EQ(warnings, Journal::warnings_limit);
    EXPECT_EQ(journal.counts().warnings, 3001);
    EXPECT_LT(bytes, Journal::whole_output_limit + 100 * 70'000U);
}

TEST_F(JournalTest, AReaderWaitsForMore) {
    std::vector<std::string> heard;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        bool is_over = false;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                std::size_t at = 0;
                while (auto next = co_await journal.next(at))
                    for (const auto& each : next->vertexes()) heard.push_back(each.name());
                is_over = true;
            },
            asio::detached);
        co_await asio::post(loop, asio::use_awaitable);
        journal.step_started("d", "[internal] load");
        for (int turn = 0; turn < 5; ++turn) co_await asio::post(loop, asio::use_awaitable);
        EXPECT_EQ(heard.size(), 1U);
        EXPECT_FALSE(is_over);
        journal.step_completed("d", {});
        journal.end();
        for (int turn = 0; turn < 5; ++turn) co_await asio::post(loop, asio::use_awaitable);
        EXPECT_TRUE(is_over);
        EXPECT_EQ(heard.size(), 2U);
    });
}

}  // namespace
}  // namespace grua::build
