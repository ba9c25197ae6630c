#include "engine/lifecycle/saver.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"
#include "store/database.hpp"

#include <gtest/gtest.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <set>

namespace grua::engine {
namespace {

class SaverTest : public testing::Test {
protected:
    SaverTest() {
        std::filesystem::create_directories(path_ + "/containers");
        database_.emplace(path_ + "/grua.db");
        Saver::migrate(*database_);
    }
    ~SaverTest() override {
        database_.reset();
        std::filesystem::remove_all(path_);
    }

    static RecordPtr record_of(const std::string& id, int restarts = 0) {
        ContainerRecord record;
        record.id = id;
        record.name = "name-" + id;
        record.restart_count = restarts;
        return std::make_shared<const ContainerRecord>(std::move(record));
    }

    /// The store takes no row with this ID.
    void refuse(const std::string& id) {
        database_->execute("CREATE TRIGGER refused BEFORE INSERT ON containers WHEN new.id = '" + id +
                           "' BEGIN SELECT RAISE(ABORT, 'refused'); END");
    }
    void refuse_no_more() { database_->execute("DROP TRIGGER refused"); }

    /// The store has refused it.
    static asio::awaitable<void> tried(Saver& saver) {
        try {
            co_await saver.flushed();
            ADD_FAILURE() << "the store took it";
        } catch (const Error&) {
            co_return;
        }
    }

    std::set<std::string> stored() {
        std::set<std::string> out;
        for (const auto& each : Saver::load(*database_).records) out.insert(each.id);
        return out;
    }

    std::string path_ = std::filesystem::temp_directory_path() / ("grua-saver-" + random_hex(6));
    std::optional<store::Database> database_;
    asio::io_context loop_;
    asio::thread_pool pool_{2};
};

TEST_F(SaverTest, GroupsAndKeepsTheLast) {
    Saver saver(loop_.get_executor(), pool_, *database_);
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        for (int i = 0; i < 20; ++i) saver.save(record_of("id" + std::to_string(i % 10), i));
        saver.remove("id3");
        co_await saver.flushed();
    });
    const auto loaded = Saver::load(*database_);
    ASSERT_EQ(loaded.records.size(), 9U);
    EXPECT_TRUE(loaded.unreadable.empty());
    for (const auto& each : loaded.records) EXPECT_GE(each.restart_count, 10);
}

// B8
TEST_F(SaverTest, OneBadRecordDoesNotFailThoseBesideIt) {
    Saver saver(loop_.get_executor(), pool_, *database_);
    refuse("b");
    std::string failure;
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        for (const char* id : {"a", "b", "c"}) saver.save(record_of(id));
        saver.remove("d");
        co_await saver.flushed("a");
        co_await saver.flushed("c");
        co_await saver.flushed("d");
        try {
            co_await saver.flushed("b");
        } catch (const Error& error) {
            failure = error.what();
        }
        EXPECT_EQ(stored(), (std::set<std::string>{"a", "c"}));
        refuse_no_more();  // Else it would be tried for ever.
    });
    EXPECT_NE(failure.find("refused"), std::string::npos) << failure;
}

// B8: what the store did not take is tried again, with what comes next and by itself.
TEST_F(SaverTest, AFailedBatchIsNotDropped) {
    Saver saver(loop_.get_executor(), pool_, *database_);
    refuse("b");
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        saver.save(record_of("b", 1));
        co_await tried(saver);
        EXPECT_EQ(stored(), std::set<std::string>{});
        refuse_no_more();
        saver.save(record_of("c"));
        co_await saver.flushed("b");
        EXPECT_EQ(stored(), (std::set<std::string>{"b", "c"}));
        refuse("e");
        saver.save(record_of("e", 1));
        co_await tried(saver);
        refuse_no_more();
    });
    // The loop ended because nothing was left to be tried again.
    EXPECT_EQ(stored(), (std::set<std::string>{"b", "c", "e"}));
}

TEST_F(SaverTest, WhatWasRefusedAndIsUndoneIsNotWrittenLater) {
    Saver saver(loop_.get_executor(), pool_, *database_);
    refuse("a");
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        saver.save(record_of("a", 1));
        co_await tried(saver);
        saver.remove("a");
        refuse_no_more();
        co_await saver.flushed("a");
    });
    EXPECT_EQ(stored(), std::set<std::string>{});
}

// B2: rows of a newer grua are told beside the others.
TEST_F(SaverTest, WhatCannotBeReadIsToldBesideTheOthers) {
    const std::string newer = R"({"id":"n","name":"web","status":"hibernating","version":7,"thoughts":[1,2]})";
    database_->execute("INSERT INTO containers (id, document) VALUES ('n', ?), ('x', '{')", {newer});
    Saver saver(loop_.get_executor(), pool_, *database_);
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        saver.save(record_of("a"));
        co_await saver.flushed();
        const auto loaded = Saver::load(*database_);
        EXPECT_EQ(loaded.records.size(), 1U);
        EXPECT_EQ(loaded.unreadable.size(), 2U);
    });
    EXPECT_EQ(database_->query("SELECT document FROM containers WHERE id = 'n'").at(0).text(0), newer);
    EXPECT_EQ(database_->query("SELECT document FROM containers WHERE id = 'x'").at(0).text(0), "{");
}

// B1: an older database was put back; what it does not know is somebody's all the same.
TEST_F(SaverTest, ADescriptionWithoutARowIsAContainerThatIsKept) {
    std::filesystem::create_directories(path_ + "/containers/a");
    std::filesystem::create_directories(path_ + "/containers/half-made");
    {
        Saver saver(loop_.get_executor(), pool_, *database_, path_ + "/containers");
        run_on_loop(loop_, [&]() -> asio::awaitable<void> {
            saver.save(record_of("a"));
            co_await saver.flushed("a");
        });
    }
    database_->execute("DELETE FROM containers");
    const auto loaded = Saver::load(*database_, path_ + "/containers");
    EXPECT_TRUE(loaded.records.empty());
    ASSERT_EQ(loaded.unreadable.size(), 1U);
    EXPECT_EQ(loaded.unreadable[0].id, "a");
    EXPECT_EQ(loaded.unreadable[0].shown.name, "name-a");
    EXPECT_EQ(loaded.unreadable[0].shown.state.status, Status::dead);
    Saver saver(loop_.get_executor(), pool_, *database_, path_ + "/containers");
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        saver.remove("a");
        co_await saver.flushed("a");
    });
    EXPECT_TRUE(Saver::load(*database_, path_ + "/containers").unreadable.empty());
}

TEST_F(SaverTest, ADescriptionLiesBesideTheLogAndChangesOnlyWithWhatItSays) {
    std::filesystem::create_directories(path_ + "/containers/a");
    const std::string file = path_ + "/containers/a" + description_file;
    Saver saver(loop_.get_executor(), pool_, *database_, path_ + "/containers");
    run_on_loop(loop_, [&]() -> asio::awaitable<void> {
        saver.save(record_of("a", 1));
        co_await saver.flushed("a");
        EXPECT_EQ(record_from_json(read_file(file)), *record_of("a", 1));
        saver.save(record_of("a", 2));
        co_await saver.flushed("a");
        EXPECT_EQ(record_from_json(read_file(file)).restart_count, 1) << "that is the state, which the store has";
        ContainerRecord renamed = *record_of("a", 3);
        renamed.name = "other";
        saver.save(std::make_shared<const ContainerRecord>(renamed));
        co_await saver.flushed("a");
        EXPECT_EQ(record_from_json(read_file(file)).name, "other");
    });
}

TEST(Saver, TheSameRecordQueuedAgainWhileItIsWrittenIsWaitedForToo) {
    const std::string path = std::filesystem::temp_directory_path() / ("grua-saver-" + random_hex(6));
    std::filesystem::create_directories(path);
    {
        store::Database database(path + "/grua.db");
        Saver::migrate(database);
        asio::io_context loop;
        asio::thread_pool pool(1);
        Saver saver(loop.get_executor(), pool, database);
        ContainerRecord first;
        first.id = "a";
        const auto record = std::make_shared<const ContainerRecord>(first);
        bool done = false;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                saver.save(record);
                co_await asio::post(asio::use_awaitable);  // The commit has begun.
                saver.save(record);
                co_await saver.flushed("a");
                done = true;
            },
            asio::detached);
        loop.run_for(std::chrono::seconds(20));
        EXPECT_TRUE(done);
    }
    std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace grua::engine
