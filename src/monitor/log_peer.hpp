// A connection to whoever takes log lines elsewhere: stream or datagram socket, with TLS or without. In a LogWorker's process; all that
// may wait is waited for with its LogHost. A peer that is away is told of once, and once when it is back.
#pragma once

#include "base/fd.hpp"
#include "monitor/log_driver.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::monitor {

/// One way to reach it.
struct PeerAddress {
    enum class Kind : std::uint8_t { udp, tcp, stream_path, datagram_path };
    Kind kind = Kind::tcp;
    std::string address;  ///< An IP address, or a path.
    std::uint16_t port = 0;
};

/// What encrypts a stream to it, over a socket that does not wait.
class PeerSession {
public:
    enum class Step : std::uint8_t { done, reads, writes, failed };  ///< Reads, writes: again once the socket can be read or written.

    PeerSession() = default;
    PeerSession(const PeerSession&) = delete;
    PeerSession& operator=(const PeerSession&) = delete;
    virtual ~PeerSession() = default;
    virtual Step shake_hands() = 0;
    virtual Step write(std::string_view bytes, std::size_t& written) = 0;
    /// What the peer says is of no interest; failed: it has left.
    virtual Step drop_input() = 0;
    /// Of the last step that failed.
    virtual const std::string& why() const = 0;
};

using MakePeerSession = std::function<std::unique_ptr<PeerSession>(int socket)>;

class LogPeer {
public:
    /// `name` is what news call it. Without `make_session` nothing is encrypted.
    LogPeer(LogHost& host, std::string name, std::vector<PeerAddress> addresses, MakePeerSession make_session);
    ~LogPeer();

    /// All of them, in this order, each whole: waits while the peer is away, and sends again what a connection that broke had not taken.
    /// False where the host gave up. Messages of a stream have their ends in them.
    bool send(std::vector<std::string> messages);

private:
    enum class Wrote : std::uint8_t { all, broken, gave_up };

    bool connect();
    bool connect_to(const PeerAddress& address);
    void disconnect(std::size_t half_sent = 0);
    bool has_left();
    Wrote write(std::string_view bytes, std::size_t& written);
    bool send_some(std::vector<std::string>& messages, std::size_t& next);
    bool send_datagram(const std::string& message);
    bool wait(short events);
    void is_away(const std::string& why);
    void is_back();
    std::size_t not_acknowledged() const;
    void forget_acknowledged(std::size_t left);

    LogHost& host_;
    std::string name_;
    std::vector<PeerAddress> addresses_;
    MakePeerSession make_session_;
    Fd socket_;
    std::unique_ptr<PeerSession> session_;
    PeerAddress::Kind kind_ = PeerAddress::Kind::tcp;
    bool away_ = false;
    std::string why_;                 // The last attempt failed.
    std::deque<std::string> recent_;  // Sent, and maybe not with the peer yet.
    std::size_t recent_size_ = 0;
    std::vector<std::string> again_;  // What a connection that broke took with it.
};

}  // namespace grua::monitor
