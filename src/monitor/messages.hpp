// What gruad, the launcher and a monitor say to each other: JSON texts with descriptors beside them, one text per packet of a
// SOCK_SEQPACKET socket (socket.hpp). Every text has `type`; a receiver ignores types and members that it does not know, so
// that a newer gruad and an older monitor understand each other. `version` grows when an old receiver would misunderstand; who meets
// one that it does not know says so (check_version) and does nothing that might be misread.
// A message that cannot be read is answered too: with an error where its `seq` can be read, else by the end of the connection.
//
//     gruad ── launch ──────────────► launcher          (+ the fds that Launch::fds names)
//     gruad ── attach, exec, resize,
//              close_stdin, reopen_log,
//              hold ─────────────────► monitor ── reply {seq} ──► gruad
//     monitor ── started | failed, later detached, log_news, exec_exited, exited ──► gruad ── exit_seen ──► monitor, which ends
//     monitor ── hello ──► the gruad that connects to <directory>/monitor.sock; then as above
//
// Requests that are put into the control socket before the launch are answered before the program runs: a client that is
// attached so misses no byte.
#pragma once

#include "base/codec.hpp"
#include "base/error.hpp"
#include "base/utf8.hpp"
#include "monitor/log_spec.hpp"

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
    template <typename Self = Failure>
    static json::Fields fields() {
        return json::Fields{json::field("kind", &Self::kind), json::field("errno", &Self::os_error),
                            json::field("message", &Self::message)};
    }
};
Failure to_failure(const Error& error);
Error to_error(const Failure& failure);

/// What is common to all; read it first.
struct Header {
    std::string type;
    std::uint64_t seq = 0;
    template <typename Self = Header>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq)};
    }
};

/// gruad → launcher.
struct Launch {
    static constexpr std::string_view name = "launch";
    std::string type{name};
    int version = protocol_version;
    std::string id;
    std::string directory;  ///< 0700, exists: monitor.sock, exit.json.
    /// In order: "control", "spec" (memfd of config.json), then optional "rootfs", "netns", "namespace:KIND" for one of the spec's that is
    /// joined, "mount:/DESTINATION" for a detached mount in the place of the source of the spec's bind mount there, "kept", "held:NAME" as
    /// Hold has it.
    std::vector<std::string> fds;
    LogSpec log;
    bool open_stdin = false;
    bool stdin_once = false;
    std::string seccomp_cache;
    std::string bundle;
    std::string cgroup_path;  ///< Where the spec has none.
    template <typename Self = Launch>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type),
                            json::field("version", &Self::version),
                            json::field("id", &Self::id),
                            json::field("directory", &Self::directory),
                            json::field("fds", &Self::fds),
                            json::field("log", &Self::log),
                            json::field("open_stdin", &Self::open_stdin),
                            json::field("stdin_once", &Self::stdin_once),
                            json::field("seccomp_cache", &Self::seccomp_cache),
                            json::field("bundle", &Self::bundle),
                            json::field("cgroup_path", &Self::cgroup_path)};
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
    bool multiplexed = true;        ///< Docker's 8-byte headers; false with a terminal.
    bool logs = false;              ///< First what the log has; what follows joins without a gap or a repetition.
    bool stream = true;             ///< false: only the logs, then the end.
    std::string detach_keys;        ///< Empty: ctrl-p,ctrl-q. Looked for with a terminal only.
    std::string early_input_hex;    ///< What gruad has read past the request, see to_hex().
    bool ends_with_client = false;  ///< Of an exec that begins with it: when the client is gone, its program is killed.
    friend bool operator==(const Attach&, const Attach&) = default;
    template <typename Self = Attach>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type),
                            json::field("seq", &Self::seq),
                            json::field("exec_id", &Self::exec_id),
                            json::field("stdin", &Self::use_stdin),
                            json::field("stdout", &Self::use_stdout),
                            json::field("stderr", &Self::use_stderr),
                            json::field("multiplexed", &Self::multiplexed),
                            json::field("logs", &Self::logs),
                            json::field("stream", &Self::stream),
                            json::field("detach_keys", &Self::detach_keys),
                            json::field("early_input", &Self::early_input_hex),
                            json::field("ends_with_client", &Self::ends_with_client).omitted_when_empty()};
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
    template <typename Self = Exec>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq), json::field("exec_id", &Self::exec_id),
                            json::field("process", &Self::process), json::field("attach", &Self::attach)};
    }
};

struct Resize {
    static constexpr std::string_view name = "resize";
    std::string type{name};
    std::uint64_t seq = 0;
    std::string exec_id;
    std::uint16_t rows = 0;
    std::uint16_t columns = 0;
    template <typename Self = Resize>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq), json::field("exec_id", &Self::exec_id),
                            json::field("rows", &Self::rows), json::field("columns", &Self::columns)};
    }
};

struct CloseStdin {
    static constexpr std::string_view name = "close_stdin";
    std::string type{name};
    std::uint64_t seq = 0;
    std::string exec_id;
    template <typename Self = CloseStdin>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq), json::field("exec_id", &Self::exec_id)};
    }
};

/// Somebody else has renamed the log: the monitor opens it anew.
struct ReopenLog {
    static constexpr std::string_view name = "reopen_log";
    std::string type{name};
    std::uint64_t seq = 0;
    template <typename Self = ReopenLog>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq)};
    }
};

/// gruad → monitor, with a descriptor for each name: what the next gruad is to have again, by Hello. One by the same name is let go of, and
/// all are when the container's own program has ended.
struct Hold {
    static constexpr std::string_view name = "hold";
    std::string type{name};
    std::uint64_t seq = 0;
    std::vector<std::string> names;
    template <typename Self = Hold>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq), json::field("names", &Self::names)};
    }
};

/// gruad has noted the exit (or the failure); the monitor may end. Closing the connection says the same. No reply.
struct ExitSeen {
    static constexpr std::string_view name = "exit_seen";
    std::string type{name};
    template <typename Self = ExitSeen>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type)};
    }
};

/// monitor → gruad, one for each request with a seq. For exec with the program's pidfd.
struct Reply {
    static constexpr std::string_view name = "reply";
    std::string type{name};
    std::uint64_t seq = 0;
    std::optional<Failure> error;
    std::int32_t pid = 0;
    template <typename Self = Reply>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("seq", &Self::seq), json::field("error", &Self::error),
                            json::field("pid", &Self::pid)};
    }
};

/// With the pidfd of init. Times are nanoseconds since the epoch, 0 where there is none.
struct Started {
    static constexpr std::string_view name = "started";
    std::string type{name};
    std::int32_t pid = 0;
    std::int64_t started_at = 0;
    template <typename Self = Started>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("pid", &Self::pid), json::field("started_at", &Self::started_at)};
    }
};

struct Failed {
    static constexpr std::string_view name = "failed";
    std::string type{name};
    Failure error;
    template <typename Self = Failed>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("error", &Self::error)};
    }
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
    template <typename Self = Exited>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type),
                            json::field("code", &Self::code),
                            json::field("signal", &Self::signal),
                            json::field("oom_killed", &Self::oom_killed),
                            json::field("started_at", &Self::started_at),
                            json::field("finished_at", &Self::finished_at),
                            json::field("error", &Self::error)};
    }
};

/// Sent before the exec's clients see the end of their streams.
struct ExecExited {
    static constexpr std::string_view name = "exec_exited";
    std::string type{name};
    std::string exec_id;
    std::optional<int> code;
    template <typename Self = ExecExited>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("exec_id", &Self::exec_id), json::field("code", &Self::code)};
    }
};

/// What a log driver has to tell: its peer is away, or there again, or lines were left out.
struct LogNews {
    static constexpr std::string_view name = "log_news";
    std::string type{name};
    std::string text;
    template <typename Self = LogNews>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("text", &Self::text)};
    }
};

/// A client left by its detach keys.
struct Detached {
    static constexpr std::string_view name = "detached";
    std::string type{name};
    std::string exec_id;
    template <typename Self = Detached>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("exec_id", &Self::exec_id)};
    }
};

struct RunningExec {
    std::string exec_id;
    std::int32_t pid = 0;
    friend bool operator==(const RunningExec&, const RunningExec&) = default;
    template <typename Self = RunningExec>
    static json::Fields fields() {
        return json::Fields{json::field("exec_id", &Self::exec_id), json::field("pid", &Self::pid)};
    }
};

/// The first thing a gruad hears that connects to monitor.sock; with init's pidfd where pid is not 0 and it has not exited, and behind
/// it with what is held.
struct Hello {
    static constexpr std::string_view name = "hello";
    std::string type{name};
    int version = protocol_version;
    std::string id;
    std::int32_t pid = 0;
    std::int64_t started_at = 0;
    std::optional<Exited> exited;
    std::vector<RunningExec> execs;
    std::vector<std::string> held;
    template <typename Self = Hello>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type),
                            json::field("version", &Self::version),
                            json::field("id", &Self::id),
                            json::field("pid", &Self::pid),
                            json::field("started_at", &Self::started_at),
                            json::field("exited", &Self::exited),
                            json::field("execs", &Self::execs),
                            json::field("held", &Self::held).omitted_when_empty()};
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
