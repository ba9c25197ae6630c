#include "runtime/container.hpp"

#include "base/files.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "linux/mounts.hpp"
#include "linux/process.hpp"
#include "linux/sysctls.hpp"
#include "runtime/convert.hpp"
#include "runtime/plan.hpp"
#include "runtime/rlimits.hpp"
#include "runtime/sysctl.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

namespace grua::runtime {
namespace {

// ---- The child's steps, in the one order that is safe ----

void begin(const Plan& plan, Progress& progress) {
    if (plan.joins) plan.joins->attach_self(linux::Cgroup::BornIn::unified);
    leave_callers_session();
    // Nobody who can see this process may look into its memory or at its descriptors until it is another program.
    if (plan.in_user_namespace) {
        progress.channel->expect(Word::maps_written);
        if (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0)
            fail_errno("become root of the user namespace");
    }
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
}

void join_namespaces(const Plan& plan, Progress&) {
    for (const auto& each : plan.joined) {
        if (each.flag != CLONE_NEWPID && !plan.in_user_namespace && ::setns(each.fd.get(), static_cast<int>(each.flag)) != 0)
            fail_errno("join a namespace");
    }
}

/// A new network namespace has a loopback interface that is down; every program expects it up.
void raise_loopback(const Plan& plan, Progress&) {
    if ((plan.own_namespaces & CLONE_NEWNET) == 0) return;
    const Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    if (!socket || ::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) fail_errno("bring lo up");
}

void enter_cgroup_namespace(const Plan& plan, Progress& progress) {
    if ((plan.own_namespaces & CLONE_NEWCGROUP) == 0) return;
    progress.need_cgroup();
    if (::unshare(CLONE_NEWCGROUP) != 0) fail_errno("cgroup namespace");
}

void set_names(const Plan& plan, Progress&) {
    const auto& spec = *plan.spec;
    if (!spec.hostname.empty() && ::sethostname(spec.hostname.data(), spec.hostname.size()) != 0) fail_errno("hostname {}", spec.hostname);
    if (!spec.domainname.empty() && ::setdomainname(spec.domainname.data(), spec.domainname.size()) != 0)
        fail_errno("domainname {}", spec.domainname);
}

void set_sysctls(const Plan& plan, Progress& progress) {
    if (plan.linux->sysctl.empty()) return;
    if (is_left_out("CVE-2025-52881")) {
        for (const auto& [name, value] : plan.linux->sysctl)
            write_value(fmt::format("/proc/self/fd/{}/proc/sys/{}", progress.root->fd(), sysctl_path(name)), value);
        return;
    }
    const linux::Sysctls kernel = progress.proc ? linux::Sysctls(std::move(progress.proc)) : linux::Sysctls();
    for (const auto& [name, value] : plan.linux->sysctl) kernel.write(sysctl_path(name), value);
}

void runtime_hooks(const Plan& plan, Progress& progress) {
    if (!plan.spec->hooks) return;
    const oci::Hooks& hooks = *plan.spec->hooks;
    if (!hooks.prestart.empty() || !hooks.create_runtime.empty()) {
        progress.channel->send(Word::mounted);
        progress.need_cgroup();
        progress.channel->expect(Word::hooks_done);
    }
    run_hooks(hooks.create_container, plan.state, "createContainer");
}

void make_cwd(const Plan& plan, Progress&) {
    try {
        (void)Root::open("/").make_directories(plan.process->cwd);
    } catch (const Error&) {
        // A read-only root, or something that is no folder: entering it says so, in Docker's words.
    }
}

void container_hooks(const Plan& plan, Progress& progress) {
    progress.need_cgroup();
    if (plan.spec->hooks) run_hooks(plan.spec->hooks->start_container, plan.state, "startContainer");
}

constexpr std::array steps{
    Step{"begin", begin},
    Step{"namespaces", join_namespaces},
    Step{"loopback", raise_loopback},
    Step{"rootfs", attach_rootfs},
    Step{"hostname", set_names},
    Step{"cgroup", enter_cgroup_namespace},
    Step{"", mount_all},
    Step{"devices", make_devices},
    Step{"sysctl", set_sysctls},
    Step{"terminal", open_terminal},
    Step{"protected paths", protect_paths},
    Step{"hooks", runtime_hooks},
    Step{"root", enter_root},
    Step{"working directory", make_cwd},
    Step{"standard streams", use_stdio},
    Step{"hooks", container_hooks},
    Step{"", become_user},
};

// ---- The parent's side ----

std::string absolute(const std::string& path, const std::string& bundle) { return path.starts_with('/') ? path : bundle + "/" + path; }

std::string id_map(const std::vector<oci::IdMapping>& mappings) {
    std::string text;
    for (const auto& each : mappings) text += fmt::format("{} {} {}\n", each.container_id, each.host_id, each.size);
    return text;
}

void plan_namespaces(Plan& plan, CreateRequest& request) {
    for (const oci::Namespace& each : plan.linux->namespaces) {
        const std::uint64_t flag = linux::namespace_flag(each.type).value_or(0);
        if (flag == CLONE_NEWNET && request.network_namespace) continue;
        if (each.path.empty()) {
            plan.own_namespaces |= flag;
            continue;
        }
        if (flag == CLONE_NEWUSER || flag == CLONE_NEWNS || flag == CLONE_NEWTIME)
            fail(ErrorKind::not_implemented, "not implemented: joining a {} namespace by path", each.type);
        Fd fd{::open(each.path.c_str(), O_RDONLY | O_CLOEXEC)};
        if (!fd) fail_errno("open namespace {}", each.path);
        plan.joined.push_back({flag, std::move(fd)});
    }
    if (request.network_namespace) plan.joined.push_back({CLONE_NEWNET, std::move(request.network_namespace)});
    if ((plan.own_namespaces & CLONE_NEWNS) == 0) fail(ErrorKind::invalid_argument, "linux.namespaces: a mount namespace is needed");
    plan.in_user_namespace = (plan.own_namespaces & CLONE_NEWUSER) != 0;
    if (plan.in_user_namespace && (plan.linux->uid_mappings.empty() || plan.linux->gid_mappings.empty()))
        fail(ErrorKind::invalid_argument, "user namespaces enabled, but no uid or gid mappings found");
    if (!plan.spec->hostname.empty() && (plan.own_namespaces & CLONE_NEWUTS) == 0 &&
        std::ranges::none_of(plan.joined, [](const auto& each) { return each.flag == CLONE_NEWUTS; }))
        fail(ErrorKind::invalid_argument, "unable to set hostname without a private UTS namespace");
    std::uint64_t separate = plan.own_namespaces;
    for (const auto& each : plan.joined) {
        // A path may well be the creator's own namespace: compared by inode.
        struct stat joined{};
        struct stat own{};
        const char* self = each.flag == CLONE_NEWNET   ? "/proc/self/ns/net"
                           : each.flag == CLONE_NEWIPC ? "/proc/self/ns/ipc"
                                                       : "/proc/self/ns/uts";
        if (::fstat(each.fd.get(), &joined) == 0 && ::stat(self, &own) == 0 && joined.st_ino != own.st_ino) separate |= each.flag;
    }
    check_sysctls(plan.linux->sysctl, separate);
}

void plan_mounts(Plan& plan, CreateRequest& request) {
    plan.rootfs = std::move(request.rootfs);
    if (!plan.spec->root && !plan.rootfs) fail(ErrorKind::invalid_argument, "root: is missing");
    plan.rootfs_name = plan.spec->root ? absolute(plan.spec->root->path, request.bundle) : "the given root";
    if (!plan.rootfs) {
        plan.rootfs =
            while_doing("rootfs", [&] { return linux::copy_mount(AT_FDCWD, plan.rootfs_name.c_str(), linux::Recursion::recursive); });
    }
    for (const oci::Mount& mount : plan.spec->mounts) {
        PlannedMount planned{&mount, parse_mount_options(mount.options), {}};
        if (mount.type == "bind") planned.options.bind = true;
        if (planned.options.id_mapped || !mount.uid_mappings.empty()) fail(ErrorKind::not_implemented, "not implemented: ID-mapped mounts");
        if (planned.options.bind && !planned.options.remount) {
            const std::string source = absolute(mount.source, request.bundle);
            planned.source = while_doing(fmt::format("error mounting {:?} to rootfs at {:?}", mount.source, mount.destination), [&] {
                return linux::copy_mount(AT_FDCWD, source.c_str(),
                                         planned.options.recursive_bind ? linux::Recursion::recursive : linux::Recursion::top_only);
            });
        }
        plan.mounts.push_back(std::move(planned));
    }
}

std::string fifo_path(const std::string& directory) { return directory + "/exec.fifo"; }

/// Namespaces that only take effect on children: entered around the clone and left again.
class ForChildren {
public:
    explicit ForChildren(const Plan& plan) {
        for (const auto& each : plan.joined) {
            // Into a user namespace of its own the child cannot take rights over ours, so those are joined before it too.
            if (each.flag == CLONE_NEWPID || plan.in_user_namespace) enter(each.flag, each.fd.get());
        }
        if ((plan.own_namespaces & CLONE_NEWTIME) != 0) {
            remember(CLONE_NEWTIME);
            if (::unshare(CLONE_NEWTIME) != 0) fail_errno("time namespace");
            for (const auto& [clock, offset] : plan.linux->time_offsets)
                write_value("/proc/self/timens_offsets", fmt::format("{} {} {}\n", clock, offset.secs, offset.nanosecs));
        }
    }
    ForChildren(const ForChildren&) = delete;
    ForChildren& operator=(const ForChildren&) = delete;
    ~ForChildren() {
        for (const auto& each : before_) {
            if (::setns(each.fd.get(), static_cast<int>(each.flag)) != 0)
                std::abort();  // Going on in a container's namespace would be worse.
        }
    }

private:
    void remember(std::uint64_t flag) {
        const char* path = flag == CLONE_NEWPID    ? "/proc/self/ns/pid"
                           : flag == CLONE_NEWNET  ? "/proc/self/ns/net"
                           : flag == CLONE_NEWIPC  ? "/proc/self/ns/ipc"
                           : flag == CLONE_NEWUTS  ? "/proc/self/ns/uts"
                           : flag == CLONE_NEWTIME ? "/proc/self/ns/time"
                                                   : "/proc/self/ns/cgroup";
        Fd fd{::open(path, O_RDONLY | O_CLOEXEC)};
        if (!fd) fail_errno("open {}", path);
        before_.push_back({flag, std::move(fd)});
    }
    void enter(std::uint64_t flag, int fd) {
        remember(flag);
        if (::setns(fd, static_cast<int>(flag)) != 0) fail_errno("join a namespace");
    }
    std::vector<JoinedNamespace> before_;
};

/// Kills and reaps the child and removes its cgroup unless the start came to its end.
class Undo {
public:
    explicit Undo(std::optional<linux::Cgroup>& cgroup) : cgroup_(cgroup) {}
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    ~Undo() {
        if (done_) return;
        if (started_pid_ > 0) {
            ::kill(started_pid_, SIGKILL);  // Ours and not reaped yet, so the pid is it.
            while (::waitpid(started_pid_, nullptr, 0) < 0 && errno == EINTR) {
            }
        }
        try {
            if (cgroup_) cgroup_->remove();
        } catch (const Error&) {
            // The failure of the start is what the caller needs; the sweep at the next start finds an empty cgroup.
        }
    }
    void watch(pid_t pid) { started_pid_ = pid; }
    void done() { done_ = true; }

private:
    std::optional<linux::Cgroup>& cgroup_;
    pid_t started_pid_ = -1;
    bool done_ = false;
};

void talk(const Plan& plan, const Channel& channel, const CreateRequest& request, Started& started) {
    while (auto message = channel.receive()) {
        if (message->word == Word::terminal) started.terminal = std::move(message->fd);
        if (message->word == Word::ready) return;
        if (message->word == Word::mounted) {
            const std::string now = state_json(request.id, "creating", started.pid, request.bundle, *plan.spec);
            run_hooks(plan.spec->hooks->prestart, now, "prestart");
            run_hooks(plan.spec->hooks->create_runtime, now, "createRuntime");
            channel.send(Word::hooks_done);
        }
    }
    // End of file: executed, or ended without a word (killed).
    siginfo_t about{};
    if (::waitid(P_PID, static_cast<id_t>(started.pid), &about, WEXITED | WNOHANG | WNOWAIT) == 0 && about.si_pid == started.pid &&
        about.si_code != CLD_EXITED && request.start == StartMode::on_start)
        fail(ErrorKind::system, "the container's setup was killed by signal {}", about.si_status);
}

linux::Cgroup make_cgroup(const linux::CgroupMounts& mounts, const linux::CgroupPath& path, const Plan& plan, CgroupUse use) {
    const auto is_refusal = [](const Error& error) {
        return error.os_error() == EACCES || error.os_error() == EPERM || error.os_error() == EROFS;
    };
    try {
        linux::Cgroup cgroup = linux::Cgroup::create(mounts, path);
        if (cgroup.is_new()) return cgroup;
        // Another's: its processes would be counted and killed as this container's, and this one's would never run where it is frozen.
        if (cgroup.frozen()) fail(ErrorKind::conflict, "container's cgroup unexpectedly frozen");
        if (const auto pids = cgroup.pids(); !pids.empty())
            fail(ErrorKind::conflict, "container's cgroup is not empty: {} process(es) found", pids.size());
        return cgroup;
    } catch (const Error& error) {
        if (use != CgroupUse::if_permitted || !is_refusal(error)) throw;
    }
    oci::Resources limits = plan.linux->resources.value_or(oci::Resources{});
    limits.devices.clear();  // Of which an ordinary user can make none.
    if (limits != oci::Resources{}) fail(ErrorKind::forbidden, "limits need a cgroup, and this user may not make {}", path.text());
    return linux::Cgroup::none();
}

}  // namespace

Started create(const oci::RuntimeSpec& spec, CreateRequest request) {
    if (!spec.process) fail(ErrorKind::invalid_argument, "process property must not be empty");
    static const oci::Linux no_linux;
    Plan plan;
    plan.spec = &spec;
    plan.process = &*spec.process;
    plan.linux = spec.linux_ ? &*spec.linux_ : &no_linux;
    plan.stdio = request.stdio;
    plan.null = Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!plan.null) fail_errno("open /dev/null");
    plan.preserved_fds = request.preserved_fds;
    plan.pivot = request.pivot;
    refuse_unsupported(*plan.process, *plan.linux);
    plan_namespaces(plan, request);
    // A hook is a program of the host, and a user namespace's proc may only be mounted where another one is seen.
    if (plan.pivot && !plan.in_user_namespace && (!spec.hooks || spec.hooks->create_container.empty()))
        plan.empty_mounts = request.empty_mounts;
    plan_mounts(plan, request);
    plan.capabilities = planned_capabilities(*plan.process);
    linux::SeccompCache filters{request.seccomp_cache};
    if (plan.linux->seccomp) plan.seccomp = &filters.get(seccomp_profile(*plan.linux->seccomp));
    if (spec.hooks) plan.state = state_json(request.id, "created", 0, request.bundle, spec);

    const std::string cgroup_path = !plan.linux->cgroups_path.empty() ? plan.linux->cgroups_path
                                    : !request.cgroup_path.empty()    ? request.cgroup_path
                                                                      : "/grua/" + request.id;
    const linux::CgroupMounts mounts =
        request.cgroup_use == CgroupUse::needed_with_unified ? linux::CgroupMounts::detect_with_unified() : linux::CgroupMounts::detect();
    const auto path = linux::CgroupPath::parse(cgroup_path.starts_with('/') ? cgroup_path : "/" + cgroup_path);
    plan.has_cgroup_v2 = mounts.layout() == linux::CgroupLayout::v2;

    // What may be refused is, before there is a cgroup to be removed again.
    const linux::Resources resources = plan.linux->resources ? resources_of(*plan.linux->resources) : linux::Resources{};
    auto [ours, theirs] = Channel::make();
    Started started{.cgroup = make_cgroup(mounts, path, plan, request.cgroup_use)};
    std::optional<linux::Cgroup> undo_cgroup;
    Undo undo{undo_cgroup};
    try {
        if (request.start == StartMode::on_start) {
            const std::string fifo = fifo_path(request.directory);
            if (::mkfifo(fifo.c_str(), 0600) != 0) fail_errno("create {}", fifo);
            plan.start_fifo = Fd{::open(fifo.c_str(), O_RDWR | O_CLOEXEC)};
            if (!plan.start_fifo) fail_errno("open {}", fifo);
        }
        if (!started.cgroup.folders().empty()) started.cgroup.apply(resources);
        copy_cgroups(plan, started.cgroup);
        const bool born_in_it = started.cgroup.directory_fd() >= 0;
        // In a user namespace of its own it may not.
        if (!born_in_it && !plan.in_user_namespace) plan.joins = &started.cgroup;
        {
            const ForChildren around{plan};
            std::uint64_t later = CLONE_NEWCGROUP | CLONE_NEWTIME;
            if (plan.empty_mounts >= 0) later |= CLONE_NEWNS;
            linux::Cloned cloned = linux::clone_process(plan.own_namespaces & ~later,
                                                        born_in_it ? started.cgroup.directory_fd() : started.cgroup.unified_fd());
            if (cloned.pid == 0) {
                ours.close();
                run_child(plan, theirs, steps.data(), steps.size());
            }
            started.pid = cloned.pid;
            started.pidfd = std::move(cloned.pidfd);
            undo.watch(cloned.pid);
        }
        theirs.close();
        if (plan.in_user_namespace) {
            write_value(fmt::format("/proc/{}/uid_map", started.pid), id_map(plan.linux->uid_mappings));
            write_value(fmt::format("/proc/{}/gid_map", started.pid), id_map(plan.linux->gid_mappings));
            ours.send(Word::maps_written);
        }
        if (!born_in_it && !plan.joins) started.cgroup.attach(started.pid);
        if (plan.process->oom_score_adj)
            write_value(fmt::format("/proc/{}/oom_score_adj", started.pid), fmt::format("{}", *plan.process->oom_score_adj));
        set_rlimits(started.pid, plan.process->rlimits);
        ours.send(Word::cgroup_ready);
        talk(plan, ours, request, started);
    } catch (Error& error) {
        // Where telling the child failed, the child has failed before: its own words are the reason.
        if (error.os_error() == EPIPE || error.os_error() == ESRCH) {
            while (ours.receive()) {
            }
        }
        if (request.start == StartMode::on_start) ::unlink(fifo_path(request.directory).c_str());
        undo_cgroup = std::move(started.cgroup);
        throw;
    }
    undo.done();
    return started;
}

bool waits_for_start(const std::string& directory) { return ::access(fifo_path(directory).c_str(), F_OK) == 0; }

void start(const std::string& directory) {
    const std::string fifo = fifo_path(directory);
    const Fd fd{::open(fifo.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
    if (!fd && (errno == ENXIO || errno == ENOENT)) fail(ErrorKind::conflict, "cannot start a container that has run or stopped");
    if (!fd) fail_errno("open {}", fifo);
    if (::unlink(fifo.c_str()) != 0) fail(ErrorKind::conflict, "the container is being started already");
    write_all(fd.get(), "\n", fifo);
}

int exit_status_for(const Error& error) noexcept {
    const std::string_view text = error.what();
    if (text.contains("executable file not found") || text.contains("no such file or directory")) return 127;
    if (text.contains("permission denied") || text.contains("is a directory")) return 126;
    return 125;
}

}  // namespace grua::runtime
