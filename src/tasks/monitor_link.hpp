// gruad's end of the connection to one container's monitor. Loop only.
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "oci/runtime_spec.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace grua::tasks {

struct ExitReport {
    int code = 0;  ///< 128 + signal where one ended it.
    bool oom_killed = false;
    Time finished_at{};
    std::string error;  ///< Where the status is not known.
    Time started_at{};  ///< The epoch: the program never ran, `error` says why.
};

/// What a monitor says unasked.
struct MonitorEvents {
    std::function<void(pid_t pid, Time started_at, Fd pidfd)> started;
    std::function<void(const Error& error)> failed;
    std::function<void(const ExitReport& report)> exited;
    std::function<void(const std::string& exec_id, int code)> exec_exited;
    std::function<void(const std::string& exec_id)> detached;  ///< A client left by its keys; an empty ID is the first process's.
    std::function<void(const std::string& text)> log_news;
    std::function<void(const std::string& why)> closed;  ///< The last of all.
};

/// What the monitor wrote down at the end; nothing where there is no such file. Blocks.
std::optional<ExitReport> read_exit_file(const std::string& directory);

/// A monitor that outlived the gruad that started it.
struct FoundMonitor {
    int version = 0;  ///< Of what it says, monitor::protocol_version of its time.
    Fd socket;
    pid_t pid = 0;
    Time started_at{};
    Fd pidfd;
    std::optional<ExitReport> exited;
    std::map<std::string, Fd> held;  ///< What the gruad before gave it to hold.
};

/// Connects to `directory`/monitor.sock; nothing where nobody listens. Blocks while the monitor makes its container, which it
/// does before it answers.
std::optional<FoundMonitor> find_monitor(const std::string& directory);

struct AttachOptions {
    bool use_stdin = false;
    bool use_stdout = false;
    bool use_stderr = false;
    bool logs = false;              ///< First what the log has.
    bool stream = false;            ///< Then what comes.
    std::string detach_keys;        ///< "ctrl-p,ctrl-q" where empty.
    bool raw = false;               ///< Without frames, though there is no terminal.
    bool ends_with_client = false;  ///< Of an exec: whoever asked is gone, so it is killed.
};

struct AttachRequest {
    std::string exec_id;  ///< Empty: the container's own program.
    AttachOptions options;
    bool multiplexed = true;
    std::string early_input;
};

class MonitorLink : public std::enable_shared_from_this<MonitorLink> {
public:
    MonitorLink(const asio::any_io_executor& loop, Fd socket, MonitorEvents events);
    ~MonitorLink();

    /// Starts to read.
    void run();

    /// Sends without waiting for the reply: for what must be in the monitor's queue before the launch.
    void post_attach(AttachRequest request, Fd client);

    asio::awaitable<void> attach(AttachRequest request, Fd client);
    struct ExecStarted {
        pid_t pid = 0;
        Fd pidfd;
    };
    /// Throws Error as the runtime met it.
    asio::awaitable<ExecStarted> exec(std::string exec_id, oci::Process process, std::optional<AttachRequest> attach, Fd client);
    asio::awaitable<void> resize(std::string exec_id, std::uint32_t rows, std::uint32_t columns);

    asio::awaitable<void> hold(std::map<std::string, Fd> held);

    /// Others hear from now on.
    void set_events(MonitorEvents events);
    bool is_closed() const noexcept;
    void close();

private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace grua::tasks
