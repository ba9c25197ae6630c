#include "engine/watch/event_log.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;

class EventLogTest : public testing::Test {
protected:
    EventLogTest() { fs::create_directories(folder_); }
    ~EventLogTest() override { fs::remove_all(folder_); }

    static Event event(const std::string& id, const std::string& text = {}) {
        Event out{.type = "container", .action = "start", .id = id, .attributes = {{"name", text}}};
        out.time = Time{std::chrono::seconds{1}};
        return out;
    }

    const std::string folder_ = fs::temp_directory_path() / ("grua-events-" + random_hex(6));
    const std::string path_ = folder_ + "/events";
};

TEST_F(EventLogTest, WhatIsWrittenIsThereAgain) {
    EventLog log(path_);
    EXPECT_TRUE(log.read().empty());
    log.append({event("a", "line\nfeed \"quoted\""), event("b")});
    log.append({event("c")});
    const auto read = EventLog(path_).read();
    ASSERT_EQ(read.size(), 3U);
    EXPECT_EQ(read[0].attributes.at("name"), "line\nfeed \"quoted\"");
    EXPECT_EQ(read[2].id, "c");
    EXPECT_EQ(read[2].time, Time{std::chrono::seconds{1}});
}

TEST_F(EventLogTest, ABrokenLineIsLeftOut) {
    EventLog(path_).append({event("a"), event("b")});
    std::string text = read_file(path_);
    replace_file(path_, "{\n" + text + text.substr(0, 20));
    EXPECT_EQ(EventLog(path_).read().size(), 2U);
}

TEST_F(EventLogTest, ItDoesNotGrowForEver) {
    EventLog log(path_);
    const Event large = event("a", std::string(100000, 'x'));
    for (int i = 0; i < 200; ++i) log.is_long() ? log.replace({large}) : log.append({large});
    EXPECT_LE(fs::file_size(path_), 2 * event_memory_limit + 200000);
    EXPECT_GE(log.read().size(), 1U);
}

TEST_F(EventLogTest, AReaderFindsWhatWasBeforeTheRestart) {
    asio::io_context loop;
    {
        Events events(loop.get_executor());
        events.publish(event("a"));
        events.publish(event("b"));
        EventLog(path_).append(events.take_unsaved());
        EXPECT_TRUE(events.take_unsaved().empty());
    }
    Events events(loop.get_executor());
    events.restore(EventLog(path_).read());
    EXPECT_TRUE(events.take_unsaved().empty());
    events.publish(event("c"));
    const auto reader = events.subscribe({}, Time{}, now());
    std::string seen;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        while (const auto next = co_await reader->next()) seen += next->id;
    });
    EXPECT_EQ(seen, "abc");
    EXPECT_EQ(events.take_unsaved().size(), 1U);
}

}  // namespace
}  // namespace grua::engine
