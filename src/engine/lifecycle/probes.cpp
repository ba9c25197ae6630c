#include "engine/lifecycle/probes.hpp"

#include "base/condition.hpp"
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "linux/netns.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <condition_variable>
#include <deque>

namespace grua::engine {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using std::chrono::steady_clock;

constexpr std::uint32_t head_limit = 8192;  ///< Bytes of an answer's head.

/// For a thread to come to a look, before another one is started for it.
constexpr std::chrono::milliseconds patience{50};
/// After which a thread that has had nothing to look for ends.
constexpr std::chrono::seconds idle_time{3};

/// A socket stays in the network namespace that it was made in.
Fd socket_in(int process, int home, bool is_v6) {
    const linux::NetnsVisit visit{process, home};
    Fd out{::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!out) fail_errno("make a socket in the container's network namespace");
    return out;
}

asio::ip::address address_of(const linux::Ip& ip) { return asio::ip::make_address(ip.text()); }

asio::awaitable<ProbeAnswer> ask_http(beast::tcp_stream& stream, const Probe& probe) {
    http::request<http::empty_body> question{http::verb::get, probe.path, 11};
    question.set(http::field::host, probe.authority);
    question.set(http::field::user_agent, "grua/" GRUA_VERSION);
    question.set(http::field::connection, "close");
    co_await http::async_write(stream, question, asio::use_awaitable);
    beast::flat_buffer buffer{head_limit};
    http::response_parser<http::empty_body> answer;
    answer.header_limit(head_limit);
    co_await http::async_read_header(stream, buffer, answer, asio::use_awaitable);
    const unsigned status = answer.get().result_int();
    const std::string reason{answer.get().reason()};
    co_return ProbeAnswer{.is_well = status >= 200 && status < 400, .said = fmt::format("GET {}: {} {}", probe.target, status, reason)};
}

/// What is in the way of the file, where something is. Blocks, for as long as the container's file systems like; its thread is in the
/// container's mount namespace afterwards.
std::string look_for(int process, const std::string& path) {
    try {
        if (::setns(process, CLONE_NEWNS) != 0) fail_errno("enter the container's mount namespace");
        if (Root::open("/").find_at(path, O_PATH)) return {};
        return fmt::format("{}: no such file or directory", path);
    } catch (const Error& error) {
        return error.what();
    }
}

Fd host_mounts() {
    Fd out{::open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC)};
    if (!out) fail_errno("open the host's mount namespace");
    return out;
}

struct Look {
    Look(const asio::any_io_executor& loop, ProbeRequest what) : request(std::move(what)), changed(loop) {}
    const ProbeRequest request;
    Condition changed;
    std::optional<std::string> trouble;  ///< Nothing as long as it is out. Loop only.
};
using LookPtr = std::shared_ptr<Look>;

}  // namespace

/// Where looks wait for a thread. Thread-safe.
class LookDesk {
public:
    const Fd home = host_mounts();

    /// A thread's place at it.
    class Seat {
    public:
        explicit Seat(std::shared_ptr<LookDesk> desk) : desk_(std::move(desk)) { desk_->count(1); }
        Seat(const Seat&) = delete;
        Seat& operator=(const Seat&) = delete;
        ~Seat() { desk_->count(-1); }
        LookDesk& desk() const { return *desk_; }

    private:
        std::shared_ptr<LookDesk> desk_;
    };

    void add(LookPtr look) {
        const MutexLock lock(mutex_);
        waiting_.push_back(std::move(look));
        ready_.notify_one();
    }
    bool has_threads() {
        const MutexLock lock(mutex_);
        return threads_ > 0;
    }
    bool has_waiting() {
        const MutexLock lock(mutex_);
        return !waiting_.empty();
    }
    bool has_waiting(const LookPtr& look) {
        const MutexLock lock(mutex_);
        return std::ranges::find(waiting_, look) != waiting_.end();
    }
    /// The next, or nothing where none waits.
    LookPtr next() {
        const MutexLock lock(mutex_);
        return take();
    }
    /// The next that comes; nothing where none comes for long, or another thread waits as well.
    LookPtr wait(const std::stop_token& stop) {
        MutexLock lock(mutex_);
        if (is_awaited_) return take();
        is_awaited_ = true;
        (void)ready_.wait_for(lock, stop, idle_time, [&]() GRUA_REQUIRES(mutex_) { return !waiting_.empty(); });
        is_awaited_ = false;
        return take();
    }

private:
    LookPtr take() GRUA_REQUIRES(mutex_) {
        if (waiting_.empty()) return {};
        LookPtr out = std::move(waiting_.front());
        waiting_.pop_front();
        return out;
    }
    void count(int more) {
        const MutexLock lock(mutex_);
        threads_ += more;
    }

    Mutex mutex_;
    std::condition_variable_any ready_;
    std::deque<LookPtr> waiting_ GRUA_GUARDED_BY(mutex_);
    int threads_ GRUA_GUARDED_BY(mutex_) = 0;
    bool is_awaited_ GRUA_GUARDED_BY(mutex_) = false;
};

namespace {

/// Between two looks it is in a container's mount namespace, at rest in the host's: nothing of a container's is held then.
void serve(LookDesk& desk, const asio::any_io_executor& loop, const std::stop_token& stop) {
    if (::unshare(CLONE_FS) != 0) fail_errno("unshare the working folder");
    for (;;) {
        LookPtr look = desk.next();
        if (!look) {
            if (::setns(desk.home.get(), CLONE_NEWNS) != 0) return;
            look = desk.wait(stop);
        }
        if (!look) return;
        std::string trouble = look_for(look->request.process.get(), look->request.probe.path);
        asio::post(loop, [look = std::move(look), trouble = std::move(trouble)]() mutable {
            look->trouble = std::move(trouble);
            look->changed.notify_all();
        });
    }
}

}  // namespace

NamespaceProbes::NamespaceProbes(asio::any_io_executor loop, Timers& timers, Transfers& transfers)
    : loop_(std::move(loop)),
      timers_(timers),
      transfers_(transfers),
      home_(linux::NetnsVisit::current()),
      desk_(std::make_shared<LookDesk>()) {}

asio::awaitable<ProbeAnswer> NamespaceProbes::ask(ProbeRequest request) {
    if (request.probe.kind == Probe::Kind::file) return look_for_file(std::move(request));
    return ask_by_connection(std::move(request));
}

asio::awaitable<ProbeAnswer> NamespaceProbes::ask_by_connection(ProbeRequest request) {
    const Probe& probe = request.probe;
    const auto deadline = steady_clock::now() + request.timeout;
    ProbeAnswer out;
    for (const linux::Ip& address : probe.addresses) {
        try {
            const asio::ip::tcp::endpoint endpoint{address_of(address), probe.port};
            const auto stream = std::make_shared<beast::tcp_stream>(loop_);
            stream->socket().assign(endpoint.protocol(), socket_in(request.process.get(), home_.get(), address.is_v6()).release());
            stream->expires_at(deadline);
            const std::stop_callback ends{request.stop, [stream] { stream->cancel(); }};
            if (request.stop.stop_requested()) co_return out;
            co_await stream->async_connect(endpoint, asio::use_awaitable);
            if (probe.kind == Probe::Kind::tcp) co_return ProbeAnswer{.is_well = true, .said = fmt::format("{}: connected", probe.target)};
            co_return co_await ask_http(*stream, probe);
        } catch (const boost::system::system_error& error) {
            out.said = fmt::format("{}: {}: {}", probe.target, address.text(), error.code().message());
            out.timed_out = error.code() == beast::error::timeout;
            if (out.timed_out) break;
        }
    }
    co_return out;
}

void NamespaceProbes::start_looking() {
    last_started_ = steady_clock::now();
    (void)transfers_.start([seat = std::make_shared<LookDesk::Seat>(desk_), loop = loop_](const std::stop_token& stop) {
        try {
            serve(seat->desk(), loop, stop);
        } catch (const Error& error) {
            log::warn("health checks that look for files: {}", error.what());
        }
    });
}

asio::awaitable<ProbeAnswer> NamespaceProbes::look_for_file(ProbeRequest request) {
    std::erase_if(looks_, [](const auto& each) { return each.second.expired(); });
    if (looks_.contains(request.container)) {
        // It may be that there could be no thread for it.
        if (desk_->has_waiting() && steady_clock::now() - last_started_ >= patience) start_looking();
        co_return ProbeAnswer{.timed_out = true, .said = fmt::format("{}: the look for it before has not come back", request.probe.target)};
    }
    // First, so that nothing waits where there can be none.
    if (!desk_->has_threads()) start_looking();
    const auto look = std::make_shared<Look>(loop_, std::move(request));
    looks_[look->request.container] = look;
    desk_->add(look);
    const std::stop_callback ends{look->request.stop, [look] { look->changed.notify_all(); }};
    const auto deadline = steady_clock::now() + look->request.timeout;
    auto late = steady_clock::now() + patience;
    while (!look->trouble && !look->request.stop.stop_requested() && steady_clock::now() < deadline) {
        co_await wait_until(look->changed, timers_, std::min(late, deadline));
        const auto now = steady_clock::now();
        if (look->trouble || now < late) continue;
        const bool is_waiting = desk_->has_waiting(look);
        if (is_waiting && now - last_started_ >= patience) start_looking();
        late = is_waiting ? now + patience : Clock::never;
    }
    if (!look->trouble) co_return ProbeAnswer{.timed_out = true};
    co_return ProbeAnswer{.is_well = look->trouble->empty(), .said = *look->trouble};
}

}  // namespace grua::engine
