// A source of a graph that is one file of a web server: "http://…", "https://…", and what a client uploads, "http://buildkit-session/<ID>".
//
// look_up() says what the file is now, which means that it is fetched, unless its digest is given; put() makes it in a folder. Transfers
// are on threads of their own; all else is on the loop.
#pragma once

#include "base/async.hpp"
#include "base/transfers.hpp"
#include "build/http_cache.hpp"
#include "build/http_identifier.hpp"
#include "build/session_files.hpp"
#include "registry/http.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

/// Bytes that have come, of so many; 0 where that is not known. On the loop.
using HttpProgress = std::function<void(std::uint64_t current, std::uint64_t total)>;

struct HttpSourceOptions {
    std::string directory;                                ///< Of its cache.
    std::uint64_t cache_limit = std::uint64_t{2} << 30U;  ///< Bytes.
    registry::Limits limits = {};                         ///< Of a host that is slow.
    std::uint64_t file_limit = std::uint64_t{1} << 40U;   ///< Bytes of one file.
};

class HttpSource {
public:
    /// All of them outlive this, and this outlives its calls.
    HttpSource(HttpSourceOptions options, asio::any_io_executor loop, Sessions& sessions, Transfers& transfers, asio::thread_pool& pool);
    HttpSource(const HttpSource&) = delete;
    HttpSource& operator=(const HttpSource&) = delete;
    ~HttpSource();

    /// Cancelled, the transfer ends. `sessions`: the IDs of those who want it. Throws Error in BuildKit's words: "invalid response status
    /// 404".
    asio::awaitable<HttpFoundPtr> look_up(HttpIdentifier what, std::vector<std::string> sessions, HttpProgress progress = {});

    /// Makes the file in `folder`, which is ours alone.
    asio::awaitable<void> put(HttpFoundPtr found, std::string folder, std::vector<std::string> sessions, std::stop_token stop,
                              HttpProgress progress = {});

    /// A client gives an upload once, so that it is kept for whoever of the same session wants it again: until this, or the session's end.
    void forget(std::string_view session);

    /// For what is said of the disk's use, and for pruning. Blocks.
    HttpCache& cache() noexcept { return cache_; }

private:
    struct Fetch;
    class Writer;
    class Transfer;
    struct Upload;
    asio::awaitable<std::string> authorization(const HttpIdentifier& what, const SessionGroup& group) const;
    asio::awaitable<HttpFoundPtr> fetch(HttpIdentifier what, SessionGroup group, std::stop_token stop, HttpProgress progress);
    asio::awaitable<HttpFoundPtr> upload(HttpIdentifier what, SessionGroup group, HttpProgress progress);
    asio::awaitable<HttpFoundPtr> receive(HttpIdentifier what, SessionGroup group, HttpProgress progress);
    void forget_ended();

    HttpSourceOptions options_;
    registry::Options http_options_;
    asio::any_io_executor loop_;
    Sessions& sessions_;
    Transfers& transfers_;
    asio::thread_pool& pool_;
    HttpCache cache_;
    registry::Http http_;
    std::map<std::pair<std::string, std::string>, std::shared_ptr<Upload>> uploads_;  ///< By session and URL.
};

}  // namespace grua::build
