// Tests stand beside the code they test. A name says what holds; a test asserts one thing that a user would miss.
#include "linux/root.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace fs = std::filesystem;

namespace grua {
namespace {

class RootTest : public testing::Test {
protected:
    RootTest() {
        std::string pattern = (fs::temp_directory_path() / "root-test-XXXXXX").string();
        base_ = ::mkdtemp(pattern.data());
        fs::create_directories(base_ / "rootfs/etc");
        fs::create_directories(base_ / "host");
        std::ofstream{base_ / "host/secret"} << "host";
        std::ofstream{base_ / "rootfs/etc/passwd"} << "container";
    }
    ~RootTest() override { fs::remove_all(base_); }

    Root root() const { return Root::open((base_ / "rootfs").c_str()); }

    fs::path base_;
};

TEST_F(RootTest, AbsoluteLinkStaysInside) {
    fs::create_symlink("/etc", base_ / "rootfs/link");
    EXPECT_TRUE(root().open_at("link/passwd", O_RDONLY));
}

TEST_F(RootTest, DotDotStaysInside) { EXPECT_TRUE(root().open_at("../../../etc/passwd", O_RDONLY)); }

// D1
TEST_F(RootTest, WhatALinkLeadsToIsMadeInside) {
    const fs::path inside = base_ / "rootfs";
    fs::create_symlink("../run/resolve/stub", inside / "etc/resolv");
    EXPECT_TRUE(root().make("/etc/resolv", Root::Kind::file));
    EXPECT_TRUE(fs::is_regular_file(inside / "run/resolve/stub"));
    fs::create_symlink("/var/made", inside / "folder");
    EXPECT_TRUE(root().make_directories("folder/below/../beside"));
    EXPECT_TRUE(fs::is_directory(inside / "var/made/beside"));
    EXPECT_TRUE(fs::is_directory(inside / "var/made/below"));
    fs::create_symlink("../../../../" + (base_ / "host/made").string(), inside / "out");
    EXPECT_TRUE(root().make("out", Root::Kind::file));
    EXPECT_FALSE(fs::exists(base_ / "host/made"));
    EXPECT_TRUE(fs::exists(inside / base_.relative_path() / "host/made"));
}

// D1
TEST_F(RootTest, WhatCannotBeMadeIsRefused) {
    const fs::path inside = base_ / "rootfs";
    fs::create_symlink("there", inside / "here");
    fs::create_symlink("here", inside / "there");
    const auto refusal = [&](const char* path, Root::Kind kind) {
        try {
            static_cast<void>(root().make(path, kind));
            return 0;
        } catch (const Error& error) {
            return error.os_error();
        }
    };
    EXPECT_EQ(refusal("here/x", Root::Kind::directory), ELOOP);
    EXPECT_EQ(refusal("etc/passwd/x", Root::Kind::file), ENOTDIR);
    EXPECT_EQ(refusal("etc/passwd", Root::Kind::directory), ENOTDIR);
    EXPECT_EQ(refusal("etc/passwd", Root::Kind::file), 0);
}

TEST_F(RootTest, MissingFileIsNotFound) {
    try {
        root().open_at("etc/shadow", O_RDONLY);
        FAIL() << "opened a file that is not there";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::not_found);
        EXPECT_STREQ(error.what(), "etc/shadow: no such file or directory");
    }
}

TEST_F(RootTest, WhatMayBeMissingIsLookedForWithoutAnError) {
    EXPECT_TRUE(root().find_at("/etc/passwd", O_RDONLY));
    EXPECT_FALSE(root().find_at("/etc/shadow", O_RDONLY));
    EXPECT_FALSE(root().find_at("/etc/passwd/below/a/file", O_RDONLY));
    fs::create_symlink("loop", base_ / "rootfs/loop");
    EXPECT_THROW((void)root().find_at("/loop", O_RDONLY), Error);
}

// One thread swaps a folder for a link to the host as fast as it can; nothing may ever appear on the host.
TEST_F(RootTest, SwappedFolderNeverLeadsOutside) {
    const std::string folder = base_ / "rootfs/volume";
    const std::string link = base_ / "rootfs/swap";
    fs::create_directory(folder);
    fs::create_directory_symlink(base_ / "host", link);

    std::atomic<bool> stop = false;
    std::jthread swapper([&] {
        while (!stop) ::syscall(SYS_renameat2, AT_FDCWD, folder.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
    });
    const Root rootfs = root();
    for (int i = 0; i < 20'000; ++i) {
        try {
            const Fd directory = rootfs.make_directories("volume/data");
            ::mknodat(directory.get(), "made", S_IFREG | 0600, 0);
        } catch (const Error&) {
            // The swap won; an error is a right answer, a file on the host is not.
        }
    }
    stop = true;
    swapper.join();
    EXPECT_FALSE(fs::exists(base_ / "host/data"));
}

}  // namespace
}  // namespace grua
