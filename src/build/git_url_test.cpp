#include "build/git_url.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

std::string why_not(std::string_view text) {
    try {
        (void)parse_git_reference(text);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

TEST(GitUrl, EachFormIsTakenApart) {
    struct Case {
        const char* text;
        const char* scheme;
        const char* user;
        const char* host;
        const char* path;
        const char* ref;
        const char* folder;
        const char* remote;
    };
    const Case cases[] = {
        {"http://github.com/moby/buildkit", "http", "", "github.com", "/moby/buildkit", "", "", "http://github.com/moby/buildkit"},
        {"HTTPS://github.com/moby/buildkit#v1.0.0", "https", "", "github.com", "/moby/buildkit", "v1.0.0", "",
         "https://github.com/moby/buildkit"},
        {"https://github.com/m/b#v1.0.0:subdir", "https", "", "github.com", "/m/b", "v1.0.0", "subdir", "https://github.com/m/b"},
        {"https://github.com/m/b#:../a/./b/../c/", "https", "", "github.com", "/m/b", "", "a/c", "https://github.com/m/b"},
        {"http://foo:bar@github.com/m/b#v1", "http", "foo", "github.com", "/m/b", "v1", "", "http://foo:bar@github.com/m/b"},
        {"ssh://git@github.com:22/m/b.git", "ssh", "git", "github.com:22", "/m/b.git", "", "", "ssh://git@github.com:22/m/b.git"},
        {"ssh://someuser@192.168.0.123:456/~/r.git", "ssh", "someuser", "192.168.0.123:456", "/~/r.git", "", "",
         "ssh://someuser@192.168.0.123:456/~/r.git"},
        {"ssh://git@[::1]:22/r", "ssh", "git", "[::1]:22", "/r", "", "", "ssh://git@[::1]:22/r"},
        {"git@github.com:m/b.git", "ssh", "git", "github.com", "m/b.git", "", "", "git@github.com:m/b.git"},
        {"git@github.com:m/b.git#v1:hack", "ssh", "git", "github.com", "m/b.git", "v1", "hack", "git@github.com:m/b.git"},
        {"other_user@example.com:/srv/x.git", "ssh", "other_user", "example.com", "/srv/x.git", "", "",
         "other_user@example.com:/srv/x.git"},
        {"git://host.xz:1234/path/r.git", "git", "", "host.xz:1234", "/path/r.git", "", "", "git://host.xz:1234/path/r.git"},
        {"https://h/a%20b.git", "https", "", "h", "/a b.git", "", "", "https://h/a%20b.git"},
        {"https://h/a b.git", "https", "", "h", "/a b.git", "", "", "https://h/a%20b.git"},
    };
    for (const Case& each : cases) {
        const auto url = parse_git_url(each.text);
        ASSERT_TRUE(url) << each.text;
        EXPECT_TRUE(is_git_form(each.text)) << each.text;
        EXPECT_EQ(url->scheme, each.scheme) << each.text;
        EXPECT_EQ(url->user ? url->user->name : "", each.user) << each.text;
        EXPECT_EQ(url->host, each.host) << each.text;
        EXPECT_EQ(url->path, each.path) << each.text;
        EXPECT_EQ(url->ref, each.ref) << each.text;
        EXPECT_EQ(url->folder, each.folder) << each.text;
        EXPECT_EQ(url->remote, each.remote) << each.text;
    }
    using Query = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(parse_git_url("git@github.com:m/b.git?subdir=/s#v1")->query, (Query{{"subdir", "/s"}}));
    EXPECT_EQ(parse_git_url("https://h/b?ref=v1&foo=bar#v2")->query, (Query{{"ref", "v1"}, {"foo", "bar"}}));
    EXPECT_EQ(parse_git_url("https://me:secret@h/b")->shown(), "https://xxxxx:xxxxx@h/b");
    EXPECT_EQ(parse_git_url("git@h:a/b.git")->name("v1", "x"), "h/a/b.git#v1:x");
    EXPECT_EQ(parse_git_url("https://h/a")->name("", "x"), "h/a#:x");
}

TEST(GitUrl, WhatHasNoneOfTheFormsIsNone) {
    for (const char* each : {"", ".", "dir", "/abs/dir", "./x.git", "host:path", "github.com/a/b", "@host:x", "us er@host:x"})
        EXPECT_FALSE(parse_git_url(each)) << each;
    EXPECT_THROW((void)parse_git_url("httpx://github.com/m/b"), Error);
    EXPECT_THROW((void)parse_git_url("file:///etc"), Error);
    EXPECT_TRUE(parse_git_url("file:///srv/x.git", GitFiles::allowed));
    for (const char* each : {"ext::sh -c id", "httpx://h/x", "file:///x"}) EXPECT_FALSE(is_git_form(each)) << each;
}

// CVE-2017-1000117 and its kin: what ssh or git would take for an option.
TEST(GitUrl, NothingIsAnOption) {
    for (const char* each : {"ssh://-oProxyCommand=id/x.git",
                             "ssh://-oProxyCommand/x.git",
                             "ssh://%2DoProxyCommand/x.git",
                             "ssh://-x@host/x.git",
                             "ssh://%2Dx@host/x.git",
                             "-oProxyCommand@host:x.git",
                             "git@-host:x.git",
                             "git@host:-x.git",
                             "git@host:x.git#-x",
                             "https://host/x.git#--upload-pack=id",
                             "https://host/x.git?ref=--upload-pack%3Did",
                             "https:///x.git",
                             "ssh://a b/x.git",
                             "ssh://h;id/x.git",
                             "ssh://$(id)/x.git",
                             "https://h/x.git#a..b",
                             "https://h/x.git#a%20b",
                             "https://h/x.git#a%0Ab",
                             "https://h/x.git#a*",
                             "https://h/x.git#a@{1}",
                             "https://h/x.git#a^",
                             "https://h/\nx.git"})
        EXPECT_THROW((void)parse_git_reference(each), Error) << each;
    EXPECT_EQ(why_not("https://me:secret@-h/x.git").find("secret"), std::string::npos);
}

TEST(GitReference, WhatIsFetchedByGit) {
    const auto plain = parse_git_reference("https://github.com/foo/bar.git#baz/qux:quux/quuz");
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->remote, "https://github.com/foo/bar.git");
    EXPECT_EQ(plain->short_name, "bar");
    EXPECT_EQ(plain->ref, "baz/qux");
    EXPECT_EQ(plain->folder, "quux/quuz");
    EXPECT_FALSE(plain->is_not_encrypted);
    const auto short_form = parse_git_reference("github.com/moby/buildkit?tag=v1.0.0");
    ASSERT_TRUE(short_form);
    EXPECT_TRUE(short_form->is_short_form);
    EXPECT_EQ(short_form->remote, "github.com/moby/buildkit");
    EXPECT_EQ(short_form->ref, "refs/tags/v1.0.0");
    EXPECT_TRUE(parse_git_reference("git://example.com/foo")->is_not_encrypted);
    EXPECT_EQ(parse_git_reference("https://foo:bar@github.com/m/b.git")->remote, "https://foo:bar@github.com/m/b.git");
    EXPECT_EQ(parse_git_reference("git@bitbucket.org:a/a-docker.git")->short_name, "a-docker");
    for (const char* each : {"https://example.com/", "https://example.com/foo", "https://example.com/foo.git/", "https://h/foo.git.bar",
                             "http://github.com/docker/docker.git:#branch", "custom.xyz/m/b.git", "./.git", "../x", ".git", "",
                             "docker-image://alpine", "http://buildkit-session/abc"})
        EXPECT_FALSE(parse_git_reference(each)) << each;
}

TEST(GitReference, TheQueryHasItByName) {
    const auto all = parse_git_reference("https://h/r.git?ref=v1.0.0&subdir=/sub&checksum=abc&keep-git-dir&submodules=0&mtime=commit");
    ASSERT_TRUE(all);
    EXPECT_EQ(all->ref, "v1.0.0");
    EXPECT_EQ(all->folder, "/sub");
    EXPECT_EQ(all->checksum, "abc");
    EXPECT_EQ(all->keep_git_dir, true);
    EXPECT_EQ(all->submodules, false);
    EXPECT_EQ(all->mtime, "commit");
    EXPECT_EQ(parse_git_reference("git@h:r.git?subdir=/s#v1")->folder, "/s");
    EXPECT_EQ(parse_git_reference("https://h/r.git?branch=v1.0")->ref, "refs/heads/v1.0");
    EXPECT_EQ(parse_git_reference("https://h/r.git?branch=refs/heads/x#refs/heads/x")->ref, "refs/heads/x");
    EXPECT_EQ(parse_git_reference("https://h/r.git?commit=abc")->checksum, "abc");
    EXPECT_TRUE(parse_git_reference("https://h/r.git?fetch-by-commit=true&checksum=d#refs/heads/b")->fetch_by_commit);
    EXPECT_FALSE(parse_git_reference("https://h/r.git?fetch-by-commit=false")->fetch_by_commit);
    EXPECT_FALSE(parse_git_reference("https://h/r.git")->keep_git_dir);

    EXPECT_EQ(why_not("https://h/r.git?ref=v1#v2"), R"(ref conflicts: "v2" vs "v1")");
    EXPECT_EQ(why_not("https://h/r.git?ref=v1&tag=v2"), R"(ref conflicts: "v1" vs "refs/tags/v2")");
    EXPECT_EQ(why_not("https://h/r.git?tag=v1&branch=v1"), "branch conflicts with tag");
    EXPECT_EQ(why_not("https://h/r.git?subdir=a#:b"), R"(subdir conflicts: "b" vs "a")");
    EXPECT_EQ(why_not("https://h/r.git?x=1"), R"(unexpected query "x")");
    EXPECT_EQ(why_not("https://h/r.git?ref="), R"(query "ref" has no value)");
    EXPECT_EQ(why_not("https://h/r.git?ref=a&ref=b"), R"(query "ref" has multiple values)");
    EXPECT_EQ(why_not("https://h/r.git?submodules=x"), R"(invalid submodules value: "x")");
    EXPECT_EQ(why_not("https://h/r.git?mtime=x"), R"(invalid mtime value: "x" (must be "checkout" or "commit"))");
}

TEST(GitReference, CommitsAndFolders) {
    EXPECT_TRUE(is_git_commit(std::string(40, 'a')));
    EXPECT_TRUE(is_git_commit(std::string(64, '0')));
    for (const std::string& each : {std::string(), std::string(41, 'a'), std::string(40, 'A'), std::string(40, 'g')})
        EXPECT_FALSE(is_git_commit(each)) << each;
    for (const auto& [from, to] : {std::pair{"", ""}, {"/", ""}, {".", ""}, {"../..", ""}, {"a/../../b", "b"}, {"/a//b/", "a/b"}})
        EXPECT_EQ(clean_git_folder(from), to) << from;
}

}  // namespace
}  // namespace grua::build
