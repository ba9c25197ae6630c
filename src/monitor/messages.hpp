// What gruad, the launcher and a monitor say to each other: JSON texts with descriptors beside them, one text per packet of a
// SOCK_SEQPACKET socket (socket.hpp). Every text has `type`; a receiver ignores types and members that it does not know, so
// that a newer gruad and an older monitor understand each other. `version` grows when an old receiver would misunderstand; who meets
// one that it does not know says so (check_version) and does nothing that might be misread.
// A message that cannot be read is answered too: with an error where its `seq` can be read, else by the end of the connection.
//
//     gruad ── launch ──────────────► launcher          (+ the fds that Launch::fds names)
//     gruad ── attach, exec, resize,
//              close_stdin, reopen_log ► monitor ── reply {seq} ──► gruad
//     monitor ── started | failed, later detached, exec_exited, exited ──► gruad ── exit_seen ──► monitor, which ends
//     monitor ── hello ──► the gruad that connects to <directory>/monitor.sock; then as above
//
// Requests that are put into the control socket before the launch are answered before the program runs: a client that is
// attached so misses no byte.
#pragma once

#include "base/codec.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::monitor {

inline constexpr int protocol_version = 1;
inline constexpr int oldest_version = 1;  ///< That is still understood.

/// Throws Error(unavailable) for a peer whose messages might be misread. `who`: "the monitor of CONTAINER".
void check_version(int version, std::string_view who);

/// An Error as it travels.
struct Failure {
    std::string kind;
    int os_error = 0;
    std::string message;
    friend bool operator==(const Failure&, const Failure&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("kind", &Failure::kind), json::field("errno", &Failure::os_error),
                          json::field("message", &Failure::message)};
    }
};
Failure to_failure(const Error& error);
Error to_error(const Failure& failure);

/// What is common to all; read it first.
struct Header {
    std::string type;
    std::uint64_t seq = 0;
    static constexpr auto fields() { return std::tuple{json::field("type", &Header::type), json::field("seq", &Header::seq)}; }
};

/// gruad → launcher.
struct Launch {
    static constexpr std::string_view name = "launch";
    std::string type{name};
    int version = protocol_version;
    std::string id;
    std::string directory;                 ///< 0700, exists: monitor.sock, exit.json.
    std::vector<std::string> fds;          ///< In order: "control", "spec" (memfd of config.json), then optional "rootfs", "netns".
    std::string log_path;                  ///< Empty: driver `none`.
    std::int64_t log_max_size = 10485760;  ///< -1: never rotated.
    int log_max_files = 5;
    bool open_stdin = false;
    bool stdin_once = false;
    std::string seccomp_cache;
    std::string bundle;
    std::string cgroup_path;  ///< Where the spec has none.
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Launch::type),
                          json::field("version", &Launch::version),
                          json::field("id", &Launch::id),
                          json::field("directory", &Launch::directory),
                          json::field("fds", &Launch::fds),
                          json::field("log_path", &Launch::log_path),
                          json::field("log_max_size", &Launch::log_max_size),
                          json::field("log_max_files", &Launch::log_max_files),
                          json::field("open_stdin", &Launch::open_stdin),
                          json::field("stdin_once", &Launch::stdin_once),
                          json::field("seccomp_cache", &Launch::seccomp_cache),
                          json::field("bundle", &Launch::bundle),
                          json::field("cgroup_path", &Launch::cgroup_path)};
    }
};

/// gruad → monitor, with the client's socket. From the reply on, the bytes flow between the client and the monitor; gruad
/// closes its copy without shutdown.
struct Attach {
    static constexpr std::string_view name = "attach";
    std::string type{name};
    std::uint64_t seq = 0;
    std::string exec_id;  ///< Empty: the container's own program.
    bool use_stdin = false;
    bool use_stdout = false;
    bool use_stderr = false;
    bool multiplexed = true;      ///< Docker's 8-byte headers; false with a terminal.
    bool logs = false;            ///< First what the log has; what follows joins without a gap or a repetition.
    bool stream = true;           ///< false: only the logs, then the end.
    std::string detach_keys;      ///< Empty: ctrl-p,ctrl-q. Looked for with a terminal only.
    std::string early_input_hex;  ///< What gruad has read past the request, see to_hex().
    friend bool operator==(const Attach&, const Attach&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Attach::type),
                          json::field("seq", &Attach::seq),
                          json::field("exec_id", &Attach::exec_id),
                          json::field("stdin", &Attach::use_stdin),
                          json::field("stdout", &Attach::use_stdout),
                          json::field("stderr", &Attach::use_stderr),
                          json::field("multiplexed", &Attach::multiplexed),
                          json::field("logs", &Attach::logs),
                          json::field("stream", &Attach::stream),
                          json::field("detach_keys", &Attach::detach_keys),
                          json::field("early_input", &Attach::early_input_hex)};
    }
};

/// gruad → monitor. With `attach`, the client's socket comes along; without, the output is discarded.
struct Exec {
    static constexpr std::string_view name = "exec";
    std::string type{name};
    std::uint64_t seq = 0;
    std::string exec_id;
    json::Value process;  ///< An OCI process document.
    std::optional<Attach> attach;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Exec::type), json::field("seq", &Exec::seq), json::field("exec_id", &Exec::exec_id),
                          json::field("process", &Exec::process), json::field("attach", &Exec::attach)};
    }
};

struct Resize {
    static constexpr std::string_view name = "resize";
    std::string type{name};
    std::uint64_t seq = 0;
    std::string exec_id;
    std::uint16_t rows = 0;
    std::uint16_t columns = 0;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Resize::type), json::field("seq", &Resize::seq), json::field("exec_id", &Resize::exec_id),
                          json::field("rows", &Resize::rows), json::field("columns", &Resize::columns)};
    }
};

struct CloseStdin {
    static constexpr std::string_view name = "close_stdin";
    std::string type{name};
    std::uint64_t seq = 0;
    std::string exec_id;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &CloseStdin::type), json::field("seq", &CloseStdin::seq),
                          json::field("exec_id", &CloseStdin::exec_id)};
    }
};

/// Somebody else has renamed the log: the monitor opens it anew.
struct ReopenLog {
    static constexpr std::string_view name = "reopen_log";
    std::string type{name};
    std::uint64_t seq = 0;
    static constexpr auto fields() { return std::tuple{json::field("type", &ReopenLog::type), json::field("seq", &ReopenLog::seq)}; }
};

/// gruad has noted the exit (or the failure); the monitor may end. Closing the connection says the same. No reply.
struct ExitSeen {
    static constexpr std::string_view name = "exit_seen";
    std::string type{name};
    static constexpr auto fields() { return std::tuple{json::field("type", &ExitSeen::type)}; }
};

/// monitor → gruad, one for each request with a seq. For exec with the program's pidfd.
struct Reply {
    static constexpr std::string_view name = "reply";
    std::string type{name};
    std::uint64_t seq = 0;
    std::optional<Failure> error;
    std::int32_t pid = 0;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Reply::type), json::field("seq", &Reply::seq), json::field("error", &Reply::error),
                          json::field("pid", &Reply::pid)};
    }
};

/// With the pidfd of init. Times are nanoseconds since the epoch, 0 where there is none.
struct Started {
    static constexpr std::string_view name = "started";
    std::string type{name};
    std::int32_t pid = 0;
    std::int64_t started_at = 0;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Started::type), json::field("pid", &Started::pid),
                          json::field("started_at", &Started::started_at)};
    }
};

struct Failed {
    static constexpr std::string_view name = "failed";
    std::string type{name};
    Failure error;
    static constexpr auto fields() { return std::tuple{json::field("type", &Failed::type), json::field("error", &Failed::error)}; }
};

/// Also the content of exit.json. A status that nobody knows has no code, and `error` says why.
struct Exited {
    static constexpr std::string_view name = "exited";
    std::string type{name};
    std::optional<int> code;  ///< 128 + signal where one ended it.
    int signal = 0;
    bool oom_killed = false;
    std::int64_t started_at = 0;
    std::int64_t finished_at = 0;
    std::string error;
    friend bool operator==(const Exited&, const Exited&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &Exited::type),
                          json::field("code", &Exited::code),
                          json::field("signal", &Exited::signal),
                          json::field("oom_killed", &Exited::oom_killed),
                          json::field("started_at", &Exited::started_at),
                          json::field("finished_at", &Exited::finished_at),
                          json::field("error", &Exited::error)};
    }
};

/// Sent before the exec's clients see the end of their streams.
struct ExecExited {
    static constexpr std::string_view name = "exec_exited";
    std::string type{name};
    std::string exec_id;
    std::optional<int> code;
    static constexpr auto fields() {
        return std::tuple{json::field("type", &ExecExited::type), json::field("exec_id", &ExecExited::exec_id),
                          json::field("code", &ExecExited::code)};
    }
};

/// A client left by its detach keys.
struct Detached {
    static constexpr std::string_view name = "detached";
    std::string type{name};
    std::string exec_id;
    static constexpr auto fields() { return std::tuple{json::field("type", &Detached::type), json::field("exec_id", &Detached::exec_id)}; }
};

struct RunningExec {
    std::string exec_id;
    std::int32_t pid = 0;
    friend bool operator==(const RunningExec&, const RunningExec&) = default;
    static constexpr auto fields() {
        return std::tuple{json::field("exec_id", &RunningExec::exec_id), json::field("pid", &RunningExec::pid)};
    }
};

/// The first thing a gruad hears that connects to monitor.sock; with init's pidfd where pid is not 0 and it has not exited.
struct Hello {
    static constexpr std::string_view name = "hello";
    std::string type{name};
    int version = protocol_version;
    std::string id;
    std::int32_t pid = 0;
    std::int64_t started_at = 0;
    std::optional<Exited> exited;
    std::vector<RunningExec> execs;
    static constexpr auto fields() {
        return std::tuple{
            json::field("type", &Hello::type),  json::field("version", &Hello::version),       json::field("id", &Hello::id),
            json::field("pid", &Hello::pid),    json::field("started_at", &Hello::started_at), json::field("exited", &Hello::exited),
            json::field("execs", &Hello::execs)};
    }
};

/// Any message as it is sent. A text from inside a container, or one that was cut, may not be UTF-8: it is made valid here, as nobody
/// could read the message otherwise.
template <json::WireStruct Message>
std::string encode(const Message& message) {
    std::string text = json::dump(message, json::Version{1, 99});
    return is_valid_utf8(text) ? text : to_valid_utf8(text);
}
/// Throws Error(invalid_argument).
template <json::WireStruct Message>
Message decode(std::string_view text) {
    return json::parse<Message>(text);
}

std::string to_hex(std::string_view bytes);
/// Throws Error(invalid_argument).
std::string from_hex(std::string_view text);

/// What a monitor wrote to <directory>/exit.json; nothing where there is none.
std::optional<Exited> read_exit_file(const std::string& directory);

}  // namespace grua::monitor
