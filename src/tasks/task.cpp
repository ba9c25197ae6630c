#include "tasks/task.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/memory_file.hpp"
#include "monitor/messages.hpp"
#include "monitor/socket.hpp"
#include "tasks/launcher.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <csignal>

namespace grua::tasks {

struct PreparedLaunch {
    LaunchOrder order;
};

namespace {

constexpr int killed_with_monitor = 128 + SIGKILL;
constexpr std::size_t frame_header = 8;

std::pair<Fd, Fd> socket_pair(int kind) {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    return {Fd(pair[0]), Fd(pair[1])};
}

Fd duplicate(const Fd& fd) { return fd ? Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)) : Fd(); }

void send_signal(const Fd& pidfd, int signal) {
    if (!pidfd) return;
    // Through the descriptor held since its birth: the number may be another process's by now.
    if (::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) != 0 && errno != ESRCH) fail_errno("send signal {}", signal);
}

/// What a program says, as it comes in the framing of an attach: stream, three zeros, length in network order.
class OutputReading : public std::enable_shared_from_this<OutputReading> {
public:
    OutputReading(const asio::any_io_executor& loop, Fd socket, OutputCallback callback, std::function<void()> ended)
        : loop_(loop), socket_(loop, socket.release()), callback_(std::move(callback)), ended_(std::move(ended)) {}

    void run() { asio::co_spawn(loop_, read(shared_from_this()), asio::detached); }

    /// Nobody is told anything any more.
    void close() {
        callback_ = nullptr;
        ended_ = nullptr;
        boost::system::error_code ignored;
        socket_.close(ignored);
    }

private:
    static asio::awaitable<void> read(std::shared_ptr<OutputReading> self) {
        std::string pending;
        std::array<char, 16384> bytes{};
        for (;;) {
            boost::system::error_code error;
            const std::size_t count =
                co_await self->socket_.async_read_some(asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
            if (error) break;
            pending.append(bytes.data(), count);
            pending.erase(0, self->tell(pending));
        }
        if (self->ended_) std::exchange(self->ended_, nullptr)();
    }

    /// How much of it was whole frames.
    std::size_t tell(std::string_view pending) const {
        std::size_t at = 0;
        while (pending.size() - at >= frame_header) {
            const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(pending[at + i])); };
            const std::size_t size = byte(4) << 24U | byte(5) << 16U | byte(6) << 8U | byte(7);
            if (pending.size() - at - frame_header < size) break;
            // Kept beside: whoever hears it may close this.
            if (const auto callback = callback_) callback(pending[at] == 2, pending.substr(at + frame_header, size));
            at += frame_header + size;
        }
        return at;
    }

    asio::any_io_executor loop_;
    asio::posix::stream_descriptor socket_;
    OutputCallback callback_;
    std::function<void()> ended_;
};

}  // namespace

void Exec::kill(int signal) const { send_signal(pidfd_, signal); }

void Exec::end(int code) {
    code_ = code;
    pidfd_ = Fd();
    changed_.notify_all();
}

asio::awaitable<int> Exec::exited() {
    while (!code_) co_await changed_.wait();
    co_return *code_;
}

class LinkedTask final : public Task, public std::enable_shared_from_this<LinkedTask> {
public:
    LinkedTask(asio::any_io_executor loop, asio::thread_pool& pool, Timers& timers, Launcher& launcher, linux::CgroupMounts mounts,
               std::string cgroup_path, TaskEvents events)
        : loop_(std::move(loop)),
          pool_(pool),
          timers_(timers),
          launcher_(launcher),
          mounts_(std::move(mounts)),
          cgroup_path_(std::move(cgroup_path)),
          events_(std::move(events)),
          answered_(loop_) {}

    ~LinkedTask() override {
        if (output_) output_->close();
        if (link_) link_->close();
    }

    void begin(Draft draft, std::vector<TaskClient> clients) {
        launch_ = std::move(draft.launch);
        link_ = std::make_shared<MonitorLink>(loop_, std::move(draft.control), events());
        if (draft.on_output) {
            auto [ours, theirs] = socket_pair(SOCK_STREAM);
            AttachRequest request;
            request.options.use_stdout = request.options.use_stderr = request.options.stream = true;
            link_->post_attach(std::move(request), std::move(theirs));
            auto ended = [weak = weak_from_this()] {
                if (const auto self = weak.lock(); self && self->events_.output_ended) std::function(self->events_.output_ended)();
            };
            output_ = std::make_shared<OutputReading>(loop_, std::move(ours), std::move(draft.on_output), std::move(ended));
            output_->run();
        }
        for (TaskClient& each : clients) link_->post_attach(std::move(each.request), std::move(each.socket));
        link_->run();
    }

    void adopt(FoundTask found) {
        pid_ = found.monitor.pid;
        pidfd_ = std::move(found.monitor.pidfd);
        is_newer_ = found.is_newer;
        state_ = State::started;
        link_ = std::make_shared<MonitorLink>(loop_, std::move(found.monitor.socket), events());
        link_->run();
    }

    asio::awaitable<void> run(Clock::Point deadline) override {
        const auto self = shared_from_this();
        if (failure_) std::rethrow_exception(failure_);
        std::unique_ptr<Alarm> alarm;
        if (deadline != Clock::never)
            alarm = timers_.at(deadline, [self] { self->call_off("the container's monitor did not answer in time"); });
        auto send = [self, launch = std::exchange(launch_, nullptr)] { self->launcher_.launch(std::move(launch->order)); };
        state_ = State::launched;
        try {
            co_await offload(pool_, std::move(send));
        } catch (...) {
            state_ = State::ended;
            throw;
        }
        while (state_ == State::launched && !failure_) co_await answered_.wait();
        if (failure_) std::rethrow_exception(failure_);
    }

    void call_off(std::string why) override {
        if (failure_ || state_ == State::started || state_ == State::ended) return;
        failure_ = std::make_exception_ptr(Error(ErrorKind::unavailable, std::move(why)));
        answered_.notify_all();
    }

    pid_t pid() const override { return pid_; }
    Fd pidfd() const override { return duplicate(pidfd_); }
    Fd open_namespace(const char* kind) const override {
        Fd out{::open(fmt::format("/proc/{}/ns/{}", pid_, kind).c_str(), O_RDONLY | O_CLOEXEC)};
        // It is the right one where its process was there afterwards still.
        if (!out || !pidfd_ || ::syscall(SYS_pidfd_send_signal, pidfd_.get(), 0, nullptr, 0) != 0)
            fail(ErrorKind::conflict, "the container has just ended");
        return out;
    }
    bool is_linked() const override { return link_ && !link_->is_closed(); }

    void kill(int signal) override { send_signal(pidfd_, signal); }

    asio::awaitable<void> kill_all() override {
        return in_cgroup<void>([](linux::Cgroup& cgroup) { cgroup.kill(SIGKILL); });
    }
    asio::awaitable<void> pause() override {
        return in_cgroup<void>([](linux::Cgroup& cgroup) { cgroup.freeze(); });
    }
    asio::awaitable<void> resume() override {
        return in_cgroup<void>([](linux::Cgroup& cgroup) { cgroup.thaw(); });
    }
    asio::awaitable<void> update(linux::Resources limits) override {
        return in_cgroup<void>([limits = std::move(limits)](linux::Cgroup& cgroup) { cgroup.apply(limits); });
    }
    asio::awaitable<linux::CgroupStats> stats() override {
        return in_cgroup<linux::CgroupStats>([](linux::Cgroup& cgroup) { return cgroup.stats(); });
    }
    asio::awaitable<std::vector<pid_t>> pids() override {
        return in_cgroup<std::vector<pid_t>>([](linux::Cgroup& cgroup) { return cgroup.pids(); });
    }

    asio::awaitable<void> attach(AttachRequest request, Fd client) override {
        const auto link = asked();
        co_await link->attach(std::move(request), std::move(client));
    }

    asio::awaitable<void> resize(std::string exec_id, std::uint32_t rows, std::uint32_t columns) override {
        const auto link = asked();
        co_await link->resize(std::move(exec_id), rows, columns);
    }

    asio::awaitable<ExecHandle> exec(std::string exec_id, oci::Process process, std::optional<AttachRequest> attach, Fd client) override {
        const auto self = shared_from_this();
        const auto link = asked();
        auto handle = std::make_shared<Exec>(loop_);
        // Known before it runs: its end may be told right behind the answer.
        const auto [at, is_new] = execs_.try_emplace(exec_id, handle);
        if (!is_new) fail(ErrorKind::conflict, "exec {} runs already", exec_id);
        try {
            auto started = co_await link->exec(exec_id, std::move(process), std::move(attach), std::move(client));
            handle->pid_ = started.pid;
            handle->pidfd_ = std::move(started.pidfd);
        } catch (const Error& error) {
            execs_.erase(exec_id);
            throw NotStarted(error);
        }
        co_return handle;
    }

    asio::awaitable<void> hold(std::map<std::string, Fd> held) override {
        const auto link = asked();
        co_await link->hold(std::move(held));
    }

    void close() override {
        events_ = {};
        if (const auto output = std::exchange(output_, nullptr)) output->close();
        if (!link_) return;
        if (state_ == State::launched) {
            end_when_it_starts();
        } else {
            link_->close();
        }
        end_execs(killed_with_monitor);
    }

private:
    enum class State { made, launched, started, ended };

    template <typename Result, typename Work>
    asio::awaitable<Result> in_cgroup(Work work) {
        auto on_pool = [mounts = mounts_, path = cgroup_path_, work = std::move(work)] {
            linux::Cgroup cgroup = linux::Cgroup::open(mounts, linux::CgroupPath::parse(path));
            return work(cgroup);
        };
        return offload(pool_, std::move(on_pool));
    }

    /// Throws where its monitor cannot be asked for something.
    std::shared_ptr<MonitorLink> asked() const {
        if (!is_linked()) fail(ErrorKind::unavailable, "the container's monitor has ended");
        if (is_newer_) fail(ErrorKind::unavailable, "the container was started by a newer gruad, whose monitor speaks a newer version");
        return link_;
    }

    MonitorEvents events() {
        const std::weak_ptr<LinkedTask> weak = weak_from_this();
        const auto with = [weak](auto action) {
            return [weak, action](auto&&... arguments) {
                if (const auto self = weak.lock()) action(*self, std::forward<decltype(arguments)>(arguments)...);
            };
        };
        MonitorEvents out;
        out.started = with([](LinkedTask& self, pid_t pid, Time started_at, Fd pidfd) {
            // Whoever waited has been told that it did not start, and closes this; until then it is as if nothing had come.
            if (self.failure_) return end_unwanted(pidfd);
            self.pid_ = pid;
            self.pidfd_ = std::move(pidfd);
            self.state_ = State::started;
            if (self.events_.started) std::function(self.events_.started)(pid, started_at);
            self.answered_.notify_all();
        });
        out.failed = with([](LinkedTask& self, const Error& error) {
            self.state_ = State::ended;
            if (!self.failure_) self.failure_ = std::make_exception_ptr(NotStarted(error));
            self.answered_.notify_all();
        });
        out.exited = with([](LinkedTask& self, const ExitReport& report) {
            self.state_ = State::ended;
            self.pidfd_ = Fd();
            if (self.events_.exited) std::function(self.events_.exited)(report);
        });
        out.exec_exited = with([](LinkedTask& self, const std::string& id, int code) { self.end_exec(id, code); });
        out.detached = with([](LinkedTask& self, const std::string& exec_id) {
            if (self.events_.detached) std::function(self.events_.detached)(exec_id);
        });
        out.log_news = with([](LinkedTask& self, const std::string& text) {
            if (self.events_.log_news) std::function(self.events_.log_news)(text);
        });
        out.closed = with([](LinkedTask& self, const std::string& why) {
            const auto closed = self.events_.closed;
            self.end_execs(killed_with_monitor);
            if (self.state_ == State::launched || self.state_ == State::made) {
                self.state_ = State::ended;
                if (!self.failure_)
                    self.failure_ = std::make_exception_ptr(Error(ErrorKind::unavailable, why + " before the program started"));
                self.answered_.notify_all();
            }
            if (closed) closed(why);
        });
        return out;
    }

    void end_exec(const std::string& id, int code) {
        const auto found = execs_.find(id);
        if (found == execs_.end()) return;
        const ExecHandle handle = found->second;
        execs_.erase(found);
        handle->end(code);
        if (events_.exec_exited) std::function(events_.exec_exited)(id, code);
    }

    void end_execs(int code) {
        while (!execs_.empty()) end_exec(std::string(execs_.begin()->first), code);
    }

    static void end_unwanted(const Fd& pidfd) {
        try {
            send_signal(pidfd, SIGKILL);
        } catch (const Error& error) {
            log::error("a program whose start was called off: {}", error.what());
        }
    }

    /// Nobody waits for the start any more, and a monitor that works on it hears of that only afterwards.
    void end_when_it_starts() {
        const auto link = link_;
        MonitorEvents events;
        events.started = [pidfd = std::make_shared<Fd>()](pid_t, Time, Fd given) {
            *pidfd = std::move(given);
            end_unwanted(*pidfd);
        };
        auto end = [link, &pool = pool_, mounts = mounts_, path = cgroup_path_] {
            asio::post(pool, [mounts, path] {
                try {
                    linux::Cgroup cgroup = linux::Cgroup::open(mounts, linux::CgroupPath::parse(path));
                    cgroup.kill(SIGKILL);
                    cgroup.remove();
                } catch (const Error& error) {
                    if (error.kind() != ErrorKind::not_found) log::warn("cgroup {}: {}", path, error.what());
                }
            });
            link->close();
        };
        events.failed = [end](const Error&) { end(); };
        events.exited = [end](const ExitReport&) { end(); };
        events.closed = [end](const std::string&) { end(); };
        link_->set_events(std::move(events));
        link_.reset();
    }

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    Timers& timers_;
    Launcher& launcher_;
    linux::CgroupMounts mounts_;
    std::string cgroup_path_;
    TaskEvents events_;
    Condition answered_;
    std::shared_ptr<PreparedLaunch> launch_;
    std::shared_ptr<MonitorLink> link_;
    std::shared_ptr<OutputReading> output_;
    State state_ = State::made;
    std::exception_ptr failure_;
    pid_t pid_ = 0;
    Fd pidfd_;
    bool is_newer_ = false;
    std::map<std::string, ExecHandle, std::less<>> execs_;
};

namespace {

class LinuxTasks final : public Tasks {
public:
    LinuxTasks(asio::any_io_executor loop, asio::thread_pool& pool, Timers& timers, std::string runtime_path, std::string seccomp_cache)
        : loop_(std::move(loop)),
          pool_(pool),
          timers_(timers),
          launcher_(std::move(runtime_path)),
          seccomp_cache_(std::move(seccomp_cache)),
          mounts_(linux::CgroupMounts::detect()) {}

    Draft prepare(TaskSpec spec) override {
        if (!spec.document.linux_) spec.document.linux_.emplace();
        oci::Linux& document = *spec.document.linux_;
        if (!spec.cgroup_path.empty()) document.cgroups_path = spec.cgroup_path;
        if (spec.limits) document.resources = std::move(spec.limits);
        for (const TaskMount& each : spec.mounts) {
            if (std::ranges::count(spec.document.mounts, each.destination, &oci::Mount::destination) != 0) continue;
            oci::Mount mount;
            mount.destination = each.destination;
            mount.type = "bind";
            mount.source = "given";
            mount.options = {"rbind", each.read_only ? "ro" : "rw", "nosuid", "nodev"};
            spec.document.mounts.push_back(std::move(mount));
        }
        auto [ours, theirs] = socket_pair(SOCK_SEQPACKET);
        Draft out{.id = spec.id,
                  .directory = spec.directory,
                  .cgroup_path = document.cgroups_path,
                  .launch = std::make_shared<PreparedLaunch>(),
                  .control = std::move(ours),
                  .on_output = std::move(spec.output)};
        LaunchOrder& order = out.launch->order;
        order.id = spec.id;
        order.directory = spec.directory;
        order.log = std::move(spec.log);
        order.open_stdin = spec.open_stdin;
        order.stdin_once = spec.stdin_once;
        order.seccomp_cache = seccomp_cache_;
        order.control = std::move(theirs);
        order.spec = memory_file(oci::to_json(spec.document), "config.json");
        order.rootfs = std::move(spec.root);
        order.network_namespace = std::move(spec.network_namespace);
        for (auto& [kind, fd] : spec.namespaces) order.more.emplace_back("namespace:" + kind, std::move(fd));
        for (TaskMount& each : spec.mounts) order.more.emplace_back("mount:" + each.destination, std::move(each.mount));
        for (Fd& each : spec.kept) order.more.emplace_back("kept", std::move(each));
        for (auto& [name, fd] : spec.held) order.more.emplace_back("held:" + name, std::move(fd));
        return out;
    }

    TaskPtr make(Draft draft, std::vector<TaskClient> clients, TaskEvents events) override {
        auto task = std::make_shared<LinkedTask>(loop_, pool_, timers_, launcher_, mounts_, draft.cgroup_path, std::move(events));
        task->begin(std::move(draft), std::move(clients));
        return task;
    }

    std::optional<FoundTask> find(const std::string& directory, const std::string& cgroup_path) override {
        auto monitor = find_monitor(directory);
        if (!monitor) return std::nullopt;
        const bool is_newer = monitor->version > monitor::protocol_version;
        if (is_newer) log::warn("{}: its monitor speaks version {}, this gruad {}", directory, monitor->version, monitor::protocol_version);
        return FoundTask{.monitor = std::move(*monitor), .cgroup_path = cgroup_path, .is_newer = is_newer};
    }

    TaskPtr adopt(FoundTask found, TaskEvents events) override {
        auto task = std::make_shared<LinkedTask>(loop_, pool_, timers_, launcher_, mounts_, found.cgroup_path, std::move(events));
        task->adopt(std::move(found));
        return task;
    }

    void end_cgroup(const std::string& cgroup_path) override {
        with_cgroup(cgroup_path, [](linux::Cgroup& cgroup) {
            if (!cgroup.empty()) cgroup.kill(SIGKILL);
            cgroup.remove();
        });
    }

    bool is_frozen(const std::string& cgroup_path) override {
        bool out = false;
        with_cgroup(cgroup_path, [&](linux::Cgroup& cgroup) { out = cgroup.frozen(); });
        return out;
    }

    void thaw(const std::string& cgroup_path) override {
        with_cgroup(cgroup_path, [](linux::Cgroup& cgroup) { cgroup.thaw(); });
    }

private:
    template <typename Work>
    void with_cgroup(const std::string& path, Work work) {
        try {
            linux::Cgroup cgroup = linux::Cgroup::open(mounts_, linux::CgroupPath::parse(path));
            work(cgroup);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) throw;
        }
    }

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    Timers& timers_;
    Launcher launcher_;
    std::string seccomp_cache_;
    linux::CgroupMounts mounts_;
};

}  // namespace

std::unique_ptr<Tasks> make_tasks(asio::any_io_executor loop, asio::thread_pool& pool, Timers& timers, std::string runtime_path,
                                  std::string seccomp_cache) {
    return std::make_unique<LinuxTasks>(std::move(loop), pool, timers, std::move(runtime_path), std::move(seccomp_cache));
}

}  // namespace grua::tasks
