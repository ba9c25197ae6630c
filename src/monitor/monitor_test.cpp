// Plays gruad: a launcher, monitors and containers of their own, with the grua-runtime that stands beside this program. As root.
#include "monitor/monitor.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/stream_frames.hpp"
#include "base/text.hpp"
#include "linux/cgroup.hpp"
#include "linux/mounts.hpp"
#include "monitor/launcher.hpp"
#include "monitor/log_reader.hpp"
#include "monitor/socket.hpp"
#include "oci/runtime_spec.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr int patience_ms = 20000;

bool readable(const Fd& fd, int timeout_ms = patience_ms) {
    pollfd wait{.fd = fd.get(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, timeout_ms) == 1;
}

/// Until it is true; false where that takes too long.
template <typename Condition>
bool eventually(Condition condition) {
    for (int i = 0; i < patience_ms / 10; ++i) {
        if (condition()) return true;
        std::this_thread::sleep_for(10ms);
    }
    return false;
}

std::pair<Fd, Fd> stream_pair() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    return {Fd(ends[0]), Fd(ends[1])};
}

void type(const Fd& client, std::string_view bytes) { write_all(client.get(), bytes, "a client's input"); }

/// What comes until it contains `wanted`, or to the end.
std::string read_until(const Fd& client, std::string_view wanted = {}) {
    std::string out;
    std::array<char, 4096> bytes{};
    while (wanted.empty() || !out.contains(wanted)) {
        if (!readable(client)) {
            ADD_FAILURE() << "no end of: " << out;
            break;
        }
        const ssize_t got = ::read(client.get(), bytes.data(), bytes.size());
        if (got <= 0) break;
        out.append(bytes.data(), static_cast<std::size_t>(got));
    }
    return out;
}

struct Streams {
    std::string out;
    std::string err;
};

Streams without_frames(std::string_view bytes) {
    Streams streams;
    FrameReader frames;
    frames.feed(bytes, [&](StdStream stream, std::string_view piece) { (stream == StdStream::out ? streams.out : streams.err) += piece; });
    EXPECT_TRUE(frames.at_boundary());
    return streams;
}

/// The other end of a monitor's control socket.
class Control {
public:
    explicit Control(Fd socket) : socket_(std::move(socket)) {}

    template <typename Message>
    void send(const Message& message, const std::vector<int>& fds = {}) const {
        EXPECT_EQ(monitor::send(socket_.get(), encode(message), fds), Sent::yes);
    }

    /// The next message of this type; others wait until they are asked for. Throws where none comes.
    template <typename Message>
    Message next(Fd* fd = nullptr) {
        for (std::size_t i = 0;; ++i) {
            if (i == inbox_.size()) {
                Packet packet;
                if (!readable(socket_) || receive(socket_.get(), packet) != Received::packet)
                    fail(ErrorKind::unavailable, "no {} from the monitor", Message::name);
                inbox_.push_back(std::move(packet));
            }
            if (decode<Header>(inbox_[i].text).type != Message::name) continue;
            Packet found = std::move(inbox_[i]);
            inbox_.erase(inbox_.begin() + static_cast<std::ptrdiff_t>(i));
            if (fd != nullptr && !found.fds.empty()) *fd = std::move(found.fds.front());
            return decode<Message>(found.text);
        }
    }

    /// Sends a request and waits for its reply.
    template <typename Message>
    Reply ask(Message message, const std::vector<int>& fds = {}, Fd* fd = nullptr) {
        message.seq = ++seq_;
        send(message, fds);
        auto reply = next<Reply>(fd);
        EXPECT_EQ(reply.seq, seq_);
        return reply;
    }

    /// The next message's.
    std::string next_type() {
        Packet packet;
        if (!readable(socket_) || receive(socket_.get(), packet) != Received::packet) fail(ErrorKind::unavailable, "no message");
        return decode<Header>(packet.text).type;
    }

    void send_text(std::string_view text) const { EXPECT_EQ(monitor::send(socket_.get(), text), Sent::yes); }

    /// What comes before the end is dropped.
    bool is_closed() {
        Packet packet;
        while (readable(socket_)) {
            if (receive(socket_.get(), packet) == Received::closed) return true;
        }
        return false;
    }

    void close() { socket_ = Fd(); }

private:
    Fd socket_;
    std::vector<Packet> inbox_;
    std::uint64_t seq_ = 0;
};

/// The process at the other end of a socket.
pid_t peer_of(const Fd& socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    EXPECT_EQ(::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    return peer.pid;
}

/// A message that does not exist yet.
struct Dance {
    static constexpr std::string_view name = "dance";
    std::string type{name};
    std::uint64_t seq = 0;
    template <typename Self = Dance>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq)};
    }
};

class MonitorTest : public testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        std::string path = fs::temp_directory_path() / "grua-monitor-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        for (const char* each : {"/live", "/rootfs/bin", "/rootfs/proc", "/rootfs/dev", "/rootfs/sys"})
            make_directories(folder_ + each, 0700);
        fs::copy_file("/bin/busybox", folder_ + "/rootfs/bin/busybox");
        for (const char* each : {"sh", "cat", "grep", "sleep", "stty"}) fs::create_symlink("busybox", folder_ + "/rootfs/bin/" + each);
        launcher_ = start_launcher(fs::read_symlink("/proc/self/exe").parent_path() / "grua-runtime");
    }

    void TearDown() override {
        if (folder_.empty()) return;
        if (pidfd_) ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
        if (control_) control_->close();
        EXPECT_TRUE(eventually([this] { return !connect_to_monitor(live()); })) << "the monitor has not ended";
        launcher_.socket = Fd();
        int status = 0;
        EXPECT_EQ(::waitpid(launcher_.pid, &status, 0), launcher_.pid);
        EXPECT_EQ(status, 0);
        linux::Cgroup::create(linux::CgroupMounts::detect(), linux::CgroupPath::parse(cgroup())).remove();
        fs::remove_all(folder_);
    }

    std::string live() const { return folder_ + "/live"; }
    std::string log_path() const { return folder_ + "/c-json.log"; }
    std::string cgroup() const { return "/" + fs::path(folder_).filename().string(); }

    static oci::RuntimeSpec spec_of(std::vector<std::string> args) {
        oci::RuntimeSpec spec = oci::default_runtime_spec();
        spec.process->terminal = false;
        spec.process->args = std::move(args);
        return spec;
    }
    static oci::RuntimeSpec shell(const std::string& script) { return spec_of({"sh", "-c", script}); }

    /// What is put into the control socket with `first` is there before the monitor is.
    template <typename First>
    void launch(const oci::RuntimeSpec& spec, Launch message, First first) {
        auto [ours, theirs] = socket_pair();
        control_.emplace(std::move(ours));
        first(*control_);
        message.id = "abc";
        if (message.directory.empty()) message.directory = live();
        message.cgroup_path = cgroup();
        message.log.driver = "json-file";
        message.log.path = log_path();
        message.fds = {"control", "spec"};
        const Fd config(::memfd_create("config", MFD_CLOEXEC));
        write_all(config.get(), oci::to_json(spec), "config.json");
        std::vector<int> fds{theirs.get(), config.get()};
        Fd rootfs;
        if (!spec.root->path.starts_with('/')) {
            rootfs = linux::copy_mount(AT_FDCWD, (folder_ + "/rootfs").c_str(), linux::Recursion::top_only);
            message.fds.emplace_back("rootfs");
            fds.push_back(rootfs.get());
        }
        ASSERT_EQ(send(launcher_.socket.get(), encode(message), fds), Sent::yes);
    }
    Started start(const oci::RuntimeSpec& spec, const Launch& message = {}) {
        return start(spec, message, [](Control&) {});
    }
    template <typename First>
    Started start(const oci::RuntimeSpec& spec, const Launch& message, First first) {
        launch(spec, message, first);
        return control_->next<Started>(&pidfd_);
    }

    Hello reconnect() {
        auto socket = connect_to_monitor(live());
        if (!socket) fail(ErrorKind::unavailable, "no monitor listens");
        control_.emplace(std::move(*socket));
        return control_->next<Hello>(&pidfd_);
    }

    std::vector<std::string> log() const {
        LogReader reader({.path = log_path(), .tail = {}});
        std::vector<std::string> out;
        while (const auto each = reader.next()) out.push_back((each->from_stderr ? "err:" : "") + each->text);
        return out;
    }

    std::string folder_;
    LauncherProcess launcher_;
    std::optional<Control> control_;
    Fd pidfd_;
};

TEST_F(MonitorTest, StartedLoggedExited) {
    const Started started = start(shell("echo out; echo err >&2; exit 3"));
    EXPECT_GT(started.pid, 0);
    EXPECT_TRUE(pidfd_);
    const auto exited = control_->next<Exited>();
    EXPECT_EQ(exited.code, 3);
    EXPECT_EQ(exited.signal, 0);
    EXPECT_FALSE(exited.oom_killed);
    EXPECT_EQ(exited.started_at, started.started_at);
    EXPECT_GT(exited.finished_at, exited.started_at);
    EXPECT_EQ(read_exit_file(live()), exited);
    EXPECT_THAT(log(), UnorderedElementsAre("out\n", "err:err\n"));
    EXPECT_TRUE(readable(pidfd_, 0));
    control_->send(ExitSeen{});
    EXPECT_TRUE(eventually([this] { return !connect_to_monitor(live()); }));
}

TEST_F(MonitorTest, TheRootByItsPath) {
    oci::RuntimeSpec spec = shell("echo here");
    spec.root->path = folder_ + "/rootfs";
    start(spec);
    EXPECT_EQ(control_->next<Exited>().code, 0);
    EXPECT_THAT(log(), ElementsAre("here\n"));
}

TEST_F(MonitorTest, SignalsAreAsAProgramExpectsThem) {
    start(spec_of({"grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"}));
    EXPECT_EQ(control_->next<Exited>().code, 0);
    EXPECT_THAT(log(), ElementsAre("SigBlk:\t0000000000000000\n", "SigIgn:\t0000000000000000\n"));
}

TEST_F(MonitorTest, NothingButTheStreamsIsOpen) {
    start(shell("echo /proc/self/fd/*"));
    EXPECT_EQ(control_->next<Exited>().code, 0);
    // 3 is the shell's own look.
    EXPECT_THAT(log(), ElementsAre("/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"));
}

TEST_F(MonitorTest, ASignalEndsIt) {
    start(spec_of({"sleep", "1000"}));
    ASSERT_EQ(::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0), 0);
    const auto exited = control_->next<Exited>();
    EXPECT_EQ(exited.code, 137);
    EXPECT_EQ(exited.signal, SIGKILL);
}

TEST_F(MonitorTest, WhatIsHeldIsGivenToTheNextGruadUntilTheEnd) {
    start(spec_of({"sleep", "1000"}));
    auto [held, other] = stream_pair();
    EXPECT_FALSE(control_->ask(Hold{.names = {"socket"}}, {held.get()}).error);
    EXPECT_TRUE(control_->ask(Hold{.names = {"one", "two"}}, {held.get()}).error);
    EXPECT_TRUE(control_->ask(Hold{.names = std::vector<std::string>(most_fds, "x")}, std::vector<int>(most_fds, held.get())).error);
    held = Fd();
    control_->close();
    for (int i = 0; i < 2; ++i) {
        const auto socket = connect_to_monitor(live());
        Packet packet;
        ASSERT_TRUE(socket && readable(*socket));
        ASSERT_EQ(receive(socket->get(), packet), Received::packet);
        EXPECT_THAT(decode<Hello>(packet.text).held, ElementsAre("socket"));
        ASSERT_EQ(packet.fds.size(), 2U);
        write_all(packet.fds[1].get(), "x", "what was held");
        char byte = 0;
        EXPECT_EQ(::read(other.get(), &byte, 1), 1);
    }
    EXPECT_FALSE(readable(other, 0));
    EXPECT_EQ(::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0), 0);
    EXPECT_TRUE(readable(other)) << "it is held still";
}

TEST_F(MonitorTest, AProgramThatIsNotThere) {
    launch(spec_of({"missing"}), {}, [](Control&) {});
    const auto failed = control_->next<Failed>();
    EXPECT_EQ(failed.error.kind, "not_found");
    EXPECT_THAT(failed.error.message, HasSubstr("exec: \"missing\": executable file not found in $PATH"));
    const auto exited = read_exit_file(live());
    ASSERT_TRUE(exited);
    EXPECT_EQ(exited->code, 127);
    EXPECT_EQ(exited->started_at, 0);
}

TEST_F(MonitorTest, AClientBeforeTheStartMissesNothing) {
    const auto [client, theirs] = stream_pair();
    Launch message;
    message.open_stdin = true;
    message.stdin_once = true;
    start(shell("echo first; cat; echo last >&2"), message, [&](Control& control) {
        control.send(Attach{.seq = 9, .use_stdin = true, .use_stdout = true, .use_stderr = true, .early_input_hex = to_hex("early ")},
                     {theirs.get()});
    });
    EXPECT_EQ(control_->next<Reply>().seq, 9U);
    type(client, "and late\n");
    ::shutdown(client.get(), SHUT_WR);
    EXPECT_EQ(control_->next<Exited>().code, 0);
    ::shutdown(theirs.get(), SHUT_WR);  // This end is ours too.
    const Streams streams = without_frames(read_until(client));
    EXPECT_EQ(streams.out, "first\nearly and late\n");
    EXPECT_EQ(streams.err, "last\n");
    EXPECT_THAT(log(), UnorderedElementsAre("first\n", "early and late\n", "err:last\n"));
}

TEST_F(MonitorTest, ALateClientGetsTheLogFirst) {
    Launch message;
    message.open_stdin = true;
    start(shell("echo one; echo -n two; read x; echo; echo three"), message);
    ASSERT_TRUE(eventually([this] { return !log().empty(); }));
    auto [client, theirs] = stream_pair();
    const Attach wish{.use_stdin = true, .use_stdout = true, .multiplexed = false, .logs = true};
    EXPECT_FALSE(control_->ask(wish, {theirs.get()}).error);
    theirs = Fd();
    EXPECT_EQ(read_until(client, "two"), "one\ntwo");
    type(client, "go\n");
    EXPECT_EQ(read_until(client), "\nthree\n");
    EXPECT_EQ(control_->next<Exited>().code, 0);
}

TEST_F(MonitorTest, Exec) {
    start(spec_of({"sleep", "1000"}));
    auto [client, theirs] = stream_pair();
    oci::Process process = *shell("echo out $$; cat; echo err >&2; exit 7").process;
    Exec exec;
    exec.exec_id = "e1";
    exec.process = boost::json::parse(oci::to_json(process));
    exec.attach = Attach{.use_stdin = true, .use_stdout = true, .use_stderr = true};
    Fd pidfd;
    const Reply reply = control_->ask(exec, {theirs.get()}, &pidfd);
    theirs = Fd();
    ASSERT_FALSE(reply.error) << reply.error->message;
    EXPECT_GT(reply.pid, 0);
    EXPECT_TRUE(pidfd);
    type(client, "typed\n");
    ::shutdown(client.get(), SHUT_WR);
    const Streams streams = without_frames(read_until(client));
    EXPECT_THAT(streams.out, HasSubstr("typed\n"));
    EXPECT_EQ(streams.err, "err\n");
    const auto exited = control_->next<ExecExited>();
    EXPECT_EQ(exited.exec_id, "e1");
    EXPECT_EQ(exited.code, 7);
    EXPECT_THAT(log(), IsEmpty());

    // Without a client, and one that cannot be executed.
    exec.exec_id = "e2";
    exec.attach = {};
    process.args = {"sh", "-c", "kill -9 $$"};
    exec.process = boost::json::parse(oci::to_json(process));
    EXPECT_FALSE(control_->ask(exec).error);
    EXPECT_EQ(control_->next<ExecExited>().code, 137);
    process.args = {"missing"};
    exec.process = boost::json::parse(oci::to_json(process));
    const Reply refused = control_->ask(exec);
    ASSERT_TRUE(refused.error);
    EXPECT_EQ(refused.error->kind, "not_found");
    EXPECT_THAT(refused.error->message, HasSubstr("executable file not found"));
}

TEST_F(MonitorTest, ManyExecsThatBeginDoNotKeepThoseThatRunFromEnding) {
    start(spec_of({"sleep", "1000"}));
    constexpr int many = 50;
    Exec exec;
    exec.process = boost::json::parse(oci::to_json(*shell(":").process));
    for (int i = 1; i <= many; ++i) {
        exec.exec_id = fmt::format("e{}", i);
        exec.seq = static_cast<std::uint64_t>(i);
        control_->send(exec);
    }
    int begun = 0;
    int ended = 0;
    int begun_at_the_first_end = 0;
    while (ended < many) {
        const std::string type = control_->next_type();
        if (type == Reply::name) ++begun;
        if (type == ExecExited::name && ++ended == 1) begun_at_the_first_end = begun;
    }
    EXPECT_EQ(begun, many);
    EXPECT_LT(begun_at_the_first_end, many);
}

TEST_F(MonitorTest, ATerminalAndItsSize) {
    auto [client, theirs] = stream_pair();
    Launch message;
    message.open_stdin = true;
    oci::RuntimeSpec spec = shell("stty size; read x; stty size; echo got $x");
    spec.process->terminal = true;
    spec.process->console_size = oci::ConsoleSize{.height = 20, .width = 90};
    start(spec, message, [&](Control& control) {
        control.send(Attach{.use_stdin = true, .use_stdout = true, .multiplexed = false}, {theirs.get()});
        theirs = Fd();
    });
    EXPECT_EQ(read_until(client, "\n"), "20 90\r\n");
    EXPECT_FALSE(control_->ask(Resize{.rows = 41, .columns = 101}).error);
    type(client, "go\n");
    EXPECT_EQ(read_until(client), "go\r\n41 101\r\ngot go\r\n");
    EXPECT_EQ(control_->next<Exited>().code, 0);
    EXPECT_THAT(log(), ElementsAre("20 90\r\n", "go\r\n", "41 101\r\n", "got go\r\n"));
}

TEST_F(MonitorTest, DetachKeysLeaveTheTerminal) {
    auto [client, theirs] = stream_pair();
    Launch message;
    message.open_stdin = true;
    oci::RuntimeSpec spec = spec_of({"cat"});
    spec.process->terminal = true;
    start(spec, message);
    EXPECT_FALSE(control_->ask(Attach{.use_stdin = true, .use_stdout = true, .multiplexed = false}, {theirs.get()}).error);
    theirs = Fd();
    type(client, "a\n\x10");
    EXPECT_EQ(read_until(client, "a\r\na\r\n"), "a\r\na\r\n");
    type(client, "\x11");
    EXPECT_EQ(control_->next<Detached>().exec_id, "");
    EXPECT_EQ(read_until(client), "");
    // The program goes on.
    EXPECT_FALSE(readable(pidfd_, 0));
}

TEST_F(MonitorTest, WithoutATerminalThereIsNoSize) {
    start(spec_of({"sleep", "1000"}));
    EXPECT_EQ(control_->ask(Resize{.rows = 1, .columns = 1}).error.value_or(Failure{}).kind, "conflict");
    EXPECT_EQ(control_->ask(Resize{.exec_id = "nobody"}).error.value_or(Failure{}).kind, "not_found");
}

TEST_F(MonitorTest, WhatAnOlderMonitorDoesNotKnow) {
    start(spec_of({"sleep", "1000"}));
    EXPECT_EQ(control_->ask(Dance{}).error.value_or(Failure{}).kind, "not_implemented");
}

// A7: who sent it would wait for ever.
TEST_F(MonitorTest, AMessageThatCannotBeReadEndsTheConnectionOnly) {
    const Started started = start(spec_of({"sleep", "1000"}));
    for (const std::string bad : {"{\"seq\":5,\"type\":\"caf\xc3\"}", "not JSON", "[]", "{\"seq\":-1}"}) {
        control_->send_text(bad);
        EXPECT_TRUE(control_->is_closed()) << bad;
        EXPECT_EQ(reconnect().pid, started.pid);
    }
    EXPECT_EQ(control_->ask(Dance{}).error.value_or(Failure{}).kind, "not_implemented");
    // One that nobody waits for changes nothing.
    control_->send(Dance{});
    EXPECT_EQ(control_->ask(Dance{}).error.value_or(Failure{}).kind, "not_implemented");
}

// A7: the monitor has as many descriptors open as it may.
TEST_F(MonitorTest, AnAttachWhoseSocketIsLostIsRefused) {
    start(spec_of({"sleep", "1000"}));
    const pid_t monitor = peer_of(*connect_to_monitor(live()));
    EXPECT_EQ(reconnect().id, "abc");
    // A sanitizer needs a descriptor to look at the type of an error for the first time.
    EXPECT_TRUE(control_->ask(Attach{.exec_id = "nobody"}, {stream_pair().second.get()}).error);
    const auto open = std::distance(fs::directory_iterator(fmt::format("/proc/{}/fd", monitor)), {});
    rlimit before{};
    ASSERT_EQ(::prlimit(monitor, RLIMIT_NOFILE, nullptr, &before), 0);
    const rlimit full{.rlim_cur = static_cast<rlim_t>(open), .rlim_max = before.rlim_max};
    ASSERT_EQ(::prlimit(monitor, RLIMIT_NOFILE, &full, nullptr), 0);
    // Some numbers below the limit may be free.
    std::vector<Fd> clients;
    std::optional<Failure> failure;
    for (int tries = 0; tries < 20 && !failure; ++tries) {
        auto [client, theirs] = stream_pair();
        failure = control_->ask(Attach{.use_stdout = true}, {theirs.get()}).error;
        clients.push_back(std::move(client));
    }
    ASSERT_TRUE(failure);
    EXPECT_EQ(failure->kind, "unavailable");
    EXPECT_THAT(failure->message, HasSubstr("descriptors are lost"));
    ASSERT_EQ(::prlimit(monitor, RLIMIT_NOFILE, &before, nullptr), 0);
    auto [client, theirs] = stream_pair();
    EXPECT_FALSE(control_->ask(Attach{.use_stdout = true}, {theirs.get()}).error);
}

// A12: whoever waits stays in the queue, and is not looked at without end.
TEST_F(MonitorTest, WithoutDescriptorsItRestsAndThenGoesOn) {
    const Started started = start(spec_of({"sleep", "1000"}));
    const pid_t monitor = peer_of(*connect_to_monitor(live()));
    EXPECT_EQ(reconnect().id, "abc");
    rlim_t next = 0;
    while (fs::is_symlink(fs::symlink_status(fmt::format("/proc/{}/fd/{}", monitor, next)))) ++next;
    rlimit before{};
    ASSERT_EQ(::prlimit(monitor, RLIMIT_NOFILE, nullptr, &before), 0);
    const rlimit full{.rlim_cur = next, .rlim_max = before.rlim_max};
    ASSERT_EQ(::prlimit(monitor, RLIMIT_NOFILE, &full, nullptr), 0);
    const auto waiting = connect_to_monitor(live());
    ASSERT_TRUE(waiting);
    const auto used = [&] {
        const std::vector<std::string> words = split(read_file(fmt::format("/proc/{}/stat", monitor)), ' ');
        return parse_int(words.at(13)).value_or(0) + parse_int(words.at(14)).value_or(0);
    };
    const auto at_first = used();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    EXPECT_LT(used() - at_first, ::sysconf(_SC_CLK_TCK) / 5);
    ASSERT_EQ(::prlimit(monitor, RLIMIT_NOFILE, &before, nullptr), 0);
    Packet packet;
    ASSERT_EQ(receive(waiting->get(), packet), Received::packet);
    EXPECT_EQ(decode<Hello>(packet.text).pid, started.pid);
}

// G2: what the client goes on sending is dropped, and it sees the end and no reset.
TEST_F(MonitorTest, AClientThatStillSendsSeesAllOutputAndItsEnd) {
    for (const bool in_exec : {false, true}) {
        Launch message;
        message.open_stdin = true;
        auto [client, theirs] = stream_pair();
        const oci::RuntimeSpec reads_once = shell("read x; echo got $x; exit 3");
        const Attach wish{.use_stdin = true, .use_stdout = true, .multiplexed = false};
        if (!in_exec) {
            start(reads_once, message, [&](Control& control) { control.send(wish, {theirs.get()}); });
        } else {
            start(spec_of({"sleep", "1000"}));
            Exec exec{.exec_id = "e1", .process = boost::json::parse(oci::to_json(*reads_once.process)), .attach = wish};
            exec.attach->exec_id = "e1";
            EXPECT_FALSE(control_->ask(exec, {theirs.get()}).error);
        }
        theirs = Fd();
        std::jthread sending([&client](const std::stop_token& stop) {
            std::string line = "one\n" + std::string(65536, 'x');
            while (!stop.stop_requested() && ::send(client.get(), line.data(), line.size(), MSG_NOSIGNAL) > 0) {
            }
        });
        std::string out;
        std::array<char, 4096> bytes{};
        ssize_t got = 0;
        while (readable(client) && (got = ::read(client.get(), bytes.data(), bytes.size())) > 0)
            out.append(bytes.data(), static_cast<std::size_t>(got));
        EXPECT_EQ(got, 0) << std::strerror(errno);
        EXPECT_EQ(out, "got one\n");
        sending.request_stop();
        ::shutdown(client.get(), SHUT_RDWR);
        sending.join();
        if (!in_exec) {
            EXPECT_EQ(control_->next<Exited>().code, 3);
            control_->send(ExitSeen{});
            client = Fd();
            EXPECT_TRUE(eventually([this] { return !connect_to_monitor(live()); }));
        } else {
            EXPECT_EQ(control_->next<ExecExited>().code, 3);
        }
    }
}

// C3
TEST_F(MonitorTest, AnExecWhoseAttachIsWrongRunsNothing) {
    start(spec_of({"sleep", "1000"}));
    auto [client, theirs] = stream_pair();
    Exec exec{.exec_id = "e1", .process = boost::json::parse(oci::to_json(*shell("> /ran").process)), .attach = Attach{.exec_id = "e1"}};
    exec.attach->detach_keys = "ctrl-nothing";
    EXPECT_EQ(control_->ask(exec, {theirs.get()}).error.value_or(Failure{}).kind, "invalid_argument");
    exec.attach->detach_keys = {};
    exec.attach->early_input_hex = "xyz";
    EXPECT_EQ(control_->ask(exec, {theirs.get()}).error.value_or(Failure{}).kind, "invalid_argument");
    exec.attach->early_input_hex = {};
    EXPECT_EQ(control_->ask(exec).error.value_or(Failure{}).kind, "invalid_argument");
    // Whatever had been started before would have ended before this one.
    exec.process = boost::json::parse(oci::to_json(*shell("[ ! -e /ran ]").process));
    EXPECT_FALSE(control_->ask(exec, {theirs.get()}).error);
    EXPECT_EQ(control_->next<ExecExited>().code, 0);
}

// F
TEST_F(MonitorTest, ALaunchOfAnotherVersionIsRefusedByName) {
    Launch message;
    message.version = protocol_version + 1;
    launch(spec_of({"sleep", "1000"}), message, [](Control&) {});
    EXPECT_THAT(control_->next<Failed>().error.message, HasSubstr(fmt::format("gruad speaks version {}", protocol_version + 1)));
    EXPECT_TRUE(control_->is_closed());
}

TEST_F(MonitorTest, AReturningGruadFindsIt) {
    Launch message;
    message.open_stdin = true;
    const Started started = start(shell("echo one; read x; exit 4"), message);
    Exec exec;
    exec.exec_id = "e1";
    exec.process = boost::json::parse(oci::to_json(*spec_of({"sleep", "1000"}).process));
    const Reply reply = control_->ask(exec);
    control_->close();
    for (int turn = 0; turn < 3; ++turn) {
        pidfd_ = Fd();
        const Hello hello = reconnect();
        EXPECT_EQ(hello.version, protocol_version);
        EXPECT_EQ(hello.id, "abc");
        EXPECT_EQ(hello.pid, started.pid);
        EXPECT_EQ(hello.started_at, started.started_at);
        EXPECT_FALSE(hello.exited);
        EXPECT_THAT(hello.execs, ElementsAre(RunningExec{.exec_id = "e1", .pid = reply.pid}));
        ASSERT_TRUE(pidfd_);
        EXPECT_THAT(read_file(fmt::format("/proc/self/fdinfo/{}", pidfd_.get())), HasSubstr(fmt::format("Pid:\t{}\n", started.pid)));
    }
    auto [client, theirs] = stream_pair();
    EXPECT_FALSE(control_->ask(Attach{.use_stdin = true, .multiplexed = false}, {theirs.get()}).error);
    type(client, "end\n");
    EXPECT_EQ(control_->next<Exited>().code, 4);
    control_->close();
}

TEST_F(MonitorTest, AnExitThatNobodyHears) {
    Launch message;
    message.open_stdin = true;
    start(shell("read x; echo end; exit 5"), message);
    auto [client, theirs] = stream_pair();
    EXPECT_FALSE(control_->ask(Attach{.use_stdin = true}, {theirs.get()}).error);
    control_->close();
    type(client, "go\n");
    ASSERT_TRUE(eventually([this] { return read_exit_file(live()).has_value(); }));
    const auto exited = read_exit_file(live());
    EXPECT_EQ(exited->code, 5);
    EXPECT_GT(exited->finished_at, exited->started_at);
    EXPECT_THAT(log(), ElementsAre("end\n"));
    // And nobody is left.
    theirs = Fd();
    EXPECT_EQ(read_until(client), "");
    EXPECT_TRUE(eventually([this] { return !connect_to_monitor(live()); }));
}

TEST_F(MonitorTest, AReopenedLog) {
    Launch message;
    message.open_stdin = true;
    start(shell("echo one; read x; echo two"), message);
    ASSERT_TRUE(eventually([this] { return !log().empty(); }));
    fs::rename(log_path(), folder_ + "/elsewhere");
    EXPECT_FALSE(control_->ask(ReopenLog{}).error);
    auto [client, theirs] = stream_pair();
    EXPECT_FALSE(control_->ask(Attach{.use_stdin = true}, {theirs.get()}).error);
    type(client, "go\n");
    EXPECT_EQ(control_->next<Exited>().code, 0);
    EXPECT_THAT(log(), ElementsAre("two\n"));
}

TEST_F(MonitorTest, AGruadThatIsGoneBeforeTheStartStartsNothing) {
    Launch message;
    message.directory = folder_ + "/nobody";
    make_directories(message.directory, 0700);
    launch(spec_of({"sleep", "1000"}), message, [](Control& control) { control.close(); });
    start(shell("exit 0"));
    EXPECT_EQ(control_->next<Exited>().code, 0);
    EXPECT_TRUE(eventually([&] { return fs::is_empty(message.directory); }));
    EXPECT_FALSE(connect_to_monitor(message.directory));
}

TEST_F(MonitorTest, ABadLaunchEndsItsOwnConnectionOnly) {
    auto [ours, theirs] = socket_pair();
    const int fds[] = {theirs.get()};
    Launch bad;
    bad.fds = {"control"};
    ASSERT_EQ(send(launcher_.socket.get(), encode(bad), fds), Sent::yes);
    ASSERT_EQ(send(launcher_.socket.get(), "not JSON"), Sent::yes);
    theirs = Fd();
    Packet packet;
    ASSERT_TRUE(readable(ours));
    EXPECT_EQ(receive(ours.get(), packet), Received::closed);
    start(shell("exit 0"));
    EXPECT_EQ(control_->next<Exited>().code, 0);
}

}  // namespace
}  // namespace grua::monitor
