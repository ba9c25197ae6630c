// The processes of a cgroup: joining, listing, stopping, ending.
#include "linux/cgroup.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/detail/cgroup_file.hpp"
#include "linux/detail/cgroup_mounts.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <ctime>

namespace grua::linux {
namespace {

using std::chrono::steady_clock;

constexpr auto freeze_patience = std::chrono::seconds{10};

void collect_pids(int directory, std::vector<pid_t>& pids, int depth) {
    constexpr int deepest = 64;
    const Fd file{::openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC)};
    if (file) {
        std::string text;
        try {
            text = read_all(file.get(), "cgroup.procs", std::size_t{64} << 20U);
        } catch (const Error& error) {
            // Removed meanwhile, or threaded: those processes are listed in the domain above.
            if (error.os_error() != ENODEV && error.os_error() != EOPNOTSUPP) throw;
        }
        for (const auto& line : split(text, '\n'))
            // 0 is a process that this PID namespace cannot see.
            if (const auto pid = parse_int(line); pid && *pid > 0) pids.push_back(static_cast<pid_t>(*pid));
    }
    Fd copy{::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    DIR* stream = depth < deepest && copy ? ::fdopendir(copy.get()) : nullptr;
    if (stream == nullptr) return;
    (void)copy.release();
    while (const dirent* entry = ::readdir(stream)) {
        if (entry->d_type != DT_DIR || std::string_view{entry->d_name} == "." || std::string_view{entry->d_name} == "..") continue;
        const Fd child{::openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
        if (child) collect_pids(child.get(), pids, depth + 1);
    }
    ::closedir(stream);
}

/// The v2 cgroup of a process, opened below `root`; nothing where it is not in or below `path`.
Fd cgroup_of(pid_t pid, int root, const std::string& path) {
    for (const auto& line : split(read_file(fmt::format("/proc/{}/cgroup", pid)), '\n')) {
        if (!line.starts_with("0::")) continue;
        const auto own = line.substr(3);
        if (own != path && !own.starts_with(path + "/")) break;
        return Fd{::openat(root, own.c_str() + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    }
    return {};
}

void freeze_v1(int directory) {
    const auto deadline = steady_clock::now() + freeze_patience;
    timespec pause{0, 50'000};
    for (int round = 1; steady_clock::now() < deadline; ++round) {
        // Written again each time: processes that forked meanwhile keep a cgroup in FREEZING, and the kernel looks only when it is told.
        detail::write_cgroup_file(directory, "freezer.state", "FROZEN");
        if (trim(detail::read_cgroup_file(directory, "freezer.state").value_or("")) == "FROZEN") return;
        if (round % 25 == 0) detail::write_cgroup_file(directory, "freezer.state", "THAWED");
        ::nanosleep(&pause, nullptr);
        pause.tv_nsec = std::min(pause.tv_nsec * 2, 10'000'000L);
    }
    (void)detail::try_write_cgroup_file(directory, "freezer.state", "THAWED");
    fail(ErrorKind::unavailable, "the kernel could not stop all processes in time");
}

void freeze_v2(int directory) {
    const auto deadline = steady_clock::now() + freeze_patience;
    const Fd events{::openat(directory, "cgroup.events", O_RDONLY | O_CLOEXEC)};
    if (!events) fail_errno("open cgroup.events");
    detail::write_cgroup_file(directory, "cgroup.freeze", "1");
    while (steady_clock::now() < deadline) {
        if (::lseek(events.get(), 0, SEEK_SET) != 0) fail_errno("rewind cgroup.events");
        if (parse_flat_keyed(read_all(events.get(), "cgroup.events"))["frozen"] == 1) return;
        pollfd wait{.fd = events.get(), .events = POLLPRI, .revents = 0};
        ::poll(&wait, 1, 100);
    }
    (void)detail::try_write_cgroup_file(directory, "cgroup.freeze", "0");
    fail(ErrorKind::unavailable, "the kernel could not stop all processes in time");
}

}  // namespace

int Cgroup::process_directory() const noexcept {
    // Any joined hierarchy lists all of them; the freezer's cannot be left by a process of the container that mounts cgroups.
    for (const unsigned wanted : {controller::freezer, controller::pids, ~0U})
        if (const int found = directory(wanted); found >= 0) return found;
    return -1;
}

void Cgroup::attach_self(BornIn born) const {
    for (const auto& directory : directories_) {
        if (directory.controllers == controller::unified && born == BornIn::unified) continue;
        const char* file = directory.controllers == controller::unified ? "cgroup.procs" : "tasks";
        const int error = detail::try_write_cgroup_file(directory.fd.get(), file, "0");
        if (error == 0) continue;
        errno = error;
        fail_errno("join cgroup {}", path_.text());
    }
}

void Cgroup::attach(pid_t pid, pid_t beside) const {
    const auto text = std::to_string(pid);
    for (const auto& directory : directories_) {
        int error = detail::try_write_cgroup_file(directory.fd.get(), "cgroup.procs", text);
        if ((error == EBUSY || error == EOPNOTSUPP) && beside > 0 && layout() == CgroupLayout::v2) {
            const Fd other = cgroup_of(beside, mounts_.detected_->hierarchies[directory.hierarchy].root.get(), path_.text());
            if (other) error = detail::try_write_cgroup_file(other.get(), "cgroup.procs", text);
        }
        if (error != 0) {
            errno = error;
            fail_errno("move process {} to cgroup {}", pid, path_.text());
        }
    }
}

void Cgroup::freeze() const {
    const int found = directory(controller::freezer);
    if (found < 0) fail(ErrorKind::unavailable, "freeze: this machine's cgroups have no freezer");
    while_doing(fmt::format("freeze cgroup {}", path_.text()), [&] { layout() == CgroupLayout::v2 ? freeze_v2(found) : freeze_v1(found); });
}

void Cgroup::thaw() const {
    const int found = directory(controller::freezer);
    if (found < 0) fail(ErrorKind::unavailable, "thaw: this machine's cgroups have no freezer");
    const bool v2 = layout() == CgroupLayout::v2;
    while_doing(fmt::format("thaw cgroup {}", path_.text()),
                [&] { detail::write_cgroup_file(found, v2 ? "cgroup.freeze" : "freezer.state", v2 ? "0" : "THAWED"); });
}

bool Cgroup::frozen() const {
    const int found = directory(controller::freezer);
    if (found < 0) return false;
    if (layout() == CgroupLayout::v2) return parse_flat_keyed(detail::read_cgroup_file(found, "cgroup.events").value_or(""))["frozen"] == 1;
    return trim(detail::read_cgroup_file(found, "freezer.state").value_or("")) == "FROZEN";
}

std::vector<pid_t> Cgroup::pids() const {
    std::vector<pid_t> result;
    if (const int found = process_directory(); found >= 0) collect_pids(found, result, 0);
    std::ranges::sort(result);
    const auto twice = std::ranges::unique(result);
    result.erase(twice.begin(), twice.end());
    return result;
}

void Cgroup::kill(int signal) const {
    if (signal != SIGKILL) {
        for (const pid_t pid : pids())
            if (::kill(pid, signal) != 0 && errno != ESRCH) fail_errno("kill process {} of cgroup {}", pid, path_.text());
        return;
    }
    if (const int v2 = directory_fd(); v2 >= 0) {
        const int error = detail::try_write_cgroup_file(v2, "cgroup.kill", "1");
        if (error == 0) return;
        if (error != ENOENT && error != EOPNOTSUPP) detail::fail_cgroup_write("cgroup.kill", "1", error);
    }
    // Frozen processes fork no more, so one pass gets all. Where they cannot be frozen, passes go on while there are any.
    bool stopped = false;
    try {
        if (!empty()) {
            freeze();
            stopped = true;
        }
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::unavailable) throw;
    }
    for (int round = 0; round < (stopped ? 1 : 100); ++round) {
        const auto found = pids();
        if (found.empty()) break;
        for (const pid_t pid : found) ::kill(pid, SIGKILL);
    }
    if (directory(controller::freezer) >= 0) thaw();
}

}  // namespace grua::linux
