#include "build/file_ops.hpp"

#include "build/test_files.hpp"
#include "layers/test_streams.hpp"

#include <gmock/gmock.h>
#include <sys/xattr.h>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using wire::graph::FileAction;

class FileOps : public TwoTrees {
protected:
    void clear() const {
        fs::remove_all(to_);
        fs::create_directory(to_);
    }
};

TEST_F(FileOps, WhereACopyGoes) {
    from({"f=1", "d/x=2", "d/e/y=3", "l->d", "lf->f", "abs->/d"});
    const struct {
        std::string source;
        std::string target;
        std::vector<std::string> before;
        std::vector<std::string> after;
        bool contents = false;
    } cases[] = {
        {"/f", "/g", {}, {"g=1"}},
        {"f", "g", {}, {"g=1"}},
        {"/f", "/g/", {}, {"g/", "g/f=1"}},
        {"/f", "/g/.", {}, {"g/", "g/f=1"}},
        {"/f", "/", {}, {"f=1"}},
        {"/f", ".", {}, {"f=1"}},
        {"/f/", "/g/", {}, {"g/", "g/f=1"}},
        {"/f", "/a/b/c", {}, {"a/", "a/b/", "a/b/c=1"}},
        {"/f", "/g", {"g/"}, {"g/", "g/f=1"}},
        {"/f", "/g", {"g=old"}, {"g=1"}},
        {"/f", "/g", {"h/", "g->h"}, {"g->h", "h/", "h/f=1"}},
        {"/f", "/g", {"g->h"}, {"g->h", "h=1"}},
        {"/f", "/g", {"g->/h", "h=old"}, {"g->/h", "h=1"}},
        {"/f", "/g", {"g/f->../h", "h=old"}, {"g/", "g/f=1", "h=old"}},
        {"/f", "/a/../b", {"c/d/", "a->c/d"}, {"a->c/d", "b=1", "c/", "c/d/"}},
        {"/f", "/up/g", {"up->../../.."}, {"g=1", "up->../../.."}},
        {"/d", "/g", {}, {"g/", "g/e/", "g/e/y=3", "g/x=2"}},
        {"/d", "/g", {"g/"}, {"g/", "g/d/", "g/d/e/", "g/d/e/y=3", "g/d/x=2"}},
        {"/d", "/g/", {}, {"g/", "g/d/", "g/d/e/", "g/d/e/y=3", "g/d/x=2"}},
        {"/d/.", "/g/", {}, {"g/", "g/e/", "g/e/y=3", "g/x=2"}},
        {"/d", "/g", {"g/d/x=old", "g/d/z=9"}, {"g/", "g/d/", "g/d/e/", "g/d/e/y=3", "g/d/x=2", "g/d/z=9"}},
        {"/d", "/g", {}, {"g/", "g/e/", "g/e/y=3", "g/x=2"}, true},
        {"/d", "/g", {"g/e/q=9"}, {"g/", "g/e/", "g/e/q=9", "g/e/y=3", "g/x=2"}, true},
        {"/d", "/g/h", {}, {"g/", "g/h/", "g/h/e/", "g/h/e/y=3", "g/h/x=2"}, true},
        {"/d", "/", {}, {"e/", "e/y=3", "x=2"}, true},
        {"/d/e/y", "/", {}, {"y=3"}, true},
        {"/", "/", {"q=9"}, {"abs->/d", "d/", "d/e/", "d/e/y=3", "d/x=2", "f=1", "l->d", "lf->f", "q=9"}},
        {"/..", "/../.", {}, {"abs->/d", "d/", "d/e/", "d/e/y=3", "d/x=2", "f=1", "l->d", "lf->f"}, true},
        {"/l/e", "/g", {}, {"g/", "g/y=3"}},
        {"/abs/e", "/g", {}, {"g/", "g/y=3"}},
        {"/lf", "/g", {}, {"g->f"}},
        {"/l", "/g/", {}, {"g/", "g/l->d"}},
    };
    for (const auto& each : cases) {
        SCOPED_TRACE(each.source + " to " + each.target + (each.contents ? " contents" : ""));
        clear();
        to(each.before);
        auto action = copy(each.source, each.target);
        action.mutable_copy()->set_dircopycontents(each.contents);
        EXPECT_EQ(refusal(action), "");
        EXPECT_EQ(tree(), each.after);
    }
}

TEST_F(FileOps, WhatCannotBeCopied) {
    from({"f=1", "d/x=2", "loop->loop"});
    const struct {
        std::string source;
        std::string target;
        std::vector<std::string> before;
        std::string error;
        bool contents = false;
        bool replaces = false;
    } cases[] = {
        {"/missing", "/g", {}, "lstat /missing: no such file or directory"},
        {"/missing/x", "/g", {}, "lstat /missing/x: no such file or directory"},
        {"/f/x", "/g", {}, "lstat /f/x: not a directory"},
        {"/loop/x", "/g", {}, "/loop: too many links"},
        {"/f", "/g/h", {"g=old"}, "mkdir /g: not a directory"},
        {"/f", "/g/h/i", {"g=old"}, "lstat /g/h: not a directory"},
        {"/f", "/g", {"g/f/"}, "cannot replace to directory /g/f with file"},
        {"/d", "/g", {"g=old"}, "mkdir /g: not a directory"},
        {"/d", "/g", {"g=old"}, "cannot copy to non-directory: /g", true},
        {"/d", "/g", {"g/d=old"}, "cannot copy to non-directory: /g/d"},
        {"/d", "/g", {"h/", "g/d->../h"}, "cannot copy to non-directory: /g/d"},
        {"/f", "/g", {"g->g"}, "/g: too many links"},
        {"/f/.", "/g/", {}, "cannot replace to directory /g with file"},
    };
    for (const auto& each : cases) {
        SCOPED_TRACE(each.source + " to " + each.target);
        clear();
        to(each.before);
        auto action = copy(each.source, each.target);
        action.mutable_copy()->set_dircopycontents(each.contents);
        EXPECT_EQ(refusal(action), each.error);
    }
}

TEST_F(FileOps, KindsAreReplacedWhereThatIsAskedFor) {
    from({"f=1", "d/x=2", "d/l->x"});
    const struct {
        std::string source;
        std::vector<std::string> before;
        std::vector<std::string> after;
    } cases[] = {
        {"/f", {"g/f/a/b=9"}, {"g/", "g/f=1"}},
        {"/d", {"g/d=9"}, {"g/", "g/d/", "g/d/l->x", "g/d/x=2"}},
        {"/d", {"h/", "g/d->../h"}, {"g/", "g/d/", "g/d/l->x", "g/d/x=2", "h/"}},
        {"/d", {"g/d/x/y=9", "g/d/l/", "g/d/z=9"}, {"g/", "g/d/", "g/d/l->x", "g/d/x=2", "g/d/z=9"}},
    };
    for (const auto& each : cases) {
        clear();
        to(each.before);
        auto action = copy(each.source, "/g/");
        action.mutable_copy()->set_alwaysreplaceexistingdestpaths(true);
        EXPECT_EQ(refusal(action), "");
        EXPECT_EQ(tree(), each.after);
    }
    clear();
    to({"g=old"});
    auto action = copy("/d", "/g");
    action.mutable_copy()->set_dircopycontents(true);
    action.mutable_copy()->set_alwaysreplaceexistingdestpaths(true);
    apply(action);
    EXPECT_THAT(tree(), ElementsAre("g/", "g/l->x", "g/x=2"));
}

TEST_F(FileOps, WildcardsAreForEachNameInOrder) {
    from({"a.txt=1", "b.txt=2", "d/c.txt=3", "d/e/f=4", "l->d", "m->a.txt"});
    apply(dockerfile_copy("/*.txt", "/g/"));
    EXPECT_THAT(tree(), ElementsAre("g/", "g/a.txt=1", "g/b.txt=2"));
    clear();
    apply(dockerfile_copy("/d*", "/g"));
    EXPECT_THAT(tree(), ElementsAre("g/", "g/c.txt=3", "g/e/", "g/e/f=4")) << "a folder's contents";
    clear();
    apply(dockerfile_copy("/[lm]", "/g/"));
    EXPECT_THAT(tree(), ElementsAre("g/", "g/c.txt=3", "g/e/", "g/e/f=4", "g/m=1")) << "links are followed, and keep their names";
    clear();
    apply(dockerfile_copy("/*.txt", "/g"));
    EXPECT_THAT(tree(), ElementsAre("g=2")) << "one after the other";
    clear();
    apply(dockerfile_copy("/q*", "/g/"));
    EXPECT_THAT(tree(), IsEmpty());
    auto action = dockerfile_copy("/q*/", "/g/");
    action.mutable_copy()->set_allowemptywildcard(false);
    EXPECT_EQ(refusal(action), "/q*/ not found");
    action.mutable_copy()->set_allowwildcard(false);
    EXPECT_EQ(refusal(action), "lstat /q*: no such file or directory");
    EXPECT_EQ(refusal(dockerfile_copy("/q/*", "/g/")), "lstat /q: no such file or directory");
}

TEST_F(FileOps, PatternsSayWhatIsCopiedOfAFolder) {
    from({"d/a/x.c=1", "d/a/y.h=2", "d/b/c/x.c=3", "d/b/z.o=4", "d/n/m/", "d/top.c=5"});
    const struct {
        std::vector<std::string> include;
        std::vector<std::string> exclude;
        std::vector<std::string> after;
    } cases[] = {
        {{"*.c"}, {}, {"g/", "g/top.c=5"}},
        {{"**/*.c"}, {}, {"g/", "g/a/", "g/a/x.c=1", "g/b/", "g/b/c/", "g/b/c/x.c=3", "g/top.c=5"}},
        {{"b"}, {}, {"g/", "g/b/", "g/b/c/", "g/b/c/x.c=3", "g/b/z.o=4"}},
        {{"b"}, {"**/*.o"}, {"g/", "g/b/", "g/b/c/", "g/b/c/x.c=3"}},
        {{"*/*/x.c"}, {}, {"g/", "g/b/", "g/b/c/", "g/b/c/x.c=3"}},
        {{"nothing"}, {}, {"g/"}},
        {{" "}, {}, {"g/"}},
        {{}, {"b"}, {"g/", "g/a/", "g/a/x.c=1", "g/a/y.h=2", "g/n/", "g/n/m/", "g/top.c=5"}},
        {{}, {"**", "!b/c"}, {"g/", "g/b/", "g/b/c/", "g/b/c/x.c=3"}},
        {{}, {"*", "!a"}, {"g/", "g/a/", "g/a/x.c=1", "g/a/y.h=2"}},
        {{"a", "!a/y.h"}, {}, {"g/", "g/a/", "g/a/x.c=1"}},
        {{"n/m"}, {}, {"g/", "g/n/", "g/n/m/"}},
    };
    for (const auto& each : cases) {
        clear();
        auto action = dockerfile_copy("/d", "/g");
        for (const std::string& pattern : each.include) action.mutable_copy()->add_include_patterns(pattern);
        for (const std::string& pattern : each.exclude) action.mutable_copy()->add_exclude_patterns(pattern);
        EXPECT_EQ(refusal(action), "");
        EXPECT_EQ(tree(), each.after) << testing::PrintToString(each.include) << testing::PrintToString(each.exclude);
    }
    auto action = dockerfile_copy("/d/top.c", "/h/");
    action.mutable_copy()->add_exclude_patterns("**");
    clear();
    apply(action);
    EXPECT_THAT(tree(), ElementsAre("h/", "h/top.c=5")) << "what is asked for itself is copied";
    action.mutable_copy()->add_exclude_patterns("a[");
    EXPECT_EQ(refusal(action), "invalid excludepatterns: [** a[]: syntax error in pattern");
}

TEST_F(FileOps, RequiredPathsMustBeAmongWhatIsCopied) {
    from({"d/a/x=1", "d/b=2"});
    auto action = dockerfile_copy("/", "/g/");
    action.mutable_copy()->add_include_patterns("d/a/x");
    action.mutable_copy()->add_required_paths("/d/a/x");
    EXPECT_EQ(refusal(action), "");
    EXPECT_THAT(tree(), ElementsAre("g/", "g/d/", "g/d/a/", "g/d/a/x=1"));
    action.mutable_copy()->add_required_paths("/d/b");
    EXPECT_EQ(refusal(action), "\"/d/b\": not found");
}

TEST_F(FileOps, AttributesAreTheSourcesWhereNoneAreGiven) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    from({"d/f=1", "d/l->f", "d/e/"});
    for (const char* each : {"d/f", "d/l", "d/e", "d"}) ASSERT_EQ(::lchown((from_ + each).c_str(), 11, 22), 0);
    ASSERT_EQ(::chmod((from_ + "d/f").c_str(), 06750), 0);
    ASSERT_EQ(::chmod((from_ + "d/e").c_str(), 03711), 0);
    ASSERT_EQ(::chmod((from_ + "d").c_str(), 0700), 0);
    const bool has_xattrs = ::setxattr((from_ + "d/f").c_str(), "user.a", "b", 1, 0) == 0;
    ::setxattr((from_ + "d/e").c_str(), "trusted.c", "d", 1, 0);
    ::lsetxattr((from_ + "d/l").c_str(), "trusted.e", "f", 1, 0);
    for (const char* each : {"d/f", "d/l", "d/e", "d"}) set_time(from_ + each, 1000);

    apply(copy("/d", "/new/g"));
    for (const char* each : {"", "/f", "/l", "/e"}) {
        const auto about = look(to_ + "new/g" + each);
        EXPECT_EQ(about.st_uid, 11U) << each;
        EXPECT_EQ(about.st_gid, 22U) << each;
        EXPECT_EQ(about.st_mtim.tv_sec, 1000) << each;
        EXPECT_EQ(about.st_mtim.tv_nsec, 7) << each;
        EXPECT_EQ(about.st_mode, look(from_ + "d" + each).st_mode) << each;
    }
    EXPECT_EQ(look(to_ + "new").st_uid, 0U) << "a folder that was made on the way";
    EXPECT_EQ(mode("new"), mode_t{0755});
    EXPECT_GT(look(to_ + "new").st_mtim.tv_sec, 1000);
    if (!has_xattrs) return;
    char value = 0;
    EXPECT_EQ(::getxattr((to_ + "new/g/f").c_str(), "user.a", &value, 1), 1);
    EXPECT_EQ(::getxattr((to_ + "new/g/e").c_str(), "trusted.c", &value, 1), 1);
    EXPECT_EQ(::lgetxattr((to_ + "new/g/l").c_str(), "trusted.e", &value, 1), 1);
    EXPECT_EQ(value, 'f');
}

TEST_F(FileOps, OwnerModeAndTimeThatAreGivenHoldForAll) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    from({"d/f=1", "d/l->f", "d/e/x=2"});
    auto action = copy("/d", "/new/g/");
    action.mutable_copy()->set_mode(04640);
    action.mutable_copy()->set_timestamp(-1'500'000'000);
    FileActionOptions options;
    options.owner = Owner{.uid = 33, .gid = 44};
    apply(action, options);
    for (const char* each : {"new", "new/g", "new/g/d", "new/g/d/f", "new/g/d/l", "new/g/d/e", "new/g/d/e/x"}) {
        const auto about = look(to_ + each);
        EXPECT_EQ(about.st_uid, 33U) << each;
        EXPECT_EQ(about.st_gid, 44U) << each;
        EXPECT_EQ(about.st_mtim.tv_sec, -2) << each;
        EXPECT_EQ(about.st_mtim.tv_nsec, 500'000'000) << each;
    }
    EXPECT_EQ(mode("new"), mode_t{0640}) << "folders on the way get the permissions as well";
    EXPECT_EQ(mode("new/g/d"), mode_t{04640});
    EXPECT_EQ(mode("new/g/d/f"), mode_t{04640});
    EXPECT_EQ(mode("new/g/d/l"), mode_t{0777});
    clear();
    action.mutable_copy()->set_modestr("u=rwX,go=rX");
    apply(action, options);
    EXPECT_EQ(mode("new"), mode_t{0755});
    EXPECT_EQ(mode("new/g/d"), mode_t{0755});
    EXPECT_EQ(mode("new/g/d/f"), mode_t{0644});
    action.mutable_copy()->set_modestr("rwx");
    EXPECT_EQ(refusal(action), "invalid syntax");
}

TEST_F(FileOps, AFolderThatWasThereKeepsWhatItIsAtTheTopOnly) {
    from({"d/e/x=1"});
    ASSERT_EQ(::chmod((from_ + "d").c_str(), 0700), 0);
    ASSERT_EQ(::chmod((from_ + "d/e").c_str(), 0700), 0);
    set_time(from_ + "d/e", 1000);
    set_time(from_ + "d", 1000);
    to({"g/e/"});
    apply(dockerfile_copy("/d", "/g"));
    EXPECT_EQ(mode("g"), mode_t{0755});
    EXPECT_EQ(look(to_ + "g").st_mtim.tv_sec, 1000) << "but for its time";
    EXPECT_EQ(mode("g/e"), mode_t{0700});
    EXPECT_EQ(look(to_ + "g/e").st_mtim.tv_sec, 1000);
    apply(dockerfile_copy("/d", "/made"));
    EXPECT_EQ(mode("made"), mode_t{0755}) << "made as the parent of what is in it";
    EXPECT_EQ(look(to_ + "made").st_mtim.tv_sec, 1000);
    apply(copy("/d", "/whole"));
    EXPECT_EQ(mode("whole"), mode_t{0700});
}

TEST_F(FileOps, FoldersThatAreMadeForWhatIsInThem) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    from({"d/a/b/x=1"});
    ASSERT_EQ(::chmod((from_ + "d/a").c_str(), 0711), 0);
    to({"old/a/"});
    auto action = dockerfile_copy("/d", "/g");
    action.mutable_copy()->add_include_patterns("a/b/x");
    action.mutable_copy()->set_mode(0600);
    apply(action);
    EXPECT_EQ(mode("g/a"), mode_t{0600});
    action.mutable_copy()->set_dest("/old");
    apply(action);
    EXPECT_EQ(mode("old/a"), mode_t{0711}) << "one that was there gets the source's mode, whatever is given";
}

TEST_F(FileOps, HardLinksAreKeptWithinACopy) {
    from({"d/a=1", "d/e/"});
    fs::create_hard_link(from_ + "d/a", from_ + "d/b");
    fs::create_hard_link(from_ + "d/a", from_ + "d/e/c");
    apply(copy("/d", "/g"));
    EXPECT_THAT(tree(), ElementsAre("g/", "g/a=1", "g/b=1", "g/e/", "g/e/c=1"));
    EXPECT_EQ(look(to_ + "g/a").st_nlink, 3U);
    EXPECT_EQ(look(to_ + "g/a").st_ino, look(to_ + "g/e/c").st_ino);
    EXPECT_NE(look(to_ + "g/a").st_ino, look(from_ + "d/a").st_ino);
    apply(dockerfile_copy("/d/?", "/h/"));
    EXPECT_EQ(look(to_ + "h/a").st_nlink, 1U) << "each match is a copy of its own";
}

TEST_F(FileOps, FilesAreSharedWhereTheyComeOutTheSame) {
    from({"d/a=1", "d/b=2", "d/e/l->a"});
    fs::create_hard_link(from_ + "d/a", from_ + "d/c");
    FileActionOptions options;
    options.sharing = Sharing::hard_link;
    to({"g/b=old"});
    apply(dockerfile_copy("/d", "/g"), options);
    EXPECT_THAT(tree(), ElementsAre("g/", "g/a=1", "g/b=2", "g/c=1", "g/e/", "g/e/l->a"));
    for (const char* each : {"a", "b", "c"}) EXPECT_EQ(look(to_ + "g/" + each).st_ino, look(from_ + "d/" + each).st_ino) << each;

    clear();
    apply(dockerfile_copy("/d/[ac]", "/g/"), options);
    EXPECT_NE(look(to_ + "g/a").st_ino, look(to_ + "g/c").st_ino) << "two copies are two files";

    clear();
    auto action = dockerfile_copy("/d", "/g");
    action.mutable_copy()->set_modestr("a+x");
    apply(action, options);
    EXPECT_NE(look(to_ + "g/b").st_ino, look(from_ + "d/b").st_ino);
    EXPECT_EQ(mode("g/b"), mode_t{0755});
    EXPECT_EQ(look(from_ + "d/b").st_mode & 07777U, 0644U);

    clear();
    apply(dockerfile_copy("/d", "/g"), options);
    FileAction write;
    write.mutable_mkfile()->set_path("/g/b");
    write.mutable_mkfile()->set_data("new");
    write.mutable_mkfile()->set_timestamp(-1);
    apply(write);
    EXPECT_EQ(read_file(from_ + "d/b"), "2") << "a file of the source is never written to";
    EXPECT_EQ(read_file(to_ + "g/b"), "new");
    EXPECT_EQ(mode("g/b"), mode_t{0644});
}

TEST_F(FileOps, DevicesPipesAndSockets) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    from({"d/"});
    ASSERT_EQ(::mknod((from_ + "d/c").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
    ASSERT_EQ(::mknod((from_ + "d/b").c_str(), S_IFBLK | 0600, makedev(7, 200)), 0);
    ASSERT_EQ(::mknod((from_ + "d/p").c_str(), S_IFIFO | 0622, 0), 0);
    ASSERT_EQ(::mknod((from_ + "d/s").c_str(), S_IFSOCK | 0644, 0), 0);
    ASSERT_EQ(::chmod((from_ + "d/c").c_str(), 01666), 0);
    set_time(from_ + "d/p", 1000);
    apply(copy("/d", "/g"));
    EXPECT_THAT(tree(), ElementsAre("g/", "g/bc7:200", "g/cc1:3", "g/p|", "g/s="));
    EXPECT_EQ(mode("g/c"), mode_t{01666});
    EXPECT_EQ(look(to_ + "g/p").st_mtim.tv_sec, 1000);
}

TEST_F(FileOps, HolesStayHoles) {
    const std::string path = from_ + "sparse";
    replace_file(path, "front");
    {
        const Fd file{::open(path.c_str(), O_WRONLY)};
        ASSERT_EQ(::pwrite(file.get(), "middle", 6, 5'000'000), 6);
        ASSERT_EQ(::ftruncate(file.get(), 20'000'000), 0);
    }
    replace_file(from_ + "whole", std::string(3'000'000, 'x'));
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
    FileActionOptions options;
    options.progress = [&](std::uint64_t b, std::uint64_t e) { bytes = b, entries = e; };
    apply(copy("/", "/g"), options);
    EXPECT_EQ(read_file(to_ + "g/sparse", 1U << 30U), read_file(path, 1U << 30U));
    EXPECT_EQ(read_file(to_ + "g/whole", 1U << 30U), read_file(from_ + "whole", 1U << 30U));
    EXPECT_LT(look(to_ + "g/sparse").st_blocks, 1000);
    EXPECT_EQ(entries, 3U);
    EXPECT_GE(bytes, 3'000'011U);
}

TEST_F(FileOps, ACopyStopsWhenItIsTold) {
    from({"d/a=1", "d/b=2", "d/c=3"});
    std::stop_source stop;
    FileActionOptions options;
    options.stop = stop.get_token();
    options.progress = [&](std::uint64_t, std::uint64_t) { stop.request_stop(); };
    EXPECT_EQ(refusal(copy("/d", "/g"), options), "context canceled");
    EXPECT_THAT(tree(), ElementsAre("g/", "g/a=1"));
}

TEST_F(FileOps, ADestinationIsNotMadeWhereThatIsNotAskedFor) {
    from({"f=1"});
    auto action = copy("/f", "/a/b/c");
    action.mutable_copy()->set_createdestpath(false);
    EXPECT_EQ(refusal(action), "failed to stat /a/b/c: lstat /a/b: no such file or directory");
    to({"a/b/"});
    apply(action);
    EXPECT_THAT(tree(), ElementsAre("a/", "a/b/", "a/b/c=1"));
}

std::string tar_of(const std::vector<std::pair<layers::TarEntry, std::string>>& entries) {
    layers::TextSink sink;
    layers::TarWriter writer{sink};
    for (auto [entry, data] : entries) {
        entry.size = data.size();
        writer.add(entry);
        writer.write(data);
    }
    writer.finish();
    return sink.text;
}

TEST_F(FileOps, ArchivesAreUnpackedWhereThatIsAskedFor) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    layers::TarEntry file;
    file.name = "in/file";
    file.mode = 0640;
    file.uid = file.gid = 55;
    file.mtime = {1000, 0};
    layers::TarEntry link;
    link.name = "out";
    link.type = layers::TarEntry::Type::symlink;
    link.link = work_ + "/outside";
    layers::TarEntry through;
    through.name = "out/x";
    replace_file(from_ + "a.tar", tar_of({{file, "text"}}));
    replace_file(from_ + "bad.tar", tar_of({{link, ""}, {through, "evil"}}));
    from({"f=not an archive", "empty="});
    std::vector<std::string> suffixes{""};
    for (const auto& [tool, suffix] :
         std::map<std::string, std::string>{{"gzip", ".gz"}, {"xz", ".xz"}, {"bzip2", ".bz2"}, {"zstd -q", ".zst"}})
        if (std::system(
                fmt::format("{0} -c {1}a.tar > {1}a.tar{2} 2>/dev/null || {{ rm {1}a.tar{2}; false; }}", tool, from_, suffix).c_str()) == 0)
            suffixes.push_back(suffix);
    EXPECT_GE(suffixes.size(), 2U);
    for (const std::string& suffix : suffixes) {
        SCOPED_TRACE(suffix);
        clear();
        auto action = dockerfile_copy("/a.tar" + suffix, "/made/g");
        EXPECT_EQ((apply(action), tree().size()), 2U) << "a copy without it";
        clear();
        action.mutable_copy()->set_attemptunpackdockercompatibility(true);
        apply(action);
        EXPECT_THAT(tree(), ElementsAre("made/", "made/g/", "made/g/in/", "made/g/in/file=text"));
        EXPECT_EQ(mode("made/g/in/file"), mode_t{0640});
        EXPECT_EQ(look(to_ + "made/g/in/file").st_uid, 55U);
        EXPECT_EQ(look(to_ + "made/g/in/file").st_mtim.tv_sec, 1000);
        FileActionOptions options;
        options.owner = Owner{.uid = 1, .gid = 2};
        apply(action, options);
        EXPECT_EQ(look(to_ + "made/g/in/file").st_gid, 2U);
    }
    clear();
    for (const std::string name : {"/f", "/empty"}) {
        auto action = dockerfile_copy(name, "/g/");
        action.mutable_copy()->set_attemptunpackdockercompatibility(true);
        apply(action);
    }
    EXPECT_THAT(tree(), ElementsAre("g/", "g/empty=", "g/f=not an archive"));
    clear();
    std::uint64_t entries = 0;
    FileActionOptions counted;
    counted.progress = [&](std::uint64_t, std::uint64_t so_far) { entries = so_far; };
    auto both = dockerfile_copy("/[af]*", "/g/");
    both.mutable_copy()->set_attemptunpackdockercompatibility(true);
    apply(both, counted);
    EXPECT_EQ(entries, suffixes.size() + 1) << "of each archive one file, and a file";
    clear();
    auto action = dockerfile_copy("/bad.tar", "/g/");
    action.mutable_copy()->set_attemptunpackdockercompatibility(true);
    (void)refusal(action);
    EXPECT_TRUE(fs::is_empty(work_ + "/outside"));
}

TEST_F(FileOps, FoldersAreMade) {
    const auto mkdir = [](const std::string& path, bool parents, int mode = 0755) {
        FileAction out;
        out.mutable_mkdir()->set_path(path);
        out.mutable_mkdir()->set_mode(mode);
        out.mutable_mkdir()->set_makeparents(parents);
        out.mutable_mkdir()->set_timestamp(3'000'000'000);
        return out;
    };
    to({"f=1", "l->real", "real/"});
    EXPECT_EQ(refusal(mkdir("/a/b", false)), "mkdir /a/b: no such file or directory");
    apply(mkdir("/a/b", true, 0777));
    EXPECT_EQ(mode("a"), mode_t{0777}) << "without any umask";
    EXPECT_EQ(mode("a/b"), mode_t{0777});
    EXPECT_EQ(look(to_ + "a/b").st_mtim.tv_sec, 3);
    apply(mkdir("/l/c", false, 0700));
    EXPECT_EQ(mode("real/c"), mode_t{0700});
    apply(mkdir("/l/c", false, 0777));
    EXPECT_EQ(mode("real/c"), mode_t{0700}) << "what is there stays";
    apply(mkdir("/f", false));
    apply(mkdir("/", false));
    apply(mkdir("/", true));
    EXPECT_EQ(refusal(mkdir("/f", true)), "mkdir /f: not a directory");
    EXPECT_EQ(refusal(mkdir("/f/x", true)), "lstat /f/x: not a directory");
    EXPECT_THAT(tree(), ElementsAre("a/", "a/b/", "f=1", "l->real", "real/", "real/c/"));
}

TEST_F(FileOps, FilesAreMade) {
    const auto mkfile = [](const std::string& path, const std::string& data, int mode = 0644) {
        FileAction out;
        out.mutable_mkfile()->set_path(path);
        out.mutable_mkfile()->set_data(data);
        out.mutable_mkfile()->set_mode(mode);
        out.mutable_mkfile()->set_timestamp(3'000'000'000);
        return out;
    };
    to({"d/", "l->d/made", "old=long before"});
    EXPECT_EQ(refusal(mkfile("/a/b", "")), "open /a/b: no such file or directory");
    EXPECT_EQ(refusal(mkfile("/d", "")), "open /d: is a directory");
    ASSERT_EQ(::mkfifo((to_ + "p").c_str(), 0600), 0);
    EXPECT_EQ(refusal(mkfile("/p", "")), "open /p: not a regular file");
    apply(mkfile("/l", "1", 0666));
    EXPECT_EQ(mode("d/made"), mode_t{0666});
    EXPECT_EQ(look(to_ + "d/made").st_mtim.tv_sec, 3);
    ASSERT_EQ(::chmod((to_ + "old").c_str(), 0600), 0);
    apply(mkfile("/old", "2", 0666));
    EXPECT_EQ(mode("old"), mode_t{0600}) << "the mode is a new file's";
    EXPECT_THAT(tree(), ElementsAre("d/", "d/made=1", "l->d/made", "old=2", "p|"));
}

TEST_F(FileOps, LinksAreMade) {
    const auto symlink = [](const std::string& target, const std::string& path) {
        FileAction out;
        out.mutable_symlink()->set_oldpath(target);
        out.mutable_symlink()->set_newpath(path);
        out.mutable_symlink()->set_timestamp(3'000'000'000);
        return out;
    };
    apply(symlink("../any/where", "/l"));
    EXPECT_EQ(look(to_ + "l").st_mtim.tv_sec, 3);
    EXPECT_EQ(refusal(symlink("x", "/a/b")), "symlink x /a/b: no such file or directory");
    to({"f=1"});
    EXPECT_EQ(refusal(symlink("x", "/f")), "symlink x /f: file exists");
    EXPECT_THAT(tree(), ElementsAre("f=1", "l->../any/where"));
}

TEST_F(FileOps, FilesAreRemoved) {
    const auto rm = [](const std::string& path, bool wildcard = false, bool may_be_missing = false) {
        FileAction out;
        out.mutable_rm()->set_path(path);
        out.mutable_rm()->set_allowwildcard(wildcard);
        out.mutable_rm()->set_allownotfound(may_be_missing);
        return out;
    };
    to({"a/x=1", "a/y/z=2", "b.txt=3", "c.txt=4", "k/keep=5", "l->k", "m->/k", "dangling->nowhere", "star*=6"});
    apply(rm("/a"));
    apply(rm("/l"));
    apply(rm("/m/../k/keep/.."));  // The path is cleaned first: it is /k.
    EXPECT_THAT(tree(), ElementsAre("b.txt=3", "c.txt=4", "dangling->nowhere", "m->/k", "star*=6"));
    EXPECT_EQ(refusal(rm("/dangling")), "stat /dangling: no such file or directory");
    apply(rm("/dangling", false, true));
    EXPECT_EQ(refusal(rm("/missing")), "stat /missing: no such file or directory");
    EXPECT_EQ(refusal(rm("/missing/x")), "stat /missing/x: no such file or directory");
    apply(rm("/missing/x", false, true));
    for (const char* root : {"/", "..", "../..", "a/../..", ""}) EXPECT_EQ(refusal(rm(root)), "rmPath: invalid empty path") << root;
    EXPECT_EQ(refusal(rm("../outside")), "stat /outside: no such file or directory");
    EXPECT_EQ(refusal(rm("/b.txt/x")), "lstat /b.txt/x: not a directory");
    apply(rm("/*.txt", true));
    apply(rm("/*.txt", true));
    EXPECT_THAT(tree(), ElementsAre("m->/k", "star*=6"));
    apply(rm("/star*", false));
    EXPECT_THAT(tree(), ElementsAre("m->/k"));
}

TEST_F(FileOps, AnActionThatIsNoneIsRefused) {
    EXPECT_EQ(refusal(FileAction{}), "file action without an action");
    EXPECT_EQ(owner_of(FileAction{}), nullptr);
    EXPECT_THROW(apply_file_action(copy("/", "/"), Root::open(to_.c_str()), nullptr, {}), Error);
}

}  // namespace
}  // namespace grua::build
