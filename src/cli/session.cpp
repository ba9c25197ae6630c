#include "cli/session.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <csignal>

namespace grua::cli {

namespace {

/// No more of what is typed is kept while the process does not read it.
constexpr std::size_t input_limit = std::size_t{64} << 10U;

/// How long the daemon may take to end the stream after the detach keys.
constexpr auto detach_patience = std::chrono::seconds(1);

/// Looks for the detach keys in what is typed. The daemon looks too and ends the stream; this only tells why it ended.
class DetachWatch {
public:
    explicit DetachWatch(std::string keys) : keys_(std::move(keys)) {}

    void see(std::string_view typed) {
        for (const char c : typed) {
            if (keys_.empty() || seen()) return;
            if (c == keys_[matched_])
                ++matched_;
            else
                matched_ = c == keys_[0] ? 1 : 0;
        }
    }
    bool seen() const { return !keys_.empty() && matched_ == keys_.size(); }

private:
    std::string keys_;
    std::size_t matched_ = 0;
};

class Loop {
public:
    explicit Loop(Session& session)
        : session_(session),
          demultiplexer_(STDOUT_FILENO, STDERR_FILENO),
          watch_(session.tty && session.stdin_open ? parse_detach_keys(session.detach_keys) : std::string()),
          reading_input_(session.stdin_open) {
        const int flags = ::fcntl(socket(), F_GETFL);
        ::fcntl(socket(), F_SETFL, flags | O_NONBLOCK);
    }

    SessionEnd run(SignalPipe& signals) {
        if (!session_.stream.already_read.empty()) show(session_.stream.already_read);
        while (true) {
            std::array<pollfd, 3> polled{pollfd{socket(), POLLIN, 0}, pollfd{-1, POLLIN, 0}, pollfd{signals.fd(), POLLIN, 0}};
            if (!pending_.empty()) polled[0].events |= POLLOUT;
            if (reading_input_ && pending_.size() < input_limit) polled[1].fd = STDIN_FILENO;
            const int timeout = watch_.seen() ? 100 : -1;
            if (::poll(polled.data(), polled.size(), timeout) < 0 && errno != EINTR) fail_errno("poll");

            take_signals(signals);
            if (polled[1].revents != 0) read_input();
            if (!pending_.empty() && (polled[0].revents & POLLOUT) != 0) send_input();
            if ((polled[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !read_output()) break;
            if (watch_.seen() && std::chrono::steady_clock::now() > deadline_) break;
        }
        return watch_.seen() ? SessionEnd::detached : SessionEnd::stream_ended;
    }

private:
    int socket() const { return session_.stream.socket.get(); }

    void show(std::string_view bytes) {
        if (session_.tty || session_.raw)
            write_stream(STDOUT_FILENO, bytes);
        else
            demultiplexer_.write(bytes);
    }

    void take_signals(SignalPipe& signals) {
        while (const auto signal = signals.next()) {
            if (*signal == SIGWINCH) {
                if (session_.resize) session_.resize(terminal_size());
            } else if (session_.signal) {
                session_.signal(*signal);
            }
        }
    }

    void read_input() {
        std::array<char, 16384> buffer;
        const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
        if (count <= 0) {
            reading_input_ = false;
            if (pending_.empty()) ::shutdown(socket(), SHUT_WR);
            return;
        }
        const std::string_view typed(buffer.data(), static_cast<std::size_t>(count));
        const bool before = watch_.seen();
        watch_.see(typed);
        if (watch_.seen() && !before) {
            deadline_ = std::chrono::steady_clock::now() + detach_patience;
            reading_input_ = false;
        }
        pending_ += typed;
        send_input();
    }

    void send_input() {
        while (!pending_.empty()) {
            const ssize_t sent = ::send(socket(), pending_.data(), pending_.size(), MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EINTR) continue;
                if (errno == EAGAIN) return;
                // The process does not read any more; what it still writes is shown.
                pending_.clear();
                reading_input_ = false;
                return;
            }
            pending_.erase(0, static_cast<std::size_t>(sent));
        }
        // Detach keys are no end of the input.
        if (!reading_input_ && session_.stdin_open && !watch_.seen()) ::shutdown(socket(), SHUT_WR);
    }

    bool read_output() {
        std::array<char, 65536> buffer;
        const ssize_t count = ::recv(socket(), buffer.data(), buffer.size(), 0);
        if (count < 0) return errno == EINTR || errno == EAGAIN;
        if (count == 0) return false;
        show({buffer.data(), static_cast<std::size_t>(count)});
        return true;
    }

    Session& session_;
    Demultiplexer demultiplexer_;
    DetachWatch watch_;
    bool reading_input_;
    std::string pending_;
    std::chrono::steady_clock::time_point deadline_;
};

}  // namespace

bool write_stream(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(fd, bytes.data(), bytes.size());
        if (count < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) {
                pollfd polled{fd, POLLOUT, 0};
                ::poll(&polled, 1, -1);
                continue;
            }
            return false;
        }
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
}

void Demultiplexer::write(std::string_view bytes) {
    frames_.feed(bytes, [this](StdStream stream, std::string_view piece) {
        write_stream(stream == StdStream::err || stream == StdStream::daemon_error ? err_ : out_, piece);
    });
}

std::vector<int> session_signals(bool proxied, bool tty) {
    std::vector<int> signals;
    if (proxied) signals = proxied_signals();
    if (tty) signals.push_back(SIGWINCH);
    return signals;
}

SessionEnd run_session(Session& session, SignalPipe& signals) {
    Loop loop(session);
    if (!session.tty || !session.stdin_open) return loop.run(signals);
    const RawTerminal terminal(STDIN_FILENO);
    return loop.run(signals);
}

}  // namespace grua::cli
