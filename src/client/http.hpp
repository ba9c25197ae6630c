// HTTP/1.1 for one kind of peer: an Engine API daemon. Blocking, one request at a time on a connection, bodies by length,
// chunked or until the end of the connection, and the upgrade to a raw stream that attach and exec use.
//
// A full HTTP library would be most of the client's size and start time; what a daemon may answer is small and bounded here.
#pragma once

#include "base/fd.hpp"
#include "client/endpoint.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::client {

/// Longer response heads are refused.
inline constexpr std::size_t head_limit = std::size_t{64} << 10U;

/// Percent-encoded `name=value` pairs. An empty value is kept; use the flag forms to leave it out.
class Query {
public:
    Query& add(std::string_view name, std::string_view value);
    Query& add_if(bool wanted, std::string_view name, std::string_view value) { return wanted ? add(name, value) : *this; }
    /// Empty, or "?a=b&c=d".
    std::string text() const { return text_.empty() ? text_ : "?" + text_; }

private:
    std::string text_;
};

struct Request {
    std::string method;
    std::string target;
    std::string body;
    std::string content_type;
    std::vector<std::pair<std::string, std::string>> headers;
    /// Gives the next piece of a chunked request body, empty at its end. `body` is not used then.
    std::function<std::string()> body_source;
    bool upgrade = false;
};

class Connection;

/// The body is read through the connection, which must live as long.
class Response {
public:
    int status = 0;
    std::vector<std::pair<std::string, std::string>> headers;  ///< Names in lower case.

    /// Empty where there is none.
    std::string_view header(std::string_view lower_case_name) const;

    /// Up to `buffer.size()` bytes; 0 at the end of the body.
    std::size_t read_some(std::span<char> buffer);
    /// The rest of the body, refused beyond `limit`.
    std::string read_all(std::size_t limit = std::size_t{256} << 20U);
    /// Next line without its end; nothing at the end of the body.
    std::optional<std::string> read_line();
    /// True where read_line() would not read from the connection.
    bool has_line() const noexcept { return ended_ || pending_line_.find('\n') != std::string::npos; }

private:
    friend class Connection;
    enum class Framing { none, length, chunked, until_close };
    Connection* connection_ = nullptr;
    Framing framing_ = Framing::none;
    std::uint64_t left_ = 0;  ///< Of the body, or of the present chunk.
    bool ended_ = false;
    std::string pending_line_;
};

/// One connection to the daemon.
class Connection {
public:
    explicit Connection(const Endpoint& endpoint)
        : host_(endpoint.kind == Endpoint::Kind::tcp ? endpoint.address : "grua"), link_(connect(endpoint)) {}

    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// What receive() must know of the request. Apart from send(), because that may run in a thread of its own.
    void expect(const Request& request) { head_request_ = request.method == "HEAD"; }
    void send(const Request& request);
    /// Reads the head. Throws Error(unavailable) where the daemon closed the connection.
    Response receive();

    int fd() const noexcept { return link_.socket.get(); }
    /// True where bytes were read from the socket and not used yet: poll() would not tell.
    bool has_buffered() const noexcept { return used_ < buffer_.size(); }
    /// True where the connection can take another request.
    bool reusable() const noexcept { return reusable_; }

    /// What follows an upgrade: the socket and what was read already.
    std::pair<Fd, std::string> take_stream();

private:
    friend class Response;
    std::size_t read_raw(std::span<char> buffer);
    std::string read_head_line();
    [[noreturn]] void fail_ended(std::string_view otherwise) const;

    std::string host_;
    Link link_;
    std::string buffer_;
    std::size_t used_ = 0;
    bool reusable_ = true;
    bool head_request_ = false;
};

}  // namespace grua::client
