#include "build/git_cache.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/timespec.hpp"
#include "content/hash.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <utility>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr std::chrono::milliseconds between_tries = 50ms;
constexpr std::size_t packs_limit = 100;  ///< One for each fetch; nothing collects them.
constexpr std::string_view own_refs = "refs/grua/";

std::string digest_of(std::string_view text) { return std::string(content::digest_of(text).hex()); }

void pause(std::chrono::milliseconds time, const std::stop_token& stop) {
    Mutex mutex;
    std::condition_variable_any changed;
    MutexLock lock(mutex);
    changed.wait_for(lock, stop, time, [] { return false; });
    if (stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
}

Fd open_folder(const std::string& path) {
    Fd out{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!out) fail_errno("open {}", path);
    return out;
}

/// Nothing where somebody has it, or where it has been removed meanwhile, with its folder.
std::optional<Fd> try_lock(const std::string& path, int more_flags) {
    Fd out{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | more_flags, 0600)};
    if (!out && errno == ENOENT) return std::nullopt;
    if (!out) fail_errno("open {}", path);
    if (::flock(out.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) fail_errno("lock {}", path);
        return std::nullopt;
    }
    struct stat held{};
    struct stat named{};
    if (::fstat(out.get(), &held) != 0) fail_errno("stat {}", path);
    if (::stat(path.c_str(), &named) != 0 || held.st_ino != named.st_ino || held.st_dev != named.st_dev) return std::nullopt;
    return out;
}

/// Git's own locks and half packs. Nobody is about the repository, so that they are of those who were killed.
void sweep_repository(const std::string& path) {
    const auto sweep = [](const std::string& each) {
        if (each.ends_with(".lock")) ::unlink(each.c_str());
    };
    std::error_code error;
    for (const auto& each : fs::directory_iterator(path, error)) sweep(each.path());
    for (const auto& each : fs::recursive_directory_iterator(path + "/refs", error)) sweep(each.path());
    for (const auto& each : fs::directory_iterator(path + "/objects/pack", error))
        if (each.path().filename().string().starts_with("tmp_")) ::unlink(each.path().c_str());
}

bool is_refusal_of_commit(const GitError& error) {
    return error.says("not our ref") || error.says("unadvertised object") || error.says("couldn't find remote ref") ||
           error.says("Server does not allow request");
}

}  // namespace

GitRepository::GitRepository(const GitProgram& git, Fd lock, std::string folder, bool is_sha256)
    : git_(git), lock_(std::move(lock)), folder_(std::move(folder)), is_sha256_(is_sha256) {}

bool is_git_damage(const GitError& error) {
    constexpr std::array words{"corrupt",
                               "bad object",
                               "bad config",
                               "bad ref",
                               "loose object",
                               "missing blob",
                               "missing tree",
                               "missing commit",
                               "packfile",
                               "index file",
                               "not a git repository",
                               "unable to read tree",
                               "unable to read sha1",
                               "invalid index",
                               "did not send all necessary objects"};
    return std::ranges::any_of(words, [&](const char* word) { return error.says(word); });
}

GitCall GitRepository::call(std::vector<std::string> words) const {
    return {.words = std::move(words), .repository = path(), .inherited = lock_.get()};
}

std::string GitRepository::commit_of(const std::string& object, const std::stop_token& stop) const {
    const std::string out(trim(git_.run(call({"rev-parse", "--verify", "--end-of-options", object + "^{commit}"}), stop)));
    if (!is_git_commit(out)) fail(ErrorKind::unavailable, "invalid commit sha {:?}", out);
    return out;
}

bool GitRepository::has_commit(const std::string& object, const std::stop_token& stop) const {
    try {
        git_.run(call({"cat-file", "-e", object + "^{commit}"}), stop);
    } catch (const GitError&) {
        return false;
    }
    return true;
}

void GitRepository::begin(const std::stop_token& stop) {
    std::error_code error;
    if (fs::exists(path(), error)) {
        sweep_repository(path());
        std::size_t packs = 0;
        for (const auto& each : fs::directory_iterator(path() + "/objects/pack", error)) packs += each.path().extension() == ".pack";
        const std::string marker = folder_ + "/format";
        if (packs <= packs_limit && fs::exists(marker, error) && read_file(marker) == format_name()) return;
    }
    begin_anew(stop);
}

void GitRepository::begin_anew(const std::stop_token& stop) {
    const Fd folder = open_folder(folder_);
    if (::unlinkat(folder.get(), "format", 0) != 0 && errno != ENOENT) fail_errno("remove {}/format", folder_);
    layers::remove_tree(folder.get(), "repo", stop);
    crash_point("build:git-begun");
    git_.run(call({"init", "--quiet", "--bare", "--template=", "--object-format=" + format_name()}), stop);
    // From now on it is whole.
    replace_file(folder_ + "/format", format_name(), 0600);
    crash_point("build:git-made");
}

void GitRepository::fetch(const GitWanted& wanted, const GitAccess& access, const GitPrinted& printed, const std::stop_token& stop) {
    begin(stop);
    while_doing(fmt::format("failed to fetch remote {}", without_credentials(access.remote)), [&] {
        bool has_it = false;
        try {
            has_it = try_fetch(wanted, access, printed, stop);
        } catch (const GitError& error) {
            if (!is_git_damage(error)) throw;
            log::info("the repository that is kept of {} is begun anew: {}", without_credentials(access.remote), error.what());
            begin_anew(stop);
            has_it = try_fetch(wanted, access, printed, stop);
        }
        if (has_it) return;
        fail(ErrorKind::not_found, "fetched ref {} does not match expected commit {} and commit can not be found in the repository",
             wanted.ref.empty() ? wanted.object : wanted.ref, wanted.object);
    });
}

/// One commit by its digest; else by the name that it had; else all there is. False where it is in none of that.
bool GitRepository::try_fetch(const GitWanted& wanted, const GitAccess& access, const GitPrinted& printed, const std::stop_token& stop) {
    if (has_commit(wanted.object, stop)) return true;
    const auto fetch_refs = [&](std::vector<std::string> more) {
        GitCall fetching = call(
            {"fetch", "--progress", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"});
        fetching.access = &access;
        fetching.printed = printed;
        std::ranges::move(more, std::back_inserter(fetching.words));
        git_.run_shallow(fetching, stop);
    };
    // A name of ours for each of the remote's, so that the next fetch of it says what is here.
    const std::string own = std::string(own_refs) + "one/" + digest_of(wanted.ref.empty() ? wanted.object : wanted.ref).substr(0, 32);
    std::vector<std::string> sources{wanted.object};
    if (!wanted.ref.empty()) sources.push_back(wanted.ref);
    std::exception_ptr refusal;
    for (const std::string& source : sources) {
        try {
            fetch_refs({"--depth=1", "--", "origin", fmt::format("+{}:{}", source, own)});
            if (has_commit(wanted.object, stop)) return true;
        } catch (const GitError& error) {
            if (!is_refusal_of_commit(error)) throw;
            refusal = std::current_exception();
        }
    }
    if (!wanted.whole) {
        if (refusal) std::rethrow_exception(refusal);
        return false;
    }
    std::vector<std::string> all;
    std::error_code error;
    if (fs::exists(path() + "/shallow", error)) all.emplace_back("--unshallow");
    for (const char* each : {"--", "origin"}) all.emplace_back(each);
    for (const char* kind : {"heads", "tags"}) all.push_back(fmt::format("+refs/{}/*:{}{}/*", kind, own_refs, kind));
    fetch_refs(std::move(all));
    return has_commit(wanted.object, stop);
}

GitCache::GitCache(std::string directory, std::uint64_t limit) : directory_(std::move(directory)), limit_(limit) {
    make_directories(directory_, 0700);
}

std::unique_ptr<GitRepository> GitCache::open(const GitProgram& git, const std::string& remote, bool is_sha256,
                                              const std::stop_token& stop) {
    const std::string folder = directory_ + "/" + digest_of(remote);
    for (;;) {
        make_directories(folder, 0700);
        if (auto lock = try_lock(folder + "/lock", O_CREAT)) {
            replace_file(folder + "/remote", without_credentials(remote), 0600);
            return std::make_unique<GitRepository>(git, std::move(*lock), folder, is_sha256);
        }
        pause(between_tries, stop);
    }
}

std::vector<GitCache::Kept> GitCache::list() const {
    std::vector<Kept> out;
    std::error_code error;
    for (const auto& each : fs::directory_iterator(directory_, error)) {
        Kept kept{.name = each.path().filename(), .remote = {}};
        struct stat about{};
        const std::string remote = each.path().string() + "/remote";
        if (::stat(remote.c_str(), &about) != 0) continue;
        try {
            kept.remote = read_file(remote);
            kept.is_used = !try_lock(each.path().string() + "/lock", 0);
        } catch (const Error& failure) {
            log::warn("repositories of builds: {}", failure.what());
            continue;
        }
        kept.bytes = layers::tree_size(each.path());
        kept.last_used = time_of(about.st_mtim);
        out.push_back(std::move(kept));
    }
    return out;
}

bool GitCache::remove(const std::string& name) {
    if (name.empty() || name.contains('/') || name.starts_with('.')) return false;
    const auto lock = try_lock(directory_ + "/" + name + "/lock", 0);
    if (!lock) return false;
    remove_locked(name);
    return true;
}

void GitCache::remove_locked(const std::string& name) const {
    // The lock's file is the last: who waits for it looks whether it is still there.
    const std::string folder = directory_ + "/" + name;
    for (const char* each : {"format", "repo", "work", "remote", "lock"}) layers::remove_tree(open_folder(folder).get(), each);
    if (::rmdir(folder.c_str()) != 0 && errno != ENOENT && errno != ENOTEMPTY) fail_errno("remove {}", folder);
}

void GitCache::sweep() const {
    std::error_code error;
    for (const auto& each : fs::directory_iterator(directory_, error)) {
        const std::string folder = each.path();
        try {
            const auto lock = try_lock(folder + "/lock", O_CREAT);
            if (!lock) continue;
            if (!fs::exists(folder + "/format") || !fs::exists(folder + "/remote")) {
                remove_locked(each.path().filename());
                continue;
            }
            layers::remove_tree(open_folder(folder).get(), "work");
            sweep_replacements(folder);
            sweep_repository(folder + "/repo");
        } catch (const Error& failure) {
            log::warn("repositories of builds: {}", failure.what());
        }
    }
}

void GitCache::trim() {
    std::vector<Kept> all = list();
    std::ranges::sort(all, {}, &Kept::last_used);
    std::uint64_t bytes = 0;
    for (const Kept& each : all) bytes += each.bytes;
    for (const Kept& each : all) {
        if (bytes <= limit_) return;
        if (!each.is_used && remove(each.name)) bytes -= each.bytes;
    }
}

}  // namespace grua::build
