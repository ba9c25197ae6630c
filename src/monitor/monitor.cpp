#include "monitor/monitor.hpp"

#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"
#include "monitor/program.hpp"
#include "monitor/socket.hpp"
#include "monitor/their_ends.hpp"
#include "runtime/container.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>
#include <deque>
#include <functional>
#include <ranges>

namespace grua::monitor {
namespace {

// As long as Docker waits for the streams of a program that has ended: something else may hold them, for ever.
constexpr std::int64_t drain_ms = 2000;
constexpr std::int64_t accept_pause_ms = 500;
/// For log drivers to take what was left when all has ended.
constexpr std::int64_t farewell_ms = 10000;
constexpr int start_failed = 128;
constexpr std::size_t most_held = most_fds - 1;  ///< They go with Hello.
constexpr std::size_t largest_spec = std::size_t{8} << 20U;

std::int64_t now_ns() { return now().time_since_epoch().count(); }

int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

void end(const Program& program) {
    try {
        linux::send_signal(program.pidfd.get(), SIGKILL);
    } catch (const Error&) {
        return;  // It has ended by itself.
    }
}

/// Of a program that has just been started: where nobody comes to know of it, it is ended.
class Unannounced {
public:
    explicit Unannounced(Program& program) : program_(&program) {}
    Unannounced(const Unannounced&) = delete;
    Unannounced& operator=(const Unannounced&) = delete;
    ~Unannounced() {
        if (!program_) return;
        end(*program_);
        linux::reap(program_->pid);
    }
    void is_announced() { program_ = nullptr; }

private:
    Program* program_;
};

void write_exit_file(const std::string& directory, const Exited& exited) {
    try {
        replace_file(directory + "/exit.json", encode(exited), 0600);
    } catch (const Error&) {
        return;  // The folder is gone or full: gruad hears it where it lives, else the status is unknown.
    }
}

bool has_own_pids(const oci::RuntimeSpec& spec) {
    return spec.linux_ &&
           std::ranges::any_of(spec.linux_->namespaces, [](const oci::Namespace& each) { return each.type == "pid" && each.path.empty(); });
}

class Monitor {
public:
    Monitor(const Launch& launch, MonitorFds fds) : launch_(launch), fds_(std::move(fds)), control_(std::move(fds_.control)) {
        open_log(log_, launch.log);
    }

    int run() {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_BLOCK, &all, nullptr);
        sigset_t child;
        ::sigemptyset(&child);
        ::sigaddset(&child, SIGCHLD);
        signals_ = Fd(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        listener_ = listen_in(launch_.directory);
        init_ = std::make_shared<Program>();
        init_->log = log_.enabled() ? &log_ : nullptr;
        init_->log_format = launch_.log.format();
        programs_.push_back(init_);
        reap();  // What was begun when the log was opened, and has ended before anybody heard of it.
        while (read_control()) {
        }
        if (!control_) {
            // The gruad that wanted this is gone, and told nobody of it. What comes after it looks for monitor.sock: a
            // monitor that has made it while its gruad lived is found there, one that is later than that does nothing.
            (void)::unlink((launch_.directory + "/monitor.sock").c_str());
            return 0;
        }
        start();
        ::malloc_trim(0);
        while (!finished()) turn();
        return 0;
    }

    bool has_started() const { return started_at_ != 0; }

private:
    void start() {
        try {
            oci::RuntimeSpec spec = read_spec();
            shares_pids_ = !has_own_pids(spec);
            // By what was opened when it was known whose they are: a PID may be another process's by now.
            if (spec.linux_)
                for (oci::Namespace& each : spec.linux_->namespaces)
                    if (const auto given = fds_.namespaces.find(each.type); given != fds_.namespaces.end())
                        each.path = fmt::format("/proc/self/fd/{}", given->second.get());
            Program& init = *init_;
            init.terminal = spec.process && spec.process->terminal;
            init.close_stdin_with_client = launch_.stdin_once;
            runtime::CreateRequest request;
            request.id = launch_.id;
            request.directory = launch_.directory;
            request.rootfs = std::move(fds_.rootfs);
            request.network_namespace = std::move(fds_.network_namespace);
            request.mounts = std::move(fds_.mounts);
            const Fd empty_mounts = std::move(fds_.empty_mounts);
            request.empty_mounts = empty_mounts.get();
            request.bundle = launch_.bundle;
            request.seccomp_cache = launch_.seccomp_cache;
            request.cgroup_path = launch_.cgroup_path;
            TheirEnds theirs;
            if (!init.terminal) {
                theirs = make_pipes(init, launch_.open_stdin);
                request.stdio = theirs.stdio();
            }
            runtime::Started started = runtime::create(spec, std::move(request));
            started_at_ = now_ns();
            init.pid = started.pid;
            init.pidfd = std::move(started.pidfd);
            cgroup_.emplace(std::move(started.cgroup));
            Unannounced unannounced{init};
            begin_step("monitor:started");
            if (init.terminal) use_terminal(init, std::move(started.terminal), launch_.open_stdin);
            fds_.namespaces.clear();
            fds_.kept.clear();
            say(Started{.pid = init.pid, .started_at = started_at_}, {init.pidfd.get()});
            unannounced.is_announced();
            init.write_input();
        } catch (const Error& error) {
            has_failed(error);
        } catch (const std::exception& error) {
            has_failed(Error(ErrorKind::system, error.what()));
        }
    }

    void has_failed(const Error& error) {
        end_the_others();
        exited_ = Exited{.code = runtime::exit_status_for(error), .finished_at = now_ns(), .error = error.what()};
        write_exit_file(launch_.directory, *exited_);
        init_->ended = init_->reported = true;
        fds_.held.clear();
        for (const auto& client : init_->clients) client->replay.reset();
        init_->end_outputs();
        say(Failed{.error = to_failure(error)});
    }

    oci::RuntimeSpec read_spec() {
        // Kept as text in the memfd: parsed it would be the most of this process's memory.
        if (::lseek(fds_.spec.get(), 0, SEEK_SET) < 0) fail_errno("read the specification");
        return oci::parse_runtime_spec(read_all(fds_.spec.get(), "the specification", largest_spec));
    }

    bool finished() {
        if (!exited_ || (control_ && !exit_seen_)) return false;
        if (!std::ranges::all_of(programs_, [](const auto& each) { return each->reported && each->clients.empty(); })) return false;
        // What a log driver has not taken is given to it, which keeps nobody: the next run's monitor may listen.
        close_log();
        listener_ = {};
        return log_is_written() || monotonic_ms() >= log_closed_at_ + farewell_ms;
    }

    void close_log() {
        if (log_closed_at_ != 0) return;
        log_closed_at_ = monotonic_ms();
        log_.close();
    }

    bool log_is_written() const {
        return std::ranges::all_of(log_.workers(), [](const LogWorker* each) { return each->is_done(); });
    }

    void turn() {
        std::vector<pollfd> waits;
        std::vector<std::function<void()>> actions;
        const auto wait_for = [&](int fd, short events, std::function<void()> action) {
            waits.push_back({.fd = fd, .events = events, .revents = 0});
            actions.push_back(std::move(action));
        };
        wait_for(signals_.get(), POLLIN, [this] { reap(); });
        for (LogWorker* each : log_.workers())
            if (each->fd() >= 0) wait_for(each->fd(), each->events(), [each] { each->serve(); });
        if (listener_ && monotonic_ms() >= accepts_from_) wait_for(listener_.get(), POLLIN, [this] { accept(); });
        if (control_)
            wait_for(control_.get(), static_cast<short>(POLLIN | (unsent_.empty() ? 0 : POLLOUT)), [this] {
                send_unsent();
                // One for each turn: an exec takes its time to begin, and what runs is served in between.
                read_control();
            });
        std::int64_t deadline = -1;
        const auto sooner = [&](std::int64_t time) { deadline = deadline < 0 ? time : std::min(deadline, time); };
        if (accepts_from_ > monotonic_ms()) sooner(accepts_from_);
        for (const LogWorker* each : log_.workers())
            if (each->due() > 0 && log_closed_at_ == 0) sooner(each->due());
        if (log_closed_at_ != 0 && !log_is_written())
            sooner(std::max(log_closed_at_ + (init_->reported ? farewell_ms : drain_ms), monotonic_ms() + 1));
        for (const auto& program : programs_) {
            if (program->ended && !program->reported) sooner(program->deadline);
            if (!program->stalled())
                for (Output& output : program->outputs | std::views::reverse)  // Served from the last: standard output first.
                    wait_for(output.fd.get(), POLLIN, [program, &output] {
                        if (output.fd) program->read_output(output);
                    });
            if (program->input && !program->pending_input.empty())
                wait_for(program->input.get(), POLLOUT, [program] { program->write_input(); });
            const bool takes_input = program->pending_input.size() < client_buffer / 16;
            for (const auto& client : program->clients) {
                short events = 0;
                if (client->ends_at > 0) {
                    wait_for(client->socket.get(), POLLIN, [program, raw = client.get()] { program->drop_input(*raw); });
                    continue;
                }
                if (client->reads && takes_input) events |= POLLIN;
                if (!client->out.empty() || client->replay || client->leaving) events |= POLLOUT;
                // Its hang-up can only be handled behind its input, which waits for the program.
                if (client->reads && !takes_input && events == 0) continue;
                wait_for(client->socket.get(), events, [program, raw = client.get(), slot = waits.size(), &waits] {
                    const auto happened = waits[slot].revents;
                    if ((happened & (POLLIN | POLLHUP)) != 0 && raw->reads) program->read_client(*raw);
                    // Before anything is made ready for it: that it has left is not known by a socket that takes what is sent.
                    if ((happened & (POLLHUP | POLLERR)) != 0 && !raw->reads) raw->gone = true;
                    if ((happened & POLLOUT) != 0 && !raw->gone) program->write_client(*raw);
                });
            }
        }
        for (const auto& program : programs_)
            for (const auto& client : program->clients)
                if (client->ends_at > 0) sooner(client->ends_at);
        const int timeout = deadline < 0 ? -1 : static_cast<int>(std::max<std::int64_t>(0, deadline - monotonic_ms()));
        if (::poll(waits.data(), waits.size(), timeout) < 0 && errno != EINTR) fail_errno("poll");
        // The clients' and streams' objects stay until all were served: requests only append programs, sweep() is last.
        for (std::size_t i = waits.size(); i-- > 0;)
            if (waits[i].revents != 0) actions[i]();
        finish_programs();
        serve_log();
    }

    void serve_log() {
        for (LogWorker* each : log_.workers())
            if (each->due() > 0 && monotonic_ms() >= each->due()) each->serve();
        tell_log_news();
    }

    void tell_log_news() {
        for (const std::string& news : log_.take_news()) say(LogNews{.text = news});
    }

    void reap() {
        signalfd_siginfo info{};
        while (::read(signals_.get(), &info, sizeof info) > 0) {
        }
        int status = 0;
        for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
            log_.child_ended(pid);
            for (const auto& program : programs_)
                if (program->pid == pid && !program->ended) {
                    program->ended = true;
                    program->status = status;
                    program->deadline = monotonic_ms() + drain_ms;
                    if (program == init_) end_the_others();
                }
        }
    }

    /// A PID namespace of its own ends with its first process; in one that is shared the others would go on.
    void end_the_others() {
        if (!shares_pids_ || !cgroup_) return;
        try {
            cgroup_->kill(SIGKILL);
        } catch (const Error&) {
            return;  // gruad tries it again before it removes the cgroup.
        }
    }

    void finish_programs() {
        for (const auto& program : programs_) {
            if (program->ended && !program->reported) {
                for (Output& output : program->outputs)
                    if (output.fd) program->read_output(output);
                program->sweep();
                if ((program->drained() || monotonic_ms() >= program->deadline) && (program != init_ || is_logged())) report(*program);
            }
            for (const auto& client : program->clients)
                if (!client->gone && (client->leaving || !client->out.empty())) program->write_client(*client);
            for (const auto& client : program->clients)
                if (client->ends_at > 0 && monotonic_ms() >= client->ends_at) client->gone = true;
            for (const std::string& id : program->detached()) say(Detached{.exec_id = id});
            program->sweep();
            if (program->ends_with_client && program->clients.empty() && !program->ended) end(*program);
        }
        std::erase_if(programs_, [&](const auto& each) { return each != init_ && each->reported && each->clients.empty(); });
    }

    /// Who hears that it has ended finds all in its log, as long as the disk does not stand still.
    bool is_logged() {
        if (launch_.log.buffer < 0 || launch_.log.path.empty()) return true;
        for (const Stream stream : {Stream::standard_output, Stream::standard_error}) log_.end(stream, now());
        close_log();
        return log_is_written() || monotonic_ms() >= log_closed_at_ + drain_ms;
    }

    void report(Program& program) {
        // Said before the clients see the end of their streams: who then asks for the status gets it.
        program.reported = true;
        if (&program == init_.get()) {
            fds_.held.clear();
            exited_ = Exited{.code = code_of(program.status),
                             .signal = WIFSIGNALED(program.status) ? WTERMSIG(program.status) : 0,
                             .started_at = started_at_,
                             .finished_at = now_ns()};
            try {
                exited_->oom_killed = cgroup_ && cgroup_->oom_kills() > 0;
            } catch (const Error&) {
                exited_->oom_killed = false;  // The cgroup does not count memory.
            }
            program.end_outputs();
            log_.end();
            tell_log_news();
            write_exit_file(launch_.directory, *exited_);
            say(*exited_);
        } else {
            program.end_outputs();
            say(ExecExited{.exec_id = program.exec_id, .code = code_of(program.status)});
        }
    }

    void accept() {
        Fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        // Whoever waits is there still: without descriptors, say, this would be asked again and again.
        if (!peer) accepts_from_ = monotonic_ms() + accept_pause_ms;
        if (!peer || !peer_is_trusted(peer.get())) return;
        control_ = std::move(peer);
        unsent_.clear();
        Hello hello{.id = launch_.id, .pid = init_->pid, .started_at = started_at_, .exited = exited_};
        for (const auto& each : programs_)
            if (each != init_ && !each->reported) hello.execs.push_back({.exec_id = each->exec_id, .pid = each->pid});
        std::vector<int> fds;
        if (!init_->ended) fds.push_back(init_->pidfd.get());
        for (const auto& [name, fd] : fds_.held) {
            hello.held.push_back(name);
            fds.push_back(fd.get());
        }
        say(hello, fds);
    }

    template <typename Message>
    void say(const Message& message, const std::vector<int>& fds = {}) {
        if (!control_) return;
        unsent_.push_back({.text = encode(message), .fds = {}});
        for (const int each : fds) unsent_.back().fds.emplace_back(::fcntl(each, F_DUPFD_CLOEXEC, 0));
        send_unsent();
    }

    void send_unsent() {
        while (control_ && !unsent_.empty()) {
            std::vector<int> raw;
            for (const Fd& each : unsent_.front().fds) raw.push_back(each.get());
            const Sent sent = send(control_.get(), unsent_.front().text, raw, true);
            if (sent == Sent::would_block) return;
            if (sent == Sent::peer_gone) return;  // Read to its end: what it has asked before it went still counts.
            unsent_.pop_front();
        }
    }

    bool read_control() {
        if (!control_) return false;
        Packet packet;
        std::uint64_t seq = 0;
        Reply reply;
        Fd pidfd;
        try {
            const Received got = receive(control_.get(), packet, true);
            if (got == Received::closed) return end_control();
            if (got != Received::packet) return false;
            const auto header = decode<Header>(packet.text);
            seq = header.seq;
            handle(header.type, packet, reply, pidfd);
        } catch (const std::exception& error) {
            const auto* known = dynamic_cast<const Error*>(&error);
            reply.error = known ? to_failure(*known) : Failure{.kind = "system", .os_error = 0, .message = error.what()};
            const auto header = header_of(packet.text);
            if (!header) return end_control();
            seq = header->seq;
        }
        reply.seq = seq;
        if (seq != 0) say(reply, pidfd ? std::vector{pidfd.get()} : std::vector<int>{});
        return true;
    }

    /// Of a message whose handling failed; nothing where it cannot be read at all.
    static std::optional<Header> header_of(const std::string& text) {
        try {
            return decode<Header>(text);
        } catch (const Error&) {
            return std::nullopt;
        }
    }

    /// Who sent what cannot be read would wait for ever. It may connect again.
    bool end_control() {
        // Not by closing alone: what tells of a monitor that fails holds a duplicate.
        if (control_) (void)::shutdown(control_.get(), SHUT_RDWR);
        control_ = {};
        unsent_.clear();
        return false;
    }

    Program& find(const std::string& exec_id) {
        for (const auto& each : programs_)
            if (each->exec_id == exec_id && !each->reported) return *each;
        fail(ErrorKind::not_found, "{} is not running", exec_id.empty() ? "the container" : "exec " + exec_id);
    }

    void handle(const std::string& type, Packet& packet, Reply& reply, Fd& pidfd) {
        if (type == Attach::name) {
            const auto wish = decode<Attach>(packet.text);
            if (packet.fds.size() != 1) fail(ErrorKind::invalid_argument, "attach needs one descriptor");
            find(wish.exec_id).attach(wish, std::move(packet.fds.front()), launch_.log.path);
        } else if (type == Exec::name) {
            exec(decode<Exec>(packet.text), packet, reply, pidfd);
        } else if (type == Resize::name) {
            const auto wish = decode<Resize>(packet.text);
            Program& program = find(wish.exec_id);
            if (!program.terminal || program.outputs.empty()) fail(ErrorKind::conflict, "it has no terminal");
            winsize size{};
            size.ws_row = wish.rows;
            size.ws_col = wish.columns;
            if (::ioctl(program.outputs.front().fd.get(), TIOCSWINSZ, &size) < 0) fail_errno("resize a terminal");
        } else if (type == CloseStdin::name) {
            Program& program = find(decode<CloseStdin>(packet.text).exec_id);
            program.input_ends = true;
            program.write_input();
        } else if (type == ReopenLog::name) {
            log_.reopen();
        } else if (type == Hold::name) {
            hold(decode<Hold>(packet.text), packet.fds);
        } else if (type == ExitSeen::name) {
            exit_seen_ = exited_.has_value();
        } else {
            fail(ErrorKind::not_implemented, "not implemented: the message {}", type);
        }
    }

    void hold(const Hold& wish, std::vector<Fd>& given) {
        if (wish.names.size() != given.size())
            fail(ErrorKind::invalid_argument, "{} names for {} descriptors", wish.names.size(), given.size());
        if (fds_.held.size() + given.size() > most_held) fail(ErrorKind::invalid_argument, "more than {} descriptors to hold", most_held);
        if (exited_) return;
        for (std::size_t i = 0; i < given.size(); ++i) fds_.held.insert_or_assign(wish.names[i], std::move(given[i]));
    }

    void exec(const Exec& wish, Packet& packet, Reply& reply, Fd& pidfd) {
        if (init_->pid == 0 || init_->ended) fail(ErrorKind::conflict, "the container is not running");
        // Before the program runs: what is wrong with the attach must not leave it running with nobody who knows.
        if (wish.attach) check_attach(*wish.attach);
        if (wish.attach && packet.fds.size() != 1) fail(ErrorKind::invalid_argument, "an attached exec needs one descriptor");
        const oci::Process process = oci::parse_process(boost::json::serialize(wish.process));
        const oci::RuntimeSpec spec = read_spec();
        auto program = std::make_shared<Program>();
        program->exec_id = wish.exec_id;
        program->terminal = process.terminal;
        program->close_stdin_with_client = true;
        const bool with_input = wish.attach && wish.attach->use_stdin;
        TheirEnds theirs;
        runtime::ExecOptions options;
        options.seccomp_cache = launch_.seccomp_cache;
        if (!program->terminal) {
            theirs = make_pipes(*program, with_input);
            options.stdio = theirs.stdio();
        }
        const runtime::ExecTarget target{
            .pid = init_->pid, .pidfd = init_->pidfd.get(), .spec = &spec, .cgroup = cgroup_ ? &*cgroup_ : nullptr};
        runtime::ExecStarted started = runtime::exec(target, process, options);
        program->pid = started.pid;
        program->pidfd = std::move(started.pidfd);
        Unannounced unannounced{*program};
        begin_step("monitor:exec-started");
        if (program->terminal) use_terminal(*program, std::move(started.terminal), with_input);
        pidfd = duplicate(program->pidfd);
        reply.pid = program->pid;
        programs_.push_back(program);
        unannounced.is_announced();
        if (wish.attach) program->attach(*wish.attach, std::move(packet.fds.front()), {});
        program->ends_with_client = wish.attach && wish.attach->ends_with_client;
    }

    struct Unsent {
        std::string text;
        std::vector<Fd> fds;
    };

    Launch launch_;
    MonitorFds fds_;
    Fd control_;
    LogWriter log_;
    Fd signals_;
    Fd listener_;
    std::shared_ptr<Program> init_;
    std::deque<std::shared_ptr<Program>> programs_;
    std::optional<linux::Cgroup> cgroup_;
    std::deque<Unsent> unsent_;
    std::optional<Exited> exited_;
    std::int64_t started_at_ = 0;
    std::int64_t accepts_from_ = 0;
    std::int64_t log_closed_at_ = 0;
    bool exit_seen_ = false;
    bool shares_pids_ = false;
};

}  // namespace

int monitor_main(const Launch& launch, MonitorFds fds) {
    const int control = ::fcntl(fds.control.get(), F_DUPFD_CLOEXEC, 0);
    const Fd spare(control);
    std::optional<Monitor> monitor;
    try {
        return monitor.emplace(launch, std::move(fds)).run();
    } catch (const std::exception& error) {
        if (monitor && monitor->has_started()) return 1;
        write_exit_file(launch.directory, Exited{.code = start_failed, .finished_at = now_ns(), .error = error.what()});
        const Failure failure{.kind = "system", .os_error = 0, .message = fmt::format("monitor: {}", error.what())};
        (void)send(control, encode(Failed{.error = failure}), {}, true);
        return 1;
    }
}

}  // namespace grua::monitor
