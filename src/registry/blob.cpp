// A blob on its way in: over connections that break, hosts that fail, and several connections where it is large.
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"
#include "registry/client_impl.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <set>
#include <thread>

namespace grua::registry {
namespace {

constexpr std::uint64_t bytes_per_attempt = std::uint64_t{256} << 10U;  // beyond the first hundred attempts
constexpr std::size_t base_attempts = 100;

struct ContentRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::optional<std::uint64_t> total;
};

/// "bytes 5-9/20"
std::optional<ContentRange> parse_content_range(std::string_view text) {
    constexpr std::string_view unit = "bytes ";
    if (!to_lower(text).starts_with(unit)) return std::nullopt;
    text.remove_prefix(unit.size());
    const std::size_t dash = text.find('-');
    const std::size_t slash = text.find('/');
    if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
    const auto first = parse_uint(text.substr(0, dash));
    const auto last = parse_uint(text.substr(dash + 1, slash - dash - 1));
    if (!first || !last || *last < *first) return std::nullopt;
    return ContentRange{*first, *last, parse_uint(text.substr(slash + 1))};
}

/// Ends a transfer of which nothing is taken: what the host calls a Content-Encoding is the blob's own.
struct OwnPacking {};

/// One blob of one repository.
class Download {
public:
    Download(Core& core, const oci::Reference& repository, const oci::Descriptor& descriptor, const Access& access)
        : core_(core),
          rules_(core.rules()),
          repository_(repository),
          digest_(oci::Digest::from(descriptor.digest)),
          size_(descriptor.size),
          access_(access),
          endpoints_(hosts_for(core, *rules_, repository, Operation::pull)) {
        // A host that served something wrong is the last one to be asked again.
        const auto avoided = [&](const Endpoint& each) { return std::ranges::find(access.avoid, each.authority()) != access.avoid.end(); };
        if (!std::ranges::all_of(endpoints_, avoided)) std::erase_if(endpoints_, avoided);
    }

    std::vector<std::string> run(std::uint64_t offset, const Sink& sink);

private:
    /// Bytes from `from` on are handed to `sink`; `from` moves with them. Returns at `end`, which grows to the blob's end where the
    /// host knows no ranges.
    void fetch(std::uint64_t& from, std::uint64_t& end, const Sink& sink);
    void attempt(const Endpoint& endpoint, std::uint64_t& from, std::uint64_t& end, const Sink& sink, const Access& access) const;
    bool ask(const Endpoint& endpoint, std::uint64_t& from, std::uint64_t& end, const Sink& sink, const Access& access, bool as_sent) const;
    void in_parallel(std::uint64_t& from, const Sink& sink, unsigned workers);

    [[noreturn]] void wrong(const Endpoint& endpoint, const std::string& why) const {
        throw Failure(ErrorKind::invalid_argument, fmt::format("blob {} from {}: {}", digest_.text(), endpoint.authority(), why),
                      Retry::elsewhere, 200);
    }

    Core& core_;
    std::shared_ptr<const Rules> rules_;
    const oci::Reference& repository_;
    oci::Digest digest_;
    std::uint64_t size_;
    const Access& access_;
    std::vector<Endpoint> endpoints_;
    std::size_t current_ = 0;  ///< the host that is asked now
    std::set<std::string> served_;
};

void Download::attempt(const Endpoint& endpoint, std::uint64_t& from, std::uint64_t& end, const Sink& sink, const Access& access) const {
    if (!ask(endpoint, from, end, sink, access, false)) ask(endpoint, from, end, sink, access, true);
}

/// False, and nothing is taken, where the host calls the blob's own packing a Content-Encoding: it must be taken as it is sent.
bool Download::ask(const Endpoint& endpoint, std::uint64_t& from, std::uint64_t& end, const Sink& sink, const Access& access,
                   bool as_sent) const {
    Session session{core_, rules_, endpoint, &repository_, scope_of(endpoint, pull_action), access};
    Request request;
    request.url = endpoint.url("blobs/" + digest_.text());
    request.as_sent = as_sent;
    const bool ranged = from > 0 || end < size_;
    if (ranged) request.headers.push_back(fmt::format("Range: bytes={}-{}", from, end == size_ ? std::string{} : std::to_string(end - 1)));

    std::uint64_t skip = 0;
    std::uint64_t limit = end;  // where this answer has to end
    const Sink take = [&](std::string_view bytes) {
        const std::uint64_t dropped = std::min<std::uint64_t>(skip, bytes.size());
        skip -= dropped;
        bytes.remove_prefix(dropped);
        if (bytes.size() > limit - from) wrong(endpoint, fmt::format("more than the announced {} bytes", size_));
        if (bytes.empty()) return;
        sink(bytes);
        from += bytes.size();
    };
    const Accept accept = [&](const Response& head) -> Sink {
        // A range is one of what is sent, so it cannot be undone.
        const bool is_own_packing = head.is_encoded() && (head.status == 206 || head.encoded_length == size_);
        if (is_own_packing && !as_sent) throw OwnPacking{};
        if (head.status == 200) {
            if (head.content_length && *head.content_length != size_) {
                wrong(endpoint, fmt::format("{} bytes, {} were announced", *head.content_length, size_));
            }
            if (ranged && from > 0) log::info("registry {}: no ranges, blob {} starts over", endpoint.authority(), digest_.text());
            skip = from;
            limit = end = size_;
            return take;
        }
        if (head.status == 206 && ranged) {
            const auto range = parse_content_range(head.header("content-range"));
            const bool fits = range && range->first == from && range->last < end && (!range->total || *range->total == size_);
            if (!fits)
                wrong(endpoint, fmt::format("asked for bytes {}-{} of {}, got \"{}\"", from, end - 1, size_, head.header("content-range")));
            limit = range->last + 1;
            return take;
        }
        return {};
    };
    Response response;
    try {
        response = session.send(request, accept);
    } catch (const OwnPacking&) {
        return false;
    }
    if (response.status != 200 && response.status != 206) throw failure_of(request, response);
    if (from < limit) {
        throw Failure(ErrorKind::unavailable, fmt::format("{}: unexpected EOF: {} of {} bytes", request.text(), from, size_), Retry::again,
                      response.status);
    }
    return true;
}

void Download::fetch(std::uint64_t& from, std::uint64_t& end, const Sink& sink) {
    const std::uint64_t missing = end - from;
    Attempts attempts{core_, access_, base_attempts + missing / bytes_per_attempt};
    while (from < end) {
        const std::uint64_t before = from;
        const Endpoint& endpoint = endpoints_.at(current_);
        try {
            attempt(endpoint, from, end, sink, access_);
            served_.insert(endpoint.authority());
            core_.note_up(endpoint);
        } catch (const Failure& failure) {
            if (from > before) served_.insert(endpoint.authority());
            current_ = next_host(core_, endpoints_, current_, failure, attempts, from > before && !failure.stalled);
        }
    }
}

/// Segments are fetched by threads and handed on in their order by this one. A segment that fails is fetched again here, with all
/// the patience that fetch() has.
void Download::in_parallel(std::uint64_t& from, const Sink& sink, unsigned workers) {
    struct Segment {
        std::uint64_t first = 0;
        std::uint64_t end = 0;
        std::string bytes;
        bool done = false;
        bool failed = false;
    };
    const std::uint64_t step = core_.options.limits.range_size;
    const Endpoint endpoint = endpoints_.at(current_);
    Mutex mutex;
    std::condition_variable_any changed;
    std::deque<Segment> window;  // references stay valid while its ends move
    std::uint64_t next = from;
    std::stop_source give_up;
    const std::stop_callback forward{access_.stop, [&] { give_up.request_stop(); }};
    Access quiet{access_.credentials, give_up.get_token(), {}, {}};

    const auto work = [&] {
        MutexLock lock{mutex};
        while (!give_up.stop_requested()) {
            if (next >= size_) return;
            if (window.size() >= workers) {
                changed.wait(lock, give_up.get_token(), [&] { return window.size() < workers; });
                continue;
            }
            Segment& segment = window.emplace_back(Segment{next, std::min(next + step, size_), {}, false, false});
            next = segment.end;
            lock.unlock();
            bool failed = false;
            try {
                segment.bytes.reserve(segment.end - segment.first);
                std::uint64_t at = segment.first;
                std::uint64_t end = segment.end;
                attempt(
                    endpoint, at, end,
                    [&](std::string_view bytes) {
                        if (bytes.size() > segment.end - segment.first - segment.bytes.size()) wrong(endpoint, "no ranges any more");
                        segment.bytes += bytes;
                    },
                    quiet);
                failed = at < segment.end;
            } catch (const Error& error) {
                if (!give_up.stop_requested()) log::info("registry: {}", error.what());
                failed = true;
            }
            lock.lock();
            segment.failed = failed;
            segment.done = true;
            changed.notify_all();
        }
    };

    std::vector<std::jthread> threads;
    const auto end_threads = [&] {
        give_up.request_stop();
        changed.notify_all();
        threads.clear();
    };
    try {
        for (unsigned index = 0; index < workers; ++index) threads.emplace_back(work);
        while (from < size_) {
            MutexLock lock{mutex};
            changed.wait(lock, access_.stop, [&] { return !window.empty() && window.front().done; });
            check_stopped(access_.stop);
            Segment& segment = window.front();
            lock.unlock();
            // What arrived of a failed segment is used; fetch() goes on behind it.
            if (!segment.bytes.empty()) sink(segment.bytes);
            from += segment.bytes.size();
            std::uint64_t end = segment.end;
            if (segment.failed) fetch(from, end, sink);
            if (from > segment.end) break;  // a host without ranges gave all the rest
            lock.lock();
            window.pop_front();
            changed.notify_all();
        }
    } catch (...) {
        end_threads();
        throw;
    }
    end_threads();
}

std::vector<std::string> Download::run(std::uint64_t offset, const Sink& sink) {
    if (offset > size_) fail(ErrorKind::invalid_argument, "blob {}: offset {} of {} bytes", digest_.text(), offset, size_);
    const Limits& limits = core_.options.limits;
    std::uint64_t from = offset;
    unsigned extra = 0;
    if (size_ - from >= limits.range_threshold && limits.ranges > 1) {
        while (extra < limits.ranges && core_.extra.try_acquire()) ++extra;
        if (extra == 1) {  // one more connection brings nothing
            core_.extra.release();
            extra = 0;
        }
    }
    struct Release {
        Core& core;
        unsigned count;
        ~Release() { core.extra.release(count); }
    };
    const Release release{core_, extra};
    if (extra > 1) {
        // The first range shows whether the host knows them; it may answer with the whole blob.
        std::uint64_t end = from + limits.range_size;
        fetch(from, end, sink);
        if (from < size_) in_parallel(from, sink, extra);
    }
    std::uint64_t end = size_;
    fetch(from, end, sink);
    return {served_.begin(), served_.end()};
}

}  // namespace

std::vector<std::string> Client::blob(const oci::Reference& repository, const oci::Descriptor& descriptor, std::uint64_t offset,
                                      const Sink& sink, const Access& access) const {
    Download download{impl_->core, repository, descriptor, access};
    try {
        return download.run(offset, sink);
    } catch (const Failure& failure) {
        if (failure.code == "DENIED") rethrow_for_pull(failure, repository);
        throw;
    }
}

}  // namespace grua::registry
