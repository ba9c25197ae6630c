#include "engine/lifecycle/log_peer.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "base/unix_address.hpp"
#include "monitor/journald.hpp"

#include <sys/socket.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;
using asio::ip::tcp;

constexpr auto patience = 10s;

/// Empty where somebody listens there.
std::string refusal_of(const std::string& path, int type) {
    const auto address = unix_address(path);
    if (!address) return "the path is too long";
    const Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket && ::connect(socket.get(), plain(*address), sizeof *address) == 0) return {};
    // One whose queue is full is there.
    return errno == EAGAIN ? std::string() : std::strerror(errno);
}

asio::awaitable<std::vector<tcp::endpoint>> look_up(std::string network, std::string host, std::uint16_t port) {
    const auto executor = co_await asio::this_coro::executor;
    tcp::resolver resolver{executor};
    const auto [error, found] = co_await resolver.async_resolve(host, std::to_string(port), asio::as_tuple(asio::use_awaitable));
    if (error) fail(ErrorKind::system, "dial {}: lookup {}: {}", network, host, error.message());
    std::vector<tcp::endpoint> out;
    for (const auto& each : found) out.push_back(each.endpoint());
    co_return out;
}

/// Empty where it answers.
asio::awaitable<std::string> refusal_of(tcp::endpoint endpoint) {
    const auto executor = co_await asio::this_coro::executor;
    const auto socket = std::make_shared<tcp::socket>(executor);
    asio::steady_timer timer{socket->get_executor(), patience};
    timer.async_wait([socket](const boost::system::error_code& cancelled) {
        boost::system::error_code ignored;
        if (!cancelled) socket->close(ignored);
    });
    const auto [error] = co_await socket->async_connect(endpoint, asio::as_tuple(asio::use_awaitable));
    if (!error) co_return std::string();
    const std::string why = error == asio::error::operation_aborted ? "i/o timeout" : to_lower(error.message());
    co_return fmt::format("{}:{}: connect: {}", endpoint.address().to_string(), endpoint.port(), why);
}

/// `target` is the caller's, who awaits this at once.
asio::awaitable<void> reach_host(monitor::SyslogTarget& target) {
    const std::string network = target.network.starts_with("tcp") ? "tcp" : target.network;
    std::string refused;
    bool reached = network == "udp";  // Of which nobody knows.
    const std::vector<tcp::endpoint> endpoints = co_await look_up(network, target.host, target.port);
    for (const tcp::endpoint& each : endpoints) {
        target.addresses.push_back(each.address().to_string());
        if (reached) continue;
        refused = co_await refusal_of(each);
        reached = refused.empty();
    }
    if (!reached) fail(ErrorKind::system, "dial {} {}", network, refused);
}

void reach_path(const monitor::SyslogTarget& target) {
    const std::string why = refusal_of(target.addresses.front(), target.network == "unix" ? SOCK_STREAM : SOCK_DGRAM);
    if (!why.empty()) fail(ErrorKind::system, "dial {} {}: connect: {}", target.network, target.addresses.front(), to_lower(why));
}

void reach_local_syslog() {
    for (const char* path : {"/dev/log", "/var/run/syslog", "/var/run/log"})
        for (const int type : {SOCK_DGRAM, SOCK_STREAM})
            if (refusal_of(path, type).empty()) return;
    fail(ErrorKind::system, "Unix syslog delivery error");
}

}  // namespace

asio::awaitable<monitor::LogSpec> reach_log_peer(monitor::LogSpec spec) {
    if (spec.driver == "journald" && !refusal_of(monitor::journald_socket, SOCK_DGRAM).empty())
        fail(ErrorKind::system, "journald is not enabled on this host");
    if (spec.driver != "syslog" || !spec.syslog) co_return spec;
    if (spec.syslog->network.empty()) {
        reach_local_syslog();
    } else if (spec.syslog->network.starts_with("unix")) {
        reach_path(*spec.syslog);
    } else {
        co_await reach_host(*spec.syslog);
    }
    co_return spec;
}

}  // namespace grua::engine
