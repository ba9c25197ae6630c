#include "build/git_source.hpp"

#include "build/test_git.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class GitSourceTest : public WithRepository {};

TEST_F(GitSourceTest, TheRepositorysOwnChoice) {
    on_loop([&]() -> asio::awaitable<void> {
        const auto found = co_await look_up(local());
        EXPECT_EQ(found->ref, "refs/heads/main");
        EXPECT_EQ(key_of(*found), second);
        const std::string into = co_await put(found);
        EXPECT_EQ(names(into), (std::vector<std::string>{"away", "dir", "file", "link", "more", "program"})) << "and no .git";
        EXPECT_EQ(read_file(into + "/dir/sub/inner"), "two");
        EXPECT_EQ(fs::read_symlink(into + "/link"), "dir/sub");
        EXPECT_EQ(mode(into + "/file"), 0644U);
        EXPECT_EQ(mode(into + "/program"), 0755U);
        EXPECT_EQ(mode(into + "/dir"), 0755U);
        EXPECT_THAT(printed, HasSubstr(second)) << "as git says it";
        EXPECT_THAT(printed, Not(HasSubstr("% (")));
    });
}

TEST_F(GitSourceTest, BranchesTagsAndCommits) {
    on_loop([&]() -> asio::awaitable<void> {
        struct Case {
            std::string ref;
            std::string name;
            std::string commit;
        };
        for (const Case& each : {Case{"feature/x", "refs/heads/feature/x", first},
                                 {"refs/heads/feature/x", "refs/heads/feature/x", first},
                                 {"heads/main", "refs/heads/main", second},
                                 {"light", "refs/tags/light", first},
                                 {"v1", "refs/tags/v1", first},
                                 {"refs/tags/v1", "refs/tags/v1", first},
                                 {second, "", second},
                                 {first, "", first}}) {
            const auto found = co_await look_up(local(each.ref));
            EXPECT_EQ(found->ref, each.name) << each.ref;
            EXPECT_EQ(key_of(*found), each.commit) << each.ref;
            const std::string into = co_await put(found);
            EXPECT_EQ(fs::exists(into + "/more"), each.commit == second) << each.ref;
        }
        EXPECT_THAT(co_await refusal(look_up(local("nothing"))), HasSubstr("repository does not contain ref nothing, output: \"\""));
        EXPECT_THAT(co_await refusal(make(local(std::string(40, 'a')))),
                    HasSubstr("failed to fetch remote file://" + repository + ": fetched ref " + std::string(40, 'a')));
        EXPECT_THAT(co_await refusal(look_up(identifier("file://" + work + "/none"))),
                    testing::AllOf(HasSubstr("error fetching default branch for repository file://"), HasSubstr("git stderr:\nfatal: "),
                                   HasSubstr("exit status 128")));
    });
}

TEST_F(GitSourceTest, WhatIsKeptIsNotFetchedAgain) {
    on_loop([&]() -> asio::awaitable<void> {
        (void)co_await make(local());
        const auto old = co_await look_up(local());
        shell(repository, "printf x > third && git add . && git commit -qm third");
        const std::string into = co_await make(local());
        EXPECT_TRUE(fs::exists(into + "/third"));
        // What the key says is made, though the branch is elsewhere by now, and the remote is gone.
        fs::rename(repository, repository + "-away");
        EXPECT_FALSE(fs::exists(co_await put(old) + "/third"));
        EXPECT_NE(co_await refusal(look_up(local())), "");
        renew();
        EXPECT_TRUE(fs::exists(co_await make(local(second)) + "/more"));
        EXPECT_FALSE(fs::exists(co_await make(local(second)) + "/third"));
        fs::rename(repository + "-away", repository);
    });
}

TEST_F(GitSourceTest, WhatHasMovedIsFoundByItsCommit) {
    on_loop([&]() -> asio::awaitable<void> {
        const auto old = co_await look_up(local());
        shell(repository, "printf x > third && git add . && git commit -qm third");
        EXPECT_FALSE(fs::exists(co_await put(old) + "/third"));
        // Of a remote that gives no single commits: all its branches are fetched.
        shell(repository, "git config uploadpack.allowAnySHA1InWant false && git config protocol.version 0");
        EXPECT_FALSE(fs::exists(co_await make(local(first)) + "/more"));
        // One that the remote does not have any more.
        const auto lost = co_await look_up(local());
        shell(repository, "git reset -q --hard light && git reflog expire --expire=now --all && git gc -q --prune=now");
        renew();
        for (const auto& each : source->cache().list()) EXPECT_TRUE(source->cache().remove(each.name));
        EXPECT_THAT(co_await refusal(put(lost)), HasSubstr("does not match expected commit " + lost->object));
    });
}

TEST_F(GitSourceTest, AFolderOfIt) {
    on_loop([&]() -> asio::awaitable<void> {
        const auto found = co_await look_up(local({}, "dir/./sub/../sub"));
        EXPECT_EQ(key_of(*found), second + ":dir/sub");
        EXPECT_EQ(names(co_await put(found)), (std::vector<std::string>{"inner"}));
        EXPECT_THAT(co_await refusal(make(local({}, "none"))), HasSubstr("invalid subdir none: failed to lstat \"none\": No such file"));
        // A link leads where its author likes: inside, and to this host's files.
        for (const char* each : {"link", "away", "file", "away/ssh"})
            EXPECT_THAT(co_await refusal(make(local({}, each))),
                        testing::ContainsRegex(fmt::format("invalid subdir {}: git subpath \"{}\" contains non-directory", each, each)));
    });
}

TEST_F(GitSourceTest, WithItsHistory) {
    on_loop([&]() -> asio::awaitable<void> {
        const std::map<std::string, std::string> keep{{"git.keepgitdir", "true"}};
        const auto found = co_await look_up(local({}, {}, keep));
        EXPECT_EQ(key_of(*found), second + ".git#refs/heads/main");
        const std::string into = co_await put(found);
        EXPECT_EQ(shell(into, "git rev-parse HEAD"), second);
        EXPECT_EQ(shell(into, "git rev-parse refs/heads/main"), second);
        EXPECT_EQ(shell(into, "git status --porcelain"), "");
        EXPECT_EQ(shell(into, "git config remote.origin.url"), "file://" + repository);
        EXPECT_FALSE(fs::exists(into + "/.git/FETCH_HEAD"));
        EXPECT_FALSE(fs::exists(into + "/.git/hooks"));
        EXPECT_THAT(read_file(into + "/.git/config"), Not(HasSubstr(options.directory))) << "nothing of this host";

        const auto tag = co_await look_up(local("v1", {}, keep));
        EXPECT_NE(tag->object, first);
        EXPECT_EQ(key_of(*tag), tag->object + ".git#refs/tags/v1");
        const std::string of_tag = co_await put(tag);
        EXPECT_EQ(shell(of_tag, "git describe --exact-match HEAD"), "v1");
        const std::string of_commit = co_await make(local(first, {}, keep));
        EXPECT_EQ(shell(of_commit, "git rev-parse HEAD"), first);
        // As in BuildKit a part has none.
        EXPECT_EQ(names(co_await make(local({}, "dir", keep))), (std::vector<std::string>{"sub"}));
    });
}

TEST_F(GitSourceTest, TheTimesOfTheCommit) {
    on_loop([&]() -> asio::awaitable<void> {
        const auto found = co_await look_up(local({}, "dir", {{"git.mtime", "commit"}}));
        EXPECT_EQ(key_of(*found), second + ":dir(mtime=commit)");
        const std::string into = co_await put(found);
        for (const char* each : {"", "/sub", "/sub/inner"}) {
            struct stat about{};
            EXPECT_EQ(::lstat((into + each).c_str(), &about), 0);
            EXPECT_EQ(about.st_mtim.tv_sec, 1700000000) << each;
        }
    });
}

TEST_F(GitSourceTest, TheChecksumIsTheCommits) {
    on_loop([&]() -> asio::awaitable<void> {
        const auto with = [&](const std::string& ref, const std::string& checksum) { return local(ref, {}, {{"git.checksum", checksum}}); };
        for (const std::string& each : {second, second.substr(0, 7)}) EXPECT_TRUE(fs::exists(co_await make(with("main", each)) + "/more"));
        const std::string tag = shell(repository, "git rev-parse v1");
        for (const std::string& each : {first, tag}) EXPECT_TRUE(fs::exists(co_await make(with("v1", each)) + "/file"));
        EXPECT_EQ(co_await refusal(look_up(with("main", first))), fmt::format("expected checksum to match {}, got {}", first, second));
        EXPECT_EQ(co_await refusal(look_up(with("v1", second))),
                  fmt::format("expected checksum to match {}, got {} or {}", second, tag, first));
        EXPECT_THROW((void)with(first, second), Error);
        EXPECT_THROW((void)with("main", "-x"), Error);
        // The commit is trusted, whatever the name is now.
        const std::map<std::string, std::string> by_commit{{"git.checksum", first}, {"git.fetchbycommit", "true"}};
        const auto found = co_await look_up(local("main", {}, by_commit));
        EXPECT_EQ(found->ref, "refs/heads/main");
        EXPECT_EQ(key_of(*found), first);
        EXPECT_FALSE(fs::exists(co_await put(found) + "/more"));
        EXPECT_THROW((void)local("main", {}, {{"git.fetchbycommit", "true"}}), Error);
        EXPECT_THROW((void)local("main", {}, {{"git.checksum", "abc"}, {"git.fetchbycommit", "true"}}), Error);
    });
}

TEST(GitIdentifier, IsReadStrictly) {
    const auto read = [](const std::string& name, const std::map<std::string, std::string>& attributes = {}) {
        pb::SourceOp op;
        op.set_identifier(name);
        for (const auto& [key, value] : attributes) (*op.mutable_attrs())[key] = value;
        return read_git_source(op);
    };
    EXPECT_EQ(read("git://github.com/a/b#v1:x/../y").url.remote, "https://github.com/a/b");
    EXPECT_EQ(read("git://github.com/a/b#v1:x/../y").url.folder, "y");
    EXPECT_EQ(read("git://git@github.com:a/b#v1").url.scheme, "ssh");
    const auto whole = read("git://github.com/a/b#v1:x", {{"git.fullurl", "ssh://git@h/b.git?q=1#other:folder"}});
    EXPECT_EQ(whole.url.remote, "ssh://git@h/b.git");
    EXPECT_EQ(whole.url.ref, "v1");
    EXPECT_EQ(whole.url.folder, "x");
    EXPECT_EQ(read("git://h/a", {{"git.fullurl", "h/b"}}).url.remote, "https://h/b");
    for (const char* each : {"https://h/a", "git://", "git://h/a#-x", "git://h/a#a b", "git://-h/a"})
        EXPECT_THROW((void)read(each), Error) << each;
    for (const char* each : {"file:///etc", "/etc", "-x", "ext::sh -c id", "ssh://-x/y", "https://h/\n"})
        EXPECT_THROW((void)read("git://h/a", {{"git.fullurl", each}}), Error) << each;
    for (const char* each : {"git.sig.pubkey", "git.bundle", "git.checkoutbundle", "git.other"}) {
        try {
            (void)read("git://h/a", {{each, "x"}});
            ADD_FAILURE() << each;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::not_implemented);
            EXPECT_EQ(error.what(), fmt::format("not implemented: {}", each));
        }
    }
    EXPECT_THROW((void)read("git://h/a", {{"git.mtime", "x"}}), Error);
}

TEST(GitIdentifier, ABranchComesBeforeATag) {
    const std::string one(40, '1');
    const std::string two(40, '2');
    const std::string three(40, '3');
    const std::string both =
        fmt::format("{}\trefs/tags/x\n{}\trefs/tags/x^{{}}\n{}\trefs/heads/x\n{}\trefs/heads/y/x\n", one, two, three, one);
    EXPECT_EQ(choose_git_ref({}, "x", both).object, three);
    EXPECT_EQ(choose_git_ref({}, "tags/x", both).object, one);
    EXPECT_EQ(choose_git_ref({}, "refs/tags/x", both).commit, two);
    EXPECT_EQ(choose_git_ref({}, "y/x", both).object, one);
    EXPECT_THROW((void)choose_git_ref({}, "z", both), Error);
    EXPECT_THROW((void)choose_git_ref({}, "x", "-x\trefs/heads/x\n"), Error);
    const GitDefault chosen = choose_git_default("https://h/x", fmt::format("ref: refs/heads/main\tHEAD\n{}\tHEAD\n", one));
    EXPECT_EQ(chosen.ref, "refs/heads/main");
    EXPECT_EQ(chosen.object, one);
    EXPECT_THROW((void)choose_git_default("https://h/x", fmt::format("{}\tHEAD\n", one)), Error);
    EXPECT_THROW((void)choose_git_default("https://h/x", fmt::format("ref: refs/heads/-x y\tHEAD\n{}\tHEAD\n", one)), Error);
}

}  // namespace
}  // namespace grua::build
