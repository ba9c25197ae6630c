#include "build/tree_index.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t go_folder = 1U << 31U;
constexpr std::uint32_t go_link = 1U << 27U;

wire::files::Stat stat_of(const std::string& path, std::uint32_t mode = 0644, const std::string& link = {}) {
    wire::files::Stat out;
    out.set_path(path);
    out.set_mode(mode);
    out.set_linkname(link);
    out.set_modtime(1'700'000'000'000'000'000);
    return out;
}

TreeIndex index_of(const std::vector<wire::files::Stat>& stats) {
    TreeList list;
    for (const auto& each : stats) list.add(each);
    for (auto& [path, entry] : list.entries())
        if (S_ISREG(entry.mode)) entry.digest = "of " + path;
    return list.entries();
}

std::string refusal(const std::vector<wire::files::Stat>& stats) {
    try {
        (void)index_of(stats);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(TreeIndex, ModesAreReadAndWritten) {
    for (const int mode : {S_IFREG | 0644, S_IFREG | 04755, S_IFREG | 02755, S_IFDIR | 01777, S_IFLNK | 0777, S_IFCHR | 0600,
                           S_IFBLK | 0660, S_IFIFO | 0600, S_IFSOCK | 0600}) {
        TreeEntry entry{.mode = static_cast<mode_t>(mode), .uid = 1, .gid = 2, .mtime = 3};
        if (S_ISLNK(mode)) entry.link = "x";
        if (S_ISREG(mode)) entry.size = 7;
        if (S_ISCHR(mode) || S_ISBLK(mode)) entry.device = makedev(1, 3);
        entry.xattrs["user.a"] = std::string("\0b", 2);
        EXPECT_EQ(read_stat(write_stat("a/b", entry)), entry) << mode;
    }
    EXPECT_EQ(read_stat(stat_of("a", go_folder | 0755)).mode, static_cast<mode_t>(S_IFDIR | 0755));
    EXPECT_THROW((void)read_stat(stat_of("a", go_folder | go_link)), Error);
    EXPECT_THROW((void)read_stat(stat_of("a", 1U << 19U)), Error);
}

TEST(TreeIndex, AFolderStandsBeforeWhatIsInIt) {
    const PathOrder less;
    EXPECT_TRUE(less("a", "a/b"));
    EXPECT_TRUE(less("a/b", "a.b"));
    EXPECT_TRUE(less("a/z/z", "a-b"));
    EXPECT_TRUE(less("a", "b"));
    EXPECT_FALSE(less("a", "a"));
    EXPECT_TRUE(less("a\x7f", "a\xff"));
}

TEST(TreeIndex, AListThatIsNoTreeIsRefused) {
    EXPECT_EQ(
        refusal({stat_of("a", go_folder | 0755), stat_of("a/b"), stat_of("a/c", 0644, "a/b"), stat_of("d", go_link | 0777, "/etc/passwd")}),
        "");
    for (const std::string path : {"", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b"})
        EXPECT_NE(refusal({stat_of(path)}), "") << path;
    EXPECT_NE(refusal({stat_of(std::string("a\0b", 3))}), "");
    EXPECT_NE(refusal({stat_of(std::string(256, 'a'))}), "");
    EXPECT_NE(refusal({stat_of(std::string(4096, 'a'))}), "");
    EXPECT_EQ(refusal({stat_of("b"), stat_of("a")}), "the client's files: a: it comes after b");
    EXPECT_NE(refusal({stat_of("a"), stat_of("a")}), "");
    EXPECT_EQ(refusal({stat_of("a/b")}), "the client's files: a/b: what it is in is no folder that was sent");
    EXPECT_NE(refusal({stat_of("a"), stat_of("a/b")}), "");
    EXPECT_NE(refusal({stat_of("a", go_link | 0777, "b"), stat_of("a/b")}), "") << "a link to a folder is none";
    EXPECT_EQ(refusal({stat_of("a", 0644, "b")}), "the client's files: a: it is another name of no file that was sent");
    EXPECT_NE(refusal({stat_of("a", go_link | 0777, "x"), stat_of("b", 0644, "a")}), "");
    EXPECT_NE(refusal({stat_of("a", go_link | 0777)}), "");
    auto negative = stat_of("a");
    negative.set_size(-1);
    EXPECT_NE(refusal({negative}), "");
}

TEST(TreeIndex, WhatDiffersIsFetchedAndNothingElse) {
    const TreeIndex before =
        index_of({stat_of("a", go_folder | 0755), stat_of("a/b"), stat_of("a/c"), stat_of("d", go_link | 0777, "a/b"), stat_of("e")});
    TreeIndex now = before;
    for (auto& [path, entry] : now) entry.digest.clear();
    TreeChanges same = changes_between(before, now);
    EXPECT_THAT(same.fetch, IsEmpty());
    EXPECT_THAT(same.remove, IsEmpty());
    EXPECT_THAT(same.touch, IsEmpty());
    EXPECT_EQ(now.at("a/b").digest, "of a/b");

    now = before;
    now.at("a/b").mtime += 1;
    now.at("a/b").digest.clear();
    TreeChanges one = changes_between(before, now);
    EXPECT_THAT(one.fetch, ElementsAre("a/b"));
    EXPECT_THAT(one.remove, ElementsAre("a/b"));
    EXPECT_THAT(one.touch, ElementsAre("a"));
    EXPECT_EQ(now.at("a/b").digest, "");

    now = before;
    now.erase("a/b");
    now.erase("a/c");
    now.at("a") = read_stat(stat_of("a", 0600));
    now.at("d").link = "e";
    TreeChanges kinds = changes_between(before, now);
    EXPECT_THAT(kinds.remove, ElementsAre("d", "a/c", "a/b", "a"));
    EXPECT_THAT(kinds.fetch, ElementsAre("a"));
    EXPECT_THAT(kinds.make, ElementsAre("d"));
    EXPECT_THAT(kinds.touch, IsEmpty());

    TreeIndex all = before;
    TreeChanges first = changes_between({}, all);
    EXPECT_THAT(first.make, ElementsAre("a", "d"));
    EXPECT_THAT(first.fetch, ElementsAre("a/b", "a/c", "e"));
    EXPECT_THAT(first.touch, ElementsAre("a"));
    TreeIndex none;
    EXPECT_THAT(changes_between(before, none).remove, ElementsAre("e", "d", "a/c", "a/b", "a"));
}

TEST(TreeIndex, AFileThatWasChangedIsFetchedWhateverItsTimeSays) {
    wire::files::Stat file = stat_of("a");
    file.set_changetime(7);
    wire::files::Stat folder = stat_of("f", go_folder | 0755);
    folder.set_changetime(7);
    const TreeIndex before = index_of({file, folder});
    EXPECT_EQ(before.at("a").ctime, 7);
    EXPECT_EQ(read_stat(write_stat("a", before.at("a"))).ctime, 7);
    EXPECT_EQ(before.at("f").ctime, 0) << "of a folder everything is said";
    file.set_changetime(8);
    TreeIndex now = index_of({file, folder});
    const TreeChanges changes = changes_between(before, now);
    EXPECT_THAT(changes.fetch, ElementsAre("a"));
}

TEST(TreeIndex, OtherNamesFollowTheirFile) {
    const TreeIndex before = index_of({stat_of("a"), stat_of("b", 0644, "a"), stat_of("c", 0644, "a")});
    TreeIndex now = before;
    now.at("a").size = 5;
    const TreeChanges changes = changes_between(before, now);
    EXPECT_THAT(changes.fetch, ElementsAre("a"));
    EXPECT_THAT(changes.link, ElementsAre("b", "c"));
    EXPECT_THAT(changes.remove, ElementsAre("c", "b", "a"));
}

}  // namespace
}  // namespace grua::build
