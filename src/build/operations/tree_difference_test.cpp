#include "build/operations/tree_difference.hpp"

#include "base/error.hpp"
#include "base/id.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <array>
#include <filesystem>
#include <fstream>
#include <set>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

class TreeDifferenceTest : public testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "whiteouts are devices, which root alone makes";
        for (const char* each : {"lower", "upper", "layer"}) fs::create_directories(base_ / each);
    }
    ~TreeDifferenceTest() override { fs::remove_all(base_); }

    void file(const std::string& path, const std::string& text = "", std::time_t time = 1000) {
        fs::create_directories((base_ / path).parent_path());
        std::ofstream(base_ / path) << text;
        const std::array<timespec, 2> times{timespec{.tv_sec = time, .tv_nsec = 7}, timespec{.tv_sec = time, .tv_nsec = 7}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (base_ / path).c_str(), times.data(), 0), 0);
    }
    void both(const std::string& path, const std::string& text = "") {
        file("lower/" + path, text);
        file("upper/" + path, text);
    }

    bool write() {
        const auto root = [&](const char* name) { return Root::open((base_ / name).c_str()); };
        return write_difference(root("lower"), root("upper"), root("layer"), {});
    }
    /// What is in the layer; a whiteout with a minus.
    std::set<std::string> layer() const {
        std::set<std::string> out;
        for (const auto& each : fs::recursive_directory_iterator(base_ / "layer")) {
            struct stat about{};
            EXPECT_EQ(::lstat(each.path().c_str(), &about), 0);
            const bool is_hidden = S_ISCHR(about.st_mode) && about.st_rdev == makedev(0, 0);
            out.insert((is_hidden ? "-" : "") + each.path().lexically_relative(base_ / "layer").string());
        }
        return out;
    }
    struct stat look(const std::string& path) const {
        struct stat about{};
        EXPECT_EQ(::lstat((base_ / path).c_str(), &about), 0) << path;
        return about;
    }

    const fs::path base_{fs::temp_directory_path() / ("grua-difference-" + random_hex(6))};
};

TEST_F(TreeDifferenceTest, TheSameTreesHaveNone) {
    both("a", "1");
    both("d/b", "2");
    fs::create_symlink("a", base_ / "lower/l");
    fs::create_symlink("a", base_ / "upper/l");
    for (const char* each : {"lower/l", "upper/l"}) {
        const std::array<timespec, 2> times{};
        ASSERT_EQ(::utimensat(AT_FDCWD, (base_ / each).c_str(), times.data(), AT_SYMLINK_NOFOLLOW), 0);
    }
    EXPECT_FALSE(write());
    EXPECT_THAT(layer(), IsEmpty());
}

TEST_F(TreeDifferenceTest, WhatIsNewOtherAndGone) {
    both("same", "s");
    both("deep/er/same", "s");
    file("lower/changed", "one");
    file("upper/changed", "two");
    file("lower/touched", "t", 1000);
    file("upper/touched", "t", 1001);
    file("lower/gone", "g");
    file("lower/deep/er/gone", "g");
    file("upper/new/folder/f", "n");
    EXPECT_TRUE(write());
    EXPECT_THAT(layer(),
                ElementsAre("-deep/er/gone", "-gone", "changed", "deep", "deep/er", "new", "new/folder", "new/folder/f", "touched"));
    EXPECT_EQ(look("layer/touched").st_mtim.tv_sec, 1001);
}

TEST_F(TreeDifferenceTest, AFolderAroundAChangeIsAsInTheUpperTree) {
    both("d/same");
    file("upper/d/new");
    ASSERT_EQ(::chmod((base_ / "upper/d").c_str(), 0710), 0);
    ASSERT_EQ(::chown((base_ / "upper/d").c_str(), 12, 34), 0);
    const std::array<timespec, 2> times{timespec{.tv_sec = 5, .tv_nsec = 6}, timespec{.tv_sec = 7, .tv_nsec = 8}};
    ASSERT_EQ(::utimensat(AT_FDCWD, (base_ / "upper/d").c_str(), times.data(), 0), 0);
    EXPECT_TRUE(write());
    const struct stat about = look("layer/d");
    EXPECT_EQ(about.st_mode & 07777U, 0710U);
    EXPECT_EQ(about.st_uid, 12U);
    EXPECT_EQ(about.st_gid, 34U);
    EXPECT_EQ(about.st_mtim.tv_sec, 7);
}

TEST_F(TreeDifferenceTest, AFolderWithAnotherModeAndNoOtherChange) {
    both("d/same");
    ASSERT_EQ(::chmod((base_ / "upper/d").c_str(), 0700), 0);
    EXPECT_TRUE(write());
    EXPECT_THAT(layer(), ElementsAre("d"));
}

TEST_F(TreeDifferenceTest, OneKindInThePlaceOfAnother) {
    file("lower/was-file");
    file("upper/was-file/in", "i");
    file("lower/was-folder/in", "i");
    file("upper/was-folder");
    fs::create_symlink("one", base_ / "lower/link");
    fs::create_symlink("two", base_ / "upper/link");
    file("lower/to-link");
    fs::create_symlink("/nowhere", base_ / "upper/to-link");
    EXPECT_TRUE(write());
    EXPECT_THAT(layer(), ElementsAre("link", "to-link", "was-file", "was-file/in", "was-folder"));
    EXPECT_EQ(fs::read_symlink(base_ / "layer/link"), "two");
}

TEST_F(TreeDifferenceTest, ContentsCountWhereSizeAndTimeAreTheSame) {
    file("lower/f", std::string(600'000, 'x') + "a");
    file("upper/f", std::string(600'000, 'x') + "b");
    EXPECT_TRUE(write());
    EXPECT_THAT(layer(), ElementsAre("f"));
}

TEST_F(TreeDifferenceTest, LinksLeadNowhere) {
    // A name that is a folder in one tree and a link in the other is compared as what it is.
    fs::create_directories(base_ / "outside");
    std::ofstream(base_ / "outside/victim") << "v";
    file("lower/d/victim", "v");
    fs::create_symlink((base_ / "outside").string(), base_ / "upper/d");
    EXPECT_TRUE(write());
    EXPECT_THAT(layer(), ElementsAre("d"));
    EXPECT_TRUE(fs::is_symlink(base_ / "layer/d"));
    EXPECT_TRUE(fs::exists(base_ / "outside/victim"));
}

TEST_F(TreeDifferenceTest, FilesWithTwoNamesInANewFolderKeepThem) {
    file("upper/new/a/one", "1");
    fs::create_directories(base_ / "upper/new/b");
    fs::create_hard_link(base_ / "upper/new/a/one", base_ / "upper/new/b/two");
    EXPECT_TRUE(write());
    EXPECT_EQ(look("layer/new/a/one").st_ino, look("layer/new/b/two").st_ino);
}

TEST_F(TreeDifferenceTest, WhoDoesNotWantItAnyMoreEndsIt) {
    file("upper/a");
    std::stop_source stop;
    stop.request_stop();
    const auto root = [&](const char* name) { return Root::open((base_ / name).c_str()); };
    EXPECT_THROW((void)write_difference(root("lower"), root("upper"), root("layer"), stop.get_token()), Error);
}

}  // namespace
}  // namespace grua::build
