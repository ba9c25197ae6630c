#include "cli/terminal.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace grua::cli {

namespace {

// A signal handler and atexit() have no other way to reach it. Written before `raw_fd`, read only while that is set.
termios saved_terminal;
volatile std::sig_atomic_t raw_fd = -1;
volatile std::sig_atomic_t signal_pipe = -1;

void restore_terminal() {
    if (raw_fd >= 0) ::tcsetattr(raw_fd, TCSADRAIN, &saved_terminal);
    raw_fd = -1;
}

/// Gives the terminal back, then lets the signal do what it does.
void restore_and_die(int signal) {
    if (raw_fd >= 0) ::tcsetattr(raw_fd, TCSANOW, &saved_terminal);
    ::signal(signal, SIG_DFL);
    ::raise(signal);
}

void to_pipe(int signal) {
    const int error = errno;
    const auto byte = static_cast<unsigned char>(signal);
    if (signal_pipe >= 0) {
        const ssize_t written = ::write(signal_pipe, &byte, 1);
        static_cast<void>(written);  // A full pipe has plenty of signals to tell already.
    }
    errno = error;
}

void handle(int signal, void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
}

constexpr std::array fatal{SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

}  // namespace

bool is_terminal(int fd) noexcept { return ::isatty(fd) == 1; }

ConsoleSize terminal_size(int fd) noexcept {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
    return {size.ws_row, size.ws_col};
}

ConsoleSize terminal_size() noexcept { return terminal_size(STDOUT_FILENO); }

bool may_move_cursor(int fd) noexcept {
    const char* term = std::getenv("TERM");
    return is_terminal(fd) && !(term && std::strcmp(term, "dumb") == 0);
}

bool may_paint(int fd) noexcept {
    const char* no_color = std::getenv("NO_COLOR");
    return may_move_cursor(fd) && !(no_color && *no_color);
}

bool shows_unicode() noexcept {
    for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
        const char* value = std::getenv(name);
        if (!value || !*value) continue;
        const std::string lower = to_lower(value);
        return lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
    }
    return false;
}

namespace {

/// Changes the terminal on `fd` as `change` says, to be given back by restore_terminal(). False where it is no terminal.
template <typename Change>
bool change_terminal(int fd, int when, Change change) {
    if (!is_terminal(fd) || ::tcgetattr(fd, &saved_terminal) != 0) return false;
    static const bool registered = std::atexit(restore_terminal) == 0;
    static_cast<void>(registered);
    for (const int signal : fatal) {
        struct sigaction present{};
        ::sigaction(signal, nullptr, &present);
        if (present.sa_handler == SIG_DFL) handle(signal, restore_and_die);
    }
    termios changed = saved_terminal;
    change(changed);
    raw_fd = fd;
    if (::tcsetattr(fd, when, &changed) == 0) return true;
    raw_fd = -1;
    return false;
}

}  // namespace

RawTerminal::RawTerminal(int fd) : active_(change_terminal(fd, TCSADRAIN, [](termios& changed) { ::cfmakeraw(&changed); })) {}

RawTerminal::~RawTerminal() {
    if (active_) restore_terminal();
}

// What was typed before the question was shown is no answer to it.
HiddenInput::HiddenInput(int fd)
    : active_(change_terminal(fd, TCSAFLUSH, [](termios& changed) { changed.c_lflag &= ~static_cast<tcflag_t>(ECHO); })) {}

HiddenInput::~HiddenInput() {
    if (active_) restore_terminal();
}

SignalPipe::SignalPipe(const std::vector<int>& signals) : signals_(signals) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) fail_errno("pipe");
    read_end_ = Fd(ends[0]);
    write_end_ = Fd(ends[1]);
    signal_pipe = ends[1];
    for (const int signal : signals_) handle(signal, to_pipe);
}

SignalPipe::~SignalPipe() {
    for (const int signal : signals_) handle(signal, SIG_DFL);
    signal_pipe = -1;
}

std::optional<int> SignalPipe::next() {
    unsigned char byte = 0;
    if (::read(fd(), &byte, 1) != 1) return std::nullopt;
    return byte;
}

std::vector<int> proxied_signals() {
    std::vector<int> out;
    for (int signal = 1; signal < 32; ++signal) {
        switch (signal) {
            case SIGKILL:
            case SIGSTOP:
            case SIGCHLD:
            case SIGPIPE:
            case SIGURG:
            case SIGWINCH:
            // These tell of a mistake of this program, not of a wish of the user.
            case SIGSEGV:
            case SIGBUS:
            case SIGFPE:
            case SIGILL:
            case SIGABRT:
            case SIGTRAP:
            // Job control stays with the shell.
            case SIGTSTP:
            case SIGTTIN:
            case SIGTTOU:
                break;
            default:
                out.push_back(signal);
        }
    }
    return out;
}

std::string signal_name(int signal) {
    const char* name = ::sigabbrev_np(signal);
    return name ? name : std::to_string(signal);
}

std::string parse_detach_keys(std::string_view text) {
    std::string out;
    for (const std::string& key : split(text, ',')) {
        if (key.size() == 1) {
            out += key[0];
            continue;
        }
        const std::string lower = to_lower(key);
        const char c = lower.starts_with("ctrl-") && lower.size() == 6 ? lower[5] : '\0';
        if (c >= 'a' && c <= 'z')
            out += static_cast<char>(c - 'a' + 1);
        else if (c == '@')
            out += '\0';
        else if (c == '[')
            out += '\x1b';
        else if (c == '\\')
            out += '\x1c';
        else if (c == ']')
            out += '\x1d';
        else if (c == '^')
            out += '\x1e';
        else if (c == '_')
            out += '\x1f';
        else
            fail(ErrorKind::invalid_argument, "invalid detach keys ({}): unknown character: '{}'", text, key);
    }
    return out;
}

}  // namespace grua::cli
