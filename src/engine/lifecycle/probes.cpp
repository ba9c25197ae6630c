#include "engine/lifecycle/probes.hpp"

#include "base/condition.hpp"
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
#include <functional>

namespace grua::engine {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

using std::chrono::steady_clock;

constexpr std::uint32_t head_limit = 8192;  ///< Bytes of an answer's head.

/// A socket stays in the network namespace that it was made in. Blocks.
Fd socket_in(int network_namespace, bool is_v6) {
    const linux::NetnsVisit visit{network_namespace};
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

/// What is in the way of the file, where something is. Blocks, for as long as the container's file systems like.
std::string look_for(int mount_namespace, const std::string& path) {
    try {
        if (::unshare(CLONE_FS) != 0) fail_errno("unshare the working folder");
        if (::setns(mount_namespace, CLONE_NEWNS) != 0) fail_errno("enter the container's mount namespace");
        if (Root::open("/").find_at(path, O_PATH)) return {};
        return fmt::format("{}: no such file or directory", path);
    } catch (const Error& error) {
        return error.what();
    }
}

struct Look {
    explicit Look(const asio::any_io_executor& loop) : changed(loop) {}
    Condition changed;
    std::optional<std::string> trouble;  ///< Nothing as long as it is out.
};

}  // namespace

asio::awaitable<ProbeAnswer> NamespaceProbes::ask(ProbeRequest request) {
    auto shared = std::make_shared<const ProbeRequest>(std::move(request));
    if (shared->probe.kind == Probe::Kind::file) co_return co_await look_for_file(std::move(shared));
    co_return co_await ask_by_connection(std::move(shared));
}

asio::awaitable<ProbeAnswer> NamespaceProbes::ask_by_connection(std::shared_ptr<const ProbeRequest> request) {
    const Probe& probe = request->probe;
    const auto deadline = steady_clock::now() + request->timeout;
    ProbeAnswer out;
    for (const linux::Ip& address : probe.addresses) {
        try {
            const asio::ip::tcp::endpoint endpoint{address_of(address), probe.port};
            Fd made = co_await offload(pool_, [request, is_v6 = address.is_v6()] { return socket_in(request->name_space.get(), is_v6); });
            const auto stream = std::make_shared<beast::tcp_stream>(loop_);
            stream->socket().assign(endpoint.protocol(), made.release());
            stream->expires_at(deadline);
            const std::stop_callback ends{request->stop, [stream] { stream->cancel(); }};
            if (request->stop.stop_requested()) co_return out;
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

asio::awaitable<ProbeAnswer> NamespaceProbes::look_for_file(std::shared_ptr<const ProbeRequest> request) {
    std::erase_if(looks_, [](const auto& each) { return each.second.expired(); });
    if (looks_.contains(request->container))
        co_return ProbeAnswer{.timed_out = true,
                              .said = fmt::format("{}: the look for it before has not come back", request->probe.target)};
    const auto look = std::make_shared<Look>(loop_);
    looks_[request->container] = look;
    transfers_.start([look, request, loop = loop_](const std::stop_token&) {
        std::string trouble = look_for(request->name_space.get(), request->probe.path);
        asio::post(loop, [look, trouble = std::move(trouble)]() mutable {
            look->trouble = std::move(trouble);
            look->changed.notify_all();
        });
    });
    const std::stop_callback ends{request->stop, [look] { look->changed.notify_all(); }};
    const auto deadline = steady_clock::now() + request->timeout;
    while (!look->trouble && !request->stop.stop_requested() && steady_clock::now() < deadline)
        co_await wait_until(look->changed, timers_, deadline);
    if (!look->trouble) co_return ProbeAnswer{.timed_out = true};
    co_return ProbeAnswer{.is_well = look->trouble->empty(), .said = *look->trouble};
}

}  // namespace grua::engine
