#include "runtime/container.hpp"

#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "linux/process.hpp"
#include "linux/sysctls.hpp"
#include "runtime/birth.hpp"
#include "runtime/convert.hpp"
#include "runtime/hooks.hpp"
#include "runtime/make_plan.hpp"
#include "runtime/net_devices.hpp"
#include "runtime/plan.hpp"
#include "runtime/rlimits.hpp"
#include "runtime/sysctl.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <array>
#include <cstring>

namespace grua::runtime {
namespace {

// ---- The child's steps, in the one order that is safe ----

void become_root_inside() {
    if (::syscall(SYS_setresgid, 0, 0, 0) != 0 || ::syscall(SYS_setresuid, 0, 0, 0) != 0) fail_errno("become root of the user namespace");
}

void begin(const Plan& plan, Progress& progress) {
    if (plan.joins) plan.joins->attach_self(linux::Cgroup::BornIn::unified);
    leave_callers_session();
    if ((plan.own_namespaces & CLONE_NEWUSER) != 0) {
        progress.channel->expect(Word::maps_written);
        become_root_inside();
    }
    // Nobody who can see this process may look into its memory or at its descriptors until it is another program.
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
}

/// The namespaces of its own are made inside of a user namespace that it joins, so that they belong to that one.
void join_user_namespace(const Plan& plan, Progress& progress) {
    if (!plan.user_namespace) return;
    progress.need_cgroup();  // What is done to this process is not done again to the next.
    if (::setns(plan.user_namespace.get(), CLONE_NEWUSER) != 0) fail_errno("join the user namespace");
    become_root_inside();
    const std::uint64_t own = plan.own_namespaces & ~std::uint64_t{CLONE_NEWCGROUP | CLONE_NEWTIME};
    if (::unshare(static_cast<int>(own)) != 0) fail_errno("make namespaces");
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) fail_errno("dumpable");
    if ((own & CLONE_NEWPID) == 0) return;
    const unsigned long flags = CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD;
    const long pid = ::syscall(SYS_clone, flags, nullptr, plan.outcome.program(), nullptr, nullptr);
    if (pid < 0) fail_errno("fork into the PID namespace");
    if (pid > 0) ::_exit(0);
    leave_callers_session();
}

void join_namespaces(const Plan& plan, Progress& progress) {
    const bool joined_before = plan.in_user_namespace && !plan.user_namespace;
    for (const auto& each : plan.joined) {
        if (!joined_before && ::setns(each.fd.get(), static_cast<int>(each.flag)) != 0) fail_errno("join a namespace");
    }
    join_user_namespace(plan, progress);
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
    const bool has_hooks = plan.spec->hooks && !(plan.spec->hooks->prestart.empty() && plan.spec->hooks->create_runtime.empty());
    if (has_hooks || !plan.linux->net_devices.empty()) {
        progress.channel->send(Word::mounted);
        progress.need_cgroup();
        progress.channel->expect(Word::hooks_done);
    }
    if (!plan.spec->hooks || plan.spec->hooks->create_container.empty()) return;
    run_hooks(plan.spec->hooks->create_container, state_json(plan.id, "created", ::getpid(), plan.bundle, *plan.spec), "createContainer");
}

void make_cwd(const Plan& plan, Progress&) {
    try {
        (void)Root::open("/").make_directories(plan.process->cwd);
    } catch (const Error&) {
        // A read-only root, or something that is no folder: entering it says so, in Docker's words.
    }
}

void wait_for_cgroup(const Plan&, Progress& progress) { progress.need_cgroup(); }

constexpr std::array steps{
    Step{"begin", begin},
    Step{"namespaces", join_namespaces},
    Step{"loopback", raise_loopback},
    Step{"", make_mounts},
    Step{"rootfs", attach_rootfs},
    Step{"hostname", set_names},
    Step{"", attach_mounts},
    Step{"cgroup", enter_cgroup_namespace},
    Step{"devices", make_devices},
    Step{"sysctl", set_sysctls},
    Step{"terminal", open_terminal},
    Step{"", runtime_hooks},
    Step{"protected paths", protect_paths},
    Step{"mounts", finish_mounts},
    Step{"root", enter_root},
    Step{"working directory", make_cwd},
    Step{"standard streams", use_stdio},
    Step{"cgroup", wait_for_cgroup},
};

// ---- The parent's side ----

std::string id_map(const std::vector<oci::IdMapping>& mappings) {
    std::string text;
    for (const auto& each : mappings) text += fmt::format("{} {} {}\n", each.container_id, each.host_id, each.size);
    return text;
}

std::string fifo_path(const std::string& directory) { return directory + "/exec.fifo"; }

void open_fifo(Plan& plan, const std::string& directory) {
    const std::string fifo = fifo_path(directory);
    if (::mkfifo(fifo.c_str(), 0600) != 0) fail_errno("create {}", fifo);
    plan.start_fifo = Fd{::open(fifo.c_str(), O_RDWR | O_CLOEXEC)};
    if (!plan.start_fifo) fail_errno("open {}", fifo);
}

/// Removes the cgroup unless the start came to its end.
class UndoCgroup {
public:
    explicit UndoCgroup(linux::Cgroup& cgroup) : cgroup_(&cgroup) {}
    UndoCgroup(const UndoCgroup&) = delete;
    UndoCgroup& operator=(const UndoCgroup&) = delete;
    ~UndoCgroup() {
        if (!cgroup_) return;
        try {
            cgroup_->remove();
        } catch (const Error&) {
            // The failure of the start is what the caller needs; the sweep at the next start finds an empty cgroup.
        }
    }
    void done() { cgroup_ = nullptr; }

private:
    linux::Cgroup* cgroup_;
};

linux::Cloned clone_child(Plan& plan, Channel& ours, Channel& theirs, int cgroup) {
    const ForChildren around{plan};
    std::uint64_t later = CLONE_NEWCGROUP | CLONE_NEWTIME;
    if (plan.empty_mounts >= 0) later |= CLONE_NEWNS;
    if (plan.user_namespace) later = ~std::uint64_t{0};
    linux::Cloned cloned = linux::clone_process(plan.own_namespaces & ~later, cgroup);
    if (cloned.pid == 0) {
        ours.close();
        run_child(plan, theirs, steps.data(), steps.size());
    }
    return cloned;
}

void set_up(const Plan& plan, const Channel& channel, const linux::Cgroup& cgroup, pid_t pid, bool is_in_cgroup) {
    if ((plan.own_namespaces & CLONE_NEWUSER) != 0) {
        write_value(fmt::format("/proc/{}/uid_map", pid), id_map(plan.linux->uid_mappings));
        write_value(fmt::format("/proc/{}/gid_map", pid), id_map(plan.linux->gid_mappings));
        channel.send(Word::maps_written);
    }
    if (!is_in_cgroup) cgroup.attach(pid);
    if (plan.process->oom_score_adj)
        write_value(fmt::format("/proc/{}/oom_score_adj", pid), fmt::format("{}", *plan.process->oom_score_adj));
    set_rlimits(pid, plan.process->rlimits);
    channel.send(Word::cgroup_ready);
}

void talk(const Plan& plan, const Channel& channel, Born& born, Started& started) {
    const bool becomes_another_early = plan.user_namespace && (plan.own_namespaces & CLONE_NEWPID) != 0;
    auto came = Born::Came::to_its_end;
    while (auto message = channel.receive()) {
        if (becomes_another_early) born.adopt();
        if (message->word == Word::terminal && plan.process->terminal) started.terminal = std::move(message->fd);
        if (message->word == Word::ready) {
            came = Born::Came::to_wait;
            break;
        }
        if (message->word == Word::mounted) {
            move_net_devices(plan.linux->net_devices, born.pid());
            if (plan.spec->hooks) {
                const std::string now = state_json(plan.id, "created", born.pid(), plan.bundle, *plan.spec);
                run_hooks(plan.spec->hooks->prestart, now, "prestart");
                run_hooks(plan.spec->hooks->create_runtime, now, "createRuntime");
            }
            channel.send(Word::hooks_done);
        }
    }
    if (becomes_another_early) born.adopt();
    born.conclude(came);
}

linux::CgroupPath cgroup_path(const Plan& plan, const CreateRequest& request) {
    const std::string path = !plan.linux->cgroups_path.empty() ? plan.linux->cgroups_path
                             : !request.cgroup_path.empty()    ? request.cgroup_path
                                                               : "/grua/" + request.id;
    return linux::CgroupPath::parse(path.starts_with('/') ? path : "/" + path);
}

linux::Cgroup make_cgroup(const linux::CgroupMounts& mounts, const linux::CgroupPath& path, const Plan& plan, CgroupUse use) {
    const auto is_refusal = [](const Error& error) {
        return error.os_error() == EACCES || error.os_error() == EPERM || error.os_error() == EROFS;
    };
    try {
        begin_step("runtime:cgroup");
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
    plan.id = request.id;
    plan.bundle = request.bundle;
    plan.stdio = request.stdio;
    plan.preserved_fds = request.preserved_fds;
    plan.plain_newlines = request.plain_newlines;
    plan.pivot = request.pivot;
    plan.runs_hooks = spec.hooks.has_value();
    refuse_unsupported(*plan.process, *plan.linux);
    plan.apparmor_profile = planned_profile(*plan.process);
    plan_namespaces(plan, request);
    plan_mounts(plan, request);
    plan.capabilities = planned_capabilities(*plan.process);
    linux::SeccompCache filters{request.seccomp_cache};
    if (plan.linux->seccomp) plan.seccomp = &filters.get(seccomp_profile(*plan.linux->seccomp));
    if (plan.pid_namespace && std::ranges::any_of(plan.mounts, [](const auto& each) { return each.mount->type == "proc"; }))
        plan.proc = proc_of(plan);
    const linux::CgroupMounts mounts =
        request.cgroup_use == CgroupUse::needed_with_unified ? linux::CgroupMounts::detect_with_unified() : linux::CgroupMounts::detect();
    const linux::CgroupPath path = cgroup_path(plan, request);
    plan.has_cgroup_v2 = mounts.layout() == linux::CgroupLayout::v2;
    // What may be refused is, before there is a cgroup to be removed again.
    const linux::Resources resources = plan.linux->resources ? resources_of(*plan.linux->resources) : linux::Resources{};

    Started started{.cgroup = make_cgroup(mounts, path, plan, request.cgroup_use)};
    UndoCgroup undo_cgroup{started.cgroup};
    auto [ours, theirs] = Channel::make();
    try {
        if (request.start == StartMode::on_start) open_fifo(plan, request.directory);
        begin_step("runtime:limits");
        if (!started.cgroup.folders().empty()) started.cgroup.apply(resources);
        plan.cgroup = &started.cgroup;
        if (plan.empty_mounts < 0) copy_cgroups(plan, started.cgroup);
        const bool born_in_it = started.cgroup.directory_fd() >= 0;
        // In a user namespace of its own it may not.
        if (!born_in_it && !plan.in_user_namespace) plan.joins = &started.cgroup;
        begin_step("runtime:clone");
        Born born{plan, clone_child(plan, ours, theirs, born_in_it ? started.cgroup.directory_fd() : started.cgroup.unified_fd())};
        theirs.close();
        try {
            begin_step("runtime:set-up");
            set_up(plan, ours, started.cgroup, born.pid(), born_in_it || plan.joins);
            talk(plan, ours, born, started);
        } catch (const Error&) {
            // Where telling the child failed, the child has failed before: its own words are the reason.
            if (auto error = plan.outcome.failure()) throw std::move(*error);
            throw;
        }
        begin_step("runtime:born");
        started.pid = born.pid();
        started.pidfd = born.release();
    } catch (...) {
        if (request.start == StartMode::on_start) ::unlink(fifo_path(request.directory).c_str());
        throw;
    }
    undo_cgroup.done();
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
    // By what it is, not by its words: a path may have any name.
    switch (error.os_error()) {
        case ENOENT:
        case ENOTDIR:
            return 127;
        case EACCES:
        case EISDIR:
            return 126;
        default:
            return error.kind() == ErrorKind::not_found ? 127 : 125;
    }
}

}  // namespace grua::runtime
