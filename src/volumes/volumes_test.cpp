#include "volumes/volumes.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
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
    EXPECT_TRUE(fs::is_empty(directory_));
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
    volumes.populate(*volume, root.get(), "/absolute");
    EXPECT_EQ(read_file(volume->mountpoint + "/file"), "hello");
    EXPECT_EQ(fs::hard_link_count(volume->mountpoint + "/sub/same"), 2U);
    EXPECT_EQ(fs::read_symlink(volume->mountpoint + "/link"), "/etc/passwd");
    struct stat status{};
    ASSERT_EQ(::stat(volume->mountpoint.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 01777U);

    replace_file(volume->mountpoint + "/file", "changed");
    volumes.populate(*volume, root.get(), "/data");
    EXPECT_EQ(read_file(volume->mountpoint + "/file"), "changed") << "a volume with content is left alone";
    volumes.populate(*volumes.create({.name = "other"}), root.get(), "/nowhere");
}

}  // namespace
}  // namespace grua::volumes
