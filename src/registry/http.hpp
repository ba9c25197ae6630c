// One HTTP request over libcurl: bounded, stoppable within milliseconds, on a connection that is kept for the next one.
// It follows no redirect and knows no credentials but the headers that it is given.
#pragma once

#include "base/error.hpp"
#include "base/mutex.hpp"
#include "registry/client.hpp"
#include "registry/tls.hpp"
#include "registry/url.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::registry {

/// A failure, and what may be done about it.
enum class Retry {
    never,      ///< what was asked for is wrong, or the caller gave up
    elsewhere,  ///< this host will not do it; another may
    again,      ///< the same host may do it after a while
};

class Failure : public Error {
public:
    Failure(ErrorKind kind, std::string message, Retry retry, int status = 0)
        : Error(kind, std::move(message)), retry_(retry), status_(status) {}

    Retry retry() const noexcept { return retry_; }
    int status() const noexcept { return status_; }  ///< HTTP's, 0 where there was no answer

    std::optional<std::chrono::seconds> retry_after;
    std::string said;         ///< what the registry said, without what was asked
    std::string code;         ///< of the registry's error document: "MANIFEST_UNKNOWN"
    bool unanswered = false;  ///< no HTTP answer came at all
    bool stalled = false;     ///< it sent too little for too long; what it sent is no progress

private:
    Retry retry_;
    int status_;
};

/// Names in lower case.
using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
    std::string method = "GET";
    Url url;
    std::vector<std::string> headers;  ///< "Name: value"
    std::string body;
    Source source;  ///< instead of `body`: `source_size` bytes from `source_offset` on
    std::uint64_t source_offset = 0;
    std::uint64_t source_size = 0;
    std::function<void(std::uint64_t)> sent;         ///< bytes of the source that went out
    bool as_sent = false;                            ///< a Content-Encoding is not undone
    bool probes = false;                             ///< may be TLS to a host that knows only HTTP: it is given less time to connect
    std::size_t body_limit = std::size_t{1} << 20U;  ///< of an answer without a sink

    std::string text() const;  ///< as Go's errors name a request: `Get "https://…"`
};

struct Response {
    int status = 0;
    Headers headers;
    std::string body;                             ///< where no sink took it
    std::optional<std::uint64_t> content_length;  ///< of the body as it is handed on; nothing where that is not known
    std::optional<std::uint64_t> encoded_length;  ///< of a body with a Content-Encoding, as it was sent

    std::string_view header(std::string_view name) const;  ///< empty where there is none
    bool is_encoded() const;                               ///< it has a Content-Encoding, though none was asked for
    std::string all(std::string_view name) const;          ///< the fields of that name, one in a line
};

/// Called when all headers of a final answer are there: returns where its body goes, or nothing for Response::body.
using Accept = std::function<Sink(const Response& head)>;

class Http {
public:
    explicit Http(const Options& options);
    ~Http();
    Http(const Http&) = delete;
    Http& operator=(const Http&) = delete;

    /// Throws Failure where no whole answer came. An answer of any status is an answer.
    Response perform(const Request& request, const Tls& tls, const Accept& accept, const std::stop_token& stop) const;

private:
    struct Line;
    class Transfer;
    std::unique_ptr<Line> take(const std::string& origin) const;
    void give_back(std::unique_ptr<Line> line) const;

    const Options& options_;
    mutable Mutex mutex_;
    mutable std::vector<std::unique_ptr<Line>> idle_ GRUA_GUARDED_BY(mutex_);
};

/// "context canceled" as Docker's clients know it.
[[noreturn]] void fail_stopped();
void check_stopped(const std::stop_token& stop);

}  // namespace grua::registry
