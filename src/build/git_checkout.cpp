#include "build/git_checkout.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "build/folder_names.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <filesystem>
#include <vector>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t names_limit = std::size_t{256} << 20U;
constexpr std::size_t shallow_limit = std::size_t{64} << 20U;
constexpr std::string_view git_name = ".git";

Fd open_folder(const std::string& path) {
    Fd out{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!out) fail_errno("open {}", path);
    return out;
}

/// Each byte as it is: git undoes escapes.
std::string file_url(const std::string& path) {
    std::string out = "file://";
    for (const std::string& each : split(path.substr(1), '/')) out += "/" + percent_encode(each);
    return out;
}

bool is_file(const std::string& path) {
    struct stat about{};
    return ::lstat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode);
}

/// A folder beside the repository; one that a kill has left goes before it is used.
class Aside {
public:
    explicit Aside(std::string beside) : beside_(std::move(beside)) { layers::remove_tree(open_folder(beside_).get(), name); }
    Aside(const Aside&) = delete;
    Aside& operator=(const Aside&) = delete;
    ~Aside() {
        try {
            layers::remove_tree(open_folder(beside_).get(), name);
        } catch (const Error& error) {
            log::warn("a checkout's repository: {}", error.what());
        }
    }
    std::string path() const { return beside_ + "/" + name; }

private:
    static constexpr const char* name = "work";
    std::string beside_;
};

class Checkout {
public:
    Checkout(const GitRepository& repository, const GitCheckout& what, std::string into, const GitAccess& access, const GitPrinted& printed,
             const std::stop_token& stop)
        : repository_(repository), what_(what), into_(std::move(into)), access_(access), printed_(printed), stop_(stop) {}

    void run() {
        // As in BuildKit a part of a repository has no history.
        if (what_.keep_git_dir && what_.folder.empty()) {
            with_git_dir();
        } else if (what_.folder.empty()) {
            files(into_);
        } else {
            const std::string aside = ".checkout-" + random_hex(16);
            fs::create_directory(into_ + "/" + aside);
            files(into_ + "/" + aside);
            take_folder(aside);
        }
        if (what_.commit_times) set_times(commit_time());
    }

private:
    std::string git(GitCall call) const {
        call.inherited = repository_.lock();
        return repository_.git().run_shallow(call, stop_);
    }
    std::string shown() const { return without_credentials(access_.remote); }

    /// The plumbing: it runs no hook, and makes an empty tree as well. What a checkout leaves behind - an index, submodules and what is
    /// said of them in a configuration - is in a repository of its own, which has the other one's objects and goes with this.
    void files(const std::string& tree) const {
        const Aside own(repository_.folder());
        git({.words = {"init", "--quiet", "--bare", "--template=", object_format(), "--", own.path()}});
        replace_file(own.path() + "/objects/info/alternates", repository_.path() + "/objects\n", 0600);
        if (is_file(repository_.path() + "/shallow"))
            replace_file(own.path() + "/shallow", read_file(repository_.path() + "/shallow", shallow_limit), 0600);
        while_doing(fmt::format("failed to checkout remote {}", shown()), [&] {
            git({.words = {"read-tree", "-v", "--reset", "-u", what_.commit}, .repository = own.path(), .tree = tree, .printed = printed_});
        });
        if (add_submodules(own.path(), tree)) remove_git_files(tree);
    }
    std::string object_format() const { return repository_.is_sha256() ? "--object-format=sha256" : "--object-format=sha1"; }

    void with_git_dir() const {
        const std::string own = into_ + "/" + std::string(git_name);
        git({.words = {"init", "--quiet", "--template=", object_format(), "--", into_}});
        // By the file protocol, which copies objects and links nothing (CVE-2022-39253, CVE-2024-32020).
        const GitAccess local{.remote = file_url(repository_.path())};
        GitCall fetch{.words = {"fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--update-head-ok", "--", "origin",
                                what_.ref.empty() ? what_.object : fmt::format("+{}:{}", what_.object, what_.ref)},
                      .repository = own,
                      .tree = into_,
                      .access = &local,
                      .may_read_files = true};
        git(fetch);
        while_doing(fmt::format("failed to checkout remote {}", shown()), [&] {
            git({.words = {"checkout", "--quiet", "--force", "--detach", what_.commit, "--"},
                 .repository = own,
                 .tree = into_,
                 .printed = printed_});
        });
        for (const auto& [name, value] : {std::pair<std::string, std::string>{"remote.origin.url", shown()},
                                          {"remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"}})
            git({.words = {"config", "--local", name, value}, .repository = own, .tree = into_});
        add_submodules(own, into_);
    }

    /// False where it has none.
    bool add_submodules(const std::string& git_dir, const std::string& tree) const {
        if (!what_.submodules || !is_file(tree + "/.gitmodules")) return false;
        while_doing(fmt::format("failed to update submodules for {}", shown()), [&] {
            const auto submodule = [&](std::vector<std::string> words) {
                words.insert(words.begin(), "submodule");
                git({.words = std::move(words), .repository = git_dir, .tree = tree, .access = &access_, .printed = printed_});
            };
            submodule({"update", "--init", "--recursive", "--depth=1", "--progress"});
        });
        return true;
    }

    /// Of submodules: each names a folder of this host.
    static void remove_git_files(const std::string& tree) {
        std::vector<fs::path> found;
        for (auto each = fs::recursive_directory_iterator(tree); each != fs::recursive_directory_iterator(); ++each) {
            if (each->path().filename() != git_name) continue;
            if (each->is_directory() && !each->is_symlink()) each.disable_recursion_pending();
            found.push_back(each->path());
        }
        for (const fs::path& each : found) fs::remove_all(each);
    }

    /// Its contents become those of `into`. A link on the way is followed nowhere: it leads wherever its author likes.
    void take_folder(const std::string& aside) const {
        const Fd into = open_folder(into_);
        Fd folder = open_folder(into_ + "/" + aside);
        std::string path;
        for (const std::string& name : split(what_.folder, '/')) {
            path += (path.empty() ? "" : "/") + name;
            struct stat about{};
            if (::fstatat(folder.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0)
                fail(ErrorKind::not_found, "invalid subdir {}: failed to lstat {:?}: {}", what_.folder, path,
                     std::generic_category().message(errno));
            const int links = is_left_out("CVE-2026-33748") ? 0 : O_NOFOLLOW;
            Fd next{::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | links)};
            if (!next)
                fail(ErrorKind::invalid_argument, "invalid subdir {}: git subpath {:?} contains non-directory {:?}", what_.folder,
                     what_.folder, path);
            folder = std::move(next);
        }
        const FolderNames names(folder.get(), what_.folder, names_limit);
        for (std::size_t number = 0; number < names.size(); ++number)
            if (::renameat(folder.get(), names.name(number), into.get(), names.name(number)) != 0)
                fail_errno("move {}/{}", what_.folder, names.name(number));
        layers::remove_tree(into.get(), aside, stop_);
        if (stop_.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
    }

    time_t commit_time() const {
        const std::string said = git({.words = {"log", "-1", "--no-show-signature", "--format=%ct", "--end-of-options", what_.commit, "--"},
                                      .repository = repository_.path()});
        const auto seconds = parse_int(trim(said));
        if (!seconds)
            fail(ErrorKind::unavailable, "failed to get commit time for {}: failed to parse commit timestamp {:?}", shown(), trim(said));
        return *seconds;
    }

    void set_times(time_t seconds) const {
        const std::array times{timespec{seconds, 0}, timespec{seconds, 0}};
        const auto set = [&](const fs::path& path) {
            if (::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0)
                fail_errno("set the time of {}", path.string());
        };
        for (const auto& each : fs::recursive_directory_iterator(into_)) set(each.path());
        set(into_);
    }

    const GitRepository& repository_;
    const GitCheckout& what_;
    std::string into_;
    const GitAccess& access_;
    const GitPrinted& printed_;
    const std::stop_token& stop_;
};

}  // namespace

void check_out(const GitRepository& repository, const GitCheckout& what, const std::string& into, const GitAccess& access,
               const GitPrinted& printed, const std::stop_token& stop) {
    try {
        Checkout(repository, what, into, access, printed, stop).run();
    } catch (const fs::filesystem_error& error) {
        throw Error(ErrorKind::system, error.what(), error.code().value());
    }
}

}  // namespace grua::build
