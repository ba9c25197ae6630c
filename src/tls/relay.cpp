#include "tls/relay.hpp"

#include "base/error.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <array>
#include <cstring>

namespace grua::tls {

namespace {

/// A TLS record's most.
constexpr std::size_t piece_size = std::size_t{16} << 10U;

/// Pieces of each direction in one step.
constexpr int pieces_at_once = 16;

/// As Go's servers say it, which Docker's clients show.
constexpr std::string_view not_tls = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

short happened(int fd) {
    pollfd polled{fd, 0, 0};
    return ::poll(&polled, 1, 0) > 0 ? polled.revents : short{0};
}

bool is_address(const std::string& host) {
    in6_addr any{};
    return ::inet_pton(AF_INET, host.c_str(), &any) == 1 || ::inet_pton(AF_INET6, host.c_str(), &any) == 1;
}

}  // namespace

void Relay::Free::operator()(SSL* session) const noexcept { SSL_free(session); }

Relay::Relay(Fd secure, const Context& context, bool server)
    : secure_(std::move(secure)), session_(SSL_new(context.get())), server_(server) {
    if (!session_ || SSL_set_fd(session_.get(), secure_.get()) != 1) fail(ErrorKind::system, "TLS: {}", take_errors("out of memory"));
    SSL_set_app_data(session_.get(), &refused_);
    // Records are whole messages; what follows must not wait for their acknowledgement.
    const int on = 1;
    ::setsockopt(secure_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Relay::~Relay() = default;

std::unique_ptr<Relay> Relay::accept(Fd secure, const Context& context) {
    std::unique_ptr<Relay> relay{new Relay(std::move(secure), context, true)};
    SSL_set_accept_state(relay->session_.get());
    return relay;
}

std::unique_ptr<Relay> Relay::connect(Fd secure, const Context& context, const std::string& host) {
    std::unique_ptr<Relay> relay{new Relay(std::move(secure), context, false)};
    SSL* session = relay->session_.get();
    SSL_set_connect_state(session);
    if (is_address(host)) {
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host.c_str());
    } else {
        SSL_set_tlsext_host_name(session, host.c_str());
        SSL_set1_host(session, host.c_str());
    }
    return relay;
}

void Relay::enter(State state) {
    state_ = state;
    since_ = Clock::now();
}

void Relay::break_off(std::string why, State next) {
    if (failure_.empty()) failure_ = std::move(why);
    if (next == State::leaving) ::shutdown(secure(), SHUT_WR);
    enter(next);
}

std::string Relay::peer() const {
    const std::unique_ptr<X509, void (*)(X509*)> certificate{SSL_get1_peer_certificate(session_.get()), X509_free};
    return subject_of(certificate.get());
}

/// Of a certificate that was refused here.
std::string Relay::certificate_failure() const {
    const long result = SSL_get_verify_result(session_.get());
    if (result == X509_V_OK || refused_.empty()) return {};
    return fmt::format("the {}'s certificate ({}): {}", server_ ? "client" : "server", refused_, X509_verify_cert_error_string(result));
}

bool Relay::went_on(int result) {
    if (result > 0) return true;
    const int system_error = errno;
    switch (SSL_get_error(session_.get(), result)) {
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return false;
        case SSL_ERROR_ZERO_RETURN:
            in_.ended = true;
            return false;
        case SSL_ERROR_SYSCALL:
            ERR_clear_error();
            break_off(system_error != 0 ? std::strerror(system_error) : "the connection was closed", State::over);
            return false;
        default: {
            std::string why = certificate_failure();
            std::string said = take_errors("TLS is broken");
            // The other side is told by an alert, and has to have the time to read it.
            break_off(why.empty() || state_ != State::shaking ? std::move(said) : std::move(why), State::leaving);
            return false;
        }
    }
}

/// True where it speaks TLS. What begins with a capital letter is none, but may well be HTTP. Until the first byte is there nothing
/// may be read: the handshake would take what arrives meanwhile, and the client would not be told.
bool Relay::begins_with_tls() {
    char first = 0;
    const ssize_t got = ::recv(secure(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    first_ = false;
    if (got <= 0 || first < 'A' || first > 'Z') return true;
    static_cast<void>(::send(secure(), not_tls.data(), not_tls.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
    break_off("the client speaks HTTP without TLS", State::leaving);
    return false;
}

void Relay::shake() {
    if (server_ && first_ && !begins_with_tls()) return;
    ERR_clear_error();
    if (!went_on(SSL_do_handshake(session_.get()))) {
        if (in_.ended) break_off("the connection was closed", State::over);
        return;
    }
    enter(State::carrying);
}

void Relay::carry(Fd plain) { plain_ = std::move(plain); }

bool Relay::read_secure() {
    if (in_.ended || !in_.held.empty()) return false;
    in_.held.resize(piece_size);
    ERR_clear_error();
    const int got = SSL_read(session_.get(), in_.held.data(), static_cast<int>(in_.held.size()));
    in_.held.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return went_on(got);
}

bool Relay::write_plain() {
    if (in_.held.empty() || !plain_) return false;
    const ssize_t sent = ::send(plain(), in_.held.data(), in_.held.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (sent < 0) {
        // Nobody reads there any more; what is still said from there is passed on.
        in_ = {.held = {}, .ended = true, .told = true};
        return true;
    }
    in_.held.erase(0, static_cast<std::size_t>(sent));
    if (in_.held.empty()) in_.held = {};
    return true;
}

bool Relay::read_plain() {
    if (out_.ended || !out_.held.empty() || !plain_) return false;
    out_.held.resize(piece_size);
    const ssize_t got = ::recv(plain(), out_.held.data(), out_.held.size(), MSG_DONTWAIT);
    const int error = errno;
    out_.held.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    if (got > 0) return true;
    out_.held = {};
    if (got < 0 && (error == EAGAIN || error == EINTR)) return false;
    out_.ended = true;
    return true;
}

bool Relay::write_secure() {
    if (out_.held.empty()) return false;
    ERR_clear_error();
    const int sent = SSL_write(session_.get(), out_.held.data(), static_cast<int>(out_.held.size()));
    if (!went_on(sent)) return false;
    out_.held.erase(0, static_cast<std::size_t>(sent));
    if (out_.held.empty()) out_.held = {};
    return true;
}

/// True where an end was passed on.
bool Relay::tell_ends() {
    bool some = false;
    if (in_.ended && !in_.told && in_.held.empty()) {
        ::shutdown(plain(), SHUT_WR);
        in_.told = some = true;
    }
    if (out_.ended && !out_.told && out_.held.empty()) {
        ERR_clear_error();
        const int result = SSL_shutdown(session_.get());
        if (result < 0 && SSL_get_error(session_.get(), result) == SSL_ERROR_WANT_WRITE) return some;
        ERR_clear_error();
        ::shutdown(secure(), SHUT_WR);
        out_.told = some = true;
    }
    // Closed, not only at the end of what it has to say: nobody reads there either.
    if (out_.told && !in_.told && (happened(plain()) & POLLHUP) != 0) in_ = {.held = {}, .ended = true, .told = some = true};
    return some;
}

/// Closed with bytes unread it would take what was sent last away from the other side.
void Relay::drain() {
    std::array<char, piece_size> dropped;
    for (int piece = 0; piece < pieces_at_once; ++piece) {
        const ssize_t got = ::recv(secure(), dropped.data(), dropped.size(), MSG_DONTWAIT);
        if (got > 0) continue;
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) enter(State::over);
        return;
    }
}

bool Relay::step() {
    if (state_ == State::shaking) shake();
    if (state_ == State::carrying && plain_) {
        for (int piece = 0; piece < pieces_at_once && state_ == State::carrying; ++piece) {
            bool some = false;
            for (const auto one : {&Relay::read_secure, &Relay::write_plain, &Relay::read_plain, &Relay::write_secure, &Relay::tell_ends}) {
                if (state_ == State::carrying) some |= (this->*one)();
            }
            if (state_ == State::carrying && in_.told && out_.told) enter(State::leaving);
            if (some) continue;
            // Who waits for the plain end reads nothing, and would not see that there is nobody any more.
            if (!in_.held.empty() && (happened(secure()) & POLLERR) != 0) break_off("the connection was reset", State::over);
            deserted_ = !out_.held.empty() && state_ == State::carrying && (happened(plain()) & POLLHUP) != 0;
            return false;
        }
        return state_ == State::carrying;
    }
    if (state_ == State::leaving) drain();
    return false;
}

}  // namespace grua::tls
