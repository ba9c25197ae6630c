#include "build/follow_paths.hpp"

#include "base/error.hpp"
#include "build/folder_names.hpp"
#include "build/ignore_file.hpp"
#include "build/tree_index.hpp"
#include "build/tree_path.hpp"
#include "build/wildcards.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace grua::build {
namespace {

constexpr std::size_t names_limit = std::size_t{512} << 20U;

class Follower {
public:
    explicit Follower(const Root& folder) : root_(folder) {}

    /// Each path goes along its names until it meets a link; then the link is wanted, and what it leads to is another path.
    std::vector<std::string> run(const std::vector<std::string>& paths) {
        for (const std::string& each : paths) add(clean_path("/" + each));
        while (!waiting_.empty()) {
            const std::string path = std::move(waiting_.back());
            waiting_.pop_back();
            follow(path);
        }
        return without_inner();
    }

private:
    void add(const std::string& path) {
        // A link into itself makes longer and longer paths, which are none in the end.
        if (path.size() >= path_limit || !seen_.insert(path).second) return;
        if (seen_.size() > followed_path_limit) fail(ErrorKind::invalid_argument, "followpaths: more than {} paths", followed_path_limit);
        waiting_.push_back(path);
    }

    void follow(const std::string& path) {
        if (path == "/") {
            wanted_.insert(".");
            return;
        }
        for (std::size_t end = 0; end < path.size();) {
            end = std::min(path.find('/', end + 1), path.size());
            const std::string here = path.substr(1, end - 1);
            const std::vector<std::string> targets = targets_of(here);
            if (targets.empty()) continue;
            wanted_.insert(here);
            for (const std::string& each : targets) add(clean_path(each + path.substr(end)));
            return;
        }
        wanted_.insert(path.substr(1));
    }

    /// Where a link leads, from the folder on; of a name with wildcards each link's that it matches.
    std::vector<std::string> targets_of(const std::string& path) const {
        const std::string parent(parent_of(path));
        const std::string name = parent.empty() ? path : path.substr(parent.size() + 1);
        const std::optional<Fd> folder = open(parent.empty() ? "." : parent, O_RDONLY | O_DIRECTORY);
        if (!folder) return {};
        std::vector<std::string> out;
        const auto look = [&](const char* leaf) {
            const Fd there{::openat(folder->get(), leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC)};
            struct stat about{};
            if (!there || ::fstat(there.get(), &about) != 0 || !S_ISLNK(about.st_mode)) return;
            const std::string target = read_link(there.get(), path);
            out.push_back(clean_path(target.starts_with('/') ? target : "/" + parent + "/" + target));
        };
        if (!has_wildcards(name)) {
            look(name.c_str());
            return out;
        }
        const FolderNames names{folder->get(), parent, names_limit};
        for (std::size_t index = 0; index < names.size(); ++index)
            if (matches_wildcards(name, names.name(index))) look(names.name(index));
        return out;
    }

    std::optional<Fd> open(const std::string& path, int flags) const {
        try {
            return open_path(root_, path, flags);
        } catch (const Error& error) {
            // What is not there is nothing to follow.
            const int why = error.os_error();
            if (why == ENOENT || why == ENOTDIR || why == ELOOP || why == ENAMETOOLONG) return std::nullopt;
            throw;
        }
    }

    /// Without what is in something that is wanted anyway.
    std::vector<std::string> without_inner() const {
        if (wanted_.contains(".")) return {"."};
        std::vector<std::string> out;
        for (const std::string& each : wanted_)
            if (out.empty() || !each.starts_with(out.back() + "/")) out.push_back(each);
        return out;
    }

    const Root& root_;
    std::vector<std::string> waiting_;
    std::set<std::string> seen_;
    std::set<std::string, PathOrder> wanted_;
};

}  // namespace

std::vector<std::string> follow_paths(const Root& folder, const std::vector<std::string>& paths) { return Follower{folder}.run(paths); }

}  // namespace grua::build
