#include "build/cache_mounts.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_clock.hpp"
#include "base/test_loop.hpp"

#include <gtest/gtest.h>
#include <atomic>
#include <boost/asio/detached.hpp>
#include <filesystem>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

class CacheMountsTest : public testing::Test {
protected:
    ~CacheMountsTest() override { fs::remove_all(directory); }

    void start(const std::string& boot = "first") { mounts.emplace(loop.get_executor(), pool, clock, directory, boot); }
    void settle() {
        run_on_loop(loop, [&]() -> asio::awaitable<void> { co_await mounts->settle(); });
    }
    void sweep() {
        run_on_loop(loop, [&]() -> asio::awaitable<void> { co_await mounts->sweep(); });
    }
    CacheMountPtr take(const std::string& id, MountSharing sharing = MountSharing::shared) {
        CacheMountPtr out;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            out = co_await mounts->take({.id = id, .description = "cached mount " + id, .sharing = sharing});
        });
        if (out->is_new()) out->keep();
        return out;
    }
    std::vector<CacheMounts::Kept> list() {
        std::vector<CacheMounts::Kept> out;
        run_on_loop(loop, [&]() -> asio::awaitable<void> { out = co_await mounts->list(); });
        return out;
    }
    bool remove(const std::string& name) {
        bool out = false;
        run_on_loop(loop, [&]() -> asio::awaitable<void> { out = co_await mounts->remove(name); });
        return out;
    }
    std::size_t folders() const {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator{}));
    }

    const std::string directory = fs::temp_directory_path() / ("grua-mounts-" + random_hex(6));
    asio::io_context loop;
    asio::thread_pool pool{2};
    TurnedClock clock;
    std::optional<CacheMounts> mounts{std::in_place, loop.get_executor(), pool, clock, directory, "first"};
};

TEST_F(CacheMountsTest, OneThatIsThereIsFoundBesideWhoHasIt) {
    const auto find = [this](const std::string& id) {
        CacheMountPtr out;
        run_on_loop(loop, [&]() -> asio::awaitable<void> { out = co_await mounts->find(id); });
        return out;
    };
    EXPECT_EQ(find("id"), nullptr);
    const CacheMountPtr taken = take("id", MountSharing::locked);
    const CacheMountPtr found = find("id");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->folder(), taken->folder());
    EXPECT_FALSE(found->is_new());
    EXPECT_EQ(find("i"), nullptr);
    // Whatever it begins with: that is behind the ID.
    const std::string begun = take("other\nsha256:x")->folder();
    ASSERT_TRUE(find("other"));
    EXPECT_EQ(find("other")->folder(), begun);
}

TEST_F(CacheMountsTest, TheNextFindsWhatTheLastHasLeft) {
    EXPECT_FALSE(fs::exists(directory)) << "a gruad that never builds has none";
    const std::string folder = take("id")->folder();
    replace_file(folder + "/file", "12345");
    EXPECT_EQ(take("id")->folder(), folder);
    EXPECT_NE(take("other")->folder(), folder);
    start();
    EXPECT_EQ(take("id")->folder(), folder);
    EXPECT_EQ(read_file(folder + "/file"), "12345");
    ASSERT_EQ(list().size(), 2U);
    for (const auto& each : list()) {
        EXPECT_EQ(each.entry.type, "exec.cachemount");
        EXPECT_TRUE(each.entry.is_mutable);
        EXPECT_FALSE(each.entry.in_use);
        if (each.entry.description != "cached mount id") continue;
        EXPECT_EQ(each.entry.bytes, 5U);
        EXPECT_EQ(each.entry.uses, 3);
    }
}

TEST_F(CacheMountsTest, SharedIsOneAndAloneAreTwo) {
    const auto first = take("id");
    const auto second = take("id");
    EXPECT_EQ(first->folder(), second->folder());
    const auto alone = take("id", MountSharing::alone);
    EXPECT_NE(alone->folder(), first->folder());
    EXPECT_NE(take("id", MountSharing::alone)->folder(), alone->folder());
    EXPECT_EQ(take("id")->folder(), first->folder());
    EXPECT_EQ(list().size(), 3U);
}

TEST_F(CacheMountsTest, LockedWaits) {
    auto first = take("id", MountSharing::locked);
    const std::string folder = first->folder();
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        int done = 0;
        const auto wait = [&]() -> asio::awaitable<void> {
            const auto mine = co_await mounts->take({.id = "id", .description = {}, .sharing = MountSharing::locked});
            EXPECT_EQ(mine->folder(), folder);
            ++done;
        };
        for (int i = 0; i < 3; ++i) asio::co_spawn(loop, wait(), asio::detached);
        std::stop_source stop;
        std::string said;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                try {
                    (void)co_await mounts->take({.id = "id", .description = {}, .sharing = MountSharing::locked}, stop.get_token());
                } catch (const Error& error) {
                    said = error.what();
                }
            },
            asio::detached);
        asio::steady_timer timer(loop, std::chrono::milliseconds(20));
        co_await timer.async_wait(asio::use_awaitable);
        EXPECT_EQ(done, 0);
        stop.request_stop();
        timer.expires_after(std::chrono::milliseconds(20));
        co_await timer.async_wait(asio::use_awaitable);
        EXPECT_EQ(said, "canceled");
        first.reset();
        while (done < 3) {
            timer.expires_after(std::chrono::milliseconds(1));
            co_await timer.async_wait(asio::use_awaitable);
        }
    });
    EXPECT_EQ(folders(), 1U);
}

TEST_F(CacheMountsTest, WhatWasNotFilledIsNothing) {
    std::string folder;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        auto first = co_await mounts->take({.id = "id", .description = {}});
        EXPECT_TRUE(first->is_new());
        folder = first->folder();
        replace_file(folder + "/half", "1");
        // Whoever would share it waits until it is filled.
        int got = 0;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                const auto second = co_await mounts->take({.id = "id", .description = {}});
                EXPECT_TRUE(second->is_new());
                EXPECT_FALSE(fs::exists(second->folder() + "/half"));
                ++got;
            },
            asio::detached);
        asio::steady_timer timer(loop, std::chrono::milliseconds(20));
        co_await timer.async_wait(asio::use_awaitable);
        EXPECT_EQ(got, 0);
        EXPECT_TRUE((co_await mounts->list()).empty());
        first.reset();
        while (got == 0) {
            timer.expires_after(std::chrono::milliseconds(1));
            co_await timer.async_wait(asio::use_awaitable);
        }
    });
    start();
    EXPECT_TRUE(list().empty());
    EXPECT_EQ(folders(), 0U);
}

TEST_F(CacheMountsTest, WhatIsUsedIsNotRemoved) {
    auto first = take("id");
    const std::string name = list().at(0).name;
    EXPECT_TRUE(list().at(0).entry.in_use);
    EXPECT_FALSE(remove(name));
    first.reset();
    EXPECT_FALSE(remove("../x"));
    EXPECT_TRUE(remove(name));
    EXPECT_FALSE(remove(name));
    EXPECT_EQ(folders(), 0U);
    EXPECT_FALSE(fs::exists(directory + "/" + name));
}

TEST_F(CacheMountsTest, WhatWasInUseIsBegunAnewAfterAPowerCut) {
    settle();  // There is nothing yet.
    replace_file(take("settled")->folder() + "/file", "1");
    settle();
    replace_file(take("used again")->folder() + "/file", "1");
    settle();
    (void)take("used again");
    (void)take("never settled");
    {
        const auto used = take("in use");
        settle();
    }
    // A kill is no power cut.
    start("first");
    EXPECT_EQ(list().size(), 4U);
    start("first");
    (void)take("settled");
    settle();
    (void)take("used again");
    (void)take("never settled");
    (void)take("in use");
    start("second");
    sweep();
    ASSERT_EQ(list().size(), 1U);
    EXPECT_EQ(list().at(0).entry.description, "cached mount settled");
    EXPECT_EQ(folders(), 1U);
    EXPECT_EQ(read_file(take("settled")->folder() + "/file"), "1");
    start("third");
    EXPECT_TRUE(list().empty());
}

TEST_F(CacheMountsTest, SettlingIsInNobodysWay) {
    std::atomic<bool> is_over = false;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                while (!is_over) co_await mounts->settle();
            },
            asio::detached);
        for (int i = 0; i < 200; ++i) {
            const auto sharing = static_cast<MountSharing>(i % 3);
            const auto first = co_await mounts->take({.id = "id", .description = {}, .sharing = sharing});
            if (first->is_new()) first->keep();
        }
        is_over = true;
    });
    EXPECT_EQ(folders(), 1U) << "nobody is given another folder because the disk is waited for";
    start("second");
    EXPECT_LE(list().size(), 1U);
}

TEST_F(CacheMountsTest, WhatAKillHasLeftHalfWrittenGoes) {
    const auto mount = take("id");
    const fs::path beside = fs::path(mount->folder()).parent_path();
    replace_file(beside / "about.tmp-0123456789abcdef", "");
    start();
    sweep();
    EXPECT_EQ(std::distance(fs::directory_iterator(beside), fs::directory_iterator{}), 2);
}

}  // namespace
}  // namespace grua::build
