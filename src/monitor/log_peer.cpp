#include "monitor/log_peer.hpp"

#include "base/error.hpp"
#include "base/unix_address.hpp"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cstring>

namespace grua::monitor {
namespace {

using namespace std::chrono_literals;

constexpr auto connect_patience = 10s;
constexpr auto first_pause = 100ms;
constexpr auto longest_pause = 2000ms;
/// What the kernel keeps for a peer that is slow: it is what may have to be sent again.
constexpr int send_buffer = 256 << 10;
constexpr std::size_t block = std::size_t{64} << 10U;

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
};

SocketAddress address_of(const PeerAddress& peer) {
    SocketAddress out;
    if (peer.kind == PeerAddress::Kind::stream_path || peer.kind == PeerAddress::Kind::datagram_path) {
        const auto path = unix_address(peer.address);
        if (!path) fail(ErrorKind::invalid_argument, "the path of a socket is too long: {}", peer.address);
        std::memcpy(&out.storage, &*path, sizeof *path);
        out.size = sizeof *path;
        return out;
    }
    sockaddr_in four{};
    sockaddr_in6 six{};
    if (::inet_pton(AF_INET, peer.address.c_str(), &four.sin_addr) == 1) {
        four.sin_family = AF_INET;
        four.sin_port = htons(peer.port);
        std::memcpy(&out.storage, &four, sizeof four);
        out.size = sizeof four;
    } else if (::inet_pton(AF_INET6, peer.address.c_str(), &six.sin6_addr) == 1) {
        six.sin6_family = AF_INET6;
        six.sin6_port = htons(peer.port);
        std::memcpy(&out.storage, &six, sizeof six);
        out.size = sizeof six;
    } else {
        fail(ErrorKind::invalid_argument, "not an IP address: {}", peer.address);
    }
    return out;
}

}  // namespace

LogPeer::LogPeer(LogHost& host, std::string name, std::vector<PeerAddress> addresses, MakePeerSession make_session)
    : host_(host), name_(std::move(name)), addresses_(std::move(addresses)), make_session_(std::move(make_session)) {}

LogPeer::~LogPeer() = default;

void LogPeer::is_away(const std::string& why) {
    if (!std::exchange(away_, true)) host_.tell(fmt::format("{} is away: {}", name_, why));
}

void LogPeer::is_back() {
    if (std::exchange(away_, false)) host_.tell(fmt::format("{} is there again", name_));
}

bool LogPeer::wait(short events) { return host_.wait(socket_.get(), events, 1s); }

/// Until there is a connection; false where the host gave up.
bool LogPeer::connect() {
    std::chrono::milliseconds pause = first_pause;
    for (;;) {
        for (const PeerAddress& each : addresses_) {
            try {
                if (!connect_to(each)) return false;
            } catch (const Error& error) {
                why_ = error.what();
            }
            if (socket_) break;
        }
        if (socket_) return true;
        is_away(why_);
        if (!host_.wait(-1, 0, pause)) return false;
        pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
    }
}

/// socket_ is empty and why_ says why where it does not answer. False where the host gave up.
bool LogPeer::connect_to(const PeerAddress& address) {
    const SocketAddress at = address_of(address);
    const bool datagram = address.kind == PeerAddress::Kind::udp || address.kind == PeerAddress::Kind::datagram_path;
    Fd socket(::socket(at.storage.ss_family, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) fail_errno("socket");
    if (!datagram) (void)::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    constexpr int on = 1;
    if (address.kind == PeerAddress::Kind::tcp) (void)::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    const auto deadline = std::chrono::steady_clock::now() + connect_patience;
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&at.storage), at.size) < 0) {
        why_ = std::strerror(errno);
        if (errno != EINPROGRESS) return true;
        pollfd done{.fd = socket.get(), .events = POLLOUT, .revents = 0};
        while (::poll(&done, 1, 0) == 0) {
            why_ = "it does not answer";
            if (!host_.wait(socket.get(), POLLOUT, 1s)) return false;
            if (std::chrono::steady_clock::now() > deadline) return true;
        }
        int error = 0;
        socklen_t size = sizeof error;
        (void)::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
        why_ = std::strerror(error);
        if (error != 0) return true;
    }
    if (make_session_) {
        auto session = make_session_(socket.get());
        for (;;) {
            const PeerSession::Step step = session->shake_hands();
            if (step == PeerSession::Step::done) break;
            why_ = step == PeerSession::Step::failed ? session->why() : "it does not answer";
            if (step == PeerSession::Step::failed || std::chrono::steady_clock::now() > deadline) return true;
            if (!host_.wait(socket.get(), step == PeerSession::Step::reads ? POLLIN : POLLOUT, 1s)) return false;
        }
        session_ = std::move(session);
    }
    socket_ = std::move(socket);
    kind_ = address.kind;
    return true;
}

/// Bytes that the peer's kernel has not said it has. Nothing where that is not known.
std::size_t LogPeer::not_acknowledged() const {
    int left = 0;
    if (kind_ != PeerAddress::Kind::tcp || session_ || ::ioctl(socket_.get(), SIOCOUTQ, &left) < 0) return 0;
    return static_cast<std::size_t>(std::max(left, 0));
}

void LogPeer::forget_acknowledged(std::size_t left) {
    while (!recent_.empty() && recent_size_ - recent_.front().size() >= left) {
        recent_size_ -= recent_.front().size();
        recent_.pop_front();
    }
}

void LogPeer::disconnect(std::size_t half_sent) {
    const std::size_t left = not_acknowledged();
    forget_acknowledged(left > half_sent ? left - half_sent : 0);
    // Behind what was to be sent again already, and could not be.
    again_.insert(again_.begin(), std::make_move_iterator(recent_.begin()), std::make_move_iterator(recent_.end()));
    recent_.clear();
    recent_size_ = 0;
    session_.reset();
    socket_ = {};
}

bool LogPeer::has_left() {
    if (session_) {
        const bool left = session_->drop_input() == PeerSession::Step::failed;
        if (left) why_ = session_->why();
        return left;
    }
    std::array<char, 4096> bytes{};
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got < 0 && errno == EAGAIN) return false;
        why_ = got == 0 ? "it has closed the connection" : std::strerror(errno);
        return true;
    }
}

LogPeer::Wrote LogPeer::write(std::string_view bytes, std::size_t& written) {
    while (written < bytes.size()) {
        const std::string_view rest = bytes.substr(written);
        short events = POLLOUT;
        if (session_) {
            std::size_t sent = 0;
            const PeerSession::Step step = session_->write(rest, sent);
            if (step == PeerSession::Step::done) written += sent;
            if (step == PeerSession::Step::done) continue;
            why_ = session_->why();
            if (step == PeerSession::Step::failed) return Wrote::broken;
            events = step == PeerSession::Step::reads ? POLLIN : POLLOUT;
        } else {
            const ssize_t sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent >= 0) written += static_cast<std::size_t>(sent);
            if (sent >= 0 || errno == EINTR) continue;
            why_ = std::strerror(errno);
            if (errno != EAGAIN) return Wrote::broken;
        }
        if (!wait(events)) return Wrote::gave_up;
    }
    return Wrote::all;
}

/// As many as fit into a block; false where the host gave up.
bool LogPeer::send_some(std::vector<std::string>& messages, std::size_t& next) {
    if (has_left()) {
        is_away(why_);
        disconnect();
        return true;
    }
    std::string bytes;
    std::size_t end = next;
    while (end < messages.size() && (bytes.empty() || bytes.size() + messages[end].size() <= block)) bytes += messages[end++];
    std::size_t written = 0;
    const Wrote how = write(bytes, written);
    while (next < end && messages[next].size() <= written) {
        written -= messages[next].size();
        recent_size_ += messages[next].size();
        recent_.push_back(std::move(messages[next++]));
    }
    if (how == Wrote::all) is_back();
    if (how == Wrote::all) forget_acknowledged(not_acknowledged());
    if (how == Wrote::broken) {
        is_away(why_);
        disconnect(written);
    }
    return how != Wrote::gave_up;
}

bool LogPeer::send_datagram(const std::string& message) {
    for (bool again = true;;) {
        const ssize_t sent = ::send(socket_.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            // Of UDP nobody knows whether it came.
            if (kind_ != PeerAddress::Kind::udp) is_back();
            return true;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == ENOBUFS) {
            if (!wait(POLLOUT)) return false;
            continue;
        }
        is_away(std::strerror(errno));
        if (kind_ == PeerAddress::Kind::udp) {
            // What the network says is about an earlier one.
            if (std::exchange(again, false)) continue;
            return true;
        }
        socket_ = {};
        return true;
    }
}

bool LogPeer::send(std::vector<std::string> messages) {
    for (std::size_t next = 0;;) {
        if (!again_.empty()) {
            again_.insert(again_.end(), std::make_move_iterator(messages.begin() + static_cast<std::ptrdiff_t>(next)),
                          std::make_move_iterator(messages.end()));
            messages = std::exchange(again_, {});
            next = 0;
        }
        if (next == messages.size()) return true;
        if (!socket_ && !connect()) return false;
        if (kind_ == PeerAddress::Kind::tcp || kind_ == PeerAddress::Kind::stream_path) {
            if (!send_some(messages, next)) return false;
            continue;
        }
        if (!send_datagram(messages[next])) return false;
        // Where it is away, it is sent again.
        if (socket_) ++next;
    }
}

}  // namespace grua::monitor
