#include "build/remote_context.hpp"

#include "base/error.hpp"
#include "base/memory_file.hpp"
#include "build/graph.hpp"

#include <gtest/gtest.h>
#include <map>

namespace grua::build {
namespace {

std::map<std::string, std::string> attributes_of(const pb::Op& op) { return {op.source().attrs().begin(), op.source().attrs().end()}; }

TEST(RemoteContext, ARepositoryIsASource) {
    const auto plain = find_remote_context("https://me:secret@host/a/b.git#v1:sub/");
    ASSERT_TRUE(plain);
    EXPECT_EQ(plain->kind, RemoteContext::Kind::git);
    EXPECT_EQ(plain->name, "[internal] load git source https://xxxxx:xxxxx@host/a/b.git#v1:sub/");
    EXPECT_EQ(plain->source.source().identifier(), "git://host/a/b.git#v1:sub");
    using Attributes = std::map<std::string, std::string>;
    EXPECT_EQ(attributes_of(plain->source), (Attributes{{"git.fullurl", "https://me:secret@host/a/b.git"},
                                                        {"git.authtokensecret", "GIT_AUTH_TOKEN"},
                                                        {"git.authheadersecret", "GIT_AUTH_HEADER"}}));
    const auto all = find_remote_context(
        "git@host:a/b.git?tag=v1&subdir=/x/../y&checksum=abc&submodules=false&fetch-by-commit&keep-git-dir", {.commit_times = true});
    ASSERT_TRUE(all);
    EXPECT_EQ(all->source.source().identifier(), "git://host/a/b.git#refs/tags/v1:y");
    EXPECT_EQ(attributes_of(all->source), (Attributes{{"git.fullurl", "git@host:a/b.git"},
                                                      {"git.authtokensecret", "GIT_AUTH_TOKEN"},
                                                      {"git.authheadersecret", "GIT_AUTH_HEADER"},
                                                      {"git.mountsshsock", "default"},
                                                      {"git.keepgitdir", "true"},
                                                      {"git.checksum", "abc"},
                                                      {"git.skipsubmodules", "true"},
                                                      {"git.mtime", "commit"},
                                                      {"git.fetchbycommit", "true"}}));
    const auto short_form = find_remote_context("github.com/moby/buildkit", {.keep_git_dir = true});
    ASSERT_TRUE(short_form);
    EXPECT_EQ(short_form->source.source().identifier(), "git://github.com/moby/buildkit");
    EXPECT_EQ(attributes_of(short_form->source).at("git.fullurl"), "https://github.com/moby/buildkit");
    EXPECT_EQ(attributes_of(short_form->source).at("git.keepgitdir"), "true");
    EXPECT_THROW((void)find_remote_context("https://host/a.git?x=1"), Error);
}

TEST(RemoteContext, AFileIsASource) {
    for (const char* each : {"https://host/ctx.tar.gz", "http://buildkit-session/abc", "http://host/x.git/"}) {
        const auto found = find_remote_context(each);
        ASSERT_TRUE(found) << each;
        EXPECT_EQ(found->kind, RemoteContext::Kind::http);
        EXPECT_EQ(found->source.source().identifier(), each);
        EXPECT_EQ(found->filename, "context");
        EXPECT_EQ(attributes_of(found->source).at("http.filename"), "context");
        EXPECT_EQ(found->name, "[internal] load remote build context");
    }
    for (const char* each : {"", ".", "/dir", "./x.git", "local:x"}) EXPECT_FALSE(find_remote_context(each)) << each;
}

TEST(RemoteContext, AnArchiveIsUnpacked) {
    const auto found = find_remote_context("https://host/ctx.tar");
    Draft draft;
    const auto plain = draft.define(add_remote_context(draft, *found, false));
    EXPECT_EQ(plain.def_size(), 2) << "the source, and what is asked for";
    const auto edge = read_graph(draft.define(add_context_folder(draft, add_remote_context(draft, *found, true), "sub")));
    const auto order = in_order(edge);
    ASSERT_EQ(order.size(), 3U);
    EXPECT_EQ(order[0]->name, "[internal] load remote build context");
    const pb::FileActionCopy& unpack = order[1]->op.file().actions(0).copy();
    EXPECT_EQ(unpack.src(), "/context");
    EXPECT_TRUE(unpack.attemptunpackdockercompatibility());
    EXPECT_EQ(order[1]->op.file().actions(0).input(), -1);
    EXPECT_EQ(order[1]->op.file().actions(0).secondaryinput(), 0);
    const pb::FileActionCopy& folder = order[2]->op.file().actions(0).copy();
    EXPECT_EQ(folder.src(), "sub");
    EXPECT_TRUE(folder.dircopycontents());
}

TEST(RemoteContext, WhatAFileIsShowsInItsFront) {
    const auto is = [](std::string_view bytes) { return is_context_archive(memory_file(bytes, "context").get()); };
    std::string tar(1024, '\0');
    tar.replace(0, 1, "a");
    tar.replace(100, 8, std::string("0000644\0", 8));
    tar.replace(124, 12, std::string("00000000000\0", 12));
    tar.replace(136, 12, std::string("00000000000\0", 12));
    tar.replace(148, 8, "        ");
    tar[156] = '0';
    tar.replace(257, 8, std::string("ustar\00000", 8));
    unsigned sum = 0;
    for (std::size_t at = 0; at < 512; ++at) sum += static_cast<unsigned char>(tar[at]);
    tar.replace(148, 7, fmt::format("{:06o}", sum) + std::string(1, '\0'));
    EXPECT_TRUE(is(tar));
    EXPECT_TRUE(is(std::string("\x1f\x8b\x08xyz", 6)));
    EXPECT_TRUE(is("BZh9xx"));
    EXPECT_TRUE(
        is(std::string("\xfd"
                       "7zXZ\0",
                       6)));
    EXPECT_TRUE(is("\x28\xb5\x2f\xfd!!"));
    for (const std::string& each : {std::string(), std::string("F"), std::string("FROM scratch\n"), std::string(2000, 'x')})
        EXPECT_FALSE(is(each)) << each;
}

}  // namespace
}  // namespace grua::build
