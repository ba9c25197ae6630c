#include "roots.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/lifecycle/saver.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>
#include <filesystem>

namespace grua::gruad {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t pid_limit = 64;

/// In a place that does not depend on options, and goes with the host as bridges do.
constexpr const char* bridge_locks = "/run/grua-bridges";
constexpr std::size_t record_limit = std::size_t{16} << 20U;

/// Nothing where the file is not there or has no number.
std::optional<pid_t> pid_in(const std::string& path) {
    try {
        const auto number = parse_int(trim(read_file(path, pid_limit)));
        if (number && *number > 0 && std::in_range<pid_t>(*number)) return static_cast<pid_t>(*number);
    } catch (const Error&) {
        return std::nullopt;
    }
    return std::nullopt;
}

/// After a restart of the host the number may be any program's.
bool is_gruad(pid_t pid) {
    if (::kill(pid, 0) != 0 && errno == ESRCH) return false;
    try {
        return trim(read_file(fmt::format("/proc/{}/comm", pid), pid_limit)) == "gruad";
    } catch (const Error&) {
        return false;
    }
}

std::size_t entries(const std::string& path) {
    std::size_t count = 0;
    std::error_code error;
    for (auto entry = fs::directory_iterator(path, error); !error && entry != fs::directory_iterator(); entry.increment(error))
        if (!entry->path().filename().string().starts_with('.')) ++count;
    return count;
}

/// Of containers that a store has to know. Those of --rm are known by their records here.
std::size_t live_containers(const std::string& exec_root) {
    std::size_t count = 0;
    std::error_code error;
    for (auto entry = fs::directory_iterator(exec_root + "/containers", error); !error && entry != fs::directory_iterator();
         entry.increment(error)) {
        try {
            const std::string text = read_file(entry->path().string() + engine::description_file, record_limit);
            if (!engine::record_from_json(text).host_config.auto_remove) ++count;
        } catch (const Error& problem) {
            if (problem.kind() != ErrorKind::not_found) ++count;
        }
    }
    return count;
}

/// Locked, or none and what its holder has written. What is written is for people only, and on a full disk too: the lock is what counts.
std::pair<Fd, std::string> lock_file(const std::string& path, std::string_view more) {
    Fd lock{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!lock) fail_errno("open {}", path);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) fail_errno("lock {}", path);
        return {Fd{}, std::string(trim(read_all(lock.get(), path)))};
    }
    const std::string text = fmt::format("{}{}\n", ::getpid(), more);
    if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), text.data(), text.size(), 0) < 0)
        log::debug("{}: {}", path, std::generic_category().message(errno));
    return {std::move(lock), std::string()};
}

/// Whoever begins with a new database ends and deletes all that it does not know.
void refuse_contents(const std::string& data_root, const std::string& exec_root, std::string_view what) {
    const std::string contents = contents_without_database(data_root, exec_root);
    if (contents.empty()) return;
    fail(ErrorKind::unavailable,
         "{0}/grua.db is {1}, but there are {2}. Nothing has been changed. Put grua.db back from a backup and start again; or run \"gruad "
         "--rebuild\" with the same options, which makes a new one from what is there; or move {0} away to begin anew",
         data_root, what, contents);
}

}  // namespace

void prepare_root(const std::string& path, mode_t mode) {
    make_directories(path, mode);
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) fail_errno("look at {}", path);
    if ((status.st_mode & 07777U) == mode) return;
    if (::chmod(path.c_str(), mode) != 0) fail_errno("set the mode of {}", path);
    if ((status.st_mode & 07777U & ~mode) != 0) log::info("{}: its mode was {:o}, and is {:o} now", path, status.st_mode & 07777U, mode);
}

Fd lock_root(const std::string& root, std::string_view what) {
    auto [lock, other] = lock_file(root + "/lock", "");
    if (lock) return std::move(lock);
    fail(ErrorKind::conflict, "{} {}: another gruad works on it{}; end that one, or give this one a --{} of its own", what, root,
         other.empty() ? std::string() : fmt::format(", process {}", other), what);
}

BridgeLock::BridgeLock(const std::string& bridge, const std::string& data_root) {
    struct stat space{};
    if (::stat("/proc/self/ns/net", &space) != 0) fail_errno("look at the network namespace");
    make_directories(bridge_locks, 0700);
    // That the name is one of a bridge is checked when it is made.
    path_ = fmt::format("{}/{}-{}", bridge_locks, space.st_ino, percent_encode(bridge));
    for (;;) {
        auto [lock, other] = lock_file(path_, " with --data-root " + data_root);
        if (!lock) {
            path_.clear();
            fail(ErrorKind::conflict, "bridge {}: another gruad has it, process {}; end that one, or give this one a --bridge of its own",
                 bridge, other);
        }
        struct stat locked{};
        struct stat there{};
        // Whoever had it may have taken it away since it was opened here.
        const bool same = ::fstat(lock.get(), &locked) == 0 && ::stat(path_.c_str(), &there) == 0 && locked.st_ino == there.st_ino;
        lock_ = std::move(lock);
        if (same) return;
    }
}

BridgeLock::~BridgeLock() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

PidFile::PidFile(std::string path) : path_(std::move(path)) {
    if (path_.empty()) return;
    if (const auto other = pid_in(path_); other && *other != ::getpid() && is_gruad(*other)) {
        const std::string file = std::exchange(path_, {});
        fail(ErrorKind::conflict, "pid file {}: process {} is a gruad and runs; end it, or give this one a --pidfile of its own", file,
             *other);
    }
    replace_file(path_, std::to_string(::getpid()) + "\n");
}

void PidFile::remove() noexcept {
    const std::string path = std::exchange(path_, {});
    if (!path.empty() && pid_in(path) == ::getpid()) ::unlink(path.c_str());
}

std::string engine_id(const std::string& data_root) {
    const std::string path = data_root + "/engine-id";
    try {
        return std::string(trim(read_file(path)));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
    const std::string hex = random_hex(16);
    const std::string id =
        fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4), hex.substr(20));
    replace_file(path, id + "\n", 0600);
    return id;
}

void claim_exec_root(const std::string& exec_root, const std::string& engine_id) {
    const std::string path = exec_root + "/engine-id";
    std::string owner;
    try {
        owner = trim(read_file(path));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
    if (owner == engine_id) return;
    if (!owner.empty() && entries(exec_root + "/containers") > 0)
        fail(ErrorKind::conflict,
             "exec-root {}: the containers there belong to another data root, that of the engine {}; they would be ended as nobody's. Give "
             "this gruad an --exec-root of its own, or that --data-root",
             exec_root, owner);
    replace_file(path, engine_id + "\n", 0600);
}

std::string contents_without_database(const std::string& data_root, const std::string& exec_root) {
    std::vector<std::string> found;
    const auto add = [&](std::size_t count, std::string_view one, std::string_view many) {
        if (count > 0) found.push_back(fmt::format("{} {}", count, count == 1 ? one : many));
    };
    add(std::max({entries(data_root + "/containers"), entries(data_root + "/layers/containers"), live_containers(exec_root)}), "container",
        "containers");
    add(entries(data_root + "/layers/l"), "layer of an image", "layers of images");
    add(entries(data_root + "/content/blobs/sha256") + entries(data_root + "/content/blobs/sha512"), "blob", "blobs");
    return join(found, ", ");
}

void check_database(const std::string& data_root, const std::string& exec_root) {
    const std::string path = data_root + "/grua.db";
    struct stat status{};
    const bool is_empty = ::stat(path.c_str(), &status) == 0;
    if (!is_empty && errno != ENOENT) fail_errno("look at {}", path);
    if (is_empty && status.st_size > 0) return;
    // What a database that was never closed wrote last is beside it, and is the whole of it at first.
    if (is_empty && ::stat((path + "-wal").c_str(), &status) == 0 && status.st_size > 0) return;
    refuse_contents(data_root, exec_root, is_empty ? "empty" : "missing");
}

void refuse_new_database(const std::string& data_root, const std::string& exec_root) { refuse_contents(data_root, exec_root, "empty"); }

}  // namespace grua::gruad
