#include "engine/files/file_view.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <filesystem>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;

TEST(FileView, paths_are_cleaned_as_docker_does) {
    EXPECT_EQ(clean_path("/a/../b"), "/b");
    EXPECT_EQ(clean_path("a//b/"), "/a/b/");
    EXPECT_EQ(clean_path("/a/."), "/a/.");
    EXPECT_EQ(clean_path("../../a"), "/a");
    EXPECT_EQ(clean_path("/"), "/");
    EXPECT_EQ(clean_path("/."), "/.");
    EXPECT_EQ(clean_path(""), "/");
}

TEST(FileView, links_lead_inside) {
    std::string folder = fs::temp_directory_path() / "grua-view-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    fs::create_directories(folder + "/a/b");
    fs::create_symlink("/a", folder + "/absolute");
    fs::create_symlink("../../../../etc", folder + "/a/up");
    fs::create_symlink("loop", folder + "/loop");
    fs::create_symlink("a/missing/x", folder + "/broken");
    const Root root = Root::open(folder.c_str());
    EXPECT_EQ(follow_links(root, "/absolute/b"), "/a/b");
    EXPECT_EQ(follow_links(root, "/a/up/passwd"), "/etc/passwd");
    EXPECT_EQ(follow_links(root, "/broken"), "/a/missing/x");
    EXPECT_EQ(follow_links(root, "/absolute/../a"), "/a");
    EXPECT_THROW(follow_links(root, "/loop"), Error);
    fs::remove_all(folder);
}

}  // namespace
}  // namespace grua::engine
