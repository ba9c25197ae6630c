#include "network/proxy.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "network/socket_address.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace grua::network {
namespace {

constexpr std::size_t connection_limit = 4096;  // of all ports; six descriptors each
constexpr std::size_t piece = std::size_t{64} << 10U;
constexpr int turns_at_once = 16;  // then it is another connection's turn

/// One direction.
struct Flow {
    int from = -1;
    int to = -1;
    Fd in, out;  // of a pipe
    std::size_t held = 0;
    bool ended = false;   // nothing more comes
    bool passed = false;  // and `to` knows
};

struct Connection {
    Fd client, server;
    bool connected = false;
    std::array<Flow, 2> flows;
};

/// The client learns that nobody is there, as from a host's closed port.
void reset(int socket) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

enum class Moved { all_there_is, more, broken };

/// As far as both ends let it, a few pieces at most.
Moved move(Flow& flow) {
    for (int turn = 0; turn < turns_at_once; ++turn) {
        bool progress = false;
        if (!flow.ended && flow.held == 0) {
            const ssize_t count = ::splice(flow.from, nullptr, flow.in.get(), nullptr, piece, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (count < 0 && errno != EAGAIN && errno != EINTR) return Moved::broken;
            if (count == 0) flow.ended = true;
            if (count > 0) flow.held += static_cast<std::size_t>(count);
            progress = count >= 0;
        }
        if (flow.held > 0) {
            const ssize_t count = ::splice(flow.out.get(), nullptr, flow.to, nullptr, flow.held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (count < 0 && errno != EAGAIN && errno != EINTR) return Moved::broken;
            if (count > 0) flow.held -= static_cast<std::size_t>(count);
            progress = progress || count > 0;
        }
        if (flow.ended && flow.held == 0) {
            if (!flow.passed) ::shutdown(flow.to, SHUT_WR);
            flow.passed = true;
            return Moved::all_there_is;
        }
        if (!progress) return Moved::all_there_is;
    }
    return Moved::more;
}

}  // namespace

class Proxy::Loop {
public:
    Loop() : poll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (!poll_ || !wake_) fail_errno("proxy: epoll");
        watch(wake_.get(), EPOLLIN, 0);
        thread_ = std::jthread([this](const std::stop_token& stop) {
            ::pthread_setname_np(::pthread_self(), "proxy");
            run(stop);
        });
    }
    ~Loop() {
        thread_.request_stop();
        ::eventfd_write(wake_.get(), 1);
    }

    std::uint64_t add(Fd listener, const Target& target) {
        const std::lock_guard lock(mutex_);
        const std::uint64_t id = ++last_id_;
        const int fd = listener.get();
        listeners_.emplace(id, Listener{std::move(listener), target});
        watch(fd, EPOLLIN, id);
        return id;
    }

    void remove(std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        const auto found = listeners_.find(id);
        if (found == listeners_.end()) return;
        // Other descriptors of it stay open.
        ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, found->second.socket.get(), nullptr);
        listeners_.erase(found);
    }

private:
    struct Listener {
        Fd socket;
        Target target;
    };

    void watch(int fd, std::uint32_t events, std::uint64_t id) {
        epoll_event event{.events = events, .data = {.u64 = id}};
        if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail_errno("proxy: epoll_ctl");
    }

    void run(const std::stop_token& stop) {
        std::array<epoll_event, 64> events{};
        while (!stop.stop_requested()) {
            const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), unfinished_.empty() ? -1 : 0);
            for (const std::uint64_t id : std::exchange(unfinished_, {})) serve(id, 0);
            for (const epoll_event& event : std::span(events).first(static_cast<std::size_t>(std::max(count, 0)))) {
                if (event.data.u64 == 0) continue;
                if (!accept(event.data.u64)) serve(event.data.u64, event.events);
            }
        }
    }

    /// False where it is no listener.
    bool accept(std::uint64_t id) {
        Fd client;
        Target target;
        std::uint64_t connection = 0;
        {
            const std::lock_guard lock(mutex_);
            const auto found = listeners_.find(id);
            if (found == listeners_.end()) return false;
            client = Fd{::accept4(found->second.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
            if (!client) return true;
            target = found->second.target;
            connection = ++last_id_;
        }
        try {
            if (connections_.size() >= connection_limit) fail(ErrorKind::unavailable, "more than {} connections", connection_limit);
            open(connection, client, target);
        } catch (const Error& error) {
            connections_.erase(connection);
            log::debug("proxy to {}: {}", target.address.text(), error.what());
            if (client) reset(client.get());
        }
        return true;
    }

    void open(std::uint64_t id, Fd& client, const Target& target) {
        Fd server{::socket(target.address.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
        if (!server) fail_errno("socket");
        Connection connection;
        for (Flow& flow : connection.flows) {
            std::array<int, 2> ends{};
            if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) fail_errno("pipe");
            flow.out = Fd{ends[0]};
            flow.in = Fd{ends[1]};
        }
        const SocketAddress address = socket_address(target.address, target.port);
        if (::connect(server.get(), address.get(), address.size) != 0 && errno != EINPROGRESS) fail_errno("connect");
        connection.flows[0].from = connection.flows[1].to = client.get();
        connection.flows[0].to = connection.flows[1].from = server.get();
        const int ends[] = {client.get(), server.get()};
        connection.client = std::move(client);
        connection.server = std::move(server);
        connections_.emplace(id, std::move(connection));
        for (const int end : ends) watch(end, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, id);
    }

    void serve(std::uint64_t id, std::uint32_t events) {
        const auto found = connections_.find(id);
        if (found == connections_.end()) return;
        Connection& connection = found->second;
        if (!connection.connected) {
            int error = 0;
            socklen_t size = sizeof error;
            ::getsockopt(connection.server.get(), SOL_SOCKET, SO_ERROR, &error, &size);
            sockaddr_storage peer{};
            socklen_t peer_size = sizeof peer;
            if (error == 0 && ::getpeername(connection.server.get(), reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) {
                if ((events & EPOLLERR) == 0) return;  // not yet
                error = ENOTCONN;
            }
            if (error != 0) return end(found, true);
            connection.connected = true;
        }
        bool more = false;
        for (Flow& flow : connection.flows) {
            const Moved moved = move(flow);
            if (moved == Moved::broken) return end(found, true);
            more = more || moved == Moved::more;
        }
        if (connection.flows[0].passed && connection.flows[1].passed) return end(found, false);
        if (more) unfinished_.push_back(id);
    }

    void end(std::map<std::uint64_t, Connection>::iterator connection, bool broken) {
        if (broken) {
            reset(connection->second.client.get());
            reset(connection->second.server.get());
        }
        connections_.erase(connection);
    }

    Fd poll_;
    Fd wake_;
    std::mutex mutex_;
    std::map<std::uint64_t, Listener> listeners_;
    std::uint64_t last_id_ = 0;
    // The thread's alone.
    std::map<std::uint64_t, Connection> connections_;
    std::vector<std::uint64_t> unfinished_;
    std::jthread thread_;  // last: it uses all of the above
};

Proxy::Proxy() = default;
Proxy::~Proxy() = default;

std::uint64_t Proxy::add(Fd listener, const Target& target) {
    if (!loop_) loop_ = std::make_unique<Loop>();
    return loop_->add(std::move(listener), target);
}

void Proxy::remove(std::uint64_t id) {
    if (loop_) loop_->remove(id);
}

}  // namespace grua::network
