#include "store/database.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "store/durable_file.hpp"
#include "store/trash.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
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

/// A file system of 8 MiB of this process' own, so that a test may fill it.
class FullDiskTest : public testing::Test {
protected:
    void SetUp() override {
        // In a thread's own mount namespace: the tests beside this one keep theirs.
        if (::unshare(CLONE_FS | CLONE_NEWNS) != 0) GTEST_SKIP() << "needs to be root";
        ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
        std::string path = fs::temp_directory_path() / "grua-full-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        ASSERT_EQ(::mount("grua-test", folder_.c_str(), "tmpfs", 0, "size=16m"), 0);
    }
    void TearDown() override {
        if (folder_.empty()) return;
        ::umount2(folder_.c_str(), MNT_DETACH);
        fs::remove_all(folder_);
    }

    /// Every byte of it.
    void fill() const {
        std::ofstream rest{folder_ + "/rest", std::ios::binary | std::ios::app};
        for (const std::size_t piece : {std::size_t{1} << 16U, std::size_t{4096}, std::size_t{1}}) {
            const std::string block(piece, 'x');
            while (rest.write(block.data(), static_cast<std::streamsize>(piece)).flush()) continue;
            rest.clear();
        }
    }
    std::string file() const { return folder_ + "/grua.db"; }

    std::string folder_;
};

// B6
TEST_F(FullDiskTest, OpensOnAFullDiskAndSaysThatItIsFull) {
    {
        Database database{file()};
        database.migrate("test", first);
        for (int row = 0; row < 20; ++row) database.execute("INSERT INTO t (name) VALUES (?)", {std::to_string(row)});
        database.keep_reserve();
    }
    fill();
    Database database{file()};
    database.migrate("test", first);
    fill();
    const std::string much(20000, 'm');
    try {
        for (int row = 0; row < 2000; ++row) database.execute("INSERT INTO t (name) VALUES (?)", {much + std::to_string(row)});
        FAIL() << "the disk is not full";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::unavailable);
        EXPECT_EQ(error.os_error(), ENOSPC);
        EXPECT_NE(std::string_view(error.what()).find("the disk is full"), std::string_view::npos) << error.what();
    }
}

TEST_F(FullDiskTest, TheReserveIsForRemovalsOnly) {
    Database database{file()};
    database.migrate("test", first);
    for (int row = 0; row < 2000; ++row) database.execute("INSERT INTO t (name) VALUES (?)", {std::to_string(row)});
    database.keep_reserve();
    fill();
    const std::string much(200000, 'm');
    for (int tries = 0; tries < 3; ++tries)
        EXPECT_THROW(database.transaction([&] {
            for (int row = 0; row < 20; ++row) database.execute("INSERT INTO t (name) VALUES (?)", {much + std::to_string(row)});
        }),
                     Error);
    EXPECT_TRUE(fs::exists(file() + ".reserve"));
    fill();
    for (int row = 0; row < 2000; ++row)
        database.making_room([&] { database.execute("DELETE FROM t WHERE name = ?", {std::to_string(row)}); });
    EXPECT_TRUE(database.query("SELECT * FROM t").empty());
    fs::remove(folder_ + "/rest");
    database.keep_reserve();
    EXPECT_TRUE(fs::exists(file() + ".reserve"));
}

TEST_F(FullDiskTest, AReadOnlyFileSystemIsNamed) {
    {
        Database{file()}.migrate("test", first);
    }
    ASSERT_EQ(::mount(nullptr, folder_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
    try {
        const Database other{file()};
        FAIL() << "it was opened";
    } catch (const Error& error) {
        EXPECT_NE(std::string_view(error.what()).find("Read-only file system"), std::string_view::npos) << error.what();
    }
}

TEST_F(StoreTest, one_that_another_process_has_says_so) {
    Database database{file()};
    database.migrate("test", first);
    sqlite3* other = nullptr;
    ASSERT_EQ(sqlite3_open(file().c_str(), &other), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
    try {
        database.execute("INSERT INTO t (name) VALUES ('a')");
        ADD_FAILURE() << "it was written";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::unavailable);
        EXPECT_NE(std::string_view(error.what()).find("another process works on it"), std::string_view::npos) << error.what();
    }
    sqlite3_close(other);
}

TEST_F(StoreTest, the_trash_goes_and_one_that_cannot_go_keeps_none_of_the_others) {
    fs::create_directories(folder_ + "/trash/a-stays/inside");
    fs::create_directories(folder_ + "/x/y/z");
    std::ofstream{folder_ + "/trash/b"} << "text";
    const Fd stuck{::open((folder_ + "/trash/a-stays").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    int flags = 0;
    if (::ioctl(stuck.get(), FS_IOC_GETFLAGS, &flags) != 0) GTEST_SKIP() << "no immutable files on this file system";
    flags |= FS_IMMUTABLE_FL;
    if (::ioctl(stuck.get(), FS_IOC_SETFLAGS, &flags) != 0) GTEST_SKIP() << "no immutable files here";
    {
        Trash trash{folder_ + "/trash"};
        trash.put(folder_ + "/x");
        trash.wait();
        EXPECT_EQ(std::distance(fs::directory_iterator{folder_ + "/trash"}, {}), 1);
        EXPECT_FALSE(fs::exists(folder_ + "/x"));
        EXPECT_THROW(trash.put(folder_ + "/nowhere"), Error);
    }
    flags &= ~FS_IMMUTABLE_FL;
    ASSERT_EQ(::ioctl(stuck.get(), FS_IOC_SETFLAGS, &flags), 0);
    Trash again{folder_ + "/trash"};
    again.wait();
    EXPECT_TRUE(fs::is_empty(folder_ + "/trash"));
}

}  // namespace
}  // namespace grua::store
