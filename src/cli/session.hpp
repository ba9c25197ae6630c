// The streams of an attached process: what it writes goes to standard output and error, what is typed goes to it, the terminal's
// size and the signals of this program follow. One thread and one poll().
#pragma once

#include "base/stream_frames.hpp"
#include "cli/terminal.hpp"
#include "client/client.hpp"

#include <functional>
#include <memory>
#include <string>

namespace grua::cli {

struct Session {
    client::RawStream stream;
    bool tty = false;
    bool stdin_open = false;
    bool raw = false;  ///< Bytes as they are, no container's: without frames, detach keys and a terminal.
    std::string detach_keys = "ctrl-p,ctrl-q";
    /// Called at the start and when the size of the terminal changed; only with tty.
    std::function<void(ConsoleSize)> resize;
    /// Called for each signal that this program gets; not set: they do what they do.
    std::function<void(int)> signal;
};

enum class SessionEnd {
    stream_ended,  ///< The process closed its streams, or the daemon went away.
    detached,
};

/// `signals` is made before the process starts, so that no signal comes between.
SessionEnd run_session(Session& session, SignalPipe& signals);

/// The signals that a session wants to see.
std::vector<int> session_signals(bool proxied, bool tty);

/// Docker's frames onto two descriptors.
class Demultiplexer {
public:
    Demultiplexer(int out, int err) : out_(out), err_(err) {}
    void write(std::string_view bytes);

private:
    int out_;
    int err_;
    FrameReader frames_;
};

/// Writes all; false where the reader is gone.
bool write_stream(int fd, std::string_view bytes);

}  // namespace grua::cli
