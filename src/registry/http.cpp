#include "registry/http.hpp"

#include "base/text.hpp"

#include <curl/curl.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <exception>

namespace grua::registry {
namespace {

constexpr std::size_t header_bytes_limit = std::size_t{64} << 10U;
constexpr std::size_t header_count_limit = 200;
constexpr std::size_t idle_limit = 16;
constexpr long receive_buffer = 256L << 10U;
constexpr std::chrono::milliseconds probe_limit{5000};
constexpr int poll_milliseconds = 1000;

using Clock = std::chrono::steady_clock;

void initialize() {
    static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (done != CURLE_OK) fail(ErrorKind::system, "libcurl does not start: {}", curl_easy_strerror(done));
}

std::string no_proxy_list(const std::string& configured) {
    return configured.empty() ? "localhost,127.0.0.0/8,::1" : configured + ",localhost,127.0.0.0/8,::1";
}

}  // namespace

void fail_stopped() { throw Failure(ErrorKind::unavailable, "context canceled", Retry::never); }

void check_stopped(const std::stop_token& stop) {
    if (stop.stop_requested()) fail_stopped();
}

std::string Request::text() const {
    std::string spelled = to_lower(method);
    spelled.front() = static_cast<char>(spelled.front() - 'a' + 'A');
    return fmt::format("{} \"{}\"", spelled, url.text());
}

std::string_view Response::header(std::string_view name) const {
    const auto found = std::ranges::find(headers, name, &std::pair<std::string, std::string>::first);
    return found == headers.end() ? std::string_view{} : std::string_view(found->second);
}

bool Response::is_encoded() const {
    const std::string encoding = to_lower(header("content-encoding"));
    return !encoding.empty() && encoding != "identity";
}

std::string Response::all(std::string_view name) const {
    std::string out;
    for (const auto& [field, value] : headers) {
        if (field == name) out += (out.empty() ? "" : "\n") + value;
    }
    return out;
}

/// A connection that is kept, with the handles it lives in. One thread uses it at a time.
struct Http::Line {
    struct EasyFree {
        void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
    };
    struct MultiFree {
        void operator()(CURLM* handle) const noexcept { curl_multi_cleanup(handle); }
    };
    std::unique_ptr<CURLM, MultiFree> multi{curl_multi_init()};
    std::unique_ptr<CURL, EasyFree> easy{curl_easy_init()};
    std::string origin;
};

Http::Http(const Options& options) : options_(options) { initialize(); }
Http::~Http() = default;

std::unique_ptr<Http::Line> Http::take(const std::string& origin) const {
    const MutexLock lock{mutex_};
    const auto found = std::ranges::find_if(idle_, [&](const auto& line) { return line->origin == origin; });
    std::unique_ptr<Line> line;
    if (found != idle_.end()) {
        line = std::move(*found);
        idle_.erase(found);
    } else {
        line = std::make_unique<Line>();
        if (!line->multi || !line->easy) fail(ErrorKind::system, "libcurl gives no handle");
        line->origin = origin;
    }
    return line;
}

void Http::give_back(std::unique_ptr<Line> line) const {
    curl_easy_reset(line->easy.get());
    const MutexLock lock{mutex_};
    if (idle_.size() >= idle_limit) idle_.erase(idle_.begin());
    idle_.push_back(std::move(line));
}

/// The state of one request while libcurl calls back.
class Http::Transfer {
public:
    Transfer(const Options& options, const Request& request, const Tls& tls, const Accept& accept, const std::stop_token& stop)
        : options_(options), request_(request), tls_(tls), accept_(accept), stop_(stop) {}

    Response run(Line& line);

private:
    void configure(CURL* easy);
    void configure_tls(CURL* easy);
    void configure_body(CURL* easy);
    void drive(Line& line);
    void watch(std::chrono::milliseconds waited);
    struct Reason {
        std::string text;
        Retry retry = Retry::again;
    };
    Reason reason(CURL* easy, CURLcode result) const;
    [[noreturn]] void fail_transfer(CURL* easy, CURLcode result);
    [[noreturn]] void refuse(ErrorKind kind, std::string why, Retry retry) const;

    std::size_t take_header(std::string_view line);
    std::size_t take_body(std::string_view bytes);

    /// What a callback throws crosses libcurl as an aborted transfer.
    template <typename Body>
    std::size_t guarded(std::size_t failed, Body&& body) {
        try {
            return body();
        } catch (...) {
            thrown_ = std::current_exception();
            return failed;
        }
    }

    const Options& options_;
    const Request& request_;
    const Tls& tls_;
    const Accept& accept_;
    const std::stop_token& stop_;
    Response response_;
    Sink sink_;
    bool head_done_ = false;
    std::size_t header_bytes_ = 0;
    std::uint64_t source_sent_ = 0;
    std::uint64_t moved_ = 0;                  ///< bytes in either direction since the last look
    std::chrono::milliseconds slow_{0};        ///< waited with too few of them
    std::chrono::milliseconds committing_{0};  ///< waited for the answer to what was sent
    bool stalled_ = false;
    Clock::time_point begun_ = Clock::now();
    std::exception_ptr thrown_;
    std::array<char, CURL_ERROR_SIZE> text_{};
    std::unique_ptr<curl_slist, decltype([](curl_slist* list) { curl_slist_free_all(list); })> headers_;
};

void Http::Transfer::refuse(ErrorKind kind, std::string why, Retry retry) const {
    throw Failure(kind, fmt::format("{}: {}", request_.text(), why), retry, response_.status);
}

std::size_t Http::Transfer::take_header(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > header_bytes_limit || response_.headers.size() > header_count_limit) {
        refuse(ErrorKind::unavailable, "the headers of the answer are too many or too long", Retry::elsewhere);
    }
    if (line.starts_with("HTTP/")) {
        // A new answer begins, after a 100.
        response_ = {};
        head_done_ = false;
        sink_ = {};
        const std::size_t blank = line.find(' ');
        const auto status = blank == std::string_view::npos ? std::nullopt : parse_uint(trim(line.substr(blank + 1, 3)));
        response_.status = static_cast<int>(status.value_or(0));
        return line.size();
    }
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
        response_.headers.emplace_back(to_lower(trim(line.substr(0, colon))), trim(line.substr(colon + 1)));
        return line.size();
    }
    const bool is_final = response_.status >= 200;
    if (trim(line).empty() && is_final && !head_done_) {
        head_done_ = true;
        if (const std::string_view length = response_.header("content-length"); !length.empty()) {
            response_.content_length = parse_uint(length);
            if (!response_.content_length) refuse(ErrorKind::unavailable, "invalid Content-Length", Retry::elsewhere);
            if (response_.is_encoded()) response_.encoded_length = response_.content_length;
            if (response_.is_encoded() && !request_.as_sent) response_.content_length.reset();
        }
        if (accept_) sink_ = accept_(response_);
    }
    return line.size();
}

std::size_t Http::Transfer::take_body(std::string_view bytes) {
    moved_ += bytes.size();
    if (sink_) {
        sink_(bytes);
    } else {
        if (bytes.size() > request_.body_limit - response_.body.size()) {
            refuse(ErrorKind::unavailable, fmt::format("the answer is larger than {} bytes", request_.body_limit), Retry::elsewhere);
        }
        response_.body += bytes;
    }
    return bytes.size();
}

void Http::Transfer::configure_tls(CURL* easy) {
    const long verify = tls_.skip_verify ? 0 : 1;
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, verify);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, verify * 2);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    const std::string directory = system_ca_directory();
    curl_easy_setopt(easy, CURLOPT_CAPATH, directory.c_str());
    if (tls_.authorities.empty()) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, system_ca_file().c_str());
    } else {
        curl_blob blob{const_cast<char*>(tls_.authorities.data()), tls_.authorities.size(), CURL_BLOB_COPY};
        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    }
    if (!tls_.certificate.empty()) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, tls_.certificate.c_str());
        curl_easy_setopt(easy, CURLOPT_SSLKEY, tls_.key.empty() ? tls_.certificate.c_str() : tls_.key.c_str());
    }
}

void Http::Transfer::configure_body(CURL* easy) {
    const std::uint64_t size = request_.source ? request_.source_size : request_.body.size();
    if (request_.method == "HEAD") {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (request_.source || !request_.body.empty() || request_.method == "PUT" || request_.method == "PATCH") {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    } else if (request_.method == "POST") {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
    } else if (request_.method != "GET") {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
    }
    curl_easy_setopt(easy, CURLOPT_READDATA, this);
    curl_easy_setopt(
        easy, CURLOPT_READFUNCTION, +[](char* out, std::size_t one, std::size_t count, void* self) -> std::size_t {
            auto& me = *static_cast<Transfer*>(self);
            return me.guarded(CURL_READFUNC_ABORT, [&]() -> std::size_t {
                const std::size_t room = one * count;
                std::size_t got = 0;
                if (me.request_.source) {
                    const std::size_t wanted = std::min<std::uint64_t>(room, me.request_.source_size - me.source_sent_);
                    if (wanted > 0) got = me.request_.source(me.request_.source_offset + me.source_sent_, out, wanted);
                    if (wanted > 0 && got == 0) me.refuse(ErrorKind::system, "what is to be sent is shorter than announced", Retry::never);
                } else {
                    got = std::min<std::size_t>(room, me.request_.body.size() - me.source_sent_);
                    std::memcpy(out, me.request_.body.data() + me.source_sent_, got);
                }
                me.source_sent_ += got;
                me.moved_ += got;
                if (me.request_.sent) me.request_.sent(me.source_sent_);
                return got;
            });
        });
    // libcurl starts an upload over where a kept connection had been closed meanwhile.
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, this);
    curl_easy_setopt(
        easy, CURLOPT_SEEKFUNCTION, +[](void* self, curl_off_t offset, int origin) -> int {
            if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_CANTSEEK;
            static_cast<Transfer*>(self)->source_sent_ = static_cast<std::uint64_t>(offset);
            return CURL_SEEKFUNC_OK;
        });
}

void Http::Transfer::configure(CURL* easy) {
    curl_easy_setopt(easy, CURLOPT_URL, request_.url.text().c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, text_.data());
    curl_easy_setopt(easy, CURLOPT_USERAGENT, options_.user_agent.c_str());
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, receive_buffer);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, receive_buffer);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    const std::chrono::milliseconds connect = request_.probes ? std::min(options_.limits.connect, probe_limit) : options_.limits.connect;
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(connect.count()));
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    const std::string& proxy = request_.url.scheme == "https" ? options_.https_proxy : options_.http_proxy;
    curl_easy_setopt(easy, CURLOPT_PROXY, proxy.c_str());          // an empty one: none, whatever the environment says
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);  // what the proxy answers to CONNECT is not the host's answer
    curl_easy_setopt(easy, CURLOPT_NOPROXY, no_proxy_list(options_.no_proxy).c_str());
    configure_tls(easy);
    // Digests and sizes are of the bytes themselves. Some hosts, and proxies before them, pack them all the same.
    if (!request_.as_sent) curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "identity");

    // libcurl's own "Expect: 100-continue" costs a round trip, and a second where a server does not know it.
    curl_slist* list = curl_slist_append(nullptr, "Expect:");
    for (const std::string& each : request_.headers) list = curl_slist_append(list, each.c_str());
    if (request_.as_sent) list = curl_slist_append(list, "Accept-Encoding: identity");
    headers_.reset(list);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);

    curl_easy_setopt(easy, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(
        easy, CURLOPT_HEADERFUNCTION, +[](char* data, std::size_t one, std::size_t count, void* self) -> std::size_t {
            return static_cast<Transfer*>(self)->guarded(0, [&] { return static_cast<Transfer*>(self)->take_header({data, one * count}); });
        });
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(
        easy, CURLOPT_WRITEFUNCTION, +[](char* data, std::size_t one, std::size_t count, void* self) -> std::size_t {
            const std::size_t size = one * count;
            return static_cast<Transfer*>(self)->guarded(size + 1, [&] { return static_cast<Transfer*>(self)->take_body({data, size}); });
        });
    configure_body(easy);
}

/// Only the time spent waiting for the host counts, not what a sink needs.
void Http::Transfer::watch(std::chrono::milliseconds waited) {
    if (request_.source && source_sent_ == request_.source_size && response_.status < 200) {
        committing_ += waited;
        stalled_ = committing_ > options_.limits.commit;
        return;
    }
    slow_ += waited;
    const auto seconds = static_cast<std::uint64_t>(options_.limits.low_speed.count());
    if (moved_ >= options_.limits.low_speed_bytes * std::max<std::uint64_t>(1, seconds)) {
        moved_ = 0;
        slow_ = {};
    }
    const bool endless = !sink_ && !request_.source && Clock::now() - begun_ > options_.limits.document;
    stalled_ = slow_ >= options_.limits.low_speed || endless;
}

void Http::Transfer::drive(Line& line) {
    for (;;) {
        int running = 0;
        if (const CURLMcode result = curl_multi_perform(line.multi.get(), &running); result != CURLM_OK) {
            fail(ErrorKind::system, "libcurl: {}", curl_multi_strerror(result));
        }
        if (running == 0 || stop_.stop_requested() || stalled_) return;
        const auto before = Clock::now();
        const auto step = std::min<std::chrono::milliseconds>(std::chrono::milliseconds{poll_milliseconds}, options_.limits.low_speed);
        curl_multi_poll(line.multi.get(), nullptr, 0, static_cast<int>(step.count()), nullptr);
        watch(std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - before));
    }
}

Response Http::Transfer::run(Line& line) {
    CURL* easy = line.easy.get();
    configure(easy);
    if (const CURLMcode added = curl_multi_add_handle(line.multi.get(), easy); added != CURLM_OK) {
        fail(ErrorKind::system, "libcurl: {}", curl_multi_strerror(added));
    }
    CURLcode result = CURLE_ABORTED_BY_CALLBACK;
    {
        const std::stop_callback wake{stop_, [multi = line.multi.get()] { curl_multi_wakeup(multi); }};
        drive(line);
    }
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(line.multi.get(), &left)) {
        if (message->msg == CURLMSG_DONE) result = message->data.result;
    }
    curl_multi_remove_handle(line.multi.get(), easy);
    if (thrown_) std::rethrow_exception(thrown_);
    if (result != CURLE_OK) fail_transfer(easy, result);
    return std::move(response_);
}

/// In the words of Go's HTTP client, which people search for.
Http::Transfer::Reason Http::Transfer::reason(CURL* easy, CURLcode result) const {
    long os_error = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
    const Url& url = request_.url;
    const std::string place = fmt::format("{}:{}", url.host, !url.port.empty() ? url.port : url.scheme == "http" ? "80" : "443");
    const std::string os_text = os_error ? to_lower(std::generic_category().message(static_cast<int>(os_error))) : std::string{};
    const std::string_view said = text_.data();
    const auto or_said = [&](std::string_view text) { return text.empty() ? std::string(said) : std::string(text); };
    switch (result) {
        case CURLE_COULDNT_RESOLVE_HOST:
            return {fmt::format("dial tcp: lookup {}: no such host", url.host), Retry::elsewhere};
        case CURLE_COULDNT_RESOLVE_PROXY:
            return {"proxyconnect tcp: lookup of the proxy: no such host", Retry::elsewhere};
        case CURLE_COULDNT_CONNECT:
            return {fmt::format("dial tcp {}: connect: {}", place, os_text.empty() ? "connection refused" : os_text), Retry::elsewhere};
        case CURLE_OPERATION_TIMEDOUT:
            return {fmt::format("dial tcp {}: i/o timeout", place), Retry::elsewhere};
        case CURLE_PEER_FAILED_VERIFICATION:
            return {fmt::format("tls: failed to verify certificate: x509: {}", said), Retry::elsewhere};
        case CURLE_SSL_CONNECT_ERROR:
            if (said.contains("wrong version number") || said.contains("packet length too long") || said.contains("http request")) {
                return {"http: server gave HTTP response to HTTPS client", Retry::elsewhere};
            }
            return {fmt::format("tls: {}", said), Retry::elsewhere};
        case CURLE_GOT_NOTHING:
            return {"EOF", Retry::again};
        case CURLE_PARTIAL_FILE:
            return {"unexpected EOF", Retry::again};
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
            return {or_said(os_text), Retry::again};
        default:
            return {said.empty() ? std::string(curl_easy_strerror(result)) : std::string(said), Retry::again};
    }
}

void Http::Transfer::fail_transfer(CURL* easy, CURLcode result) {
    check_stopped(stop_);
    const Limits& limits = options_.limits;
    Reason why = reason(easy, result);
    if (stalled_ && slow_ >= limits.low_speed) {
        why.text = fmt::format("the host sends less than {} bytes a second for {} s", limits.low_speed_bytes, limits.low_speed.count());
        why.retry = sink_ || request_.source ? Retry::again : Retry::elsewhere;
    } else if (stalled_) {
        const auto limit = committing_ > limits.commit ? limits.commit : limits.document;
        why = {fmt::format("no whole answer within {} s", limit.count()), Retry::elsewhere};
    }
    Failure failure{ErrorKind::unavailable, fmt::format("{}: {}", request_.text(), why.text), why.retry, response_.status};
    failure.unanswered = response_.status == 0;
    failure.stalled = stalled_;
    throw failure;
}

Response Http::perform(const Request& request, const Tls& tls, const Accept& accept, const std::stop_token& stop) const {
    check_stopped(stop);
    // Whoever has other certificates has other connections.
    const std::string key = fmt::format("{}://{} {} {} {}", request.url.scheme, request.url.authority(), tls.certificate, tls.skip_verify,
                                        std::hash<std::string>{}(tls.authorities));
    std::unique_ptr<Line> line = take(key);
    Transfer transfer{options_, request, tls, accept, stop};
    // A line whose request failed is not used again: its connection may be in any state.
    Response response = transfer.run(*line);
    give_back(std::move(line));
    return response;
}

}  // namespace grua::registry
