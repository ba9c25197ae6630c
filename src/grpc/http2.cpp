#include "grpc/http2.hpp"

#include "base/error.hpp"
#include "base/log.hpp"

#include <nghttp2/nghttp2.h>
#include <algorithm>
#include <boost/asio/detached.hpp>

namespace grua::grpc {
namespace {

constexpr std::size_t read_size = std::size_t{16} << 10U;
constexpr std::size_t write_size = std::size_t{64} << 10U;
constexpr std::uint32_t windows = 4;  ///< Of streams, that the connection's own is as large as.

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) { return {reinterpret_cast<const char*>(bytes), size}; }

/// nghttp2 copies what it points to.
std::vector<nghttp2_nv> fields_of(const Headers& headers) {
    std::vector<nghttp2_nv> out;
    const auto bytes = [](const std::string& text) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data())); };
    for (const auto& [name, value] : headers) out.push_back({bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    return out;
}

/// Nobody's own limit is smaller than what a status needs.
constexpr std::size_t least_header_list = 4096;
constexpr std::size_t header_block_limit = std::size_t{4} << 20U;  ///< Of what is sent: statuses have whole files in their details.
constexpr std::size_t field_overhead = 32;                         // As the protocol counts.

/// Those in front that the peer takes together: more would not be sent at all, and it would wait for ever.
std::vector<nghttp2_nv> fields_that_fit(nghttp2_session* session, const Headers& headers) {
    const std::size_t theirs = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
    const std::size_t limit = std::clamp(theirs, least_header_list, header_block_limit / 2);
    std::vector<nghttp2_nv> out = fields_of(headers);
    std::size_t size = 0;
    const auto is_too_much = [&](const nghttp2_nv& each) { return (size += each.namelen + each.valuelen + field_overhead) > limit; };
    out.erase(std::ranges::find_if(out, is_too_much), out.end());
    return out;
}

void check(int result, std::string_view doing) {
    if (result < 0)
        fail(result == NGHTTP2_ERR_NOMEM ? ErrorKind::system : ErrorKind::unavailable, "{}: {}", doing, nghttp2_strerror(result));
}

}  // namespace

std::string_view header(const Headers& headers, std::string_view name) noexcept {
    const auto found = std::ranges::find(headers, name, &Headers::value_type::first);
    return found != headers.end() ? std::string_view(found->second) : std::string_view{};
}

/// What nghttp2 tells of. None of them may throw through it.
struct Http2Callbacks {
    static Http2& connection(void* user) { return *static_cast<Http2*>(user); }

    static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
        Http2& self = connection(user);
        if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
        const std::int32_t id = frame->hd.stream_id;
        self.streams_.emplace(id, std::make_shared<Stream>(self.shared_from_this(), id));
        return 0;
    }

    static int header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t name_size,
                      const std::uint8_t* value, std::size_t value_size, std::uint8_t, void* user) {
        Http2& self = connection(user);
        Stream* stream = self.find(frame->hd.stream_id);
        if (!stream) return 0;
        stream->header_bytes_ += name_size + value_size + field_overhead;
        if (stream->header_bytes_ > self.limits_.header_bytes) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        Headers& headers = stream->has_headers_ ? stream->trailers_ : stream->headers_;
        headers.emplace_back(text_of(name, name_size), text_of(value, value_size));
        return 0;
    }

    static int frame_received(nghttp2_session*, const nghttp2_frame* frame, void* user) {
        Http2& self = connection(user);
        if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
        const auto found = self.streams_.find(frame->hd.stream_id);
        if (found == self.streams_.end()) return 0;
        const StreamPtr stream = found->second;
        const bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
        bool is_new = false;
        if (frame->hd.type == NGHTTP2_HEADERS && !stream->has_headers_) {
            if (grpc::header(stream->headers_, ":status").starts_with('1')) {
                stream->headers_.clear();
                return 0;
            }
            stream->has_headers_ = is_new = true;
            stream->header_bytes_ = 0;
        }
        if (is_end) stream->has_all_ = true;
        stream->changed_.notify_all();
        if (is_new && self.role_ == Http2::Role::server && self.accept_) self.accept_(stream);
        return 0;
    }

    static int data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes, std::size_t size, void* user) {
        Http2& self = connection(user);
        // A stream that nobody reads holds its own window and not the connection's.
        nghttp2_session_consume_connection(session, size);
        Stream* stream = self.find(id);
        if (!stream) return 0;
        if (self.held_ + size > self.limits_.held) {
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, static_cast<std::uint32_t>(Reset::calm));
            return 0;
        }
        self.held_ += size;
        stream->in_ += text_of(bytes, size);
        stream->changed_.notify_all();
        return 0;
    }

    static int stream_closed(nghttp2_session* session, std::int32_t id, std::uint32_t error, void* user) {
        Http2& self = connection(user);
        const auto found = self.streams_.find(id);
        if (found == self.streams_.end()) return 0;
        const StreamPtr stream = std::move(found->second);
        self.streams_.erase(found);
        stream->close(fmt::format("the stream was given up: {}", nghttp2_http2_strerror(error)));
        if (self.role_ == Http2::Role::server) {
            if (error != NGHTTP2_NO_ERROR)
                ++self.resets_;
            else if (self.resets_ > 0)
                --self.resets_;
            if (self.resets_ > self.limits_.resets) nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
        }
        return 0;
    }

    /// A stream that was asked for and cannot begin any more, or an answer without which its peer would wait for ever.
    static int frame_not_sent(nghttp2_session* session, const nghttp2_frame* frame, int error, void* user) {
        Http2& self = connection(user);
        if (frame->hd.type != NGHTTP2_HEADERS) return 0;
        if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
            return 0;
        }
        const auto found = self.streams_.find(frame->hd.stream_id);
        if (found == self.streams_.end()) return 0;
        const StreamPtr stream = std::move(found->second);
        self.streams_.erase(found);
        stream->close(fmt::format("the stream could not begin: {}", nghttp2_strerror(error)));
        return 0;
    }

    /// An answer that ends before its request: the rest of that is not wanted, which the peer is told once the answer is out.
    static int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
        const Http2& self = connection(user);
        if (self.role_ != Http2::Role::server || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
        const Stream* stream = self.find(frame->hd.stream_id);
        if (stream && !stream->has_all_) nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
        return 0;
    }

    static ssize_t take_data(nghttp2_session* session, std::int32_t id, std::uint8_t* out, std::size_t size, std::uint32_t* flags,
                             nghttp2_data_source* source, void* user) {
        Http2& self = connection(user);
        Stream& stream = *static_cast<Stream*>(source->ptr);
        std::size_t count = 0;
        while (count < size && !stream.out_.empty()) {
            std::string& first = stream.out_.front();
            const std::size_t piece = std::min(size - count, first.size() - stream.out_at_);
            std::ranges::copy(std::string_view(first).substr(stream.out_at_, piece), out + count);
            count += piece;
            stream.out_at_ += piece;
            if (stream.out_at_ < first.size()) continue;
            stream.out_.pop_front();
            stream.out_at_ = 0;
        }
        stream.unsent_ -= count;
        if (stream.unsent_ <= self.limits_.unsent) stream.changed_.notify_all();
        if (stream.out_.empty() && stream.ends_) {
            *flags |= NGHTTP2_DATA_FLAG_EOF;
            if (!stream.own_trailers_.empty()) {
                *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
                const auto fields = fields_that_fit(session, stream.own_trailers_);
                nghttp2_submit_trailer(session, id, fields.data(), fields.size());
            }
        } else if (count == 0) {
            stream.is_deferred_ = true;
            return NGHTTP2_ERR_DEFERRED;
        }
        return static_cast<ssize_t>(count);
    }
};

void Http2::SessionEnd::operator()(nghttp2_session* session) const noexcept { nghttp2_session_del(session); }

std::shared_ptr<Http2> Http2::make(asio::any_io_executor loop, std::unique_ptr<Transport> transport, Role role, Accept accept,
                                   Http2Limits limits) {
    return std::shared_ptr<Http2>(new Http2(std::move(loop), std::move(transport), role, std::move(accept), limits));
}

Http2::Http2(asio::any_io_executor loop, std::unique_ptr<Transport> transport, Role role, Accept accept, Http2Limits limits)
    : loop_(std::move(loop)),
      transport_(std::move(transport)),
      role_(role),
      accept_(std::move(accept)),
      limits_(limits),
      wake_(loop_),
      ended_(loop_) {
    nghttp2_session_callbacks* raw = nullptr;
    check(nghttp2_session_callbacks_new(&raw), "HTTP/2");
    const std::unique_ptr<nghttp2_session_callbacks, decltype(&nghttp2_session_callbacks_del)> callbacks(raw,
                                                                                                         &nghttp2_session_callbacks_del);
    nghttp2_session_callbacks_set_on_begin_headers_callback(raw, &Http2Callbacks::begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(raw, &Http2Callbacks::header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(raw, &Http2Callbacks::frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(raw, &Http2Callbacks::data);
    nghttp2_session_callbacks_set_on_stream_close_callback(raw, &Http2Callbacks::stream_closed);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(raw, &Http2Callbacks::frame_not_sent);
    nghttp2_session_callbacks_set_on_frame_send_callback(raw, &Http2Callbacks::frame_sent);
    nghttp2_option* raw_option = nullptr;
    check(nghttp2_option_new(&raw_option), "HTTP/2");
    const std::unique_ptr<nghttp2_option, decltype(&nghttp2_option_del)> option(raw_option, &nghttp2_option_del);
    nghttp2_option_set_no_auto_window_update(raw_option, 1);
    nghttp2_option_set_max_send_header_block_length(raw_option, header_block_limit);
    nghttp2_session* session = nullptr;
    check(role == Role::server ? nghttp2_session_server_new2(&session, raw, this, raw_option)
                               : nghttp2_session_client_new2(&session, raw, this, raw_option),
          "HTTP/2");
    session_.reset(session);
    std::vector settings{nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams},
                         nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.window},
                         nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits.header_bytes}};
    // Nothing of gRPC's is pushed; its headers would be taken for those of the stream that promises it.
    if (role == Role::client) settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
    check(nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size()), "HTTP/2: settings");
    check(nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, static_cast<std::int32_t>(limits.window * windows)),
          "HTTP/2: window");
}

Http2::~Http2() = default;

asio::awaitable<void> Http2::run() {
    const auto self = shared_from_this();
    is_writing_ = true;
    asio::co_spawn(loop_, write_all(), asio::detached);
    std::vector<char> buffer(read_size);
    while (!is_closed_) {
        const std::size_t count = co_await transport_->read(buffer);
        if (count == 0) break;
        take({buffer.data(), count});
    }
    close("the connection has ended");
    while (is_writing_) co_await ended_.wait();
}

void Http2::take(std::string_view bytes) {
    if (is_closed_) return;
    const auto taken = nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (taken < 0) close(fmt::format("HTTP/2: {}", nghttp2_strerror(static_cast<int>(taken))));
    wake();
}

asio::awaitable<void> Http2::write_all() {
    const auto self = shared_from_this();
    while (!is_closed_) {
        const std::string bytes = pending();
        if (!bytes.empty()) {
            if (!co_await transport_->write(bytes)) close("the connection has ended");
        } else if (nghttp2_session_want_read(session_.get()) == 0 && nghttp2_session_want_write(session_.get()) == 0) {
            close("the connection has ended");
        } else {
            co_await wake_.wait();
        }
    }
    is_writing_ = false;
    ended_.notify_all();
}

std::string Http2::pending() {
    std::string out;
    while (out.size() < write_size) {
        const std::uint8_t* bytes = nullptr;
        const auto size = nghttp2_session_mem_send(session_.get(), &bytes);
        if (size < 0) close(fmt::format("HTTP/2: {}", nghttp2_strerror(static_cast<int>(size))));
        if (size <= 0) break;
        out += text_of(bytes, static_cast<std::size_t>(size));
    }
    return out;
}

Stream* Http2::find(std::int32_t id) const {
    const auto found = streams_.find(id);
    return found != streams_.end() ? found->second.get() : nullptr;
}

StreamPtr Http2::open(const Headers& headers) {
    if (is_closed_) fail(ErrorKind::unavailable, "the connection has ended");
    auto stream = std::make_shared<Stream>(shared_from_this(), 0);
    nghttp2_data_provider body{};
    body.source.ptr = stream.get();
    body.read_callback = &Http2Callbacks::take_data;
    const auto fields = fields_of(headers);
    const std::int32_t id = nghttp2_submit_request(session_.get(), nullptr, fields.data(), fields.size(), &body, nullptr);
    check(id, "HTTP/2: a request");
    stream->id_ = id;
    streams_.emplace(id, stream);
    wake();
    return stream;
}

void Http2::submit_answer(Stream& stream, const Headers& headers, bool with_body) {
    nghttp2_data_provider body{};
    body.source.ptr = &stream;
    body.read_callback = &Http2Callbacks::take_data;
    const auto fields = fields_that_fit(session_.get(), headers);
    check(nghttp2_submit_response(session_.get(), stream.id_, fields.data(), fields.size(), with_body ? &body : nullptr),
          "HTTP/2: an answer");
    wake();
}

void Http2::resume(Stream& stream) {
    if (std::exchange(stream.is_deferred_, false)) nghttp2_session_resume_data(session_.get(), stream.id_);
    wake();
}

void Http2::shut_down() {
    if (is_closed_) return;
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_.get()), NGHTTP2_NO_ERROR,
                          nullptr, 0);
    wake();
}

void Http2::close(std::string why) {
    if (std::exchange(is_closed_, true)) return;
    const auto self = shared_from_this();
    for (const auto& [id, stream] : std::exchange(streams_, {})) stream->close(why);
    transport_->close();
    wake();
}

Stream::Stream(std::shared_ptr<Http2> connection, std::int32_t id)
    : connection_(std::move(connection)), id_(id), changed_(connection_->loop_) {}

Stream::~Stream() { connection_->held_ -= in_.size() + held_; }

void Stream::close(std::string why) {
    if (std::exchange(is_closed_, true)) return;
    failure_ = std::move(why);
    out_.clear();
    unsent_ = 0;
    changed_.notify_all();
    if (closed_call_) std::exchange(closed_call_, nullptr)();
}

void Stream::when_closed(std::function<void()> call) {
    if (is_closed_)
        call();
    else
        closed_call_ = std::move(call);
}

asio::awaitable<void> Stream::answered() {
    while (!has_headers_) {
        if (is_closed_) fail(ErrorKind::unavailable, "{}", failure_);
        co_await changed_.wait();
    }
}

asio::awaitable<std::string> Stream::read() {
    while (in_.empty()) {
        if (has_all_) co_return std::string{};
        if (is_closed_) fail(ErrorKind::unavailable, "{}", failure_);
        co_await changed_.wait();
    }
    std::string out = std::exchange(in_, {});
    connection_->held_ -= out.size();
    if (!is_closed_) {
        nghttp2_session_consume_stream(connection_->session_.get(), id_, out.size());
        connection_->wake();
    }
    co_return out;
}

void Stream::hold(std::size_t bytes) {
    connection_->held_ = connection_->held_ - held_ + bytes;
    held_ = bytes;
    if (connection_->held_ <= connection_->limits_.held) return;
    reset(Reset::calm);
    fail(ErrorKind::unavailable, "the calls of the connection hold more than {} bytes of messages that are not whole",
         connection_->limits_.held);
}

void Stream::stop_reading() {
    connection_->held_ -= in_.size();
    in_ = {};
    has_all_ = true;
    changed_.notify_all();
}

void Stream::answer(const Headers& headers) {
    if (is_closed_ || std::exchange(is_answered_, true)) return;
    connection_->submit_answer(*this, headers, true);
}

void Stream::answer_and_end(const Headers& headers) {
    if (is_closed_ || std::exchange(is_answered_, true)) return;
    connection_->submit_answer(*this, headers, false);
}

asio::awaitable<void> Stream::write(std::string bytes) {
    if (is_closed_) fail(ErrorKind::unavailable, "{}", failure_);
    if (bytes.empty()) co_return;
    unsent_ += bytes.size();
    out_.push_back(std::move(bytes));
    connection_->resume(*this);
    while (!is_closed_ && unsent_ > connection_->limits_.unsent) co_await changed_.wait();
    if (is_closed_) fail(ErrorKind::unavailable, "{}", failure_);
}

void Stream::end(Headers trailers) {
    if (is_closed_ || std::exchange(ends_, true)) return;
    own_trailers_ = std::move(trailers);
    connection_->resume(*this);
}

void Stream::reset(Reset why) {
    if (is_closed_) return;
    nghttp2_submit_rst_stream(connection_->session_.get(), NGHTTP2_FLAG_NONE, id_, static_cast<std::uint32_t>(why));
    connection_->wake();
}

}  // namespace grua::grpc
