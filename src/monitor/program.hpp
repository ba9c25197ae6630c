// One program of a container - its init or an exec - with its streams and the clients that are attached to them.
//
// A slow client: what it has not taken waits in up to 1 MiB; when that is full, the program's output is not read until there is
// room again, so the program waits as under Docker. The monitor itself never waits. Once the program has ended its output is
// read to the end whatever the clients do, which the size of a pipe bounds.
#pragma once

#include "base/fd.hpp"
#include "monitor/detach_keys.hpp"
#include "monitor/log_reader.hpp"
#include "monitor/log_writer.hpp"
#include "monitor/messages.hpp"

#include <sys/types.h>
#include <memory>
#include <string>
#include <vector>

namespace grua::monitor {

inline constexpr std::size_t client_buffer = std::size_t{1} << 20U;

/// Of the clock that only goes on.
std::int64_t monotonic_ms();

/// Throws Error(invalid_argument) for what attach() would refuse.
void check_attach(const Attach& wish);

struct Client {
    Fd socket;
    Attach wish;
    DetachMatcher matcher{std::string{}};
    std::string out;
    std::unique_ptr<LogReader> replay;  ///< What the log has comes first.
    bool reads = false;                 ///< Its input is still open.
    bool leaving = false;               ///< Ends once `out` is sent.
    std::int64_t ends_at = 0;           ///< Monotonic ms. It has been sent all and told the end; what it sends is dropped until then.
    bool gone = false;
};

struct Output {
    Fd fd;
    Stream stream = Stream::standard_output;
};

class Program {
public:
    std::string exec_id;  ///< Empty: the container's own.
    pid_t pid = 0;
    Fd pidfd;
    bool terminal = false;
    bool close_stdin_with_client = false;
    bool ends_with_client = false;
    Fd input;  ///< The terminal's master too, as a duplicate.
    std::vector<Output> outputs;
    std::vector<std::unique_ptr<Client>> clients;
    std::string pending_input;
    bool input_ends = false;
    bool ended = false;
    bool reported = false;
    int status = 0;
    std::int64_t deadline = 0;  ///< Monotonic ms; when an ended program's streams are given up.
    LogWriter* log = nullptr;
    LogFormat log_format = LogFormat::json;

    void attach(const Attach& wish, Fd socket, const std::string& log_path);
    /// Reads what is there; false where nothing is left to come from this one.
    void read_output(Output& output);
    void read_client(Client& client);
    void write_client(Client& client);
    /// Of one that has been told the end.
    static void drop_input(Client& client);
    void write_input();
    void end_outputs();
    bool stalled() const;
    bool drained() const { return outputs.empty(); }
    std::vector<std::string> detached() { return std::exchange(detached_, {}); }
    void sweep();

private:
    void take_input(Client& client, std::string_view bytes);
    void input_ended(Client& client);
    void deliver(Client& client, Stream stream, std::string_view bytes) const;
    void fill_from_log(Client& client);
    std::vector<std::string> detached_;
};

}  // namespace grua::monitor
