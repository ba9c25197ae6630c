#include "api/connection.hpp"

#include "api/http_parser.hpp"
#include "api/peer.hpp"
#include "base/log.hpp"
#include "base/loop_watch.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <ctime>
#include <list>

namespace grua::api {

using namespace std::chrono_literals;

namespace {

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);

using Clock = asio::steady_timer::clock_type;

/// A client may keep an idle connection this long, and must send all of a request's headers within the second.
constexpr auto idle_patience = 10min;
constexpr auto header_patience = 30s;
constexpr auto idle_grace = 1s;

/// A body that is kept (JSON) must be there within this, and so long an answer that is kept may take. One that is passed on as it comes
/// may last as long as it likes, while each such time brings it at least so far: what waits for it is not held by a byte now and then.
constexpr auto body_patience = 5min;
constexpr std::size_t body_progress = std::size_t{4} << 10U;

/// What a client sends while its stream is written is kept for its next request, up to here.
constexpr std::size_t early_limit = header_limit;

/// A client that is refused while it still sends may go on so long, and be silent so long, before the connection is closed.
constexpr auto linger_time = 30s;
constexpr auto linger_silence = 1s;

/// At the end: for those whose client is cut off to let go of what they hold.
constexpr auto cut_off_patience = 2s;

/// A body that nobody read is read away up to here, so that the connection can be used again.
constexpr std::size_t drain_limit = std::size_t{256} << 10U;

/// What HTTP/2 begins with, where its client knows before it asks that we speak it (RFC 9113, 3.3 and 3.4).
constexpr std::string_view http_2_preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that is all HTTP/2 is one call for the builder: nobody else speaks it.
RequestHead head_of_http_2() {
    RequestHead out;
    out.method = "POST";
    out.target = "/grpc";
    out.path = "/grpc";
    out.headers = {{"upgrade", "h2c"}};
    return out;
}

constexpr std::size_t read_size = std::size_t{64} << 10U;
constexpr std::size_t body_piece = std::size_t{256} << 10U;
constexpr int body_pipe_size = 1 << 20;

std::string http_date() {
    const std::time_t seconds = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 40> text{};
    const std::size_t size = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return {text.data(), size};
}

/// The peer has gone or does not keep to HTTP; there is nobody to tell.
struct Gone {};

/// What is not an Error is nothing that a client did; it is told all the same.
std::string text_of(const std::exception& error) {
    if (dynamic_cast<const std::bad_alloc*>(&error)) return "out of memory";
    return error.what();
}

}  // namespace

struct Connections::State {
    asio::any_io_executor loop;
    Dispatch dispatch;
    std::string server_headers;
    std::list<std::weak_ptr<Connection>> all;
    std::vector<char> received = std::vector<char>(read_size);  ///< For the moment between two turns of the loop.
    bool stopping = false;
};

class Connection : public std::enable_shared_from_this<Connection> {
public:
    using Socket = asio::generic::stream_protocol::socket;

    Connection(std::shared_ptr<Connections::State> server, int family, Fd socket, engine::Principal who)
        : server_(std::move(server)),
          who_(std::make_shared<const engine::Principal>(std::move(who))),
          socket_(server_->loop),
          deadline_(server_->loop) {
        socket_.assign(asio::generic::stream_protocol(family, 0), socket.get());
        static_cast<void>(socket.release());
    }

    static void start(const std::shared_ptr<Connection>& connection) {
        asio::co_spawn(connection->turns_.executor(), run(connection),
                       asio::bind_cancellation_slot(connection->cancel_.slot(), asio::detached));
    }

    void stop_when_idle() {
        if (idle_ || streaming_) cancel();
    }
    /// Ends what waits for the client. What waits for the engine is not cut short: it is between two steps of something.
    void stop_now() {
        boost::system::error_code ignored;
        socket_.close(ignored);
    }
    /// Not of one that has just connected: its request is on the way.
    bool may_give_way() const noexcept { return idle_ && Clock::now() > idle_since_ + idle_grace; }

    asio::awaitable<std::string> read_body(const RequestHead& head, std::size_t limit);
    BodyPipe body_pipe();
    asio::awaitable<void> send(Exchange& exchange, int status, std::string body, std::string_view content_type);
    asio::awaitable<void> begin(Exchange& exchange, int status, std::string_view content_type);
    asio::awaitable<void> write(Exchange& exchange, std::string_view bytes);
    asio::awaitable<void> end(Exchange& exchange);
    asio::awaitable<Hijacked> hijack(Exchange& exchange, std::string_view content_type);
    Hijacked release(Exchange& exchange);
    void watch_client();
    const engine::PrincipalPtr& principal() const noexcept { return who_; }
    void name_turns(std::string_view name) { turns_.change(name); }

private:
    static asio::awaitable<void> run(std::shared_ptr<Connection> self);
    asio::awaitable<bool> serve_one();
    asio::awaitable<bool> answer(Exchange& exchange);
    asio::awaitable<void> refuse(const ProtocolError& error);
    asio::awaitable<std::size_t> fill(Clock::time_point until);
    asio::awaitable<void> linger();
    asio::awaitable<std::size_t> read_piece(std::span<char> out);
    asio::awaitable<void> pump(std::shared_ptr<Connection> self, Fd pipe, std::shared_ptr<std::atomic<bool>> broken);
    asio::awaitable<bool> drain();
    asio::awaitable<void> discard_body();
    asio::awaitable<void> put(std::string bytes);
    void arm(Clock::time_point until);
    void disarm() { deadline_.expires_at(Clock::time_point::max()); }
    void watch_on();
    void on_readable();
    void cancel() {
        cancelled_ = true;
        cancel_.emit(asio::cancellation_type::terminal);
    }
    std::string head_of(const Exchange& exchange, int status, std::string_view content_type) const;

    std::shared_ptr<Connections::State> server_;
    engine::PrincipalPtr who_;
    TurnName turns_{server_->loop, "a connection"};
    Socket socket_;
    asio::steady_timer deadline_;
    asio::cancellation_signal cancel_;
    std::string buffer_;  ///< Received, not yet parsed.
    RequestParser parser_;
    bool is_first_ = true;    ///< Request of the connection.
    bool is_http_2_ = false;  ///< All of the connection is: there is no request, and no answer before its socket is taken.
    bool idle_ = true;
    Clock::time_point idle_since_ = Clock::now();
    bool streaming_ = false;  ///< The client is watched; it is cancelled when it leaves.
    bool cancelled_ = false;
    bool timed_out_ = false;
    bool close_after_ = false;
    bool continue_wanted_ = false;
    bool pumping_ = false;

    // Of the body that is read: how long the client was waited for since it last got on, and how far it came meanwhile.
    Clock::duration waited_{};
    std::size_t got_ = 0;
    Clock::time_point body_until_ = Clock::time_point::max();
};

asio::awaitable<void> Connection::run(std::shared_ptr<Connection> self) {
    try {
        while (co_await self->serve_one()) {
        }
    } catch (const Gone&) {
    } catch (const boost::system::system_error& error) {
        if (error.code() != asio::error::operation_aborted) log::debug("connection: {}", error.what());
    } catch (const std::exception& error) {
        log::error("connection: {}", error.what());
    }
    self->deadline_.cancel();
    boost::system::error_code ignored;
    self->socket_.close(ignored);
}

/// Ends what the socket waits for at `until`, unless disarmed before.
void Connection::arm(Clock::time_point until) {
    timed_out_ = false;
    deadline_.expires_at(until);
    deadline_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self || self->deadline_.expiry() > Clock::now()) return;
        self->timed_out_ = true;
        boost::system::error_code ignored;
        self->socket_.cancel(ignored);
    });
}

/// Receives more into the buffer; returns 0 at the end of the stream. Throws ProtocolError{408} at `until`.
asio::awaitable<std::size_t> Connection::fill(Clock::time_point until) {
    for (;;) {
        arm(until);
        const auto [error] = co_await socket_.async_wait(Socket::wait_read, quiet);
        disarm();
        if (timed_out_) throw ProtocolError{408, "the client was silent, or too slow, for too long"};
        if (error) throw Gone{};
        // Into a place that all share: a connection that waits holds no buffer.
        std::vector<char>& piece = server_->received;
        const ssize_t got = ::recv(socket_.native_handle(), piece.data(), piece.size(), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got < 0) throw Gone{};
        if (buffer_.empty()) buffer_ = {};
        buffer_.append(piece.data(), static_cast<std::size_t>(got));
        co_return static_cast<std::size_t>(got);
    }
}

/// One request. False when the connection ends.
asio::awaitable<bool> Connection::serve_one() {
    parser_ = RequestParser{};
    waited_ = {};
    got_ = 0;
    body_until_ = Clock::time_point::max();
    std::optional<ProtocolError> refused;
    std::optional<Exchange> exchange;
    try {
        idle_ = buffer_.empty();
        idle_since_ = Clock::now();
        // One time for all of them, not for each that comes.
        Clock::time_point until = Clock::now() + (idle_ ? Clock::duration{idle_patience} : header_patience);
        while (!parser_.header_done()) {
            const bool may_be_http_2 =
                is_first_ && !buffer_.empty() && (http_2_preface.starts_with(buffer_) || buffer_.starts_with(http_2_preface));
            if (may_be_http_2 && buffer_.size() >= http_2_preface.size()) break;
            const std::size_t used = buffer_.empty() || may_be_http_2 ? 0 : parser_.parse_header(buffer_);
            buffer_.erase(0, used);
            if (parser_.header_done()) break;
            if (used > 0 && !buffer_.empty()) continue;
            if (idle_ && server_->stopping) co_return false;
            const std::size_t got = co_await fill(until);
            if (got == 0) {
                if (buffer_.empty() && idle_) co_return false;
                throw ProtocolError{400, "the request ends within its headers"};
            }
            if (std::exchange(idle_, false)) until = Clock::now() + header_patience;
        }
        is_first_ = false;
        is_http_2_ = !parser_.header_done();
        exchange.emplace(*this, is_http_2_ ? head_of_http_2() : parser_.take_head());
        continue_wanted_ = exchange->head().header("expect") == "100-continue";
    } catch (ProtocolError& error) {
        if (idle_) co_return false;
        refused = std::move(error);
    } catch (const std::exception& error) {
        refused = ProtocolError{500, text_of(error)};
    }
    bool goes_on = false;
    if (refused) {
        co_await refuse(*refused);
    } else {
        close_after_ = !exchange->head().keep_alive || server_->stopping;
        goes_on = co_await answer(*exchange);
        if (exchange->hijacked_) co_return false;
    }
    if (!goes_on) co_await linger();
    co_return goes_on;
}

asio::awaitable<bool> Connection::answer(Exchange& exchange) {
    int status = 0;
    std::string message;
    std::optional<int> exit_code;
    try {
        co_await server_->dispatch(exchange);
    } catch (const Error& error) {
        status = status_of(error);
        message = error.what();
        exit_code = exit_code_of(error);
    } catch (const ProtocolError& error) {
        status = error.status;
        message = error.message;
        close_after_ = true;
    } catch (const std::exception& error) {
        if (cancelled_) throw;  // Nobody waits for an answer.
        status = 500;
        message = text_of(error);
    }
    if (exchange.hijacked_) {
        if (status != 0) log::debug("{} {}: {}", exchange.head().method, exchange.head().target, message);
        co_return false;
    }
    if (streaming_) {
        streaming_ = false;
        boost::system::error_code ignored;
        socket_.cancel(ignored);
    }
    if (status != 0) {
        if (exchange.begun_) {
            // Too late for a status: the missing last chunk tells the client that this is not the whole.
            log::debug("{} {}: {}", exchange.head().method, exchange.head().target, message);
            co_return false;
        }
        if (status >= 500 && status != 501) log::error("{} {}: {}", exchange.head().method, exchange.head().target, message);
        co_await exchange.send(status, error_body(message, exit_code));
    }
    if (!exchange.ended_) {
        log::error("{} {} was not answered", exchange.head().method, exchange.head().target);
        co_return false;
    }
    co_return !close_after_ && co_await drain();
}

/// Ends a connection whose client may still be sending. Closed at once it would break the client's write, and many clients then
/// report that instead of reading the answer.
asio::awaitable<void> Connection::linger() {
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    if (parser_.done()) co_return;
    const auto began = Clock::now();
    const auto within = [&](auto time) { return Clock::now() < began + time; };
    if (pumping_) socket_.cancel(ignored);
    asio::steady_timer pause{server_->loop};
    while (pumping_ && within(linger_silence)) {
        pause.expires_after(5ms);
        co_await pause.async_wait(quiet);
    }
    if (pumping_) co_return;
    try {
        do {
            buffer_.clear();
        } while (co_await fill(Clock::now() + linger_silence) > 0 && within(linger_time) && !server_->stopping);
    } catch (const ProtocolError&) {
    }
}

asio::awaitable<void> Connection::refuse(const ProtocolError& error) {
    const std::string body = error_body(error.message);
    co_await put(
        fmt::format("HTTP/1.1 {} {}\r\n{}Content-Type: application/json\r\nDate: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                    error.status, reason_of(error.status), server_->server_headers, http_date(), body.size(), body));
}

/// The next bytes of the body; 0 at its end.
asio::awaitable<std::size_t> Connection::read_piece(std::span<char> out) {
    if (continue_wanted_ && !parser_.done()) {
        continue_wanted_ = false;
        if (buffer_.empty()) co_await put("HTTP/1.1 100 Continue\r\n\r\n");
    }
    while (!parser_.done()) {
        if (!buffer_.empty()) {
            const RequestParser::Piece piece = parser_.parse_body(buffer_, out);
            buffer_.erase(0, piece.used);
            if (piece.produced > 0) co_return piece.produced;
            if (parser_.done()) break;
            if (piece.used > 0 && !buffer_.empty()) continue;
            if (buffer_.size() > header_limit) throw ProtocolError{400, "malformed chunk"};
        }
        // What the reader of the body takes for itself is not the client's.
        const auto before = Clock::now();
        const std::size_t size = co_await fill(std::min(before + (body_patience - waited_), body_until_));
        if (size == 0) throw Gone{};
        waited_ += Clock::now() - before;
        got_ += size;
        if (got_ >= body_progress) {
            waited_ = {};
            got_ = 0;
        }
    }
    co_return 0;
}

asio::awaitable<std::string> Connection::read_body(const RequestHead& head, std::size_t limit) {
    const auto too_large = [limit] { return ProtocolError{413, fmt::format("request body is larger than {} bytes", limit)}; };
    if (head.content_length.value_or(0) > limit) throw too_large();
    body_until_ = Clock::now() + body_patience;
    std::string body;
    // Most requests have a small body or none.
    const std::size_t expected = head.chunked ? body_piece : std::max<std::size_t>(head.content_length.value_or(0), 1);
    std::vector<char> piece(std::min({body_piece, limit + 1, expected}));
    while (const std::size_t size = co_await read_piece(piece)) {
        if (body.size() + size > limit) throw too_large();
        body.append(piece.data(), size);
    }
    co_return body;
}

BodyPipe Connection::body_pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) fail_errno("pipe");
    Fd out{ends[0]};
    Fd in{ends[1]};
    static_cast<void>(::fcntl(in.get(), F_SETPIPE_SZ, body_pipe_size));  // smaller where the user's share is used up
    pumping_ = true;
    const auto broken = std::make_shared<std::atomic<bool>>(false);
    asio::co_spawn(server_->loop, pump(shared_from_this(), std::move(in), broken), asio::detached);
    return {std::move(out), [broken] {
                if (*broken) fail(ErrorKind::invalid_argument, "the request's body broke off before its end");
            }};
}

/// From the socket into the pipe. Ends when the body ends, the client leaves or the reader closes its end; `drain` waits for it.
asio::awaitable<void> Connection::pump(std::shared_ptr<Connection> self, Fd pipe, std::shared_ptr<std::atomic<bool>> broken) {
    // Closed last: whoever reads its end must find in `broken` what it means.
    asio::posix::stream_descriptor out{server_->loop, pipe.release()};
    *broken = true;
    try {
        std::vector<char> piece(body_piece);
        while (const std::size_t size = co_await read_piece(piece)) {
            const auto [error, written] = co_await asio::async_write(out, asio::buffer(piece.data(), size), quiet);
            if (error) break;  // The reader has what it wants, or failed and says so itself.
        }
        *broken = false;
    } catch (const Gone&) {
        close_after_ = true;
        if (streaming_) cancel();
    } catch (const ProtocolError&) {
        close_after_ = true;
    } catch (const std::exception& error) {
        close_after_ = true;
        log::error("request body: {}", error.what());
    }
    self->pumping_ = false;
    if (streaming_ && !cancelled_) watch_on();
}

/// Reads the body and drops it: of a request that says all in its target.
asio::awaitable<void> Connection::discard_body() {
    body_until_ = Clock::now() + body_patience;
    std::vector<char> piece(read_size);
    std::size_t total = 0;
    while (const std::size_t size = co_await read_piece(piece)) {
        total += size;
        if (total > json_body_limit) throw ProtocolError{413, fmt::format("request body is larger than {} bytes", json_body_limit)};
    }
}

/// Reads away what is left of the body. False where the connection cannot be used again.
asio::awaitable<bool> Connection::drain() {
    if (pumping_) co_return false;  // Still sending what nobody reads any more.
    if (continue_wanted_ && !parser_.done()) co_return false;
    std::vector<char> piece;
    std::size_t total = 0;
    try {
        while (!parser_.done()) {
            piece.resize(body_piece);
            total += co_await read_piece(piece);
            if (total > drain_limit) co_return false;
        }
    } catch (const ProtocolError&) {
        co_return false;
    }
    co_return !server_->stopping;
}

/// Returns when the socket took it.
asio::awaitable<void> Connection::put(std::string bytes) {
    const auto [error, size] = co_await asio::async_write(socket_, asio::buffer(bytes), quiet);
    if (error) throw Gone{};
}

std::string Connection::head_of(const Exchange& exchange, int status, std::string_view content_type) const {
    std::string head =
        fmt::format("HTTP/1.{} {} {}\r\n{}", exchange.head().http_1_0 ? 0 : 1, status, reason_of(status), server_->server_headers);
    if (!content_type.empty()) head += fmt::format("Content-Type: {}\r\n", content_type);
    head += exchange.extra_headers_;
    head += fmt::format("Date: {}\r\n", http_date());
    return head;
}

asio::awaitable<void> Connection::send(Exchange& exchange, int status, std::string body, std::string_view content_type) {
    const bool bodiless = status == 204 || status == 304;
    std::string text = head_of(exchange, status, bodiless ? std::string_view{} : content_type);
    if (!bodiless) text += fmt::format("Content-Length: {}\r\n", body.size());
    if (pumping_) close_after_ = true;
    if (close_after_) {
        text += "Connection: close\r\n";
    } else if (exchange.head().http_1_0) {
        text += "Connection: keep-alive\r\n";
    }
    text += "\r\n";
    if (!bodiless && exchange.head().method != "HEAD") text += body;
    exchange.begun_ = true;
    exchange.ended_ = true;
    // The whole of it is kept until the client has taken it.
    const bool timed = !pumping_;
    if (timed) arm(Clock::now() + body_patience);
    co_await put(std::move(text));
    if (timed) disarm();
}

asio::awaitable<void> Connection::begin(Exchange& exchange, int status, std::string_view content_type) {
    std::string text = head_of(exchange, status, content_type);
    if (exchange.head().http_1_0) close_after_ = true;
    if (close_after_) text += "Connection: close\r\n";
    if (!exchange.head().http_1_0) text += "Transfer-Encoding: chunked\r\n";
    text += "\r\n";
    exchange.begun_ = true;
    co_await put(std::move(text));
}

asio::awaitable<void> Connection::write(Exchange& exchange, std::string_view bytes) {
    if (bytes.empty()) co_return;
    // Not put together: of a stream whose client is slow that would be kept twice.
    const std::string size = exchange.head().http_1_0 ? std::string() : fmt::format("{:x}\r\n", bytes.size());
    const std::string_view end = exchange.head().http_1_0 ? "" : "\r\n";
    const std::array<asio::const_buffer, 3> chunk{asio::buffer(size), asio::buffer(bytes), asio::buffer(end)};
    const auto [error, written] = co_await asio::async_write(socket_, chunk, quiet);
    if (error) throw Gone{};
}

asio::awaitable<void> Connection::end(Exchange& exchange) {
    exchange.ended_ = true;
    if (!exchange.head().http_1_0) co_await put("0\r\n\r\n");
}

asio::awaitable<Hijacked> Connection::hijack(Exchange& exchange, std::string_view content_type) {
    if (is_http_2_) {
        Hijacked taken = release(exchange);
        taken.upgraded = true;
        co_return taken;
    }
    // Some clients send what the target says once more as a body; it is the request's, and no input of a program.
    co_await discard_body();
    const RequestHead& head = exchange.head();
    const std::string wanted{head.header("upgrade")};
    const bool upgrades = !wanted.empty();
    std::string text;
    if (upgrades) {
        text = fmt::format("HTTP/1.1 101 UPGRADED\r\n{}Content-Type: {}\r\nConnection: Upgrade\r\nUpgrade: {}\r\n\r\n",
                           server_->server_headers, content_type, wanted == "h2c" ? wanted : "tcp");
    } else {
        text = fmt::format("HTTP/1.1 200 OK\r\n{}Content-Type: {}\r\n\r\n", server_->server_headers, content_type);
    }
    co_await put(std::move(text));
    Hijacked taken = release(exchange);
    taken.upgraded = upgrades;
    co_return taken;
}

Hijacked Connection::release(Exchange& exchange) {
    exchange.begun_ = true;
    exchange.ended_ = true;
    exchange.hijacked_ = true;
    streaming_ = false;
    deadline_.cancel();
    Hijacked out;
    out.socket = Fd{socket_.release()};
    out.early_input = std::exchange(buffer_, {});
    return out;
}

void Connection::watch_client() {
    if (streaming_) return;
    streaming_ = true;
    watch_on();
}

void Connection::watch_on() {
    // With so much of it read early, nothing more is read; that the peer has closed the kernel says all the same (of TCP only where it
    // was closed with unread bytes).
    const auto what = buffer_.size() < early_limit ? Socket::wait_read : Socket::wait_error;
    socket_.async_wait(what, [weak = weak_from_this(), what](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (!self || !self->streaming_ || error) return;
        if (what == Socket::wait_error) return self->cancel();
        self->on_readable();
    });
}

/// The client of a stream says something, or leaves.
void Connection::on_readable() {
    if (pumping_) return;  // That reads the body, and watches when it has done so.
    std::array<char, 4096> piece{};
    const ssize_t got = ::recv(socket_.native_handle(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return cancel();
    // It is the next request, sent early.
    if (got > 0) buffer_.append(piece.data(), static_cast<std::size_t>(got));
    watch_on();
}

Connections::Connections(asio::any_io_executor loop, Dispatch dispatch, std::string server_headers) : state_(std::make_shared<State>()) {
    state_->loop = std::move(loop);
    state_->dispatch = std::move(dispatch);
    state_->server_headers = std::move(server_headers);
}

Connections::~Connections() = default;

void Connections::serve(Fd socket, engine::Principal who) {
    std::erase_if(state_->all, [](const auto& weak) { return weak.expired(); });
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (state_->stopping || ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) return;
    if (address.ss_family != AF_UNIX) keep_alive(socket.get());
    const auto connection = std::make_shared<Connection>(state_, address.ss_family, std::move(socket), std::move(who));
    state_->all.push_back(connection);
    Connection::start(connection);
}

std::size_t Connections::count() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(state_->all, [](const auto& weak) { return !weak.expired(); }));
}

void Connections::close_idle() {
    for (const auto& weak : std::list(state_->all)) {
        if (const auto connection = weak.lock(); connection && connection->may_give_way()) connection->stop_now();
    }
}

asio::awaitable<std::size_t> Connections::stop(std::chrono::milliseconds patience) {
    state_->stopping = true;
    const auto each = [this](auto what) {
        for (const auto& weak : std::list(state_->all)) {
            if (const auto connection = weak.lock()) what(*connection);
        }
    };
    asio::steady_timer timer{state_->loop};
    const auto none_left = [&](Clock::time_point until) -> asio::awaitable<void> {
        while (count() > 0 && Clock::now() < until) {
            timer.expires_after(10ms);
            co_await timer.async_wait(quiet);
        }
    };
    each([](Connection& connection) { connection.stop_when_idle(); });
    co_await none_left(Clock::now() + patience);
    each([](Connection& connection) { connection.stop_now(); });
    co_await none_left(Clock::now() + cut_off_patience);
    co_return count();
}

// Exchange

asio::awaitable<std::string> Exchange::read_body(std::size_t limit) { return connection_.read_body(head_, limit); }
BodyPipe Exchange::body_pipe() { return connection_.body_pipe(); }
asio::awaitable<void> Exchange::send(int status, std::string body, std::string_view content_type) {
    return connection_.send(*this, status, std::move(body), content_type);
}
asio::awaitable<void> Exchange::begin(int status, std::string_view content_type) { return connection_.begin(*this, status, content_type); }
asio::awaitable<void> Exchange::write(std::string_view bytes) { return connection_.write(*this, bytes); }
asio::awaitable<void> Exchange::end() { return connection_.end(*this); }
asio::awaitable<Hijacked> Exchange::hijack(std::string_view content_type) { return connection_.hijack(*this, content_type); }
Hijacked Exchange::take_socket() { return connection_.release(*this); }
const engine::PrincipalPtr& Exchange::principal() const noexcept { return connection_.principal(); }
void Exchange::name_turns(std::string_view what) { connection_.name_turns(what); }
void Exchange::cancel_when_client_leaves() { connection_.watch_client(); }
void Exchange::add_header(std::string_view header, std::string_view value) { extra_headers_ += fmt::format("{}: {}\r\n", header, value); }

}  // namespace grua::api
