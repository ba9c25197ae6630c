// For tests: a repository of git, and a source that fetches it by "file://".
#pragma once

#include "base/files.hpp"
#include "build/child_program.hpp"
#include "build/git_source.hpp"
#include "build/test_session.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

/// What a test's own git prints; a failure is the test's.
inline std::string shell(const std::string& folder, const std::string& script) {
    ChildProgram program{.program = "/bin/sh",
                         .words = {"-ec", script},
                         .environment = {"PATH=/usr/bin:/bin", "HOME=" + folder, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a",
                                         "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
                                         "GIT_AUTHOR_DATE=@1700000000 +0000", "GIT_COMMITTER_DATE=@1700000000 +0000"},
                         .folder = folder};
    const ChildOutcome outcome = run_child_program(program, {});
    EXPECT_EQ(outcome.status, 0) << script << "\n" << outcome.said;
    return std::string(trim(outcome.output));
}

class WithRepository : public WithSessions {
protected:
    WithRepository() {
        options.directory = work + "/cache";
        options.agent_directory = work + "/agents";
        options.program.files = GitFiles::allowed;
        renew();
        repository = work + "/origin";
        std::filesystem::copy(model, repository, std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
        first = model_first;
        second = model_second;
    }
    static void SetUpTestSuite() {
        std::string path = std::filesystem::temp_directory_path() / "grua-git-XXXXXX";
        model = ::mkdtemp(path.data());
        shell(model, R"(
            git init -q -b main
            printf one > file
            printf '#!/bin/sh\n' > program && chmod 755 program
            mkdir -p dir/sub && printf two > dir/sub/inner && ln -s dir/sub link && ln -s /etc away
            git add . && git commit -qm first && git tag light && git tag -am note v1
            git branch feature/x
            printf more > more && git add . && git commit -qm second)");
        model_first = shell(model, "git rev-parse light");
        model_second = shell(model, "git rev-parse main");
    }
    static void TearDownTestSuite() { std::filesystem::remove_all(model); }
    void renew() { source = std::make_unique<GitSource>(options, loop.get_executor(), sessions, transfers); }

    GitIdentifier identifier(const std::string& remote, const std::string& ref = {}, const std::string& in_folder = {},
                             const std::map<std::string, std::string>& attributes = {}) const {
        pb::SourceOp op;
        std::string name = "git://host/path";
        if (!ref.empty() || !in_folder.empty()) name += "#" + ref;
        if (!in_folder.empty()) name += ":" + in_folder;
        op.set_identifier(name);
        (*op.mutable_attrs())["git.fullurl"] = remote;
        for (const auto& [key, value] : attributes) (*op.mutable_attrs())[key] = value;
        return read_git_source(op, GitFiles::allowed);
    }
    GitIdentifier local(const std::string& ref = {}, const std::string& in_folder = {},
                        const std::map<std::string, std::string>& attributes = {}) const {
        return identifier("file://" + repository, ref, in_folder, attributes);
    }
    asio::awaitable<GitFoundPtr> look_up(GitIdentifier what) { return source->look_up(std::move(what), ids); }
    /// The folder that it was put into.
    asio::awaitable<std::string> put(GitFoundPtr found) {
        const std::string into = folder(fmt::format("into{}", ++count));
        co_await source->put(found, into, ids, {}, [this](int, std::string_view line) { printed += std::string(line) + "\n"; });
        co_return into;
    }
    asio::awaitable<std::string> make(GitIdentifier what) { co_return co_await put(co_await look_up(std::move(what))); }

    static std::vector<std::string> names(const std::string& in) {
        std::vector<std::string> out;
        for (const auto& each : std::filesystem::directory_iterator(in)) out.push_back(each.path().filename());
        std::ranges::sort(out);
        return out;
    }
    static mode_t mode(const std::string& path) {
        struct stat about{};
        EXPECT_EQ(::lstat(path.c_str(), &about), 0) << path;
        return about.st_mode & 07777U;
    }
    /// The one repository of the cache.
    std::string kept() const {
        const auto all = source->cache().list();
        EXPECT_EQ(all.size(), 1U);
        return options.directory + "/" + all.at(0).name;
    }

    static inline std::string model;  ///< The repository that each test has a copy of.
    static inline std::string model_first;
    static inline std::string model_second;
    GitSourceOptions options;
    std::unique_ptr<GitSource> source;
    std::string repository;
    std::string first;
    std::string second;
    std::vector<std::string> ids;
    std::string printed;
    int count = 0;
};

}  // namespace grua::build
