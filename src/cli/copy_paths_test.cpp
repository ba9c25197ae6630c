#include "cli/copy_paths.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::cli {
namespace {

using Pair = std::pair<std::string, std::string>;

TEST(CopyPaths, arguments) {
    const auto is = [](const std::string& text, const char* container, const char* path) {
        const CopyArgument argument = split_copy_argument(text);
        EXPECT_EQ(argument.container, container) << text;
        EXPECT_EQ(argument.path, path) << text;
    };
    is("web:/etc", "web", "/etc");
    is("web:etc", "web", "etc");
    is("web:", "web", "");
    is("/a:b", "", "/a:b");
    is("./a:b", "", "./a:b");
    is("a", "", "a");
    is("-", "", "-");
}

TEST(CopyPaths, texts) {
    EXPECT_EQ(clean_text("/a//b/../c/."), "/a/c");
    EXPECT_EQ(clean_text("/../.."), "/");
    EXPECT_EQ(clean_text("a/../.."), "..");
    EXPECT_EQ(clean_text(""), ".");
    EXPECT_EQ(keep_end("/a", "x/."), "/a/.");
    EXPECT_EQ(keep_end("/a", "x/"), "/a/");
    EXPECT_EQ(keep_end("/", "/."), "/.");
    EXPECT_EQ(split_entry("/a/b/"), Pair("/a", "b"));
    EXPECT_EQ(split_entry("/a/b/."), Pair("/a/b", "."));
    EXPECT_EQ(split_entry("/"), Pair("/", "/"));
    EXPECT_EQ(split_entry("b"), Pair(".", "b"));
    EXPECT_EQ(renamed_by_links("/a/link", "/x/target"), Pair("/x/target", "link"));
    EXPECT_EQ(renamed_by_links("/a/link/.", "/x/target"), Pair("/x/target/.", ""));
    EXPECT_EQ(renamed_by_links("/a/same/", "/x/same"), Pair("/x/same/", ""));
}

TEST(CopyPaths, plans) {
    const CopySide file{.path = "/s/file", .exists = true};
    const CopySide folder{.path = "/s/dir", .exists = true, .is_folder = true};
    const auto is = [](const CopySide& source, const CopySide& target, const char* place, const char* name, const char* becomes) {
        const CopyPlan plan = plan_copy(source, target);
        EXPECT_EQ(plan.folder, place);
        const auto rename = renaming(plan);
        EXPECT_EQ(rename ? rename(name) : name, becomes);
    };
    is(file, {.path = "/t", .exists = true, .is_folder = true}, "/t", "file", "file");
    is(file, {.path = "/t/x", .exists = true}, "/t", "file", "x");
    is(file, {.path = "/t/x"}, "/t", "file", "x");
    is(folder, {.path = "/t/x"}, "/t", "dir/in", "x/in");
    is(folder, {.path = "/t/x"}, "/t", "directory", "directory");
    is({.path = "/s/dir/.", .exists = true, .is_folder = true}, {.path = "/t/x"}, "/t", "./in", "x/in");
    is({.path = "/", .exists = true, .is_folder = true}, {.path = "/t/x"}, "/t", "/in", "x/in");
    EXPECT_THROW(plan_copy(folder, {.path = "/t/x", .exists = true}), Error);
    EXPECT_THROW(plan_copy(file, {.path = "/t/x/"}), Error);
}

}  // namespace
}  // namespace grua::cli
