// Running: a process with its namespaces, its root and its cgroup, from an OCI document to its exit.
//
// This room knows processes, not containers: no name, no image, no record, no event. A container's run is a task; so is a step of a build,
// which nobody lists. What is kept true:
// - A task belongs to its monitor, not to this process: it goes on when gruad is killed, and find() has it again.
// - Processes and namespaces are held by descriptors. A number is shown, never used.
// - What waits has an end: an answer, the end of the link, or a deadline. A message that cannot be read ends the link.
// - A process that shares its PID namespace with others is ended by its cgroup, since its namespace does not end with it.
//
// Loop only, but where it says that it blocks.
#pragma once

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "linux/cgroup.hpp"
#include "monitor/log_spec.hpp"
#include "oci/runtime_spec.hpp"
#include "tasks/monitor_link.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::tasks {

using LogSpec = monitor::LogSpec;

/// A file of a mount that is made for the task.
struct MemoryFile {
    std::string name;  ///< Without a slash.
    std::string content;
    unsigned mode = 0400;
    uid_t user = 0;
    gid_t group = 0;
};

/// A folder that is in memory only and read only in the task: secrets. A detached mount. Blocks.
Fd memory_mount(const std::vector<MemoryFile>& files);

struct TaskMount {
    std::string destination;
    Fd mount;  ///< Detached.
    bool read_only = false;
};

/// A client that is there before the program's first byte.
struct TaskClient {
    AttachRequest request;
    Fd socket;
};

/// On the loop; it throws nothing. Until it returns nothing more is read: a program that says much waits for who listens.
using OutputCallback = std::function<void(bool is_stderr, std::string_view bytes)>;

struct TaskSpec {
    std::string id;
    std::string directory;  ///< Exists, 0700, of this task alone: its monitor's socket and its exit status are there.
    oci::RuntimeSpec document;
    std::string cgroup_path;               ///< Empty: the document's.
    std::optional<oci::Resources> limits;  ///< Nothing: the document's.
    Fd root;                               ///< A detached mount; none: the document's.
    std::vector<TaskMount> mounts;         ///< In the place of the source of the document's bind there, else after all of the document's.
    Fd network_namespace;                  ///< None: as the document says.
    std::map<std::string, Fd> namespaces;  ///< Others that are joined, by the document's kind: "pid", "ipc".
    std::vector<Fd> kept;                  ///< Held until the program runs.
    std::map<std::string, Fd> held;        ///< As by Task::hold().
    bool open_stdin = false;
    bool stdin_once = false;

    // Where the output goes; any of these, or nowhere.
    LogSpec log;
    OutputCallback output;
};

/// A further program in a task.
class Exec {
public:
    explicit Exec(const asio::any_io_executor& loop) : changed_(loop) {}

    pid_t pid() const noexcept { return pid_; }  ///< To be shown.
    /// Nothing where it has ended.
    void kill(int signal) const;
    /// 128 + signal where one ended it, and 137 where its monitor was killed.
    asio::awaitable<int> exited();
    std::optional<int> exit_code() const noexcept { return code_; }

    /// Whose task it is says so: it has ended.
    void end(int code);

private:
    friend class LinkedTask;
    Condition changed_;
    pid_t pid_ = 0;
    Fd pidfd_;
    std::optional<int> code_;
};

using ExecHandle = std::shared_ptr<Exec>;

struct TaskEvents {
    std::function<void(pid_t pid, Time started_at)> started;
    std::function<void(const ExitReport& report)> exited;
    /// TaskSpec::output has been told all, before or after the program's end was told; also where the monitor was killed.
    std::function<void()> output_ended;
    std::function<void(const std::string& exec_id, int code)> exec_exited;
    /// A client left by its detach keys; an empty ID is the first process's.
    std::function<void(const std::string& exec_id)> detached;
    /// A log driver's peer is away, or there again, or lines were left out.
    std::function<void(const std::string& text)> log_news;
    /// The last of all, and not where close() was called: the monitor has ended, or what it said could not be read.
    std::function<void(const std::string& why)> closed;
};

/// The monitor said why the program did not start: what the status means is runtime::exit_status_for's.
struct NotStarted : Error {
    explicit NotStarted(const Error& error) : Error(error) {}
};

class Task {
public:
    Task() = default;
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    virtual ~Task() = default;

    /// Once, for one that make() gave: returns when the program has executed, which events.started was told before. Throws NotStarted, or
    /// Error where no answer came before `deadline` or call_off().
    virtual asio::awaitable<void> run(Clock::Point deadline) = 0;
    /// Whoever waits for the start is told `why`; what comes of it is ended.
    virtual void call_off(std::string why) = 0;

    virtual pid_t pid() const = 0;
    /// A duplicate, for the pool. Empty where it has ended.
    virtual Fd pidfd() const = 0;
    /// "net", "pid", "ipc", …: the first process's. Throws Error(conflict) where that has just ended.
    virtual Fd open_namespace(const char* kind) const = 0;
    virtual bool is_linked() const = 0;  ///< Its monitor listens.

    /// To the first process; nothing where that has ended.
    virtual void kill(int signal) = 0;
    /// Every process in its cgroup.
    virtual asio::awaitable<void> kill_all() = 0;
    virtual asio::awaitable<void> pause() = 0;
    virtual asio::awaitable<void> resume() = 0;
    virtual asio::awaitable<void> update(linux::Resources limits) = 0;
    virtual asio::awaitable<linux::CgroupStats> stats() = 0;
    virtual asio::awaitable<std::vector<pid_t>> pids() = 0;

    virtual asio::awaitable<void> attach(AttachRequest request, Fd client) = 0;
    virtual asio::awaitable<void> resize(std::string exec_id, std::uint32_t rows, std::uint32_t columns) = 0;
    /// Returns when the program has executed. Throws NotStarted. Without `attach` its output goes nowhere.
    virtual asio::awaitable<ExecHandle> exec(std::string exec_id, oci::Process process, std::optional<AttachRequest> attach, Fd client) = 0;

    /// Descriptors that live as long as the first process, whatever becomes of this one: find() gives them back. At most a few.
    virtual asio::awaitable<void> hold(std::map<std::string, Fd> held) = 0;

    /// The monitor may end once its program has. Nothing is told any more, no output either; a start that has not been answered is ended
    /// when it is.
    virtual void close() = 0;
};

using TaskPtr = std::shared_ptr<Task>;

/// Made ready on the pool; a value.
struct Draft {
    std::string id;
    std::string directory;
    std::string cgroup_path;
    std::shared_ptr<struct PreparedLaunch> launch;
    Fd control;  ///< Our end.
    OutputCallback on_output;
};

/// A task that outlived the gruad that started it.
struct FoundTask {
    FoundMonitor monitor;
    std::string cgroup_path;
    bool is_newer = false;  ///< Its monitor speaks a newer version than this gruad: its end is understood, nothing is asked of it.
};

class Tasks {
public:
    Tasks() = default;
    Tasks(const Tasks&) = delete;
    Tasks& operator=(const Tasks&) = delete;
    virtual ~Tasks() = default;

    /// Blocks. Nothing runs yet.
    virtual Draft prepare(TaskSpec spec) = 0;
    /// `clients` are in the monitor's queue before there is one: no byte of output precedes them.
    virtual TaskPtr make(Draft draft, std::vector<TaskClient> clients, TaskEvents events) = 0;

    /// Blocks: what answers in `directory`, where something does.
    virtual std::optional<FoundTask> find(const std::string& directory, const std::string& cgroup_path) = 0;
    virtual TaskPtr adopt(FoundTask found, TaskEvents events) = 0;

    // Of what may have no monitor any more. Block. A cgroup that is not there is fine.
    virtual void end_cgroup(const std::string& cgroup_path) = 0;  ///< Kills what is in it, and removes it.
    virtual bool is_frozen(const std::string& cgroup_path) = 0;
    virtual void thaw(const std::string& cgroup_path) = 0;
};

/// `seccomp_cache`: a folder for compiled filters.
std::unique_ptr<Tasks> make_tasks(asio::any_io_executor loop, asio::thread_pool& pool, Timers& timers, std::string runtime_path,
                                  std::string seccomp_cache);

/// What a program says that is run to be asked something.
struct CaptureLimits {
    std::size_t bytes = std::size_t{64} << 10U;                ///< Of its output; what comes after is read and dropped.
    std::chrono::milliseconds time{30000};                     ///< Then it is killed.
    std::function<void(const ExecHandle&)> started = nullptr;  ///< For who may want to end it sooner.
};
struct Captured {
    int exit_code = 0;
    std::string output;  ///< Both streams, as they came.
    bool cut = false;
    bool timed_out = false;
};
/// Runs a program in the task and waits for its end; where this process ends first, so does the program. Throws NotStarted.
asio::awaitable<Captured> capture(TaskPtr task, std::string exec_id, oci::Process process, CaptureLimits limits, const Clock& clock,
                                  Timers& timers, asio::any_io_executor loop);

}  // namespace grua::tasks
