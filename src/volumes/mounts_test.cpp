#include "volumes/mounts.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"
#include "linux/mountinfo.hpp"
#include "volumes/options.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>
#include <boost/asio/detached.hpp>
#include <filesystem>

namespace grua::volumes {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A file system whose server does not answer: looking up a name in it waits until somebody is killed.
class Silent {
public:
    explicit Silent(std::string place) : place_(std::move(place)), device_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
        fs::create_directories(place_);
        const std::string options = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", device_.get());
        is_there_ = device_ && ::mount("silent", place_.c_str(), "fuse", 0, options.c_str()) == 0;
    }
    Silent(const Silent&) = delete;
    Silent& operator=(const Silent&) = delete;
    ~Silent() {
        device_ = Fd{};
        if (is_there_) ::umount2(place_.c_str(), MNT_DETACH);
    }
    bool is_there() const { return is_there_; }

private:
    std::string place_;
    Fd device_;
    bool is_there_ = false;
};

class MountsTest : public testing::Test {
protected:
    MountsTest() {
        fs::create_directories(directory_);
        if (::geteuid() != 0) return;
        volumes_ = std::make_unique<Volumes>(directory_ + "/volumes");
        begin();
    }
    ~MountsTest() override {
        for (const auto& each : linux::mounts_below(fs::canonical(directory_).string())) ::umount2(each.c_str(), MNT_DETACH);
        mounts_.reset();
        volumes_.reset();
        fs::remove_all(directory_);
    }
    void SetUp() override {
        if (!volumes_) GTEST_SKIP() << "mounting needs root";
    }

    /// As a gruad that comes back: what was held is forgotten.
    void begin(MountPatience patience = {}) {
        mounts_ = std::make_unique<Mounts>(loop_.get_executor(), pool_, transfers_, *volumes_, patience);
    }
    VolumePtr tmpfs(const std::string& name) {
        return volumes_->create({.name = name, .options = {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,uid=7"}}});
    }
    std::string hold(const std::string& holder, const std::string& name) {
        try {
            run_on_loop(loop_, [&]() -> asio::awaitable<void> { co_await mounts_->hold(holder, {name}); });
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    std::string let_go(const std::string& holder) {
        try {
            run_on_loop(loop_, [&]() -> asio::awaitable<void> { co_await mounts_->let_go(holder); });
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    static std::size_t mounted(const VolumePtr& volume) { return linux::mounts_below(fs::canonical(volume->mountpoint).string()).size(); }

    std::string directory_ = fs::temp_directory_path() / ("grua-mounts-" + random_hex(6));
    asio::io_context loop_;
    asio::thread_pool pool_{2};
    Transfers transfers_;
    std::unique_ptr<Volumes> volumes_;
    std::unique_ptr<Mounts> mounts_;
};

TEST_F(MountsTest, MountedWithTheFirstUnmountedWithTheLast) {
    const VolumePtr volume = tmpfs("memory");
    ASSERT_EQ(hold("a", "memory"), "");
    ASSERT_EQ(mounted(volume), 1U);
    replace_file(volume->mountpoint + "/file", "text");
    ASSERT_EQ(hold("b", "memory"), "");
    EXPECT_EQ(hold("b", "memory"), "") << "again";
    EXPECT_EQ(mounted(volume), 1U);
    EXPECT_EQ(let_go("a"), "");
    EXPECT_EQ(read_file(volume->mountpoint + "/file"), "text");
    EXPECT_EQ(let_go("b"), "");
    EXPECT_EQ(mounted(volume), 0U);
    EXPECT_EQ(let_go("b"), "") << "nothing";
}

TEST_F(MountsTest, AGruadThatComesBackMountsNothingTwice) {
    const VolumePtr volume = tmpfs("memory");
    ASSERT_EQ(hold("a", "memory"), "");
    begin();
    mounts_->is_held("a", {"memory"});
    ASSERT_EQ(hold("b", "memory"), "");
    EXPECT_EQ(mounted(volume), 1U);
    run_on_loop(loop_, [&]() -> asio::awaitable<void> { co_await mounts_->unmount_unheld(); });
    EXPECT_EQ(mounted(volume), 1U);
    EXPECT_EQ(let_go("b"), "");
    EXPECT_EQ(mounted(volume), 1U);
    EXPECT_EQ(let_go("a"), "");
    EXPECT_EQ(mounted(volume), 0U);
}

TEST_F(MountsTest, WhatAKilledGruadLeftIsUnmounted) {
    const VolumePtr volume = tmpfs("memory");
    ASSERT_EQ(hold("a", "memory"), "");
    begin();
    run_on_loop(loop_, [&]() -> asio::awaitable<void> { co_await mounts_->unmount_unheld(); });
    EXPECT_EQ(mounted(volume), 0U);
}

TEST_F(MountsTest, OneThatSomebodyUnmountedIsMountedForTheNext) {
    const VolumePtr volume = tmpfs("memory");
    ASSERT_EQ(hold("a", "memory"), "");
    ASSERT_EQ(::umount2(volume->mountpoint.c_str(), 0), 0);
    ASSERT_EQ(hold("b", "memory"), "");
    EXPECT_EQ(mounted(volume), 1U);
}

TEST_F(MountsTest, WhatIsMountedInAVolumeIsNotDeletedWithIt) {
    fs::create_directories(directory_ + "/precious");
    replace_file(directory_ + "/precious/file", "text");
    const VolumePtr volume = volumes_->create(
        {.name = "bound", .options = {{"type", "none"}, {"device", fs::canonical(directory_).string() + "/precious"}, {"o", "bind"}}});
    ASSERT_EQ(hold("a", "bound"), "");
    EXPECT_EQ(read_file(volume->mountpoint + "/file"), "text");
    EXPECT_THROW(volumes_->remove("bound", {}), Error);
    EXPECT_TRUE(volumes_->find("bound"));
    EXPECT_EQ(let_go("a"), "");
    volumes_->remove("bound", {});
    volumes_->wait_for_purge();
    EXPECT_EQ(read_file(directory_ + "/precious/file"), "text");
}

TEST_F(MountsTest, AnErrorNamesTheVolumeAndWhatTheKernelSays) {
    const VolumePtr volume =
        volumes_->create({.name = "bad", .options = {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,flavour=mint"}}});
    const std::string error = hold("a", "bad");
    EXPECT_THAT(error, testing::StartsWith(fmt::format("error while mounting volume '{0}': failed to mount local volume: mount tmpfs:{0}, "
                                                       "data: size=1m,flavour=mint: ",
                                                       volume->mountpoint)));
    EXPECT_THAT(error, testing::HasSubstr("flavour"));
    EXPECT_EQ(let_go("a"), "");
    volumes_->create({.name = "none", .options = {{"type", "none"}, {"device", "/nowhere/at/all"}, {"o", "bind"}}});
    EXPECT_THAT(hold("a", "none"), testing::EndsWith(": no such file or directory"));
    volumes_->create({.name = "what", .options = {{"type", "no-such-fs"}, {"device", "x"}}});
    EXPECT_THAT(hold("a", "what"), testing::HasSubstr("no such device"));
    volumes_->create({.name = "file", .options = {{"type", "none"}, {"device", "/etc/passwd"}, {"o", "bind"}}});
    EXPECT_THAT(hold("a", "file"), testing::EndsWith("not a directory"));
}

// A volume is attached to the folder that it is, not to what somebody has put there.
TEST_F(MountsTest, ALinkInThePlaceOfTheFolderIsNotFollowed) {
    const VolumePtr volume = tmpfs("memory");
    fs::create_directories(directory_ + "/elsewhere");
    fs::remove(volume->mountpoint);
    fs::create_directory_symlink(directory_ + "/elsewhere", volume->mountpoint);
    EXPECT_NE(hold("a", "memory"), "");
    EXPECT_EQ(linux::mounts_below(fs::canonical(directory_ + "/elsewhere").string()).size(), 0U);
}

TEST_F(MountsTest, OneThatDoesNotAnswerHoldsUpNobody) {
    const Silent silent(directory_ + "/silent");
    if (!silent.is_there()) GTEST_SKIP() << "no FUSE here";
    begin({.mount = 2s});
    volumes_->create({.name = "dead", .options = {{"type", "none"}, {"device", directory_ + "/silent/x"}, {"o", "bind"}}});
    const VolumePtr other = tmpfs("memory");
    std::string said;
    bool other_is_mounted = false;
    asio::co_spawn(
        loop_,
        [&]() -> asio::awaitable<void> {
            try {
                co_await mounts_->hold("a", {"dead"});
            } catch (const Error& error) {
                said = error.what();
            }
        },
        [&](const std::exception_ptr&) { EXPECT_TRUE(other_is_mounted) << "the other waited for the dead one"; });
    asio::co_spawn(
        loop_, [&]() -> asio::awaitable<void> { co_await mounts_->hold("b", {"memory"}); },
        [&](const std::exception_ptr& failure) { other_is_mounted = !failure; });
    loop_.run();
    loop_.restart();
    EXPECT_THAT(said, testing::HasSubstr("no answer within"));
    EXPECT_EQ(let_go("a"), "");
    EXPECT_EQ(let_go("b"), "");
}

TEST_F(MountsTest, OneThatDoesNotAnswerIsCalledOff) {
    const Silent silent(directory_ + "/silent");
    if (!silent.is_there()) GTEST_SKIP() << "no FUSE here";
    volumes_->create({.name = "dead", .options = {{"type", "none"}, {"device", directory_ + "/silent/x"}, {"o", "bind"}}});
    std::string said;
    asio::co_spawn(
        loop_,
        [&]() -> asio::awaitable<void> {
            try {
                co_await mounts_->hold("a", {"dead"});
            } catch (const Error& error) {
                said = error.what();
            }
        },
        asio::detached);
    loop_.run_for(200ms);
    EXPECT_EQ(said, "");
    mounts_->call_off("a");
    loop_.run();
    EXPECT_THAT(said, testing::HasSubstr("called off"));
}

}  // namespace
}  // namespace grua::volumes
