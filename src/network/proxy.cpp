#include "network/proxy.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "base/spare_descriptor.hpp"
#include "base/thread.hpp"
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
#include <chrono>
#include <map>
#include <thread>
#include <utility>
#include <vector>

namespace grua::network {
namespace {

constexpr std::size_t connection_limit = 4096;  // of all ports; six descriptors each
constexpr std::size_t piece = std::size_t{64} << 10U;
constexpr int turns_at_once = 16;  // then it is another connection's turn

constexpr std::size_t session_limit = 4096;  // of all ports; one descriptor each
constexpr auto session_idle = std::chrono::seconds(90);
constexpr int sweep_milliseconds = 10'000;
constexpr int pause_milliseconds = 100;  // of a port whose clients cannot be accepted, nor sent away
constexpr std::size_t datagram_limit = 65536;

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

using Clock = std::chrono::steady_clock;

struct Port {
    Fd socket;
    Proxy::Target target;
    bool datagrams = false;
    std::map<std::string, std::uint64_t> sessions;  ///< Of datagrams: by the client's address.
};

/// What comes from one client's address to a port of datagrams, and what is answered.
struct Session {
    Fd server;
    std::uint64_t port = 0;
    SocketAddress client;
    std::vector<char> local;  ///< A control message: the address that the client sent to, from which it expects its answer.
    Clock::time_point used;
};

/// The control message that makes an answer leave from the address that `got` came to. Empty where it says none.
std::vector<char> answer_from(msghdr& got) {
    for (cmsghdr* each = CMSG_FIRSTHDR(&got); each; each = CMSG_NXTHDR(&got, each)) {
        const bool v4 = each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO;
        if (!v4 && (each->cmsg_level != IPPROTO_IPV6 || each->cmsg_type != IPV6_PKTINFO)) continue;
        std::vector<char> out(v4 ? CMSG_SPACE(sizeof(in_pktinfo)) : CMSG_SPACE(sizeof(in6_pktinfo)));
        std::copy_n(reinterpret_cast<const char*>(each), each->cmsg_len, out.begin());
        auto* const copy = reinterpret_cast<cmsghdr*>(out.data());
        if (v4) {
            auto* const info = reinterpret_cast<in_pktinfo*>(CMSG_DATA(copy));
            info->ipi_spec_dst = info->ipi_addr;
            info->ipi_ifindex = 0;
        } else if (auto* const info = reinterpret_cast<in6_pktinfo*>(CMSG_DATA(copy)); !IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr)) {
            info->ipi6_ifindex = 0;
        }
        return out;
    }
    return {};
}

Fd connected_datagrams(const Proxy::Target& target) {
    Fd out{::socket(target.address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!out) fail_errno("socket");
    const SocketAddress address = socket_address(target.address, target.port);
    if (::connect(out.get(), address.get(), address.size) != 0) fail_errno("connect");
    return out;
}

}  // namespace

class Proxy::Loop {
public:
    Loop() : poll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (!poll_ || !wake_) fail_errno("proxy: epoll");
        watch(wake_.get(), EPOLLIN, 0);
        thread_ = start_thread<std::jthread>([this](const std::stop_token& stop) {
            ::pthread_setname_np(::pthread_self(), "proxy");
            run(stop);
        });
    }
    ~Loop() {
        thread_.request_stop();
        ::eventfd_write(wake_.get(), 1);
    }

    std::uint64_t add(Fd listener, const Target& target) {
        const MutexLock lock(mutex_);
        const std::uint64_t id = ++last_id_;
        const int fd = listener.get();
        int type = 0;
        socklen_t size = sizeof type;
        if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) fail_errno("proxy: the kind of a socket");
        const bool datagrams = type == SOCK_DGRAM;
        if (datagrams) {
            const int yes = 1;
            // One of them is not for its family.
            ::setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes);
            ::setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &yes, sizeof yes);
        }
        ports_.emplace(id, Port{.socket = std::move(listener), .target = target, .datagrams = datagrams, .sessions = {}});
        watch(fd, EPOLLIN, id);
        return id;
    }

    void remove(std::uint64_t id) {
        const MutexLock lock(mutex_);
        const auto found = ports_.find(id);
        if (found == ports_.end()) return;
        // Other descriptors of it stay open.
        ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, found->second.socket.get(), nullptr);
        for (const auto& [client, session] : found->second.sessions) sessions_.erase(session);
        ports_.erase(found);
    }

private:
    void watch(int fd, std::uint32_t events, std::uint64_t id) {
        epoll_event event{.events = events, .data = {.u64 = id}};
        if (::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail_errno("proxy: epoll_ctl");
    }

    void run(const std::stop_token& stop) {
        std::array<epoll_event, 64> events{};
        while (!stop.stop_requested()) {
            int wait = !unfinished_.empty() ? 0 : sweep();
            if (!paused_.empty()) wait = wait < 0 ? pause_milliseconds : std::min(wait, pause_milliseconds);
            const int count = ::epoll_wait(poll_.get(), events.data(), static_cast<int>(events.size()), wait);
            for (const std::uint64_t id : std::exchange(unfinished_, {})) serve(id, 0);
            go_on_with_paused();
            for (const epoll_event& event : std::span(events).first(static_cast<std::size_t>(std::max(count, 0)))) {
                if (event.data.u64 == 0) continue;
                if (!pass_datagrams(event.data.u64) && !accept(event.data.u64)) serve(event.data.u64, event.events);
            }
        }
    }

    /// False where `id` is neither a port of datagrams nor a client's session.
    bool pass_datagrams(std::uint64_t id) {
        const MutexLock lock(mutex_);
        if (const auto port = ports_.find(id); port != ports_.end() && port->second.datagrams) {
            for (int turn = 0; turn < turns_at_once; ++turn)
                if (!ask(port->first, port->second)) break;
            return true;
        }
        const auto session = sessions_.find(id);
        if (session == sessions_.end()) return false;
        for (int turn = 0; turn < turns_at_once; ++turn)
            if (!answer(session->second)) break;
        return true;
    }

    /// One datagram of a client. False where there is none.
    bool ask(std::uint64_t id, Port& port) GRUA_REQUIRES(mutex_) {
        SocketAddress client;
        alignas(cmsghdr) std::array<char, 256> control{};
        iovec data{.iov_base = datagram_.data(), .iov_len = datagram_.size()};
        msghdr message{};
        message.msg_name = &client.storage;
        message.msg_namelen = sizeof client.storage;
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t size = ::recvmsg(port.socket.get(), &message, MSG_DONTWAIT);
        if (size < 0) return false;
        client.size = message.msg_namelen;
        std::vector<char> local = answer_from(message);
        // The same client may speak to two addresses of this host.
        std::string key(reinterpret_cast<const char*>(&client.storage), client.size);
        key.append(local.begin(), local.end());
        try {
            auto known = port.sessions.find(key);
            if (known == port.sessions.end()) {
                if (sessions_.size() >= session_limit)
                    end_session(std::ranges::min_element(sessions_, {}, [](const auto& each) { return each.second.used; }));
                Fd server = connected_datagrams(port.target);
                const std::uint64_t session = ++last_id_;
                watch(server.get(), EPOLLIN, session);
                sessions_.emplace(session, Session{.server = std::move(server), .port = id, .client = client, .local = local, .used = {}});
                known = port.sessions.emplace(std::move(key), session).first;
            }
            Session& session = sessions_.at(known->second);
            session.used = Clock::now();
            // What cannot be sent is lost, as datagrams are.
            ::send(session.server.get(), datagram_.data(), static_cast<std::size_t>(size), MSG_NOSIGNAL);
        } catch (const Error& error) {
            log::debug("proxy to {}: {}", port.target.address.text(), error.what());
        }
        return true;
    }

    /// One datagram for a client. False where there is none.
    bool answer(Session& session) GRUA_REQUIRES(mutex_) {
        const ssize_t size = ::recv(session.server.get(), datagram_.data(), datagram_.size(), MSG_DONTWAIT);
        if (size < 0) return errno == ECONNREFUSED;  // it was told by ICMP, of one that was sent before
        session.used = Clock::now();
        iovec data{.iov_base = datagram_.data(), .iov_len = static_cast<std::size_t>(size)};
        msghdr message{};
        message.msg_name = &session.client.storage;
        message.msg_namelen = session.client.size;
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = session.local.empty() ? nullptr : session.local.data();
        message.msg_controllen = session.local.size();
        ::sendmsg(ports_.at(session.port).socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        return true;
    }

    std::map<std::uint64_t, Session>::iterator end_session(std::map<std::uint64_t, Session>::iterator session) GRUA_REQUIRES(mutex_) {
        std::erase_if(ports_.at(session->second.port).sessions, [&](const auto& each) { return each.second == session->first; });
        return sessions_.erase(session);
    }

    /// Ends the sessions that nobody uses; how long the next look may wait.
    int sweep() {
        const MutexLock lock(mutex_);
        if (sessions_.empty()) return -1;
        const auto now = Clock::now();
        if (now < next_sweep_) return sweep_milliseconds;
        next_sweep_ = now + std::chrono::milliseconds(sweep_milliseconds);
        for (auto each = sessions_.begin(); each != sessions_.end();)
            each = now - each->second.used > session_idle ? end_session(each) : std::next(each);
        return sweep_milliseconds;
    }

    /// False where it is no listener.
    bool accept(std::uint64_t id) {
        Fd client;
        Target target;
        std::uint64_t connection = 0;
        {
            const MutexLock lock(mutex_);
            const auto found = ports_.find(id);
            if (found == ports_.end()) return false;
            client = Fd{::accept4(found->second.socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
            if (!client && is_shortage(errno)) send_away(id, found->second.socket.get());
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

    /// With `mutex_` held, where descriptors are used up: the client is refused. Where not even that can be done the port waits.
    void send_away(std::uint64_t id, int listener) {
        if (const Fd client = spare_.accept(listener)) reset(client.get());
        if (spare_.keep()) return;
        epoll_event nothing{.events = 0, .data = {.u64 = id}};
        if (::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, listener, &nothing) == 0) paused_.emplace_back(Clock::now(), id);
    }

    void go_on_with_paused() {
        if (paused_.empty()) return;
        const auto before = Clock::now() - std::chrono::milliseconds(pause_milliseconds);
        const MutexLock lock(mutex_);
        if (!spare_.keep()) return;
        std::erase_if(paused_, [&](const auto& each) GRUA_REQUIRES(mutex_) {
            if (each.first > before) return false;
            epoll_event event{.events = EPOLLIN, .data = {.u64 = each.second}};
            if (const auto port = ports_.find(each.second); port != ports_.end())
                ::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, port->second.socket.get(), &event);
            return true;
        });
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
    Mutex mutex_;
    std::map<std::uint64_t, Port> ports_ GRUA_GUARDED_BY(mutex_);
    std::map<std::uint64_t, Session> sessions_ GRUA_GUARDED_BY(mutex_);  ///< Of datagrams.
    std::uint64_t last_id_ GRUA_GUARDED_BY(mutex_) = 0;
    // The thread's alone.
    std::vector<char> datagram_ = std::vector<char>(datagram_limit);
    Clock::time_point next_sweep_;
    std::map<std::uint64_t, Connection> connections_;
    std::vector<std::uint64_t> unfinished_;
    std::vector<std::pair<Clock::time_point, std::uint64_t>> paused_;  ///< Since when, which port.
    SpareDescriptor spare_;
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
