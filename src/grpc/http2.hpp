// One HTTP/2 connection, either side of it (RFC 9113): streams of bytes with headers before and, perhaps, behind them.
//
// nghttp2 knows the protocol; here are the loop, the bounds and the order. A stream that nobody reads stops its peer after a window and
// nobody else; one that is not taken stops its writer. The connection lives as long as run(), which its owner awaits.
#pragma once

#include "base/condition.hpp"
#include "grpc/transport.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

struct nghttp2_session;

namespace grua::grpc {

/// Names in lower case, in their order.
using Headers = std::vector<std::pair<std::string, std::string>>;

/// The value of the first; empty where there is none.
std::string_view header(const Headers& headers, std::string_view name) noexcept;

struct Http2Limits {
    std::uint32_t streams = 250;                   ///< Of the peer's, at once.
    std::uint32_t header_bytes = 64U << 10U;       ///< Of one block.
    std::uint32_t window = 1U << 20U;              ///< That is received of a stream and not yet read.
    std::size_t unsent = std::size_t{256} << 10U;  ///< That a stream's writer may be ahead of the peer.
    std::size_t resets = 1000;                     ///< Streams that the peer has given up, more than it has let end.
    std::size_t held = std::size_t{96} << 20U;     ///< Of all streams, that has come and is no use yet: not read, or a part of a message.
};

enum class Reset : std::uint32_t { no_error = 0, internal = 2, refused = 7, cancelled = 8, calm = 11 };

class Http2;

/// Loop only.
class Stream {
public:
    Stream(std::shared_ptr<Http2> connection, std::int32_t id);
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream();

    /// The peer's, as far as they have come. Of a client's stream: those of the answer.
    const Headers& headers() const noexcept { return headers_; }
    const Headers& trailers() const noexcept { return trailers_; }

    /// Until the answer's headers are there, or the stream has ended without.
    asio::awaitable<void> answered();

    /// The next bytes; empty at the end. Throws Error(unavailable) where the stream has been given up or its connection is gone.
    asio::awaitable<std::string> read();

    /// Whoever reads has come to the end.
    void stop_reading();

    /// So many of the bytes that were read are kept until the rest of something has come. Throws Error(unavailable), and gives the stream
    /// up, where all streams of the connection hold too much by that.
    void hold(std::size_t bytes);

    /// Of a server's stream, once.
    void answer(const Headers& headers);
    /// Headers alone: the answer and its end.
    void answer_and_end(const Headers& headers);

    /// Comes back when the peer has taken enough of what was written. Throws as read().
    asio::awaitable<void> write(std::string bytes);
    void end(Headers trailers = {});

    /// Gives it up. Does nothing where it has ended.
    void reset(Reset why);

    /// Ended from both sides, or given up.
    bool is_closed() const noexcept { return is_closed_; }
    bool is_answered() const noexcept { return is_answered_; }
    /// The peer's last word has come.
    bool has_all() const noexcept { return has_all_; }
    /// Called when it is closed, in whatever turn that is.
    void when_closed(std::function<void()> call);

private:
    friend class Http2;
    friend struct Http2Callbacks;
    void close(std::string why);

    std::shared_ptr<Http2> connection_;
    std::int32_t id_;
    Condition changed_;
    Headers headers_;
    Headers trailers_;
    std::size_t header_bytes_ = 0;
    bool has_headers_ = false;
    std::string in_;
    std::size_t held_ = 0;  ///< Of what was read.
    bool has_all_ = false;
    bool is_answered_ = false;
    std::deque<std::string> out_;
    std::size_t out_at_ = 0;  ///< Of the first.
    std::size_t unsent_ = 0;
    bool ends_ = false;
    Headers own_trailers_;
    bool is_deferred_ = false;
    bool is_closed_ = false;
    std::string failure_;
    std::function<void()> closed_call_;
};
using StreamPtr = std::shared_ptr<Stream>;

/// Loop only.
class Http2 : public std::enable_shared_from_this<Http2> {
public:
    enum class Role : std::uint8_t { client, server };
    /// A stream of the peer's, with its headers.
    using Accept = std::function<void(const StreamPtr&)>;

    static std::shared_ptr<Http2> make(asio::any_io_executor loop, std::unique_ptr<Transport> transport, Role role, Accept accept = {},
                                       Http2Limits limits = {});
    Http2(const Http2&) = delete;
    Http2& operator=(const Http2&) = delete;
    ~Http2();

    /// Until the connection has ended; does not throw. Streams that are open then have failed.
    asio::awaitable<void> run();

    /// A client's. Throws Error(unavailable) where the connection has ended.
    StreamPtr open(const Headers& headers);

    /// Takes no new streams, and ends when those that are open have.
    void shut_down();
    void close(std::string why);

    bool is_closed() const noexcept { return is_closed_; }
    std::size_t held() const noexcept { return held_; }
    std::size_t streams() const noexcept { return streams_.size(); }
    const asio::any_io_executor& loop() const noexcept { return loop_; }

private:
    friend class Stream;
    friend struct Http2Callbacks;
    struct SessionEnd {
        void operator()(nghttp2_session* session) const noexcept;
    };

    Http2(asio::any_io_executor loop, std::unique_ptr<Transport> transport, Role role, Accept accept, Http2Limits limits);
    asio::awaitable<void> write_all();
    void take(std::string_view bytes);
    std::string pending();
    Stream* find(std::int32_t id) const;
    void submit_answer(Stream& stream, const Headers& headers, bool with_body);
    void resume(Stream& stream);
    void wake() { wake_.notify_all(); }

    asio::any_io_executor loop_;
    std::unique_ptr<Transport> transport_;
    Role role_;
    Accept accept_;
    Http2Limits limits_;
    std::unique_ptr<nghttp2_session, SessionEnd> session_;
    Condition wake_;   ///< There may be something to send.
    Condition ended_;  ///< Who writes has come back.
    std::map<std::int32_t, StreamPtr> streams_;
    std::size_t resets_ = 0;
    std::size_t held_ = 0;
    bool is_writing_ = false;
    bool is_closed_ = false;
};

}  // namespace grua::grpc
