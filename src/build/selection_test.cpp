#include "build/selection.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace grua::build {
namespace {

class SelectionTest : public testing::Test {
protected:
    SelectionTest() {
        folder("a");
        file("a/one", "1");
        file("a/two.o", "2");
        folder("a/sub");
        file("a/sub/three", "3");
        file("b", "4");
        link("l", "a");
        link("a/up", "../b");
        link("loop", "loop");
        link("out", "/../../b");
        link("dead", "nowhere");
    }
    void folder(const std::string& path) { tree[path] = {.mode = S_IFDIR | 0755}; }
    void file(const std::string& path, const std::string& digest) { tree[path] = {.mode = S_IFREG | 0644, .digest = digest}; }
    void link(const std::string& path, const std::string& to) { tree[path] = {.mode = S_IFLNK | 0777, .link = to}; }

    std::string digest(const Selection& selection) const { return digest_of(tree, {selection}); }

    /// Whether a change of the tree is seen by who reads so much of it.
    template <typename Change>
    bool sees(const Selection& selection, Change change) {
        const TreeIndex before = tree;
        const std::string was = digest(selection);
        change();
        const bool out = digest(selection) != was;
        tree = before;
        return out;
    }

    TreeIndex tree;
};

TEST_F(SelectionTest, PathsAreResolvedInsideTheTree) {
    EXPECT_EQ(resolve(tree, "/", true), "");
    EXPECT_EQ(resolve(tree, "/a/./sub/../one", true), "a/one");
    EXPECT_EQ(resolve(tree, "/l/sub", true), "a/sub");
    EXPECT_EQ(resolve(tree, "/l", true), "a");
    EXPECT_EQ(resolve(tree, "/l", false), "l");
    EXPECT_EQ(resolve(tree, "/l/up", true), "b");
    EXPECT_EQ(resolve(tree, "/out", true), "b");
    EXPECT_EQ(resolve(tree, "/../../b", true), "b");
    EXPECT_EQ(resolve(tree, "/b/x", true), std::nullopt);
    EXPECT_EQ(resolve(tree, "/dead", true), std::nullopt);
    EXPECT_EQ(resolve(tree, "/dead", false), "dead");
    EXPECT_THROW((void)resolve(tree, "/loop", true), Error);
}

TEST_F(SelectionTest, WhatIsNotReadIsNotSeen) {
    const auto change_one = [&] { tree.at("a/one").digest = "x"; };
    EXPECT_TRUE(sees({.path = "/"}, change_one));
    EXPECT_TRUE(sees({.path = "/a"}, change_one));
    EXPECT_TRUE(sees({.path = "/a/one"}, change_one));
    EXPECT_FALSE(sees({.path = "/b"}, change_one));
    EXPECT_FALSE(sees({.path = "/a/sub"}, change_one));
    EXPECT_TRUE(sees({.path = "/l", .follows_links = true}, change_one));
    EXPECT_FALSE(sees({.path = "/l"}, change_one));
    EXPECT_TRUE(sees({.path = "/l"}, [&] { tree.at("l").link = "b"; }));
    EXPECT_TRUE(sees({.path = "/a/o*", .is_wildcard = true}, change_one));
    EXPECT_FALSE(sees({.path = "/a/t*", .is_wildcard = true}, change_one));
    EXPECT_TRUE(sees({.path = "/a/t*", .is_wildcard = true}, [&] { file("a/tree", "5"); }));
    EXPECT_FALSE(sees({.path = "/none*", .is_wildcard = true}, change_one));
    EXPECT_TRUE(sees({.path = "/*", .is_wildcard = true}, change_one));
    EXPECT_TRUE(sees({.path = "/a", .exclude = {"*.o"}}, change_one));
    EXPECT_FALSE(sees({.path = "/a", .exclude = {"one"}}, change_one));
    EXPECT_FALSE(sees({.path = "/a", .include = {"sub"}}, change_one));
    EXPECT_TRUE(sees({.path = "/a", .include = {"sub"}}, [&] { tree.at("a/sub/three").digest = "x"; }));
    EXPECT_TRUE(sees({.path = "/a", .include = {"sub/three"}}, [&] { tree.at("a/sub").mode = S_IFDIR | 0700; }))
        << "its folder comes with it";
}

TEST_F(SelectionTest, EachAttributeIsSeenButTimes) {
    const Selection all{.path = "/"};
    EXPECT_TRUE(sees(all, [&] { tree.at("a/one").mode = S_IFREG | 0600; }));
    EXPECT_TRUE(sees(all, [&] { tree.at("a/one").uid = 1; }));
    EXPECT_TRUE(sees(all, [&] { tree.at("a/one").gid = 1; }));
    EXPECT_TRUE(sees(all, [&] { tree.at("a/one").xattrs["user.a"] = "b"; }));
    EXPECT_TRUE(sees(all, [&] { tree.at("a/up").link = "../../b"; }));
    EXPECT_TRUE(sees(all, [&] { folder("a/new"); }));
    EXPECT_TRUE(sees(all, [&] { tree.erase("b"); }));
    EXPECT_TRUE(sees(all, [&] {
        file("a/One", tree.at("a/one").digest);
        tree.erase("a/one");
    }));
    EXPECT_FALSE(sees(all, [&] { tree.at("a/one").mtime = 5; }));
    EXPECT_FALSE(sees(all, [&] { tree.at("a/one").size = 5; })) << "the digest says it";
}

TEST_F(SelectionTest, TwoNamesOfOneFileAreNotTwoFiles) {
    const auto link_them = [&] {
        file("a/sub/three", "1");
        tree.at("a/sub/three").link = "a/one";
    };
    file("a/sub/three", "1");
    EXPECT_TRUE(sees({.path = "/a"}, link_them));
    EXPECT_TRUE(sees({.path = "/a", .exclude = {"*.o"}}, link_them));
    EXPECT_FALSE(sees({.path = "/a/sub"}, link_them)) << "of which there is one only";
    EXPECT_FALSE(sees({.path = "/a", .exclude = {"one"}}, link_them));
    EXPECT_FALSE(sees({.path = "/a/sub/three"}, link_them));
    // Of a file that is not read two names are.
    file("a/sub/four", "1");
    EXPECT_TRUE(sees({.path = "/a/sub"}, [&] { tree.at("a/sub/four").link = tree.at("a/sub/three").link = "a/one"; }));
    EXPECT_FALSE(sees({.path = "/a/*/*", .is_wildcard = true}, link_them)) << "each is a copy of its own";
}

TEST_F(SelectionTest, WhatIsReadCannotBeMistakenForSomethingElse) {
    // The list of an entry with two xattrs, and of two entries.
    tree.clear();
    file("f", "1");
    tree.at("f").xattrs = {{"user.a", "120777 0 0 0 0"}, {"user.b", ""}};
    const std::string was = digest({.path = "/"});
    tree.at("f").xattrs.clear();
    link("user.a", "user.b");
    EXPECT_NE(digest({.path = "/"}), was);
}

TEST_F(SelectionTest, WhatIsNotThereIsAnError) {
    try {
        (void)digest({.path = "/none"});
        FAIL();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "\"/none\": not found");
        EXPECT_EQ(error.kind(), ErrorKind::not_found);
    }
    EXPECT_THROW((void)digest({.path = "/dead", .follows_links = true}), Error);
    EXPECT_NO_THROW((void)digest({.path = "/dead"}));
}

}  // namespace
}  // namespace grua::build
