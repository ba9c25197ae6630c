// Steps of builds as they are: the real launcher, monitor and runtime, in trees that hold one static program. For root only.
#include "base/files.hpp"
#include "engine/lifecycle/step_mark.hpp"
#include "engine/lifecycle/test_ground.hpp"
#include "engine/networking/network_files.hpp"
#include "engine/steps/step_run.hpp"
#include "linux/mounts.hpp"
#include "linux/netlink.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <boost/asio/cancellation_signal.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

constexpr const char* shell = "/bin/busybox";  // Debian's busybox-static, which the other tests need too.

/// The files of the network, and no network.
class FilesOnly final : public Sandboxes {
public:
    network::Sandbox attach(const network::SandboxRequest&) override { fail(ErrorKind::unavailable, "there is no network here"); }
    void release(const std::string&) override {}
    void recover(std::vector<network::Attachment>) override {}
    std::string id_of(const std::string& network) override { return network; }
    std::string driver_of(const std::string&) override { return "bridge"; }
    void write_files(const ContainerRecord& record, const std::string& hostname, const LinkedHosts&) override {
        std::ofstream(record.hosts_path) << "127.0.0.1 localhost " << hostname << "\n";
        std::ofstream(record.resolv_conf_path) << "nameserver 198.51.100.53\n";
    }
};

class RealNetworks final : public Sandboxes {
public:
    RealNetworks(const Options& options, store::Database& database)
        : options_(options), networks_({.bridge = "gruastep", .bip = "10.99.0.1/16"}, database) {}
    network::Sandbox attach(const network::SandboxRequest& request) override { return networks_.attach(request); }
    void release(const std::string& id) override { networks_.release(id); }
    void recover(std::vector<network::Attachment> live) override { networks_.recover(std::move(live)); }
    std::string id_of(const std::string& network) override { return networks_.find_config(network).id; }
    std::string driver_of(const std::string& network) override { return networks_.find_config(network).driver; }
    void write_files(const ContainerRecord& record, const std::string& hostname, const LinkedHosts& linked) override {
        write_network_files(options_, networks_, record, hostname, linked);
    }
    std::size_t attached() const { return networks_.find("bridge").containers.size(); }

private:
    const Options options_;
    network::Networks networks_;
};

class RealStepTest : public testing::Test {
protected:
    void SetUp() override {
        const std::string runtime = fs::read_symlink("/proc/self/exe").parent_path() / "grua-runtime";
        if (::geteuid() != 0 || ::access(runtime.c_str(), X_OK) != 0 || ::access(shell, X_OK) != 0)
            GTEST_SKIP() << "needs root, " << runtime << " and " << shell;
        path_ = fs::temp_directory_path() / ("grua-step-" + random_hex(6));
        for (const char* folder : {"/data/containers", "/exec/containers", "/exec/steps", "/exec/seccomp", "/exec/view"})
            fs::create_directories(path_ + folder);
        options_.data_root = path_ + "/data";
        options_.exec_root = path_ + "/exec";
        options_.cgroup_parent = "/grua-test-" + random_hex(4);
        options_.runtime_path = runtime;
        database_ = std::make_unique<store::Database>(path_ + "/grua.db");
        prepare_networks();
        pool_.emplace(2);
        tasks_ = tasks::make_tasks(loop_.get_executor(), *pool_, timers_, runtime, path_ + "/exec/seccomp");
        begin();
    }

    virtual void prepare_networks() { sandboxes_ = std::make_unique<FilesOnly>(); }

    void begin() {
        ground_.emplace(Ground{*tasks_, roots_, *sandboxes_, volumes_, images_, probes_, clock_, timers_});
        life_ = std::make_shared<Lifecycle>(loop_.get_executor(), *pool_, options_, host_facts(), *database_, *ground_);
        runs_.emplace(*life_);
    }

    void TearDown() override {
        if (path_.empty()) return;
        if (life_) {
            run([&]() -> asio::awaitable<void> {
                EXPECT_EQ(co_await runs_->shutdown(), 0U);
                EXPECT_EQ(co_await life_->shutdown(), 0U);
            });
            runs_.reset();
            life_.reset();
            loop_.restart();
            loop_.poll();
        }
        EXPECT_TRUE(fs::is_empty(path_ + "/exec/steps"));
        EXPECT_TRUE(cgroups().empty()) << cgroups();
        if (tasks_) tasks_->end_cgroup(options_.cgroup_parent);
        tasks_.reset();
        sandboxes_.reset();
        database_.reset();
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }

    /// Of steps, in whatever hierarchies there are.
    std::string cgroups() const {
        std::string out;
        std::error_code none;
        std::vector<fs::path> tops{"/sys/fs/cgroup"};
        for (const auto& each : fs::directory_iterator("/sys/fs/cgroup", none))
            if (each.is_directory(none)) tops.push_back(each.path());
        for (const fs::path& top : tops)
            for (const auto& each : fs::directory_iterator(top.string() + options_.cgroup_parent, none))
                if (each.is_directory(none)) out += each.path().string() + " ";
        return out;
    }

    static void fill(int root) {
        for (const char* folder : {"bin", "proc", "dev", "sys", "etc", "tmp"}) ::mkdirat(root, folder, 0755);
        const auto write = [&](const char* name, std::string_view text, mode_t mode) {
            const Fd file{::openat(root, name, O_WRONLY | O_CREAT | O_CLOEXEC, mode)};
            write_all(file.get(), text, name);
        };
        write("bin/busybox", read_file(shell, std::size_t{16} << 20U), 0755);
        write("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n", 0644);
        write("etc/group", "root:x:0:\nwebs:x:1001:\nstaff:x:50:\nextra:x:60:web\n", 0644);
        write("etc/hosts", "", 0644);
        write("etc/resolv.conf", "", 0644);
    }
    /// In memory, detached: it is nowhere in this mount namespace.
    static Fd make_root() {
        Fd root = linux::make_filesystem("tmpfs", "root", {"mode=0755"}, 0);
        fill(root.get());
        return root;
    }

    StepRequest request(Fd root, const std::string& script) {
        StepRequest out;
        out.root = std::move(root);
        out.args = {"/bin/busybox", "sh", "-c", script};
        out.env = {"PATH=/bin"};
        out.network = StepNetwork::none;
        out.output = [this](int stream, std::string_view bytes) { (stream == 1 ? out_ : err_) += bytes; };
        return out;
    }

    StepEnd run_step(StepRequest asked) {
        out_.clear();
        err_.clear();
        StepEnd end;
        run([&, given = std::make_shared<StepRequest>(std::move(asked))]() -> asio::awaitable<void> {
            end = co_await runs_->run(std::move(*given));
        });
        return end;
    }

    template <typename Body>
    void run(Body body) {
        bool done = false;
        std::exception_ptr failure;
        asio::co_spawn(loop_, body(), [&](const std::exception_ptr& thrown) {
            failure = thrown;
            done = true;
        });
        until([&] { return done; });
        if (failure) std::rethrow_exception(failure);
    }
    template <typename Condition>
    void until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + 60s;
        while (!condition()) {
            ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain: " << out_ << err_;
            loop_.restart();
            loop_.run_one_for(100ms);
        }
    }

    std::string path_;
    Options options_;
    Notes notes_;
    asio::io_context loop_;
    std::optional<asio::thread_pool> pool_;
    SystemClock clock_;
    LoopTimers timers_{loop_.get_executor()};
    FakeRoots roots_{notes_};
    FakeVolumes volumes_{notes_};
    FakeImages images_;
    FakeProbes probes_{loop_.get_executor()};
    std::unique_ptr<store::Database> database_;
    std::unique_ptr<Sandboxes> sandboxes_;
    std::unique_ptr<tasks::Tasks> tasks_;
    std::optional<Ground> ground_;
    std::shared_ptr<Lifecycle> life_;
    std::optional<StepRuns> runs_;
    std::string out_;
    std::string err_;
};

Fd duplicate(const Fd& fd) { return Fd{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)}; }

TEST_F(RealStepTest, WhatItSaysWhoItIsAndHowItEnded) {
    StepRequest asked = request(make_root(),
                                "/bin/busybox id; echo $HOME ${HOSTNAME:-unnamed} $A; pwd; /bin/busybox hostname;"
                                "/bin/busybox cat /etc/hosts /etc/resolv.conf; echo wrong >&2; exit 7");
    asked.user = "web";
    asked.env.emplace_back("A=b");
    asked.cwd = "/made/for/it";
    asked.hostname = "builder";
    const StepEnd end = run_step(std::move(asked));
    EXPECT_EQ(end.exit_code, 7);
    EXPECT_FALSE(end.was_out_of_memory);
    EXPECT_GT(end.cpu_time, 0ns);
    EXPECT_EQ(err_, "wrong\n");
    EXPECT_THAT(out_, HasSubstr("uid=1000(web) gid=1001(webs) groups=60(extra),1001(webs)"));
    EXPECT_THAT(out_, HasSubstr("/home/web builder b\n/made/for/it\nbuilder\n127.0.0.1 localhost builder\nnameserver 198.51.100.53\n"));

    asked = request(make_root(), "/bin/busybox id");
    asked.user = "1000:staff";
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0);
    EXPECT_THAT(out_, AllOf(HasSubstr("uid=1000(web) gid=50(staff)"), Not(HasSubstr("extra"))));
}

TEST_F(RealStepTest, ItIsAsConfinedAsAContainerUnlessItIsAskedForOtherwise) {
    const std::string look =
        "/bin/busybox cat /proc/self/status; /bin/busybox cat /proc/net/dev; /bin/busybox ifconfig lo;"
        "echo x > /etc/hosts; echo x > /etc/resolv.conf; echo x > /proc/sys/kernel/hostname";
    (void)run_step(request(make_root(), look));
    EXPECT_THAT(out_, AllOf(HasSubstr("CapEff:\t00000000a80425fb"), HasSubstr("CapBnd:\t00000000a80425fb"), HasSubstr("NoNewPrivs:\t0"),
                            HasSubstr("Seccomp:\t2")));
    EXPECT_THAT(out_, AllOf(HasSubstr("lo:"), HasSubstr("UP LOOPBACK"), Not(HasSubstr("eth0"))));
    EXPECT_THAT(err_,
                AllOf(HasSubstr("/etc/hosts: Read-only"), HasSubstr("/etc/resolv.conf: Read-only"), HasSubstr("hostname: Read-only")));

    StepRequest asked = request(make_root(), look);
    asked.insecure = true;
    (void)run_step(std::move(asked));
    EXPECT_THAT(out_, AllOf(HasSubstr("Seccomp:\t0"), Not(HasSubstr("CapEff:\t00000000a80425fb"))));
    EXPECT_THAT(err_, Not(HasSubstr("hostname")));
}

TEST_F(RealStepTest, InTheTreeIsWhatTheProgramMadeAndNothingElse) {
    for (const char* folder : {"/lower", "/upper", "/work"}) fs::create_directories(path_ + folder);
    const Fd lower{::open((path_ + "/lower").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    fill(lower.get());
    fs::remove(path_ + "/lower/etc/resolv.conf");
    fs::create_symlink("../run/resolve/stub", path_ + "/lower/etc/resolv.conf");
    Fd root;
    try {
        root = linux::make_filesystem("overlay", "overlay",
                                      {"lowerdir=" + path_ + "/lower", "upperdir=" + path_ + "/upper", "workdir=" + path_ + "/work"}, 0);
    } catch (const Error& error) {
        GTEST_SKIP() << error.what();
    }
    struct stat before{};
    ASSERT_EQ(::fstat(root.get(), &before), 0);
    StepRequest asked =
        request(duplicate(root),
                "set -e; cat=/bin/busybox; $cat cat /run/secrets/token /etc/resolv.conf; echo kept > /cache/deep/file;"
                "echo '#!/bin/busybox sh' > /quick/run; echo 'echo ran' >> /quick/run; $cat chmod +x /quick/run; /quick/run;"
                "$cat ls -ld /quick; echo own > /src/own; echo made > /out");
    const Fd cache = linux::make_filesystem("tmpfs", "cache", {}, 0);
    asked.mounts.push_back({.destination = "/cache/deep", .mount = linux::copy_mount(cache.get(), "", linux::Recursion::top_only)});
    asked.mounts.push_back({.destination = "/quick", .tmpfs_size = 1 << 20});
    asked.mounts.push_back(
        {.destination = "/run/secrets", .mount = tasks::memory_mount({{.name = "token", .content = "secret\n"}}), .read_only = true});
    asked.mounts.push_back({.destination = "/src/point", .mount = linux::make_filesystem("tmpfs", "more", {}, 0)});
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0) << err_;
    EXPECT_THAT(out_, AllOf(HasSubstr("secret\nnameserver"), HasSubstr("ran\n"), HasSubstr("drwxrwxrwt")));
    std::vector<std::string> in_upper;
    for (const auto& each : fs::recursive_directory_iterator(path_ + "/upper"))
        if (!each.is_directory()) in_upper.push_back(each.path().string().substr(path_.size()));
    EXPECT_THAT(in_upper, testing::UnorderedElementsAre("/upper/src/own", "/upper/out"));
    for (const char* gone : {"cache", "quick", "run", "src/point"}) EXPECT_NE(::faccessat(root.get(), gone, F_OK, 0), 0) << gone;
    EXPECT_EQ(::faccessat(cache.get(), "file", F_OK, 0), 0);

    // One that makes nothing changes nothing.
    for (const char* each : {"out", "src/own", "src"}) fs::remove(path_ + "/upper/" + each);
    const std::array<timespec, 2> times{timespec{.tv_sec = 1000}, timespec{.tv_sec = 1000}};
    const Fd again = linux::make_filesystem(
        "overlay", "overlay", {"lowerdir=" + path_ + "/lower", "upperdir=" + path_ + "/upper", "workdir=" + path_ + "/work"}, 0);
    ASSERT_EQ(::utimensat(again.get(), ".", times.data(), 0), 0);
    asked = request(duplicate(again), "true");
    asked.mounts.push_back({.destination = "/cache/deep", .mount = duplicate(cache)});
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0) << err_;
    struct stat after{};
    ASSERT_EQ(::fstat(again.get(), &after), 0);
    EXPECT_EQ(after.st_mtim.tv_sec, 1000);
    EXPECT_NE(::faccessat(again.get(), "cache", F_OK, 0), 0);
}

TEST_F(RealStepTest, AReadOnlyRootIsNotWrittenToAndHasNoMountPointsLeft) {
    const Fd root = make_root();
    StepRequest asked = request(duplicate(root), "echo x > /file; echo y > /cache/file && /bin/busybox cat /cache/file");
    asked.read_only_root = true;
    asked.mounts.push_back({.destination = "/cache", .mount = linux::make_filesystem("tmpfs", "cache", {}, 0)});
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0) << err_;
    EXPECT_EQ(out_, "y\n");
    EXPECT_THAT(err_, HasSubstr("/file: Read-only file system"));
    EXPECT_NE(::faccessat(root.get(), "cache", F_OK, 0), 0);
}

TEST_F(RealStepTest, AProgramThatIsNotThereOrCannotBeExecuted) {
    const auto failure = [&](const std::string& program, Fd root) {
        StepRequest asked = request(std::move(root), "");
        asked.args = {program};
        try {
            (void)run_step(std::move(asked));
        } catch (const StepNotStarted& error) {
            return fmt::format("{} {}", error.exit_code, error.what());
        }
        return std::string("it ran");
    };
    EXPECT_THAT(failure("nosuch", make_root()),
                AllOf(HasSubstr("127 "), HasSubstr("exec: \"nosuch\": executable file not found in $PATH")));
    EXPECT_THAT(failure("/bin/nosuch", make_root()), AllOf(HasSubstr("127 "), HasSubstr("no such file or directory")));
    EXPECT_THAT(failure("/etc/passwd", make_root()), AllOf(HasSubstr("126 "), HasSubstr("permission denied")));
    StepRequest asked = request(make_root(), "true");
    asked.user = "nobody-here";
    try {
        (void)run_step(std::move(asked));
        FAIL() << "it ran";
    } catch (const StepNotStarted& error) {
        EXPECT_THAT(error.what(), HasSubstr("unable to find user nobody-here: no matching entries in passwd file"));
    }
}

TEST_F(RealStepTest, MuchIsSaidToTheLastByteAndHeldByNobody) {
    constexpr std::size_t size = std::size_t{128} << 20U;
    std::size_t count = 0;
    StepRequest asked =
        request(make_root(), fmt::format("/bin/busybox dd if=/dev/zero bs=65536 count={} 2>/dev/null; echo end", size >> 16U));
    asked.output = [&](int, std::string_view bytes) {
        count += bytes.size();
        out_.assign(bytes.substr(bytes.size() - std::min<std::size_t>(bytes.size(), 4)));
    };
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0);
    EXPECT_EQ(count, size + 4);
    EXPECT_EQ(out_, "end\n");
}

TEST_F(RealStepTest, ItsStreamsAreAConnectionOfWhoeverAsks) {
    std::array<int, 2> pair{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
    const Fd ours(pair[0]);
    StepRequest asked = request(make_root(), "echo ready; /bin/busybox cat; echo end >&2");
    asked.streams = Fd(pair[1]);
    // More than any buffer on the way holds, so it goes both ways at once.
    const std::string sent(3'000'000, 'x');
    std::string came;
    std::jthread peer([&] {
        std::jthread writer([&] {
            write_all(ours.get(), sent, "streams");
            ::shutdown(ours.get(), SHUT_WR);
        });
        std::array<char, 65536> bytes{};
        for (ssize_t count = 0; (count = ::read(ours.get(), bytes.data(), bytes.size())) > 0;)
            came.append(bytes.data(), static_cast<std::size_t>(count));
    });
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0);
    peer.join();
    EXPECT_EQ(came.size(), sent.size() + 6);
    EXPECT_TRUE(came.starts_with("ready\nx"));
    EXPECT_EQ(out_, "");
    EXPECT_EQ(err_, "end\n");
}

TEST_F(RealStepTest, WhoIsCancelledLeavesNoProcessNoCgroupAndNoFolder) {
    asio::cancellation_signal cancel;
    std::exception_ptr failure;
    bool is_done = false;
    auto body = [](StepRuns& all, StepRequest asked) -> asio::awaitable<void> { co_await all.run(std::move(asked)); };
    asio::co_spawn(loop_,
                   body(*runs_, request(make_root(), "/bin/busybox setsid /bin/busybox sleep 1000 & echo begun; trap '' TERM; wait")),
                   asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& thrown) {
                       failure = thrown;
                       is_done = true;
                   }));
    until([&] { return out_ == "begun\n"; });
    EXPECT_FALSE(cgroups().empty());
    EXPECT_FALSE(fs::is_empty(path_ + "/exec/steps"));
    cancel.emit(asio::cancellation_type::terminal);
    until([&] { return is_done; });
    EXPECT_TRUE(cgroups().empty()) << "a cgroup with a process in it cannot be removed";
    EXPECT_TRUE(fs::is_empty(path_ + "/exec/steps"));
    try {
        ASSERT_TRUE(failure);
        std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
        EXPECT_EQ(error.code(), asio::error::operation_aborted);
    }
}

TEST_F(RealStepTest, MemoryThatIsUsedUpIsSaid) {
    StepRequest asked = request(make_root(), "/bin/busybox dd if=/dev/zero of=/dev/shm/x bs=1M count=100; /bin/busybox tail /dev/zero");
    asked.limits.memory = 16 << 20;
    asked.limits.memory_swap = 16 << 20;
    asked.shm_size = 8 << 20;
    const StepEnd end = run_step(std::move(asked));
    EXPECT_NE(end.exit_code, 0);
    EXPECT_TRUE(end.was_out_of_memory);
    EXPECT_THAT(err_, HasSubstr("No space left"));
}

// As where gruad is killed in the middle of it: nobody says goodbye.
TEST_F(RealStepTest, WhatAKilledGruadWasRunningIsEnded) {
    const std::string id = random_id();
    const std::string live = path_ + "/exec/steps/" + id;
    fs::create_directories(live);
    const std::string cgroup = options_.cgroup_parent + "/elsewhere/" + id;
    write_step_mark(live, cgroup);
    tasks::TaskSpec spec;
    spec.id = id;
    spec.directory = live;
    spec.cgroup_path = cgroup;
    spec.document = oci::default_runtime_spec();
    spec.document.process->terminal = false;
    spec.document.process->args = {"/bin/busybox", "sleep", "1000"};
    spec.root = make_root();
    const tasks::TaskPtr task = tasks_->make(tasks_->prepare(std::move(spec)), {}, {});
    run([&]() -> asio::awaitable<void> { co_await task->run(clock_.steady() + 60s); });
    const Fd process = task->pidfd();
    task->close();
    run([&]() -> asio::awaitable<void> { co_await life_->recover(); });
    pollfd ended{.fd = process.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ended, 1, 10'000), 1);
    EXPECT_FALSE(fs::exists(live));
    EXPECT_FALSE(fs::exists("/sys/fs/cgroup" + cgroup));
    tasks_->end_cgroup(options_.cgroup_parent + "/elsewhere");
}

/// On a host of its own: a new network namespace, which the machine's cannot notice.
class NetworkedStepTest : public RealStepTest {
protected:
    void prepare_networks() override {
        home_ = Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        linux::Netlink netlink;
        linux::NetlinkBatch up;
        up.change_link("lo", {.up = true});
        netlink.run(up);
        auto real = std::make_unique<RealNetworks>(options_, *database_);
        networks_ = real.get();
        sandboxes_ = std::move(real);
    }
    void TearDown() override {
        RealStepTest::TearDown();
        if (home_) ::setns(home_.get(), CLONE_NEWNET);
    }

    Fd home_;
    RealNetworks* networks_ = nullptr;
};

TEST_F(NetworkedStepTest, OnTheDefaultBridgeItHasAnAddressWhileItRuns) {
    run([&]() -> asio::awaitable<void> { co_await life_->recover(); });
    StepRequest asked = request(make_root(), "/bin/busybox ip -4 addr show eth0; /bin/busybox ip route; /bin/busybox cat /etc/hosts");
    asked.network = StepNetwork::bridge;
    asked.hostname = "builder";
    asked.extra_hosts = {"mirror:198.51.100.7", "me:host-gateway"};
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0) << err_;
    EXPECT_THAT(out_, AllOf(HasSubstr("inet 10.99.0.2/16"), HasSubstr("default via 10.99.0.1"), HasSubstr("10.99.0.2\tbuilder"),
                            HasSubstr("198.51.100.7\tmirror"), HasSubstr("10.99.0.1\tme")));
    EXPECT_EQ(networks_->attached(), 0U);

    asked = request(make_root(), "/bin/busybox ip link");
    asked.network = StepNetwork::host;
    EXPECT_EQ(run_step(std::move(asked)).exit_code, 0) << err_;
    EXPECT_THAT(out_, HasSubstr("gruastep"));
}

}  // namespace
}  // namespace grua::engine
