// A source of a graph that is a commit of a git repository: "git://host/path#ref:folder".
//
// look_up() asks the remote which commit the ref is now; put() makes its files in a folder. git runs on threads of its own; all else is on
// the loop.
#pragma once

#include "base/async.hpp"
#include "base/transfers.hpp"
#include "build/git_cache.hpp"
#include "build/git_program.hpp"
#include "build/graph.hpp"
#include "build/session_files.hpp"

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// What a graph says of it.
struct GitIdentifier {
    GitUrl url;            ///< Its ref and its folder are those of the source, whatever the URL has.
    std::string checksum;  ///< The commit, or the tag, begins with it.
    std::string token_secret;
    std::string header_secret;
    std::string ssh_agent;    ///< The ID of one of the client's; empty: none is wanted.
    std::string known_hosts;  ///< Lines as OpenSSH has them.
    bool keep_git_dir = false;
    bool skip_submodules = false;
    bool commit_times = false;
    bool fetch_by_commit = false;  ///< The checksum is the commit, whatever the remote's ref is.
};

/// Throws Error(invalid_argument), or not_implemented for what is not done here.
GitIdentifier read_git_source(const pb::SourceOp& source, GitFiles files = GitFiles::refused);

/// What it is now.
struct GitFound {
    GitIdentifier what;
    std::string ref;     ///< The remote's name: "refs/heads/main"; empty where it was asked for by its digest.
    std::string object;  ///< The commit, or a tag that has a name of its own.
    std::string commit;  ///< Of a tag, where it is known before it is fetched; else empty.
};
using GitFoundPtr = std::shared_ptr<const GitFound>;

/// As BuildKit's: the commit, and what else is chosen of it.
std::string key_of(const GitFound& found);

/// What `git ls-remote` lists of a ref, as BuildKit takes it: a branch before a tag. Throws Error(not_found) where it is not there.
GitFound choose_git_ref(GitIdentifier what, const std::string& ref, std::string_view listed);

/// The branch of "ref: refs/heads/main\tHEAD", with its commit. Throws Error where there is none.
struct GitDefault {
    std::string ref;
    std::string object;
};
GitDefault choose_git_default(const std::string& remote, std::string_view listed);

struct GitSourceOptions {
    std::string directory;                                ///< Of the repositories.
    std::string agent_directory;                          ///< On a tmpfs; for sockets.
    std::uint64_t cache_limit = std::uint64_t{5} << 30U;  ///< Bytes.
    GitProgramOptions program = {};                       ///< Its folder is `directory`.
};

class GitSource {
public:
    /// All of them outlive this, and this outlives its calls.
    GitSource(GitSourceOptions options, asio::any_io_executor loop, Sessions& sessions, Transfers& transfers);
    GitSource(const GitSource&) = delete;
    GitSource& operator=(const GitSource&) = delete;

    /// Cancelled, git ends. `sessions`: the IDs of those who want it.
    asio::awaitable<GitFoundPtr> look_up(GitIdentifier what, std::vector<std::string> sessions);

    /// Makes the files in `folder`, which is empty and ours alone. `printed` is told what git says, on the loop.
    asio::awaitable<void> put(GitFoundPtr found, std::string folder, std::vector<std::string> sessions, std::stop_token stop,
                              GitPrinted printed = {});

    /// What a gruad that was killed has left goes, its programs first. For a start. Blocks.
    void sweep() const {
        git_.end_leftover();
        cache_.sweep();
    }

    /// For what is said of the disk's use, and for pruning. Blocks.
    GitCache& cache() noexcept { return cache_; }
    GitFiles files() const noexcept { return git_.files(); }

private:
    struct Means;
    asio::awaitable<std::shared_ptr<Means>> means_of(const GitIdentifier& what, SessionGroup group) const;
    asio::awaitable<std::string> authorization(const GitIdentifier& what, SessionGroup group) const;
    GitFoundPtr ask(const GitIdentifier& what, const GitAccess& access, const std::stop_token& stop) const;
    void make(const GitFound& found, const std::string& folder, const GitAccess& access, const GitPrinted& printed,
              const std::stop_token& stop);

    GitSourceOptions options_;
    asio::any_io_executor loop_;
    Sessions& sessions_;
    Transfers& transfers_;
    GitProgram git_;
    GitCache cache_;
};

}  // namespace grua::build
