// A commit of a repository that was fetched, as files in a folder. Blocks.
#pragma once

#include "build/git_cache.hpp"

#include <stop_token>
#include <string>

namespace grua::build {

struct GitCheckout {
    std::string object;  ///< As it was fetched: the commit, or a tag of it.
    std::string commit;
    std::string ref;     ///< The remote's name of it, "refs/heads/main"; empty where it has none.
    std::string folder;  ///< Of the repository, which becomes all there is; clean, empty for the whole.
    bool keep_git_dir = false;
    bool submodules = true;
    bool commit_times = false;  ///< Files have the time of the commit, not of now.
};

/// `into` is empty and ours alone; what is made is root's. Throws Error that names the remote.
void check_out(const GitRepository& repository, const GitCheckout& what, const std::string& into, const GitAccess& access,
               const GitPrinted& printed, const std::stop_token& stop);

}  // namespace grua::build
