// The user's terminal: raw while a container's terminal is shown in it, and given back as it was on every way out - return,
// exception, exit() or a signal that ends the program.
#pragma once

#include "base/fd.hpp"
#include "cli/create.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::cli {

bool is_terminal(int fd) noexcept;

/// {0, 0} where it is no terminal.
ConsoleSize terminal_size(int fd) noexcept;
/// Of standard output.
ConsoleSize terminal_size() noexcept;

/// Cursor movement: only on a terminal that is not TERM=dumb.
bool may_move_cursor(int fd) noexcept;
/// Colours: where the cursor may be moved, and not with NO_COLOR.
bool may_paint(int fd) noexcept;
/// True where the locale's characters are UTF-8.
bool shows_unicode() noexcept;

/// The terminal on `fd` is raw for as long as this lives; nothing happens where it is no terminal.
class RawTerminal {
public:
    explicit RawTerminal(int fd);
    ~RawTerminal();
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

private:
    bool active_ = false;
};

/// What is typed on `fd` is not shown for as long as this lives; nothing happens where it is no terminal.
class HiddenInput {
public:
    explicit HiddenInput(int fd);
    ~HiddenInput();
    HiddenInput(const HiddenInput&) = delete;
    HiddenInput& operator=(const HiddenInput&) = delete;

private:
    bool active_ = false;
};

/// Signals as bytes in a pipe, so that poll() sees them. One object at a time.
class SignalPipe {
public:
    explicit SignalPipe(const std::vector<int>& signals);
    ~SignalPipe();
    SignalPipe(const SignalPipe&) = delete;
    SignalPipe& operator=(const SignalPipe&) = delete;

    int fd() const noexcept { return read_end_.get(); }
    /// Nothing where none is waiting.
    std::optional<int> next();

private:
    Fd read_end_;
    Fd write_end_;
    std::vector<int> signals_;
};

/// All that docker passes on to a container's process.
std::vector<int> proxied_signals();

/// "TERM" for SIGTERM, the number for real-time signals.
std::string signal_name(int signal);

/// "ctrl-p,ctrl-q" as bytes. Throws Error(invalid_argument).
std::string parse_detach_keys(std::string_view text);

}  // namespace grua::cli
