#include "store/database.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "store/durable_file.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>
#include <thread>

namespace grua::store {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
protected:
    StoreTest() {
        std::string path = fs::temp_directory_path() / "grua-store-XXXXXX";
        folder_ = ::mkdtemp(path.data());
    }
    ~StoreTest() override { fs::remove_all(folder_); }
    std::string file() const { return folder_ + "/grua.db"; }

    std::string folder_;
};

constexpr std::array first{"CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER) STRICT"};
constexpr std::array second{first[0], "ALTER TABLE t ADD COLUMN extra TEXT; UPDATE t SET extra = 'x'"};

TEST_F(StoreTest, keeps_rows_and_migrates) {
    {
        Database database{file()};
        database.migrate("test", first);
        database.execute("INSERT INTO t (name, size) VALUES (?, ?)", {"a\0b", std::uint64_t{7}});
        database.execute("INSERT INTO t (name, size) VALUES (?, ?)", {nullptr, 8});
        EXPECT_EQ(database.last_insert_id(), 2);
    }
    Database database{file()};
    database.migrate("test", second);
    const std::vector<Row> rows = database.query("SELECT name, size, extra FROM t ORDER BY id");
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0].integer(1), 7);
    EXPECT_EQ(rows[0].text(2), "x");
    EXPECT_TRUE(rows[1].is_null(0));
    EXPECT_THROW(rows[0].integer(2), Error);
    EXPECT_THROW(database.migrate("test", first), Error);  // a newer file than the program
}

TEST_F(StoreTest, a_transaction_is_all_or_nothing) {
    Database database{file()};
    database.migrate("test", first);
    const auto body = [&] {
        database.execute("INSERT INTO t (name) VALUES ('a')");
        database.transaction([&] { database.execute("INSERT INTO t (name) VALUES ('b')"); });
        database.execute("INSERT INTO t (name) VALUES ('a')");
    };
    try {
        database.transaction(body);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::conflict);
    }
    EXPECT_TRUE(database.query("SELECT * FROM t").empty());
    database.transaction([&] { database.execute("INSERT INTO t (name) VALUES ('a')"); });
    EXPECT_EQ(database.query("SELECT * FROM t").size(), 1U);
}

TEST_F(StoreTest, is_used_from_several_threads) {
    Database database{file()};
    database.migrate("test", first);
    std::vector<std::jthread> threads;
    for (int each = 0; each < 4; ++each) {
        threads.emplace_back([&] {
            for (int round = 0; round < 20; ++round) {
                database.transaction([&] {
                    database.execute("INSERT INTO t (size) VALUES (1)");
                    database.execute("INSERT INTO t (size) VALUES (2)");
                });
            }
        });
    }
    threads.clear();
    EXPECT_EQ(database.query("SELECT count(*), sum(size) FROM t").at(0).integer(1), 4 * 20 * 3);
}

TEST_F(StoreTest, says_that_a_file_is_damaged) {
    std::ofstream{file()} << std::string(8192, 'x');
    try {
        const Database database{file()};
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::unavailable);
        EXPECT_NE(std::string_view(error.what()).find("is damaged"), std::string_view::npos) << error.what();
    }
}

TEST_F(StoreTest, says_that_a_page_is_damaged) {
    {
        Database database{file()};
        database.migrate("test", first);
        for (int row = 0; row < 500; ++row)
            database.execute("INSERT INTO t (name) VALUES (?)", {std::to_string(row) + std::string(100, 'n')});
    }
    std::fstream raw{file(), std::ios::in | std::ios::out | std::ios::binary};
    for (int page = 2; page < 10; ++page) {
        raw.seekp(page * 4096);
        raw << std::string(600, '\xee');
    }
    raw.close();
    try {
        const Database database{file()};
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string_view(error.what()).find("is damaged"), std::string_view::npos) << error.what();
    }
}

TEST_F(StoreTest, files_are_published_whole_or_not_at_all) {
    write_durably(folder_ + "/a", "one");
    write_durably(folder_ + "/a", "two");
    EXPECT_EQ(read_file(folder_ + "/a"), "two");
    {
        const StagedFile dropped{folder_};
        write_all(dropped.fd(), "never", "test");
    }
    std::ofstream{folder_ + "/.staged-left"} << "over";
    sweep_staged(folder_);
    EXPECT_EQ(std::distance(fs::directory_iterator{folder_}, fs::directory_iterator{}), 1);
}

}  // namespace
}  // namespace grua::store
