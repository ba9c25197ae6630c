#include "volumes/volumes.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <filesystem>

namespace grua::volumes {
namespace {

namespace fs = std::filesystem;

class VolumesTest : public testing::Test {
protected:
    VolumesTest() { fs::create_directories(directory_); }
    ~VolumesTest() override { fs::remove_all(directory_); }

    std::string directory_ = fs::temp_directory_path() / ("grua-volumes-" + random_hex(6));
};

std::string message_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST_F(VolumesTest, AreThereAfterARestart) {
    Volumes(directory_).create({.name = "data", .labels = {{"a", "b"}}});
    const Volumes again(directory_);
    ASSERT_TRUE(again.find("data"));
    EXPECT_EQ(again.find("data")->labels.at("a"), "b");
    EXPECT_TRUE(fs::is_directory(again.find("data")->mountpoint));
}

TEST_F(VolumesTest, CreateTwiceIsOne) {
    Volumes volumes(directory_);
    EXPECT_EQ(volumes.create({.name = "data"}), volumes.create({.name = "data"}));
}

TEST_F(VolumesTest, OptionsAreThereAfterARestart) {
    const std::map<std::string, std::string> options{{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m"}};
    Volumes(directory_).create({.name = "data", .options = options});
    Volumes again(directory_);
    EXPECT_EQ(again.find("data")->options, options);
    // As in Docker: the name is enough.
    EXPECT_EQ(again.create({.name = "data", .options = {{"type", "none"}, {"device", "/"}, {"o", "bind"}}})->options, options);
    EXPECT_EQ(message_of([&] { again.create({.name = "data", .options = {{"colour", "red"}}}); }), "invalid option: \"colour\"");
    EXPECT_EQ(message_of([&] { again.create({.name = "bounded", .options = {{"size", "10m"}}}); }),
              "quota size requested but no quota support");
    EXPECT_FALSE(again.find("bounded"));
}

TEST_F(VolumesTest, RefusesNamesThatAreNoFolder) {
    Volumes volumes(directory_);
    for (const char* name : {"../x", "a/b", ".hidden", "a", "-x", "a\nb"})
        EXPECT_NE(message_of([&] { volumes.create({.name = name}); }), "") << name;
}

TEST_F(VolumesTest, OneInUseStays) {
    Volumes volumes(directory_);
    volumes.create({.name = "data"});
    EXPECT_EQ(message_of([&] { volumes.remove("data", {"abc"}); }), "remove data: volume is in use - [abc]");
    EXPECT_TRUE(volumes.find("data"));
    volumes.remove("data", {});
    EXPECT_FALSE(volumes.find("data"));
    volumes.wait_for_purge();
    EXPECT_TRUE(fs::is_empty(directory_ + "/.trash"));
    EXPECT_EQ(std::distance(fs::directory_iterator(directory_), {}), 1);
}

// B4
TEST_F(VolumesTest, OneThatIsLeasedStays) {
    Volumes volumes(directory_);
    std::optional<Lease> before = volumes.lease("data");
    volumes.create({.name = "data"});
    std::optional<Lease> more = volumes.lease("data");
    EXPECT_EQ(message_of([&] { volumes.remove("data", {}); }), "remove data: volume is in use");
    before.reset();
    EXPECT_EQ(message_of([&] { volumes.remove("data", {}); }), "remove data: volume is in use");
    std::optional<Lease> moved = std::move(more);
    more.reset();
    EXPECT_EQ(message_of([&] { volumes.remove("data", {}); }), "remove data: volume is in use");
    moved.reset();
    EXPECT_EQ(message_of([&] { volumes.remove("data", {}); }), "");
    EXPECT_FALSE(volumes.find("data"));
}

// B4: between the look at who uses it and the removal nobody gets in.
TEST_F(VolumesTest, OneThatIsBeingRemovedIsNotLeased) {
    Volumes volumes(directory_);
    volumes.create({.name = "data"});
    {
        const Removal dropped = volumes.begin_removal("data", {});
        EXPECT_EQ(message_of([&] { volumes.lease("data"); }), "volume data is being removed");
        EXPECT_EQ(message_of([&] { volumes.begin_removal("data", {}); }), "remove data: its removal is already in progress");
    }
    EXPECT_TRUE(volumes.find("data"));
    Removal removal = volumes.begin_removal("data", {});
    removal.finish();
    EXPECT_FALSE(volumes.find("data"));
    EXPECT_EQ(message_of([&] { volumes.begin_removal("data", {}); }), "get data: no such volume");
}

TEST_F(VolumesTest, ANewOneOfTheSameNameComesAfterTheRemoval) {
    Volumes volumes(directory_);
    for (int round = 0; round < 20; ++round) {
        replace_file(volumes.create({.name = "data"})->mountpoint + "/file", "text");
        volumes.remove("data", {});
        EXPECT_TRUE(fs::is_empty(volumes.create({.name = "data"})->mountpoint));
    }
}

// B3: an immutable folder of a removal long ago.
TEST_F(VolumesTest, WhatCannotBeSweptDoesNotKeepTheOthers) {
    Volumes(directory_).create({.name = "data"});
    for (const char* left : {"/.trash-0011", "/.trash-2233", "/.new-4455"}) fs::create_directories(directory_ + left + "/_data");
    const Fd stuck{::open((directory_ + "/.trash-0011").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    int flags = 0;
    if (::ioctl(stuck.get(), FS_IOC_GETFLAGS, &flags) != 0) GTEST_SKIP() << "no immutable files on this file system";
    flags |= FS_IMMUTABLE_FL;
    if (::ioctl(stuck.get(), FS_IOC_SETFLAGS, &flags) != 0) GTEST_SKIP() << "no immutable files here";
    {
        Volumes again(directory_);
        EXPECT_TRUE(again.find("data"));
        again.wait_for_purge();
        EXPECT_TRUE(fs::exists(directory_ + "/.trash-0011"));
        EXPECT_FALSE(fs::exists(directory_ + "/.trash-2233"));
        EXPECT_FALSE(fs::exists(directory_ + "/.new-4455"));
        again.remove("data", {});
    }
    flags &= ~FS_IMMUTABLE_FL;
    ASSERT_EQ(::ioctl(stuck.get(), FS_IOC_SETFLAGS, &flags), 0);
}

TEST_F(VolumesTest, OneThatCannotBeReadIsLeftAndItsNameIsNotGivenAgain) {
    const std::string data = Volumes(directory_).create({.name = "data"})->mountpoint;
    replace_file(data + "/file", "precious");
    replace_file(directory_ + "/data/volume.json", "{");
    Volumes again(directory_);
    EXPECT_FALSE(again.find("data"));
    EXPECT_THAT(message_of([&] { again.create({.name = "data"}); }), testing::HasSubstr("was no volume when gruad started"));
    EXPECT_EQ(read_file(data + "/file"), "precious");
}

TEST_F(VolumesTest, PopulateCopiesATreeAndFollowsNoLink) {
    Volumes volumes(directory_ + "/v");
    const std::string image = directory_ + "/image";
    fs::create_directories(image + "/data/sub");
    replace_file(image + "/data/file", "hello", 0640);
    fs::create_hard_link(image + "/data/file", image + "/data/sub/same");
    fs::create_symlink("/etc/passwd", image + "/data/link");
    fs::create_symlink("data", image + "/absolute");
    ASSERT_EQ(::chmod((image + "/data").c_str(), 01777), 0);
    const Fd root{::open(image.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};

    const auto volume = volumes.create({.name = "data"});
    volumes.populate(*volume, "", root.get(), "/absolute");
    EXPECT_EQ(read_file(volume->mountpoint + "/file"), "hello");
    EXPECT_EQ(fs::hard_link_count(volume->mountpoint + "/sub/same"), 2U);
    EXPECT_EQ(fs::read_symlink(volume->mountpoint + "/link"), "/etc/passwd");
    struct stat status{};
    ASSERT_EQ(::stat(volume->mountpoint.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 01777U);

    replace_file(volume->mountpoint + "/file", "changed");
    volumes.populate(*volume, "", root.get(), "/data");
    EXPECT_EQ(read_file(volume->mountpoint + "/file"), "changed") << "a volume with content is left alone";
    volumes.populate(*volumes.create({.name = "other"}), "", root.get(), "/nowhere");
}

}  // namespace
}  // namespace grua::volumes
