// Bare repositories, one for each remote, which have what was fetched of it: the next build of another commit gets the difference only.
//
//   <directory>/<digest of the remote>/lock    held by whoever works on it, and by each git that does: also by one that a gruad which was
//                                              killed has left, until that has ended
//   <directory>/<digest of the remote>/repo    the repository
//   <directory>/<digest of the remote>/format  of its objects; not there before it is whole
//   <directory>/<digest of the remote>/work    what a checkout needs for itself, while it lasts
//   <directory>/<digest of the remote>/remote  the URL, without credentials
//
// What a kill has left half done is what git can go on with, or it is begun anew. Blocks.
#pragma once

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "build/git_program.hpp"

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace grua::build {

/// What is wanted of a remote.
struct GitWanted {
    std::string object;  ///< A commit, or a tag of one.
    std::string ref;     ///< By which the remote has it: "refs/heads/main"; empty where it is known by its digest alone.
    bool whole = true;   ///< Where the remote gives no single commit: fetch all of its branches and tags, and look there.
};

/// What a kill or a power cut may leave a repository with: then it is begun anew.
bool is_git_damage(const GitError& error);

/// One remote's repository; nobody else has it meanwhile.
class GitRepository {
public:
    GitRepository(const GitProgram& git, Fd lock, std::string folder, bool is_sha256);
    GitRepository(const GitRepository&) = delete;
    GitRepository& operator=(const GitRepository&) = delete;

    /// Fetches it where it is not there. Throws Error that names the remote.
    void fetch(const GitWanted& wanted, const GitAccess& access, const GitPrinted& printed, const std::stop_token& stop);

    /// The commit that an object is, or stands for. Throws GitError.
    std::string commit_of(const std::string& object, const std::stop_token& stop) const;
    bool has_commit(const std::string& object, const std::stop_token& stop) const;

    /// Its path, and that of the folder that it is in.
    std::string path() const { return folder_ + "/repo"; }
    const std::string& folder() const noexcept { return folder_; }
    int lock() const noexcept { return lock_.get(); }
    const GitProgram& git() const noexcept { return git_; }
    bool is_sha256() const noexcept { return is_sha256_; }

    GitCall call(std::vector<std::string> words) const;

    /// All that was fetched is gone.
    void begin_anew(const std::stop_token& stop);

private:
    std::string format_name() const { return is_sha256_ ? "sha256" : "sha1"; }
    void begin(const std::stop_token& stop);
    bool try_fetch(const GitWanted& wanted, const GitAccess& access, const GitPrinted& printed, const std::stop_token& stop);

    const GitProgram& git_;
    Fd lock_;
    std::string folder_;
    bool is_sha256_;
};

/// Thread-safe.
class GitCache {
public:
    /// Makes the folder where it is missing.
    GitCache(std::string directory, std::uint64_t limit);

    /// Waits for whoever has it. `remote`: without credentials.
    std::unique_ptr<GitRepository> open(const GitProgram& git, const std::string& remote, bool is_sha256, const std::stop_token& stop);

    struct Kept {
        std::string name;
        std::string remote;
        std::uint64_t bytes = 0;
        Time last_used{};
        bool is_used = false;
    };
    std::vector<Kept> list() const;

    /// One that is in use stays; false then, and where there is none.
    bool remove(const std::string& name);

    /// What a kill has left half done of those that nobody has goes.
    void sweep() const;

    /// Removes those that were not used for longest, until the others have no more bytes than the limit.
    void trim();

    const std::string& directory() const noexcept { return directory_; }

private:
    void remove_locked(const std::string& name) const;

    std::string directory_;
    std::uint64_t limit_;
};

}  // namespace grua::build
