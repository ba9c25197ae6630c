#include "engine/steps/mount_points.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class MountPointsTest : public testing::Test {
protected:
    MountPointsTest() : base_(fs::temp_directory_path() / ("grua-points-" + random_hex(6))) {
        fs::create_directories(base_ / "tree/etc");
        fs::create_directories(base_ / "host");
        std::ofstream(base_ / "host/file") << "host";
        // Long before now.
        for (const char* folder : {"tree", "tree/etc"}) set_time(folder);
    }
    ~MountPointsTest() override { fs::remove_all(base_); }

    void set_time(const std::string& path) {
        const std::array<timespec, 2> times{timespec{.tv_sec = 1000, .tv_nsec = 5}, timespec{.tv_sec = 1000, .tv_nsec = 5}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (base_ / path).c_str(), times.data(), 0), 0);
    }
    timespec time_of(const std::string& path) const {
        struct stat about{};
        EXPECT_EQ(::stat((base_ / path).c_str(), &about), 0) << path;
        return about.st_mtim;
    }
    bool is_as_it_was(const std::string& path) const { return time_of(path).tv_sec == 1000 && time_of(path).tv_nsec == 5; }

    Fd open(const std::string& path) const { return Fd{::open((base_ / path).c_str(), O_PATH | O_CLOEXEC)}; }

    void add(const std::string& destination, const std::string& type = "bind", const std::string& what = "host") {
        oci::Mount mount;
        mount.destination = destination;
        mount.type = type;
        mount.source = type == "bind" ? "given" : type;
        document_.mounts.push_back(std::move(mount));
        if (type == "bind") given_.push_back({.destination = destination, .mount = open(what)});
    }
    bool has(const std::string& path) const { return fs::exists(fs::symlink_status(base_ / "tree" / path)); }

    const fs::path base_;
    oci::RuntimeSpec document_;
    std::vector<tasks::TaskMount> given_;
};

TEST_F(MountPointsTest, WhatWasMadeForTheMountsGoesAndTheTimesAreAsBefore) {
    add("/etc/deep/er");
    add("/etc/deep/file", "bind", "host/file");
    add("/cache", "tmpfs");
    add("/cache/inner");
    MountPoints points(open("tree"));
    points.make(document_, given_);
    EXPECT_TRUE(fs::is_directory(base_ / "tree/etc/deep/er"));
    EXPECT_TRUE(fs::is_regular_file(base_ / "tree/etc/deep/file"));
    EXPECT_TRUE(has("cache"));
    EXPECT_FALSE(has("cache/inner")) << "its place is in what is mounted there";
    EXPECT_EQ(document_.mounts[2].options, std::vector<std::string>{"mode=1777"}) << "as where the runtime makes it";
    points.remove();
    EXPECT_FALSE(has("cache") || has("etc/deep"));
    EXPECT_TRUE(is_as_it_was("tree"));
    EXPECT_TRUE(is_as_it_was("tree/etc"));
}

TEST_F(MountPointsTest, WhatWasThereStays) {
    fs::create_directories(base_ / "tree/src");
    std::ofstream(base_ / "tree/etc/hosts") << "";
    add("/src");
    add("/etc/hosts", "bind", "host/file");
    add("/etc", "tmpfs");
    MountPoints points(open("tree"));
    points.make(document_, given_);
    EXPECT_TRUE(document_.mounts[2].options.empty());
    points.remove();
    EXPECT_TRUE(has("src") && has("etc/hosts"));
}

TEST_F(MountPointsTest, WhatTheProgramPutThereStays) {
    add("/made/point");
    add("/file", "bind", "host/file");
    add("/gone");
    add("/other");
    MountPoints points(open("tree"));
    points.make(document_, given_);
    std::this_thread::sleep_for(20ms);
    std::ofstream(base_ / "tree/made/own") << "";
    std::ofstream(base_ / "tree/file") << "written";
    fs::remove(base_ / "tree/gone");
    // Another one by the same name is not what was made.
    fs::rename(base_ / "tree/other", base_ / "tree/moved");
    fs::create_directory(base_ / "tree/other");
    const timespec written = time_of("tree/made");
    points.remove();
    EXPECT_FALSE(has("made/point"));
    EXPECT_TRUE(has("made/own") && has("file") && has("other") && has("moved"));
    EXPECT_EQ(time_of("tree/made").tv_nsec, written.tv_nsec) << "of its own change, not of what was taken away";
    EXPECT_FALSE(is_as_it_was("tree"));
}

TEST_F(MountPointsTest, LinksLeadNowhereElse) {
    fs::create_symlink("../../../../run/resolve/stub", base_ / "tree/etc/resolv.conf");
    fs::create_symlink((base_ / "host").string(), base_ / "tree/out");
    add("/etc/resolv.conf", "bind", "host/file");
    add("/out/made");
    MountPoints points(open("tree"));
    points.make(document_, given_);
    EXPECT_TRUE(has("run/resolve/stub"));
    EXPECT_FALSE(fs::exists(base_ / "host/made"));
    // As a hostile program would have it when it has ended.
    fs::remove_all(base_ / "tree/run/resolve");
    fs::create_directories(base_ / "host/victim/stub");
    fs::create_symlink((base_ / "host/victim").string(), base_ / "tree/run/resolve");
    points.remove();
    EXPECT_TRUE(fs::exists(base_ / "host/victim/stub"));
    EXPECT_TRUE(fs::is_symlink(base_ / "tree/run/resolve"));
    EXPECT_TRUE(fs::is_symlink(base_ / "tree/etc/resolv.conf"));
    EXPECT_TRUE(fs::is_symlink(base_ / "tree/out"));
}

TEST_F(MountPointsTest, WhatCannotBeMadeIsSaidAndTheRestGoes) {
    std::ofstream(base_ / "tree/etc/file") << "";
    add("/made");
    add("/deep/er/and/er");
    add("/etc/file/below");
    MountPoints points(open("tree"));
    try {
        points.make(document_, given_);
        FAIL() << "it was made";
    } catch (const Error& error) {
        EXPECT_NE(std::string_view(error.what()).find("error mounting \"given\" to rootfs at \"/etc/file/below\""), std::string_view::npos)
            << error.what();
        EXPECT_EQ(error.os_error(), ENOTDIR);
    }
    points.remove();
    EXPECT_FALSE(has("made") || has("deep"));
}

}  // namespace
}  // namespace grua::engine
