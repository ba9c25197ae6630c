// The host's git, run with nothing of the host's: no configuration, no hooks, no template, no credentials, no prompt, no transport but
// those that git_url knows. What it is told of a remote - its URL, its credentials - is in its environment, which root alone can read, and
// not among its words. Blocks.
//
// A repository is foreign: what git has been made to run by one (CVE-2018-11235, CVE-2022-39253, CVE-2024-32002, CVE-2025-48384) were hooks
// and files of this host, which are off here whatever git is installed.
#pragma once

#include "base/error.hpp"
#include "base/mutex.hpp"
#include "build/git_url.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

struct GitProgramOptions {
    std::string program = "git";        ///< A name that is looked for, or a path.
    std::string folder = "/";           ///< Ours, in which it runs where there is no tree; nothing above it is looked at.
    std::chrono::seconds silence{120};  ///< Of a remote; then it is given up.
    GitFiles files = GitFiles::refused;
};

/// What a remote wants of whoever asks it.
struct GitAccess {
    std::string remote;         ///< Without credentials of HTTP.
    std::string authorization;  ///< Of HTTP: "Basic …"; empty: none.
    std::string authorized;     ///< The front of all URLs that it is for.
    std::string ssh_agent;      ///< A socket; empty: none.
    std::string known_hosts;    ///< A file's path; empty: any host is believed.
};

/// Lines that it prints, without their ends; 1 and 2 as streams.
using GitPrinted = std::function<void(int stream, std::string_view line)>;

struct GitCall {
    std::vector<std::string> words;
    std::string repository;             ///< Its folder; empty where it has none.
    std::string tree;                   ///< Its work tree; empty where it has none.
    const GitAccess* access = nullptr;  ///< Where it asks a remote, which is "origin" then.
    bool may_read_files = false;        ///< "file://", by itself and not for submodules.
    int inherited = -1;                 ///< See ChildProgram.
    GitPrinted printed;                 ///< May be empty.
};

/// What git says when it has failed: "git stderr:\nfatal: …: exit status 128".
class GitError : public Error {
public:
    GitError(std::string message, std::string said) : Error(ErrorKind::unavailable, std::move(message)), said_(std::move(said)) {}
    bool says(std::string_view text) const { return said_.contains(text); }

private:
    std::string said_;
};

/// Thread-safe.
class GitProgram {
public:
    explicit GitProgram(GitProgramOptions options) : options_(std::move(options)) {}

    /// What it prints to its standard output. Throws GitError; Error(not_found, "git is not installed on the engine's host").
    std::string run(const GitCall& call, const std::stop_token& stop) const;

    /// The same; where the remote cannot give a part of its history, the word "--depth=1" is left out.
    std::string run_shallow(const GitCall& call, const std::stop_token& stop) const;

    /// Ends what a gruad that was killed has left running, with all that it has begun: it has the locks of its repositories. For a start,
    /// before there are others. Blocks.
    void end_leftover() const;

    GitFiles files() const noexcept { return options_.files; }

private:
    /// In the environment of each git of ours, and of whatever that starts.
    std::string mark() const { return "GIT_CEILING_DIRECTORIES=" + options_.folder; }
    std::string program(const std::stop_token& stop) const;
    std::vector<std::string> environment(const GitCall& call) const;

    GitProgramOptions options_;
    mutable Mutex mutex_;
    mutable std::string found_ GRUA_GUARDED_BY(mutex_);  ///< Its path, once it is known to be new enough.
};

/// "git version 2.39.5 …" as {2, 39}; nothing where it is something else.
std::optional<std::pair<int, int>> parse_git_version(std::string_view text);

/// For HTTP's headers: all of github.com for a repository there, as actions/checkout does; else the repository.
std::string git_token_scope(std::string_view remote);

/// A word of a shell's line.
std::string shell_quoted(std::string_view word);

}  // namespace grua::build
