#include "linux/cgroup.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/detail/bpf_devices.hpp"
#include "linux/detail/device_rules.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <optional>

namespace grua::linux {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(CgroupMounts, ReadsEachLayout) {
    const auto v2 = parse_cgroup_mounts("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    ASSERT_EQ(v2.size(), 1U);
    EXPECT_EQ(v2[0].controllers, controller::unified);
    EXPECT_EQ(v2[0].mount_point, "/sys/fs/cgroup");

    const auto hybrid = parse_cgroup_mounts(
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
        "33 31 0:30 / /sys/fs/cgroup/cpu\\040two rw - cgroup cgroup rw,cpu,cpuacct\n"
        "34 31 0:31 / /a\\134b\\040c rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n"
        "35 31 0:32 / /sys/fs/cgroup/odd rw - cgroup cgroup rw,name=odd\n"
        "36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "garbage\n\n- - -\n37 31 0:33 / - cgroup");
    ASSERT_EQ(hybrid.size(), 3U);
    EXPECT_EQ(hybrid[0].controllers, controller::cpu | controller::cpuacct);
    EXPECT_EQ(hybrid[0].root, "/docker/1");
    EXPECT_EQ(hybrid[1].mount_point, "/a\\b c");
    EXPECT_EQ(hybrid[1].controllers, controller::systemd);
    EXPECT_EQ(hybrid[2].controllers, controller::unified);
}

TEST(CgroupPath, OnlyPlainPaths) {
    EXPECT_EQ(CgroupPath::parse("/grua/abc").text(), "/grua/abc");
    EXPECT_STREQ(CgroupPath::parse("/grua/abc").relative(), "grua/abc");
    for (const char* bad : {"", "/", "grua", "/grua/", "//a", "/a//b", "/a/../b", "/.", "/a/.", "/a\nb"})
        EXPECT_THROW(CgroupPath::parse(bad), Error) << bad;
    EXPECT_THROW(CgroupPath::parse("/" + std::string(256, 'a')), Error);
}

TEST(CgroupResources, SharesBecomeWeights) {
    EXPECT_EQ(weight_from_shares(0), 0U);
    EXPECT_EQ(weight_from_shares(1), 1U);
    EXPECT_EQ(weight_from_shares(2), 1U);
    EXPECT_EQ(weight_from_shares(1024), 100U);
    EXPECT_EQ(weight_from_shares(262144), 10000U);
    EXPECT_EQ(weight_from_shares(~std::uint64_t{0}), 10000U);
    for (std::uint64_t shares = 3; shares < 300000; shares += 97) EXPECT_LE(weight_from_shares(shares - 1), weight_from_shares(shares));
    EXPECT_EQ(io_weight_from_blkio(0), 0U);
    EXPECT_EQ(io_weight_from_blkio(10), 1U);
    EXPECT_EQ(io_weight_from_blkio(1000), 10000U);
}

TEST(CgroupResources, SwapAlone) {
    EXPECT_EQ(swap_alone({}, {}), std::nullopt);
    EXPECT_EQ(swap_alone(-1, {}), -1);
    EXPECT_EQ(swap_alone(100, {}), std::nullopt);
    EXPECT_EQ(swap_alone(100, 100), 0);
    EXPECT_EQ(swap_alone(100, 250), 150);
    EXPECT_EQ(swap_alone(100, -1), -1);
    EXPECT_EQ(swap_alone(-1, 250), 250);
    EXPECT_THROW(swap_alone({}, 250), Error);
    EXPECT_THROW(swap_alone(100, 99), Error);
}

TEST(CgroupStats, ReadsTheFiles) {
    EXPECT_THAT(parse_flat_keyed("a 1\nb x\n\nc 18446744073709551615\n"), ElementsAre(Pair("a", 1), Pair("c", ~std::uint64_t{0})));
    EXPECT_THAT(parse_blkio("8:0 Read 5\n8:16 Total 7\nTotal 12\n"), ElementsAre(IoEntry{8, 0, "Read", 5}, IoEntry{8, 16, "Total", 7}));
    const auto io = parse_io_stat("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n252:1 \nbad\n");
    EXPECT_THAT(io.service_bytes, ElementsAre(IoEntry{8, 0, "read", 1}, IoEntry{8, 0, "write", 2}));
    EXPECT_THAT(io.serviced, ElementsAre(IoEntry{8, 0, "read", 3}, IoEntry{8, 0, "write", 4}));
}

const DeviceRule deny_all{.allow = false, .type = 'a', .access = "rwm"};

TEST(DeviceRules, AWideRuleForgetsWhatWasBefore) {
    const auto list = detail::device_list({{true, 'c', 1, 3, "r"}, deny_all, {true, 'c', 1, 5, "rw"}, {true, 'a', {}, {}, "m"}});
    EXPECT_FALSE(list.allow_by_default);
    ASSERT_EQ(list.entries.size(), 3U);
    EXPECT_EQ(list.entries[0], (detail::DeviceEntry{true, 'c', 1, 5, 6}));
    EXPECT_EQ(list.entries[1], (detail::DeviceEntry{true, 'c', {}, {}, 1}));
    EXPECT_EQ(list.entries[2], (detail::DeviceEntry{true, 'b', {}, {}, 1}));
    EXPECT_THROW(detail::device_list({{true, 'x', 1, 3, "r"}}), Error);
    EXPECT_THROW(detail::device_list({{true, 'c', 1, 3, "rx"}}), Error);
    EXPECT_THROW(detail::device_list({{true, 'c', std::int64_t{1} << 32, 3, "r"}}), Error);
}

TEST(DeviceRules, WritesOfV1) {
    using Writes = std::vector<std::pair<bool, std::string>>;
    const auto writes = [](const std::vector<DeviceRule>& rules) { return detail::device_writes_v1(detail::device_list(rules)); };
    EXPECT_EQ(writes({}), (Writes{{false, "a"}}));
    EXPECT_EQ(writes({{true, 'a', -1, -1, "rwm"}}), (Writes{{true, "a"}}));
    EXPECT_EQ(writes({deny_all, {true, 'c', 136, {}, "rwm"}, {true, 'c', 136, 1, "rw"}, {false, 'c', 10, 229, "rwm"}}),
              (Writes{{false, "a"}, {true, "c 136:* rwm"}}));
    EXPECT_EQ(writes({deny_all, {true, 'c', 1, 3, "rwm"}, {false, 'c', 1, 3, "m"}}),
              (Writes{{false, "a"}, {true, "c 1:3 rwm"}, {false, "c 1:3 m"}}));
    EXPECT_THROW(writes({deny_all, {true, 'c', {}, {}, "rwm"}, {false, 'c', 1, 3, "rwm"}}), Error);
}

/// What the program answers, computed by the meaning of its instructions.
bool run_program(const std::vector<bpf_insn>& program, unsigned access, unsigned type, unsigned major, unsigned minor) {
    std::uint64_t registers[11]{};
    const std::uint32_t context[3]{(access << 16U) | type, major, minor};
    for (std::size_t at = 0; at < program.size(); ++at) {
        const auto& i = program[at];
        auto& to = registers[i.dst_reg];
        const auto value = static_cast<std::uint32_t>(i.imm);
        switch (i.code) {
            case BPF_LDX | BPF_MEM | BPF_W:
                to = context[i.off / 4];
                break;
            case BPF_ALU | BPF_MOV | BPF_X:
                to = static_cast<std::uint32_t>(registers[i.src_reg]);
                break;
            case BPF_ALU | BPF_MOV | BPF_K:
                to = value;
                break;
            case BPF_ALU | BPF_AND | BPF_K:
                to &= value;
                break;
            case BPF_ALU | BPF_RSH | BPF_K:
                to >>= value;
                break;
            case BPF_JMP | BPF_JNE | BPF_K:
                at += to != value ? static_cast<std::size_t>(i.off) : 0;
                break;
            case BPF_JMP | BPF_JEQ | BPF_K:
                at += to == value ? static_cast<std::size_t>(i.off) : 0;
                break;
            case BPF_JMP | BPF_EXIT:
                return registers[0] != 0;
            default:
                ADD_FAILURE() << "instruction " << int{i.code};
                return false;
        }
    }
    ADD_FAILURE() << "fell off the end";
    return false;
}

TEST(DeviceRules, ProgramDecidesByTheLastMatchingRule) {
    std::vector<std::vector<DeviceRule>> cases{{},
                                               {deny_all},
                                               {{true, 'a', {}, {}, "rwm"}, {false, 'b', 8, {}, "w"}},
                                               {deny_all, {true, 'c', {}, {}, "rwm"}, {false, 'c', 1, {}, "w"}, {true, 'c', 1, 3, "w"}},
                                               {deny_all, {true, 'c', 1, 3, "r"}, {true, 'c', 1, {}, "w"}, {true, 'c', {}, {}, "m"}}};
    cases.push_back(default_device_rules());
    for (std::size_t number = 0; number < cases.size(); ++number) {
        const auto list = detail::device_list(cases[number]);
        const auto program = detail::device_program(list);
        for (const unsigned type : {BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR})
            for (const unsigned major : {0U, 1U, 5U, 8U, 136U})
                for (const unsigned minor : {0U, 3U, 8U})
                    for (unsigned access = 1; access <= detail::access_all; ++access) {
                        bool expected = true;
                        for (const unsigned bit : {1U, 2U, 4U}) {
                            bool allowed = list.allow_by_default;
                            for (const auto& entry : list.entries)
                                if ((entry.type == 'b') == (type == BPF_DEVCG_DEV_BLOCK) && entry.major.value_or(major) == major &&
                                    entry.minor.value_or(minor) == minor && (entry.access & bit) != 0)
                                    allowed = entry.allow;
                            if ((access & bit) != 0) expected = expected && allowed;
                        }
                        EXPECT_EQ(run_program(program, access, type, major, minor), expected)
                            << "case " << number << ": " << type << " " << major << ":" << minor << " access " << access;
                    }
    }
}

// ---- With a real kernel, as root. ----

class RealCgroup : public ::testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        try {
            mounts_.emplace(CgroupMounts::detect());
            path_.emplace(CgroupPath::parse(fmt::format("/grua-test-{}/{}", ::getpid(), "one")));
            cgroup_.emplace(Cgroup::create(*mounts_, *path_));
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::unavailable && error.os_error() != EROFS) throw;
            GTEST_SKIP() << error.what();
        }
    }

    void TearDown() override {
        for (const pid_t pid : children_) {
            ::kill(pid, SIGKILL);
            if (cgroup_) try {
                    cgroup_->thaw();
                } catch (const Error&) {
                }
            ::waitpid(pid, nullptr, 0);
        }
        if (cgroup_) cgroup_->remove();
        if (mounts_) {
            try {
                Cgroup::open(*mounts_, CgroupPath::parse(fmt::format("/grua-test-{}", ::getpid()))).remove();
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::not_found) throw;
            }
        }
    }

    /// A child that runs `body` once it is in the cgroup.
    pid_t child(const std::function<int()>& body) {
        int go[2];
        if (::pipe2(go, O_CLOEXEC) != 0) fail_errno("pipe");
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::close(go[1]);
            char byte = 0;
            (void)!::read(go[0], &byte, 1);
            ::_exit(body());
        }
        ::close(go[0]);
        cgroup_->attach(pid);
        ::close(go[1]);
        children_.push_back(pid);
        return pid;
    }
    pid_t sleeper() {
        return child([] { return ::pause(); });
    }
    int exit_of(pid_t pid) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        std::erase(children_, pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    bool has(unsigned wanted) const { return (mounts_->controllers() & wanted) != 0; }
    std::string file(const char* v1_controller, const char* v1, const char* v2) const {
        const auto path = mounts_->layout() == CgroupLayout::v2 ? "/sys/fs/cgroup" + path_->text() + "/" + v2
                                                                : "/sys/fs/cgroup/" + std::string{v1_controller} + path_->text() + "/" + v1;
        return std::string{trim(read_file(path))};
    }

    std::optional<CgroupMounts> mounts_;
    std::optional<CgroupPath> path_;
    std::optional<Cgroup> cgroup_;
    std::vector<pid_t> children_;
};

TEST_F(RealCgroup, ListsStopsAndEndsProcesses) {
    EXPECT_TRUE(cgroup_->empty());
    const pid_t pid = sleeper();
    EXPECT_THAT(cgroup_->pids(), ElementsAre(pid));
    EXPECT_THAT(Cgroup::open(*mounts_, *path_).pids(), ElementsAre(pid));
    cgroup_->freeze();
    EXPECT_TRUE(cgroup_->frozen());
    cgroup_->thaw();
    EXPECT_FALSE(cgroup_->frozen());
    cgroup_->freeze();
    cgroup_->kill();
    EXPECT_EQ(exit_of(pid), 128 + SIGKILL);
    const pid_t other = sleeper();
    cgroup_->kill(SIGTERM);
    EXPECT_EQ(exit_of(other), 128 + SIGTERM);
    cgroup_->kill();
    EXPECT_TRUE(cgroup_->empty());
}

TEST_F(RealCgroup, KillsAllThatFork) {
    child([] {
        for (;;)
            if (::fork() == 0 && ::fork() > 0) ::_exit(0);
        return 0;
    });
    Resources limits;
    if (has(controller::pids)) limits.pids_limit = 30;
    cgroup_->apply(limits);
    const auto have_forked = [&] { return cgroup_->pids().size() > 2; };
    for (int i = 0; i < 1000 && !have_forked(); ++i) ::usleep(1'000);
    EXPECT_TRUE(have_forked());
    cgroup_->kill();
    for (int i = 0; i < 100 && !cgroup_->empty(); ++i) {
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        ::usleep(10'000);
    }
    EXPECT_TRUE(cgroup_->empty());
    children_.clear();
}

TEST_F(RealCgroup, RemovesWhatTheContainerMade) {
    const auto below = CgroupPath::parse(path_->text() + "/system/unit");
    {
        auto inner = Cgroup::create(*mounts_, below);
    }
    cgroup_->remove();
    EXPECT_THROW(Cgroup::open(*mounts_, *path_), Error);
    cgroup_->remove();
    cgroup_.emplace(Cgroup::create(*mounts_, *path_));
}

TEST_F(RealCgroup, RefusesToRemoveWithProcesses) {
    const pid_t pid = sleeper();
    auto same = Cgroup::open(*mounts_, *path_);
    try {
        same.remove();
        FAIL() << "removed";
    } catch (const Error& error) {
        EXPECT_EQ(error.os_error(), EBUSY);
    }
    ::kill(pid, SIGKILL);
    exit_of(pid);
}

TEST_F(RealCgroup, MemoryRisesAndFalls) {
    if (!has(controller::memory)) GTEST_SKIP() << "no memory controller";
    constexpr std::int64_t mib = 1 << 20;
    const auto set = [&](std::int64_t limit, std::int64_t both) {
        Resources resources;
        resources.memory.limit = limit;
        resources.memory.swap = both;
        cgroup_->apply(resources);
        return cgroup_->stats().memory.limit;
    };
    EXPECT_EQ(set(64 * mib, 128 * mib), 64 * mib);
    EXPECT_EQ(set(256 * mib, 256 * mib), 256 * mib);
    EXPECT_EQ(set(32 * mib, 64 * mib), 32 * mib);
    EXPECT_EQ(set(32 * mib, -1), 32 * mib);
    EXPECT_EQ(set(-1, 0), std::nullopt);
    Resources reservation;
    reservation.memory.reservation = 8 * mib;
    cgroup_->apply(reservation);
    EXPECT_EQ(file("memory", "memory.soft_limit_in_bytes", "memory.low"), std::to_string(8 * mib));
}

TEST_F(RealCgroup, CountsAnOomKill) {
    if (!has(controller::memory)) GTEST_SKIP() << "no memory controller";
    Resources resources;
    resources.memory.limit = 16 << 20;
    resources.memory.swap = 16 << 20;
    cgroup_->apply(resources);
    const Fd watch = cgroup_->watch_memory_events();
    ASSERT_TRUE(watch);
    EXPECT_EQ(cgroup_->oom_kills(), 0U);
    const pid_t pid = child([] {
        constexpr std::size_t size = 64 << 20;
        void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (std::size_t i = 0; i < size; i += 4096) static_cast<volatile char*>(memory)[i] = 1;
        return 0;
    });
    EXPECT_EQ(exit_of(pid), 128 + SIGKILL);
    pollfd event{.fd = watch.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&event, 1, 5000), 1);
    EXPECT_EQ(cgroup_->oom_kills(), 1U);
    EXPECT_GT(cgroup_->stats().memory.max_usage + cgroup_->stats().memory.failures, 0U);
}

TEST_F(RealCgroup, ProcessorLimits) {
    if (!has(controller::cpu)) GTEST_SKIP() << "no cpu controller";
    Resources resources;
    resources.cpu.shares = 512;
    resources.cpu.quota = 50'000;
    resources.cpu.period = 100'000;
    cgroup_->apply(resources);
    const bool v2 = mounts_->layout() == CgroupLayout::v2;
    EXPECT_EQ(file("cpu", "cpu.shares", "cpu.weight"), v2 ? std::to_string(weight_from_shares(512)) : "512");
    EXPECT_EQ(file("cpu", "cpu.cfs_quota_us", "cpu.max"), v2 ? "50000 100000" : "50000");
    Resources period;
    period.cpu.period = 20'000;
    cgroup_->apply(period);
    EXPECT_EQ(file("cpu", "cpu.cfs_period_us", "cpu.max"), v2 ? "50000 20000" : "20000");
    Resources none;
    none.cpu.quota = -1;
    cgroup_->apply(none);
    EXPECT_EQ(file("cpu", "cpu.cfs_quota_us", "cpu.max"), v2 ? "max 20000" : "-1");

    const pid_t pid = child([] {
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds{30};
        while (std::chrono::steady_clock::now() < end) {
        }
        return 0;
    });
    EXPECT_EQ(exit_of(pid), 0);
    EXPECT_GT(cgroup_->stats().cpu.usage_ns, 1'000'000U);
}

TEST_F(RealCgroup, ACpusetIsJoinedWhenItIsAskedFor) {
    if (!has(controller::cpuset)) GTEST_SKIP() << "no cpuset controller";
    const pid_t pid = sleeper();
    Resources resources;
    resources.cpu.cpus = "0";
    cgroup_->apply(resources);
    EXPECT_EQ(file("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    EXPECT_EQ(file("cpuset", "cgroup.procs", "cgroup.procs"), std::to_string(pid));
}

TEST_F(RealCgroup, PidsLimitHolds) {
    if (!has(controller::pids)) GTEST_SKIP() << "no pids controller";
    Resources resources;
    resources.pids_limit = 1;
    cgroup_->apply(resources);
    EXPECT_EQ(cgroup_->stats().pids.limit, 1U);
    const pid_t pid = child([] { return ::fork() < 0 ? errno : 0; });
    EXPECT_EQ(exit_of(pid), EAGAIN);
    resources.pids_limit = -1;
    cgroup_->apply(resources);
    EXPECT_EQ(cgroup_->stats().pids.limit, std::nullopt);
}

TEST_F(RealCgroup, DeviceRulesHold) {
    const auto try_open = [&](const char* path, int flags) {
        return exit_of(child([=] { return ::open(path, flags | O_CLOEXEC) < 0 ? errno : 0; }));
    };
    EXPECT_EQ(try_open("/dev/zero", O_RDWR), 0);
    Resources resources;
    resources.devices = {deny_all, {true, 'c', 1, 5, "r"}};
    cgroup_->apply(resources);
    EXPECT_EQ(try_open("/dev/zero", O_RDONLY), 0);
    EXPECT_EQ(try_open("/dev/zero", O_RDWR), EPERM);
    EXPECT_EQ(try_open("/dev/null", O_RDONLY), EPERM);
    resources.devices = {deny_all};
    resources.devices->insert(resources.devices->end(), default_device_rules().begin(), default_device_rules().end());
    cgroup_->apply(resources);
    EXPECT_EQ(try_open("/dev/null", O_RDWR), 0);
    EXPECT_EQ(try_open("/dev/kmsg", O_RDONLY), EPERM);
    resources.devices = {{true, 'a', {}, {}, "rwm"}};
    cgroup_->apply(resources);
    EXPECT_EQ(try_open("/dev/zero", O_RDWR), 0);
    EXPECT_EQ(try_open("/dev/kmsg", O_RDONLY), 0);
}

TEST_F(RealCgroup, UnifiedFilesNeedV2) {
    Resources resources;
    resources.unified = {{"pids.max", "7"}};
    if (mounts_->layout() != CgroupLayout::v2) {
        EXPECT_THROW(cgroup_->apply(resources), Error);
        return;
    }
    cgroup_->apply(resources);
    EXPECT_EQ(cgroup_->stats().pids.limit, 7U);
    resources.unified = {{"../pids.max", "7"}};
    EXPECT_THROW(cgroup_->apply(resources), Error);
}

TEST_F(RealCgroup, AChildIsBornInIt) {
    if (cgroup_->directory_fd() < 0) GTEST_SKIP() << "needs cgroup v2";
    clone_args arguments{};
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = SIGCHLD;
    arguments.cgroup = static_cast<std::uint64_t>(cgroup_->directory_fd());
    const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
    if (pid == 0) ::_exit(::pause());
    ASSERT_GT(pid, 0);
    children_.push_back(pid);
    EXPECT_THAT(cgroup_->pids(), ElementsAre(pid));
}

TEST_F(RealCgroup, ExecGoesBesideTheInitOfADelegatedCgroup) {
    if (mounts_->layout() != CgroupLayout::v2 || !has(controller::pids)) GTEST_SKIP() << "needs cgroup v2 with controllers";
    auto inner = Cgroup::create(*mounts_, CgroupPath::parse(path_->text() + "/init.scope"));
    const pid_t init = ::fork();
    if (init == 0) ::_exit(::pause());
    children_.push_back(init);
    inner.attach(init);
    write_value("/sys/fs/cgroup" + path_->text() + "/cgroup.subtree_control", "+pids");
    const pid_t exec = ::fork();
    if (exec == 0) ::_exit(::pause());
    children_.push_back(exec);
    EXPECT_THROW(cgroup_->attach(exec), Error);
    cgroup_->attach(exec, init);
    EXPECT_THAT(inner.pids(), ::testing::UnorderedElementsAre(init, exec));
    cgroup_->kill();
    EXPECT_EQ(exit_of(exec), 128 + SIGKILL);
}

/// "8:0" of any disk.
std::optional<std::pair<std::int64_t, std::int64_t>> any_disk() {
    if (!std::filesystem::exists("/sys/block")) return std::nullopt;
    for (const auto& entry : std::filesystem::directory_iterator{"/sys/block"}) {
        const auto numbers = split(trim(read_file(entry.path() / "dev")), ':');
        if (numbers.size() == 2) return std::pair{*parse_int(numbers[0]), *parse_int(numbers[1])};
    }
    return std::nullopt;
}

TEST_F(RealCgroup, DisksAreThrottled) {
    const auto disk = any_disk();
    if (!has(controller::io) || !disk) GTEST_SKIP() << "no io controller or no disk";
    const auto [major, minor] = *disk;
    Resources resources;
    resources.block_io.throttle_read_bps = {{major, minor, 1 << 20}};
    resources.block_io.throttle_write_iops = {{major, minor, 100}};
    cgroup_->apply(resources);
    const auto device = fmt::format("{}:{} ", major, minor);
    EXPECT_THAT(file("blkio", "blkio.throttle.read_bps_device", "io.max"), ::testing::StartsWith(device));
    EXPECT_THAT(file("blkio", "blkio.throttle.write_iops_device", "io.max"), ::testing::HasSubstr("100"));
    resources.block_io.throttle_read_bps.front().rate = 0;
    resources.block_io.throttle_write_iops.front().rate = 0;
    cgroup_->apply(resources);
    EXPECT_EQ(file("blkio", "blkio.throttle.read_bps_device", "io.max"), "");
}

TEST_F(RealCgroup, ControllersReachTheChildrenOfANamespaceRoot) {
    // As the engine finds it inside a container: it is itself a process of the root that it sees.
    if (mounts_->layout() != CgroupLayout::v2 || !has(controller::pids)) GTEST_SKIP() << "needs cgroup v2 with controllers";
    const pid_t engine = child([] {
        if (::unshare(CLONE_NEWCGROUP | CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::umount2("/sys/fs/cgroup", MNT_DETACH) != 0 || ::mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, nullptr) != 0)
            return 1;
        try {
            auto inner = Cgroup::create(CgroupMounts::detect(), CgroupPath::parse("/grua/x"));
            Resources resources;
            resources.pids_limit = 5;
            inner.apply(resources);
            return inner.stats().pids.limit == 5 ? 0 : 2;
        } catch (const Error& error) {
            ::perror(error.what());
            return 3;
        }
    });
    EXPECT_EQ(exit_of(engine), 0);
}

}  // namespace
}  // namespace grua::linux
