#include "build/tree_scan.hpp"

#include "base/error.hpp"
#include "build/selection.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <filesystem>
#include <fstream>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

class TreeScan : public testing::Test {
protected:
    TreeScan() : path_((fs::temp_directory_path() / ("grua-scan-" + std::to_string(::getpid()))).string()) {
        fs::remove_all(path_);
        fs::create_directories(path_);
    }
    TreeScan(const TreeScan&) = delete;
    TreeScan& operator=(const TreeScan&) = delete;
    ~TreeScan() override { fs::remove_all(path_); }

    void write(const std::string& name, const std::string& text) const {
        fs::create_directories(fs::path(path_ + "/" + name).parent_path());
        std::ofstream(path_ + "/" + name) << text;
    }
    void link(const std::string& target, const std::string& name) const { fs::create_symlink(target, path_ + "/" + name); }

    Root root() const { return Root::open(path_.c_str()); }

    /// Of all of the tree, and of what is looked at for this alone.
    void expect_same(const Selection& selection) const {
        const std::string whole = digest_of(scan_tree(root(), {Selection{}}), {selection});
        EXPECT_EQ(digest_of(scan_tree(root(), {selection}), {selection}), whole) << selection.path;
    }

    std::string path_;
};

TEST_F(TreeScan, sees_of_a_part_what_a_look_at_all_sees) {
    write("a/b/c", "1");
    write("a/b/d", "2");
    write("a/e.txt", "3");
    write("a/f.txt", "4");
    write("g", "5");
    link("a/b", "folder");
    link("/a/e.txt", "file");
    link("../../g", "a/b/up");
    fs::create_hard_link(path_ + "/g", path_ + "/h");
    ::mkfifo((path_ + "/pipe").c_str(), 0600);
    for (const char* path : {"/", "/a", "/a/b/c", "/g", "/h", "/pipe", "/folder", "/file", "/a/b/up", "folder/c", "/a/../g"}) {
        expect_same({.path = path});
        expect_same({.path = path, .follows_links = true});
    }
    for (const char* path : {"/*", "/a/*.txt", "/*/b/*", "/a/?.txt", "/folder/*", "/none*", "/[a-g]"}) {
        expect_same({.path = path, .is_wildcard = true});
        expect_same({.path = path, .is_wildcard = true, .follows_links = true});
    }
    expect_same({.path = "/a", .include = {"*.txt"}});
    expect_same({.path = "/a", .exclude = {"b"}});
    expect_same({.path = "/", .include = {"a/b"}, .exclude = {"**/d"}});
}

TEST_F(TreeScan, names_of_one_file_are_told) {
    write("d/z", "1");
    write("d/a", "1");
    write("d/m/x", "1");
    const auto digest = [&](const std::string& path) { return digest_of(scan_tree(root(), {{.path = path}}), {{.path = path}}); };
    const std::string apart = digest("/d");
    const std::string below = digest("/d/m");
    fs::remove(path_ + "/d/m/x");
    fs::create_hard_link(path_ + "/d/z", path_ + "/d/m/x");
    EXPECT_NE(digest("/d"), apart);
    EXPECT_EQ(digest("/d/m"), below);
    const TreeIndex found = scan_tree(root(), {Selection{}});
    EXPECT_EQ(found.at("d/m/x").link, "");
    EXPECT_EQ(found.at("d/z").link, "d/m/x") << "the first one is the file";
    EXPECT_EQ(found.at("d/a").link, "");
    expect_same({.path = "/d"});
}

TEST_F(TreeScan, looks_at_no_more_than_it_has_to) {
    write("a/b", "1");
    write("other/c", "2");
    const TreeIndex found = scan_tree(root(), {{.path = "/a"}});
    EXPECT_TRUE(found.contains("a/b"));
    EXPECT_FALSE(found.contains("other"));
}

TEST_F(TreeScan, does_not_leave_its_root_and_says_what_is_not_there) {
    link("/etc", "out");
    link("loop", "loop");
    EXPECT_THROW(digest_of(scan_tree(root(), {{.path = "/out/passwd"}}), {{.path = "/out/passwd"}}), Error);
    EXPECT_THROW(scan_tree(root(), {{.path = "/loop/x"}}), Error);
    EXPECT_THROW(digest_of(scan_tree(root(), {{.path = "/none"}}), {{.path = "/none"}}), Error);
}

TEST_F(TreeScan, contents_modes_and_owners_count_and_times_do_not) {
    write("a", "1");
    const auto digest = [&] { return digest_of(scan_tree(root(), {Selection{}}), {Selection{}}); };
    const std::string before = digest();
    fs::last_write_time(path_ + "/a", fs::file_time_type::clock::now() + std::chrono::hours(1));
    EXPECT_EQ(digest(), before);
    ::chmod((path_ + "/a").c_str(), 0600);
    const std::string other_mode = digest();
    EXPECT_NE(other_mode, before);
    write("a", "2");
    EXPECT_NE(digest(), other_mode);
}

}  // namespace
}  // namespace grua::build
