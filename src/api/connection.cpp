#include "api/connection.hpp"

#include "api/http_parser.hpp"
#include "base/log.hpp"

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

/// A client may keep an idle connection this long, must send a request's headers within the second and each part of a body
/// within the third.
constexpr auto idle_patience = 10min;
constexpr auto header_patience = 30s;
constexpr auto body_patience = 5min;

/// A client that is refused while it still sends may go on so long, and be silent so long, before the connection is closed.
constexpr auto linger_time = 30s;
constexpr auto linger_silence = 1s;

/// A body that nobody read is read away up to here, so that the connection can be used again.
constexpr std::size_t drain_limit = std::size_t{256} << 10U;

constexpr std::size_t read_size = std::size_t{16} << 10U;
constexpr std::size_t body_piece = std::size_t{256} << 10U;
constexpr int body_pipe_size = 1 << 20;

std::string_view reason_of(int status) {
    switch (status) {
        case 101:
            return "UPGRADED";
        case 200:
            return "OK";
        case 201:
            return "Created";
        case 204:
            return "No Content";
        case 304:
            return "Not Modified";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 413:
            return "Request Entity Too Large";
        case 431:
            return "Request Header Fields Too Large";
        case 501:
            return "Not Implemented";
        case 503:
            return "Service Unavailable";
        default:
            return "Internal Server Error";
    }
}

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

}  // namespace

struct Connections::State {
    asio::any_io_executor loop;
    Dispatch dispatch;
    std::string server_headers;
    std::list<std::weak_ptr<Connection>> all;
    bool stopping = false;
};

class Connection : public std::enable_shared_from_this<Connection> {
public:
    using Socket = asio::generic::stream_protocol::socket;

    Connection(std::shared_ptr<Connections::State> server, int family, int socket)
        : server_(std::move(server)), socket_(server_->loop, asio::generic::stream_protocol(family, 0), socket), deadline_(server_->loop) {}

    static void start(const std::shared_ptr<Connection>& connection) {
        asio::co_spawn(connection->server_->loop, run(connection),
                       asio::bind_cancellation_slot(connection->cancel_.slot(), asio::detached));
    }

    void stop_when_idle() {
        if (idle_ || streaming_) cancel_.emit(asio::cancellation_type::terminal);
    }
    void stop_now() {
        cancel_.emit(asio::cancellation_type::terminal);
        boost::system::error_code ignored;
        socket_.close(ignored);
    }

    asio::awaitable<std::string> read_body(const RequestHead& head, std::size_t limit);
    BodyPipe body_pipe();
    asio::awaitable<void> send(Exchange& exchange, int status, std::string body, std::string_view content_type);
    asio::awaitable<void> begin(Exchange& exchange, int status, std::string_view content_type);
    asio::awaitable<void> write(Exchange& exchange, std::string_view bytes);
    asio::awaitable<void> end(Exchange& exchange);
    asio::awaitable<Hijacked> hijack(Exchange& exchange, std::string_view content_type);
    void watch_client();

private:
    static asio::awaitable<void> run(std::shared_ptr<Connection> self);
    asio::awaitable<bool> serve_one();
    asio::awaitable<bool> answer(Exchange& exchange);
    asio::awaitable<void> refuse(const ProtocolError& error);
    asio::awaitable<std::size_t> fill(std::chrono::seconds patience);
    asio::awaitable<void> linger();
    asio::awaitable<std::size_t> read_piece(std::span<char> out);
    asio::awaitable<void> pump(std::shared_ptr<Connection> self, Fd pipe, std::shared_ptr<std::atomic<bool>> broken);
    asio::awaitable<bool> drain();
    asio::awaitable<void> put(std::string bytes);
    std::string head_of(const Exchange& exchange, int status, std::string_view content_type) const;

    std::shared_ptr<Connections::State> server_;
    Socket socket_;
    asio::steady_timer deadline_;
    asio::cancellation_signal cancel_;
    std::string buffer_;  ///< Received, not yet parsed.
    RequestParser parser_;
    bool idle_ = true;
    bool streaming_ = false;  ///< The client is watched; it is cancelled when it leaves.
    bool timed_out_ = false;
    bool close_after_ = false;
    bool continue_wanted_ = false;
    bool pumping_ = false;
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

/// Receives more into the buffer; returns 0 at the end of the stream.
asio::awaitable<std::size_t> Connection::fill(std::chrono::seconds patience) {
    timed_out_ = false;
    deadline_.expires_after(patience);
    deadline_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self || self->deadline_.expiry() > asio::steady_timer::clock_type::now()) return;
        self->timed_out_ = true;
        boost::system::error_code ignored;
        self->socket_.cancel(ignored);
    });
    const std::size_t before = buffer_.size();
    buffer_.resize(before + read_size);
    const auto [error, size] = co_await socket_.async_read_some(asio::buffer(buffer_.data() + before, read_size), quiet);
    buffer_.resize(before + (error ? 0 : size));
    deadline_.expires_at(asio::steady_timer::time_point::max());
    if (timed_out_) throw ProtocolError{408, "the client was silent for too long"};
    if (error == asio::error::eof) co_return 0;
    if (error) throw Gone{};
    co_return size;
}

/// One request. False when the connection ends.
asio::awaitable<bool> Connection::serve_one() {
    parser_ = RequestParser{};
    std::optional<ProtocolError> refused;
    std::optional<Exchange> exchange;
    try {
        idle_ = buffer_.empty();
        while (!parser_.header_done()) {
            const std::size_t used = buffer_.empty() ? 0 : parser_.parse_header(buffer_);
            buffer_.erase(0, used);
            if (parser_.header_done()) break;
            if (used > 0 && !buffer_.empty()) continue;
            if (idle_ && server_->stopping) co_return false;
            const std::size_t got = co_await fill(idle_ ? std::chrono::seconds{idle_patience} : header_patience);
            if (got == 0) {
                if (buffer_.empty() && idle_) co_return false;
                throw ProtocolError{400, "the request ends within its headers"};
            }
            idle_ = false;
        }
        exchange.emplace(*this, parser_.take_head());
        continue_wanted_ = exchange->head().header("expect") == "100-continue";
    } catch (ProtocolError& error) {
        if (idle_) co_return false;
        refused = std::move(error);
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
    try {
        co_await server_->dispatch(exchange);
    } catch (const Error& error) {
        status = status_of(error);
        message = error.what();
    } catch (const ProtocolError& error) {
        status = error.status;
        message = error.message;
        close_after_ = true;
    }
    if (exchange.hijacked_) co_return false;
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
        co_await exchange.send(status, error_body(message));
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
    const auto began = asio::steady_timer::clock_type::now();
    const auto within = [&](auto time) { return asio::steady_timer::clock_type::now() < began + time; };
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
        } while (co_await fill(linger_silence) > 0 && within(linger_time) && !server_->stopping);
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
        if (co_await fill(body_patience) == 0) throw Gone{};
    }
    co_return 0;
}

asio::awaitable<std::string> Connection::read_body(const RequestHead& head, std::size_t limit) {
    const auto too_large = [limit] { return ProtocolError{413, fmt::format("request body is larger than {} bytes", limit)}; };
    if (head.content_length.value_or(0) > limit) throw too_large();
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
    } catch (const ProtocolError&) {
        close_after_ = true;
    } catch (const std::exception& error) {
        close_after_ = true;
        log::error("request body: {}", error.what());
    }
    self->pumping_ = false;
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
    co_await put(std::move(text));
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
    if (exchange.head().http_1_0) {
        co_await put(std::string(bytes));
    } else {
        co_await put(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
    }
}

asio::awaitable<void> Connection::end(Exchange& exchange) {
    exchange.ended_ = true;
    if (!exchange.head().http_1_0) co_await put("0\r\n\r\n");
}

asio::awaitable<Hijacked> Connection::hijack(Exchange& exchange, std::string_view content_type) {
    const RequestHead& head = exchange.head();
    std::string wanted{head.header("upgrade")};
    Hijacked out;
    out.upgraded = !wanted.empty();
    std::string text;
    if (out.upgraded) {
        text = fmt::format("HTTP/1.1 101 UPGRADED\r\n{}Content-Type: {}\r\nConnection: Upgrade\r\nUpgrade: {}\r\n\r\n",
                           server_->server_headers, content_type, "tcp");
    } else {
        text = fmt::format("HTTP/1.1 200 OK\r\n{}Content-Type: {}\r\n\r\n", server_->server_headers, content_type);
    }
    co_await put(std::move(text));
    exchange.begun_ = true;
    exchange.ended_ = true;
    exchange.hijacked_ = true;
    streaming_ = false;
    deadline_.cancel();
    out.socket = Fd{socket_.release()};
    out.early_input = std::exchange(buffer_, {});
    co_return out;
}

void Connection::watch_client() {
    if (streaming_) return;
    streaming_ = true;
    socket_.async_wait(Socket::wait_read, [weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (!self || !self->streaming_ || error) return;
        char byte = 0;
        const ssize_t got = ::recv(self->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        // A byte is the next request, sent early: this client is still there, and no longer watched.
        if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))) return;
        self->cancel_.emit(asio::cancellation_type::terminal);
    });
}

Connections::Connections(asio::any_io_executor loop, Dispatch dispatch, std::string server_headers) : state_(std::make_shared<State>()) {
    state_->loop = std::move(loop);
    state_->dispatch = std::move(dispatch);
    state_->server_headers = std::move(server_headers);
}

Connections::~Connections() = default;

void Connections::serve(Fd socket) {
    std::erase_if(state_->all, [](const auto& weak) { return weak.expired(); });
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (state_->stopping || ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) return;
    const auto connection = std::make_shared<Connection>(state_, address.ss_family, socket.release());
    state_->all.push_back(connection);
    Connection::start(connection);
}

std::size_t Connections::count() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(state_->all, [](const auto& weak) { return !weak.expired(); }));
}

asio::awaitable<void> Connections::stop(std::chrono::milliseconds patience) {
    state_->stopping = true;
    const auto each = [this](auto what) {
        for (const auto& weak : std::list(state_->all)) {
            if (const auto connection = weak.lock()) what(*connection);
        }
    };
    each([](Connection& connection) { connection.stop_when_idle(); });
    asio::steady_timer timer{state_->loop};
    const auto until = asio::steady_timer::clock_type::now() + patience;
    while (count() > 0 && asio::steady_timer::clock_type::now() < until) {
        timer.expires_after(10ms);
        co_await timer.async_wait(quiet);
    }
    each([](Connection& connection) { connection.stop_now(); });
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
void Exchange::cancel_when_client_leaves() { connection_.watch_client(); }
void Exchange::add_header(std::string_view header, std::string_view value) { extra_headers_ += fmt::format("{}: {}\r\n", header, value); }

}  // namespace grua::api
