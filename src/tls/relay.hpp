// One connection: TLS at one end, a plain socket at the other. What comes in at one goes out at the other, each direction by itself, and so
// does the end of each. Whoever has the plain end knows nothing of TLS: HTTP, raw streams, WebSockets and half-closed ones all work over
// it.
//
// A slow reader stops the other side: no more than one piece of each direction is held here.
#pragma once

#include "base/fd.hpp"
#include "tls/context.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

using SSL = struct ssl_st;

namespace grua::tls {

using Clock = std::chrono::steady_clock;

class Relay {
public:
    enum class State {
        shaking,   ///< Hands.
        carrying,  ///< Of the plain end nothing is there before.
        leaving,   ///< All is said; what the other side still sends is dropped.
        over,
    };

    /// `secure` is a connected, nonblocking socket. As a server.
    static std::unique_ptr<Relay> accept(Fd secure, const Context& context);
    /// As a client: the server's certificate has to be for `host`.
    static std::unique_ptr<Relay> connect(Fd secure, const Context& context, const std::string& host);
    ~Relay();
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;

    /// Goes as far as it goes without waiting, but for no longer than others can wait. True where there is more to do at once.
    bool step();

    State state() const noexcept { return state_; }
    int secure() const noexcept { return secure_.get(); }
    int plain() const noexcept { return plain_.get(); }
    Clock::time_point since() const noexcept { return since_; }  ///< That it is in this state.

    /// After the handshake: where the plain bytes go and come from. It stays open until it is taken away again, or this ends.
    void carry(Fd plain);

    /// Whoever had the plain end has closed it, and the other side does not take what it said last.
    bool is_deserted() const noexcept { return deserted_; }

    /// The subject of the other side's certificate.
    std::string peer() const;
    /// Why there is no handshake, or no connection any more; empty where it is for no fault.
    const std::string& failure() const noexcept { return failure_; }

private:
    struct Free {
        void operator()(SSL* session) const noexcept;
    };
    using Session = std::unique_ptr<SSL, Free>;

    /// One direction.
    struct Way {
        std::string held;
        bool ended = false;  ///< Nothing more comes.
        bool told = false;   ///< And the other side knows.
    };

    Relay(Fd secure, const Context& context, bool server);

    void enter(State state);
    void shake();
    bool begins_with_tls();
    bool read_secure();
    bool read_plain();
    bool write_secure();
    bool write_plain();
    bool tell_ends();
    void drain();
    void break_off(std::string why, State next);
    /// True where it did something; what the call wants is waited for by epoll.
    bool went_on(int result);
    std::string certificate_failure() const;

    Fd secure_;
    Fd plain_;
    Session session_;
    bool server_;
    bool first_ = true;  ///< Nothing has come yet.
    State state_ = State::shaking;
    Clock::time_point since_ = Clock::now();
    bool deserted_ = false;
    Way in_;               ///< From TLS to the plain end.
    Way out_;              ///< The other one.
    std::string refused_;  ///< The subject of a certificate that was.
    std::string failure_;
};

}  // namespace grua::tls
