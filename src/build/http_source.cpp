#include "build/http_source.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "build/copy_file.hpp"
#include "build/either_stop.hpp"
#include "build/http_file_name.hpp"
#include "build/loop_call.hpp"
#include "build/url_text.hpp"
#include "content/hash.hpp"
#include "registry/tls.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

constexpr unsigned redirect_limit = 10;  ///< As Go's.
constexpr mode_t default_mode = 0600;
constexpr std::chrono::milliseconds between_reports = 100ms;
/// After which nobody changes a file within the second that its date has (RFC 9110, 8.8.2.2).
constexpr std::chrono::seconds time_is_precise = 60s;

std::string environment(std::initializer_list<const char*> names) {
    for (const char* name : names)
        if (const char* value = std::getenv(name); value && *value) return value;
    return {};
}

registry::Options http_options(const registry::Limits& limits) {
    registry::Options out;
    out.http_proxy = environment({"http_proxy", "HTTP_PROXY"});
    out.https_proxy = environment({"https_proxy", "HTTPS_PROXY"});
    out.no_proxy = environment({"no_proxy", "NO_PROXY"});
    out.limits = limits;
    return out;
}

/// Of what the answer may depend on; not of what is made of it here.
std::string request_key(const HttpIdentifier& what) {
    std::string all = what.url + '\n' + what.header_secret;
    for (const auto& [name, value] : what.headers) all += fmt::format("\n{}: {}", name, value);
    return std::string(content::digest_of(all).hex());
}

bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }
/// What nobody has asked for is no whole file.
bool is_whole(int status) { return status >= 200 && status < 300 && status != 206; }

/// Whether a redirect leads to where the credentials are for: the same host, and not from TLS to none.
bool is_same_place(const registry::Url& from, const registry::Url& to) {
    if (from.same_origin(to)) return true;
    return from.host == to.host && from.scheme == "http" && to.scheme == "https" && from.port.empty() && to.port.empty();
}

/// Without the query, which may be a signature.
std::string shown(const registry::Url& url) {
    registry::Url out = url;
    out.query.clear();
    return out.text();
}

[[noreturn]] void rethrow_shown(const registry::Failure& failure, const registry::Url& url) {
    std::string text = failure.what();
    const std::string whole = url.text();
    if (const std::size_t at = text.find(whole); at != std::string::npos) text.replace(at, whole.size(), shown(url));
    throw Error(failure.kind(), std::move(text), failure.os_error());
}

std::string without_weakness(std::string_view etag) { return std::string(etag.starts_with("W/") ? etag.substr(2) : etag); }

HttpValidators validators_of(const registry::Response& response) {
    HttpValidators out{.etag = std::string(response.header("etag")),
                       .last_modified = std::string(response.header("last-modified")),
                       .disposition = std::string(response.header("content-disposition"))};
    const auto changed = parse_http_date(out.last_modified);
    const auto date = parse_http_date(response.header("date"));
    out.may_ask_by_time = changed && date && *date - *changed >= time_is_precise;
    return out;
}

void make_file(const HttpFound& found, const std::string& folder, const std::stop_token& stop) {
    const Fd directory{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) fail_errno("open {}", folder);
    const Fd out{::openat(directory.get(), found.filename.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!out) fail_errno("create {}", found.filename);
    struct stat about{};
    if (::fstat(found.file.get(), &about) != 0) fail_errno("stat {}", found.filename);
    ContentCopier copier([&](std::uint64_t) {
        if (stop.stop_requested()) registry::fail_stopped();
    });
    copier.copy(found.file.get(), out.get(), about, found.filename);
    const HttpIdentifier& what = found.what;
    if ((what.uid != 0 || what.gid != 0) && ::fchown(out.get(), what.uid, what.gid) != 0) fail_errno("chown {}", found.filename);
    if (::fchmod(out.get(), what.mode != 0 ? what.mode : default_mode) != 0) fail_errno("chmod {}", found.filename);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(found.last_modified.value_or(Time{})).time_since_epoch().count();
    const std::array times{timespec{seconds, 0}, timespec{seconds, 0}};
    if (::futimens(out.get(), times.data()) != 0) fail_errno("set the time of {}", found.filename);
}

/// What the server has is what we have.
struct Unchanged {
    std::string disposition;
};

}  // namespace

/// What a thread is given.
struct HttpSource::Fetch {
    HttpIdentifier what;
    std::string authorization;  ///< Empty: none.
    std::stop_token stop;
    HttpProgress progress;  ///< Of any thread.
};

/// A file that comes in pieces.
class HttpSource::Writer {
public:
    Writer(Fd file, std::string_view algorithm, std::uint64_t limit, std::uint64_t total, HttpProgress progress)
        : file_(std::move(file)), hasher_(algorithm), limit_(limit), total_(total), progress_(std::move(progress)) {}

    void write(std::string_view bytes) {
        if (bytes.size() > limit_ - size_) fail(ErrorKind::unavailable, "the file is larger than {} bytes", limit_);
        write_all(file_.get(), bytes, "a file that comes over HTTP");
        hasher_.update(bytes);
        size_ += bytes.size();
        const auto time = std::chrono::steady_clock::now();
        if (!progress_ || time - reported_ < between_reports) return;
        reported_ = time;
        progress_(size_, total_);
    }
    oci::Digest finish() {
        if (progress_) progress_(size_, total_);
        return hasher_.finish();
    }
    Fd take_file() { return std::move(file_); }
    int file() const noexcept { return file_.get(); }

private:
    Fd file_;
    content::Hasher hasher_;
    std::uint64_t limit_;
    std::uint64_t total_;
    HttpProgress progress_;
    std::uint64_t size_ = 0;
    std::chrono::steady_clock::time_point reported_;
};

/// What a session has given, or is giving.
struct HttpSource::Upload {
    explicit Upload(const asio::any_io_executor& loop) : lane(loop) {}
    Lane lane;
    SessionPtr giver;
    HttpFoundPtr found;
};

HttpSource::HttpSource(HttpSourceOptions options, asio::any_io_executor loop, Sessions& sessions, Transfers& transfers,
                       asio::thread_pool& pool)
    : options_(std::move(options)),
      http_options_(http_options(options_.limits)),
      loop_(std::move(loop)),
      sessions_(sessions),
      transfers_(transfers),
      pool_(pool),
      cache_(options_.directory, options_.cache_limit),
      http_(http_options_) {}

HttpSource::~HttpSource() = default;

asio::awaitable<HttpFoundPtr> HttpSource::look_up(HttpIdentifier what, std::vector<std::string> sessions, HttpProgress progress) {
    SessionGroup group{.sessions = &sessions_, .ids = std::move(sessions)};
    if (what.checksum) {
        HttpFound known{.what = what, .digest = *what.checksum, .filename = http_file_name(what.url, what.filename, {})};
        co_return std::make_shared<const HttpFound>(std::move(known));
    }
    if (what.is_upload()) co_return co_await upload(std::move(what), std::move(group), std::move(progress));
    co_return co_await fetch(std::move(what), std::move(group), {}, std::move(progress));
}

asio::awaitable<void> HttpSource::put(HttpFoundPtr found, std::string folder, std::vector<std::string> sessions, std::stop_token stop,
                                      HttpProgress progress) {
    SessionGroup group{.sessions = &sessions_, .ids = std::move(sessions)};
    if (!found->file && found->what.is_upload())
        found = co_await upload(found->what, std::move(group), std::move(progress));
    else if (!found->file)
        found = co_await fetch(found->what, std::move(group), stop, std::move(progress));
    co_await transfers_.call(loop_, [found, folder = std::move(folder), stop](const std::stop_token& own) {
        const EitherStop either(own, stop);
        make_file(*found, folder, either.token());
        return true;
    });
}

asio::awaitable<std::string> HttpSource::authorization(const HttpIdentifier& what, const SessionGroup& group) const {
    const auto parts = split_url(what.url);
    std::string out;
    if (!what.header_secret.empty()) {
        try {
            out = co_await get_secret(group, what.header_secret);
        } catch (Error& error) {
            error.add_context(fmt::format("failed to retrieve HTTP auth secret {}", what.header_secret));
            throw;
        }
    } else {
        const std::string host = parts->host_name();
        if (auto header = co_await find_secret(group, "HTTP_AUTH_HEADER_" + host)) out = std::move(*header);
        if (auto token = co_await find_secret(group, "HTTP_AUTH_TOKEN_" + host)) out = "Bearer " + *token;
    }
    out = trim(out);
    if (out.empty() && parts->user) out = parts->user->authorization();
    check_header_value("Authorization", out);
    co_return out;
}

/// One file on its way, in a thread.
class HttpSource::Transfer {
public:
    Transfer(HttpSource& source, const Fetch& fetch)
        : source_(source), fetch_(fetch), what_(fetch.what), key_(request_key(what_)), known_(source.cache_.find(key_)) {}

    HttpFoundPtr run() {
        if (known_ && what_.checksum) {
            if (known_->digest == *what_.checksum) return found_again({});
            known_.reset();
        }
        try {
            const registry::Response response = ask();
            return found(response);
        } catch (const Unchanged& unchanged) {
            return found_again(unchanged.disposition);
        }
    }

private:
    registry::Request first_request() const {
        const UrlParts parts = split_url(what_.url).value();
        registry::Request out;
        out.url = registry::Url::parse(escape_url(parts.plain() + (parts.query.empty() ? "" : "?" + parts.query)));
        for (const auto& [name, value] : what_.headers) out.headers.push_back(fmt::format("{}: {}", name, value));
        if (known_ && !known_->validators.etag.empty())
            out.headers.push_back(fmt::format("If-None-Match: {}", known_->validators.etag));
        else if (known_ && known_->validators.may_ask_by_time)
            out.headers.push_back(fmt::format("If-Modified-Since: {}", known_->validators.last_modified));
        return out;
    }

    /// Where the body of an answer goes. Throws Unchanged where it is what we have.
    registry::Sink accept(const registry::Response& head) {
        if (is_redirect(head.status) && !head.header("location").empty()) return {};
        const auto unchanged = [&] { return Unchanged{.disposition = std::string(head.header("content-disposition"))}; };
        if (head.status == 304 && known_) throw unchanged();
        if (!is_whole(head.status))
            fail(head.status == 404 ? ErrorKind::not_found : ErrorKind::unavailable, "invalid response status {}", head.status);
        // Some servers name the version that we have, and send it all the same.
        if (known_ && !known_->validators.etag.empty() &&
            without_weakness(head.header("etag")) == without_weakness(known_->validators.etag))
            throw unchanged();
        writer_.emplace(source_.cache_.new_file(), what_.checksum ? what_.checksum->algorithm() : "sha256", source_.options_.file_limit,
                        head.content_length.value_or(0), fetch_.progress);
        return [this](std::string_view bytes) { writer_->write(bytes); };
    }

    /// The answer that has a file, which is written then.
    registry::Response ask() {
        registry::Request request = first_request();
        const std::vector<std::string> for_anybody = request.headers;
        if (!fetch_.authorization.empty()) request.headers.push_back(fmt::format("Authorization: {}", fetch_.authorization));
        const registry::Accept accepts = [this](const registry::Response& head) { return accept(head); };
        for (unsigned hops = 0;; ++hops) {
            registry::Response response;
            try {
                response = source_.http_.perform(request, registry::tls_of({}, request.url.authority(), {}), accepts, fetch_.stop);
            } catch (const registry::Failure& failure) {
                rethrow_shown(failure, request.url);
            }
            if (writer_) return response;
            if (hops == redirect_limit) fail(ErrorKind::unavailable, "{}: stopped after {} redirects", shown(request.url), redirect_limit);
            const registry::Url next = while_doing(fmt::format("{}: Location", shown(request.url)),
                                                   [&] { return request.url.resolve(escape_url(response.header("location"))); });
            // What is once left out is not said to whoever comes later, though it were the first host again.
            if (!is_same_place(request.url, next)) request.headers = for_anybody;
            request.url = next;
        }
    }

    HttpFoundPtr found(const registry::Response& response) {
        const oci::Digest digest = writer_->finish();
        if (what_.checksum && digest != *what_.checksum)
            fail(ErrorKind::invalid_argument, "digest mismatch {}: {}", digest.text(), what_.checksum->text());
        const HttpValidators validators = validators_of(response);
        if (!validators.etag.empty() || validators.may_ask_by_time || what_.checksum)
            source_.cache_.keep(key_, without_credentials(what_.url), digest, validators, writer_->file());
        return make_found(digest, validators, validators.disposition, writer_->take_file());
    }
    HttpFoundPtr found_again(std::string_view disposition) {
        const HttpValidators& validators = known_->validators;
        return make_found(known_->digest, validators, disposition.empty() ? std::string_view(validators.disposition) : disposition,
                          std::move(known_->file));
    }
    HttpFoundPtr make_found(const oci::Digest& digest, const HttpValidators& validators, std::string_view disposition, Fd file) const {
        return std::make_shared<const HttpFound>(HttpFound{.what = what_,
                                                           .digest = digest,
                                                           .filename = http_file_name(what_.url, what_.filename, disposition),
                                                           .last_modified = parse_http_date(validators.last_modified),
                                                           .file = std::move(file)});
    }

    HttpSource& source_;
    const Fetch& fetch_;
    const HttpIdentifier& what_;
    std::string key_;
    std::optional<HttpCache::Kept> known_;
    std::optional<Writer> writer_;
};

asio::awaitable<HttpFoundPtr> HttpSource::fetch(HttpIdentifier what, SessionGroup group, std::stop_token stop, HttpProgress progress) {
    const LoopCall<std::uint64_t, std::uint64_t> told(loop_, std::move(progress));
    Fetch task{.what = std::move(what), .authorization = {}, .stop = {}, .progress = told.remote()};
    task.authorization = co_await authorization(task.what, group);
    co_return co_await transfers_.call(loop_, [this, task = std::move(task), stop = std::move(stop)](const std::stop_token& own) mutable {
        const EitherStop either(own, stop);
        task.stop = either.token();
        return Transfer(*this, task).run();
    });
}

asio::awaitable<HttpFoundPtr> HttpSource::upload(HttpIdentifier what, SessionGroup group, HttpProgress progress) {
    forget_ended();
    const auto [at, is_new] = uploads_.try_emplace({group.ids.empty() ? "" : group.ids.front(), what.url});
    if (is_new) at->second = std::make_shared<Upload>(loop_);
    const std::shared_ptr<Upload> upload = at->second;
    const Lane::Turn turn = co_await upload->lane.take();
    if (!upload->found) upload->found = co_await receive(what, std::move(group), std::move(progress));
    HttpFound out{.what = what,
                  .digest = upload->found->digest,
                  .filename = http_file_name(what.url, what.filename, {}),
                  .last_modified = {},
                  .file = Fd{::fcntl(upload->found->file.get(), F_DUPFD_CLOEXEC, 3)}};
    if (!out.file) fail_errno("duplicate an upload's descriptor");
    if (what.checksum && out.digest != *what.checksum)
        fail(ErrorKind::invalid_argument, "digest mismatch {}: {}", out.digest.text(), what.checksum->text());
    co_return std::make_shared<const HttpFound>(std::move(out));
}

asio::awaitable<HttpFoundPtr> HttpSource::receive(HttpIdentifier what, SessionGroup group, HttpProgress progress) {
    const LoopCall<std::uint64_t, std::uint64_t> told(loop_, std::move(progress));
    const std::string algorithm(what.checksum ? what.checksum->algorithm() : "sha256");
    // Work on the pool goes on though this is cancelled.
    const auto writer = co_await offload(pool_, [this, algorithm, remote = told.remote()] {
        return std::make_shared<Writer>(cache_.new_file(), algorithm, options_.file_limit, 0, remote);
    });
    const auto parts = split_url(what.url);
    const TakeBytes take = [&](std::string bytes) -> asio::awaitable<void> {
        co_await offload(pool_, [writer, bytes = std::move(bytes)] { writer->write(bytes); });
    };
    const std::string session = group.ids.empty() ? "" : group.ids.front();
    const SessionPtr giver = co_await pull_upload(std::move(group), percent_decode(parts->path), take);
    const auto found = uploads_.find({session, what.url});
    if (found != uploads_.end()) found->second->giver = giver;
    const oci::Digest digest = co_await offload(pool_, [writer] { return writer->finish(); });
    co_return std::make_shared<const HttpFound>(HttpFound{.what = what,
                                                          .digest = digest,
                                                          .filename = http_file_name(what.url, what.filename, {}),
                                                          .last_modified = {},
                                                          .file = writer->take_file()});
}

void HttpSource::forget(std::string_view session) {
    std::erase_if(uploads_, [&](const auto& each) { return each.first.first == session; });
}

void HttpSource::forget_ended() {
    std::erase_if(uploads_, [](const auto& each) {
        const Upload& upload = *each.second;
        const bool has_failed = !upload.found && each.second.use_count() == 1;
        return has_failed || (upload.giver && upload.giver->has_ended());
    });
}

}  // namespace grua::build
