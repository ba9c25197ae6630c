// A container's sockets are bound to ports that the kernel chose, and port 53 of 127.0.0.11 leads to them (redirect_port):
// a DNS server in the container binds 0.0.0.0:53 as if nobody were there.
//
// One thread, one epoll. What it waits for is a Socket; what a container asked and nobody has answered yet is a Forward. An
// upstream is asked from a socket of its own for each question: a port that nobody can guess, a kernel that lets only that
// server answer, and an ID of ours.
#include "network/resolver.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "base/spare_descriptor.hpp"
#include "linux/netns.hpp"
#include "linux/nftables_redirect.hpp"
#include "network/dns_message.hpp"
#include "network/name_table.hpp"
#include "network/socket_address.hpp"
#include "network/upstreams.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>
#include <stop_token>
#include <thread>
#include <unordered_map>

namespace grua::network {

using dns::Bytes;
using linux::Ip;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint16_t dns_port = 53;
constexpr std::string_view table = "grua_dns";
constexpr std::size_t questions_per_round = 16;  ///< Of one container, before the others have their turn.
constexpr std::size_t forwards_per_container = 128;
constexpr std::size_t forwards_in_all = 2048;
constexpr std::size_t connections_per_container = 32;
constexpr std::size_t servers_tried = 3;
constexpr auto patience = std::chrono::seconds(2);  ///< With one server.
constexpr auto idle_connection = std::chrono::seconds(10);
constexpr auto sweep_interval = std::chrono::milliseconds(100);
constexpr auto warning_interval = std::chrono::seconds(10);
constexpr std::size_t longest_message = 65535;

Bytes framed(const Bytes& message) {
    Bytes out{static_cast<std::byte>(message.size() >> 8U), static_cast<std::byte>(message.size() & 0xffU)};
    out.insert(out.end(), message.begin(), message.end());
    return out;
}

std::uint16_t random_number() {
    std::uint16_t out = 0;
    if (::getrandom(&out, sizeof out, 0) != sizeof out) fail_errno("getrandom");
    return out;
}

}  // namespace

class Resolver::Loop {
public:
    explicit Loop(ResolverOptions options);
    ~Loop();

    void serve(const std::string& container_id, int netns, ResolverView view, ResolverSockets sockets);
    ResolverSockets sockets(const std::string& container_id);
    void serve_host(const Ip& ip, std::uint16_t port);
    void change(const std::string& container_id, ResolverView view);
    void end(const std::string& container_id);
    void set_names(const std::string& container_id, NamedEndpoint endpoint);
    void remove_names(const std::string& container_id, const std::string& network_id);

private:
    struct Container;
    struct Connection;
    struct Forward;
    enum class Kind { wake, udp, listener, connection, forward };
    struct Socket {
        Kind kind = Kind::wake;
        Fd fd;
        Container* container = nullptr;
        Connection* connection = nullptr;
        Forward* forward = nullptr;
    };
    struct Container {
        std::string id;
        ResolverView view;
        std::vector<SocketAddress> servers;  ///< Of --dns.
        Fd netns;                            ///< Where those are asked from; held only where there are some.
        Socket udp, listener;
        std::list<Connection> connections;
        std::size_t forwards = 0;
        bool is_host = false;  ///< No container: programs of the host.
        bool ended = false;
    };
    struct Connection {
        Socket socket;
        std::uint64_t number = 0;  ///< Never used again: a forward may outlive its connection.
        Bytes in, out;
        Clock::time_point deadline;
    };
    struct Forward {
        std::string container_id;
        std::uint64_t connection = 0;  ///< 0: it came by UDP.
        sockaddr_in client{};
        std::uint16_t client_id = 0;
        Bytes query;  ///< With our ID.
        std::vector<SocketAddress> servers;
        std::size_t server = 0;
        Socket socket;
        Bytes in, out;  ///< Of TCP.
        Bytes refusal;  ///< What the last server said, where that was no answer.
        Clock::time_point deadline;
    };

    void run(const std::stop_token& stop);
    void watch(Socket& socket, std::uint32_t events, int operation = EPOLL_CTL_ADD);
    void on_event(Socket& socket, std::uint32_t events) GRUA_REQUIRES(mutex_);
    void read_udp(Container& container) GRUA_REQUIRES(mutex_);
    void accept(Container& container) GRUA_REQUIRES(mutex_);
    void on_connection(Container& container, Connection& connection, std::uint32_t events) GRUA_REQUIRES(mutex_);
    void close(Container& container, Connection& connection) GRUA_REQUIRES(mutex_);
    void on_forward(Forward& forward, std::uint32_t events) GRUA_REQUIRES(mutex_);
    void handle(Container& container, dns::View query, const sockaddr_in& client, Connection* connection) GRUA_REQUIRES(mutex_);
    void start_forward(Container& container, dns::View query, const sockaddr_in& client, Connection* connection) GRUA_REQUIRES(mutex_);
    bool ask(Forward& forward) GRUA_REQUIRES(mutex_);
    void ask_next(Forward& forward) GRUA_REQUIRES(mutex_);
    void finish(Forward& forward, Bytes answer) GRUA_REQUIRES(mutex_);
    void reply(Container& container, const sockaddr_in& client, Connection* connection, const Bytes& answer) GRUA_REQUIRES(mutex_);
    void drop(Forward& forward) GRUA_REQUIRES(mutex_);
    void sweep() GRUA_REQUIRES(mutex_);
    int until_next();
    void warn(const std::string& text);

    Fd epoll_;
    Socket wake_;

    // Between the callers and the loop.
    Mutex mutex_;
    std::unordered_map<std::string, std::unique_ptr<Container>> containers_ GRUA_GUARDED_BY(mutex_);
    NameTable names_ GRUA_GUARDED_BY(mutex_);
    std::vector<std::unique_ptr<Container>> ended_ GRUA_GUARDED_BY(mutex_);  ///< Their sockets may still be in the round of events.

    // The loop's own.
    std::list<Forward> forwards_ GRUA_GUARDED_BY(mutex_);
    std::list<Forward> over_ GRUA_GUARDED_BY(mutex_);  ///< As ended_.
    std::list<Connection> closed_ GRUA_GUARDED_BY(mutex_);
    std::size_t open_connections_ GRUA_GUARDED_BY(mutex_) = 0;
    SpareDescriptor spare_;
    bool has_paused_ = false;  ///< Listeners, until there are descriptors again.
    Clock::time_point next_sweep_{};
    HostServers host_servers_;
    Clock::time_point warned_{};
    std::uint64_t connections_ = 0;
    Bytes buffer_ = Bytes(longest_message + 2);
    std::jthread thread_;
};

Resolver::Loop::Loop(ResolverOptions options) : epoll_(::epoll_create1(EPOLL_CLOEXEC)), host_servers_(std::move(options)) {
    if (!epoll_) fail_errno("dns: epoll");
    wake_.fd = Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!wake_.fd) fail_errno("dns: eventfd");
    watch(wake_, EPOLLIN);
    thread_ = std::jthread([this](const std::stop_token& stop) {
        ::pthread_setname_np(::pthread_self(), "dns");
        run(stop);
    });
}

Resolver::Loop::~Loop() {
    thread_.request_stop();
    ::eventfd_write(wake_.fd.get(), 1);
    thread_.join();
}

void Resolver::Loop::watch(Socket& socket, std::uint32_t events, int operation) {
    epoll_event event{.events = events, .data = {.ptr = &socket}};
    if (::epoll_ctl(epoll_.get(), operation, socket.fd.get(), &event) != 0) fail_errno("dns: epoll");
}

// --- called from anywhere -----------------------------------------------------------------------------------------------

std::uint16_t port_of(const Fd& socket) {
    sockaddr_in local{};
    socklen_t size = sizeof local;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &size) != 0 || local.sin_family != AF_INET)
        fail_errno("dns: the port of a socket");
    return ntohs(local.sin_port);
}

/// A socket in the calling thread's network namespace; port 0 is any.
Fd bind_socket(int type, const Ip& ip, std::uint16_t port) {
    Fd out{::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    const SocketAddress wanted = socket_address(ip, port);
    const int on = 1;
    if (!out || (type == SOCK_STREAM && ::setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) ||
        ::bind(out.get(), wanted.get(), wanted.size) != 0 || (type == SOCK_STREAM && ::listen(out.get(), 64) != 0))
        fail_errno("dns: bind {}:{}", ip.text(), port);
    return out;
}

void Resolver::Loop::serve_host(const Ip& ip, std::uint16_t port) {
    auto host = std::make_unique<Container>();
    host->is_host = true;
    host->udp = {.kind = Kind::udp, .fd = bind_socket(SOCK_DGRAM, ip, port), .container = host.get()};
    host->listener = {.kind = Kind::listener, .fd = bind_socket(SOCK_STREAM, ip, port), .container = host.get()};
    const MutexLock lock(mutex_);
    auto& place = containers_[""];
    place = std::move(host);
    watch(place->udp, EPOLLIN);
    watch(place->listener, EPOLLIN);
}

void Resolver::Loop::serve(const std::string& container_id, int netns, ResolverView view, ResolverSockets sockets) {
    auto container = std::make_unique<Container>();
    container->id = container_id;
    container->servers = parse_servers(view.upstreams);
    container->view = std::move(view);
    if (!container->servers.empty()) container->netns = Fd{::fcntl(netns, F_DUPFD_CLOEXEC, 0)};
    {
        const linux::NetnsVisit visit(netns);
        const Ip ip = *Ip::parse(address);
        if (!sockets) sockets = {.udp = bind_socket(SOCK_DGRAM, ip, 0), .tcp = bind_socket(SOCK_STREAM, ip, 0)};
        linux::redirect_port(table,
                             {.address = ip, .port = dns_port, .udp_target = port_of(sockets.udp), .tcp_target = port_of(sockets.tcp)});
        container->udp = {.kind = Kind::udp, .fd = std::move(sockets.udp), .container = container.get()};
        container->listener = {.kind = Kind::listener, .fd = std::move(sockets.tcp), .container = container.get()};
    }
    const MutexLock lock(mutex_);
    auto& place = containers_[container_id];
    if (place) {
        place->ended = true;
        open_connections_ -= place->connections.size();
        ended_.push_back(std::move(place));
    }
    place = std::move(container);
    watch(place->udp, EPOLLIN);
    watch(place->listener, EPOLLIN);
}

ResolverSockets Resolver::Loop::sockets(const std::string& container_id) {
    const MutexLock lock(mutex_);
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) return {};
    const auto duplicate = [](const Fd& fd) { return Fd{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)}; };
    return {.udp = duplicate(found->second->udp.fd), .tcp = duplicate(found->second->listener.fd)};
}

void Resolver::Loop::change(const std::string& container_id, ResolverView view) {
    const MutexLock lock(mutex_);
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) return;
    found->second->servers = parse_servers(view.upstreams);
    found->second->view = std::move(view);
}

void Resolver::Loop::end(const std::string& container_id) {
    const MutexLock lock(mutex_);
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) return;
    found->second->ended = true;
    open_connections_ -= found->second->connections.size();
    ended_.push_back(std::move(found->second));
    containers_.erase(found);
    ::eventfd_write(wake_.fd.get(), 1);
}

void Resolver::Loop::set_names(const std::string& container_id, NamedEndpoint endpoint) {
    const MutexLock lock(mutex_);
    names_.set(container_id, std::move(endpoint));
}

void Resolver::Loop::remove_names(const std::string& container_id, const std::string& network_id) {
    const MutexLock lock(mutex_);
    names_.remove(container_id, network_id);
}

// --- the loop -----------------------------------------------------------------------------------------------------------

void Resolver::Loop::run(const std::stop_token& stop) {
    std::array<epoll_event, 64> events{};
    while (!stop.stop_requested()) {
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), until_next());
        if (count < 0 && errno != EINTR) {
            log::error("dns: epoll: errno {}", errno);
            return;
        }
        const MutexLock lock(mutex_);
        for (int i = 0; i < count; ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            try {
                on_event(*static_cast<Socket*>(event.data.ptr), event.events);
            } catch (const std::exception& error) {
                warn(error.what());
            }
        }
        try {
            sweep();
        } catch (const std::exception& error) {
            warn(error.what());
        }
        ended_.clear();
        over_.clear();
        closed_.clear();
    }
}

void Resolver::Loop::on_event(Socket& socket, std::uint32_t events) {
    if (socket.kind == Kind::wake) {
        eventfd_t ignored = 0;
        ::eventfd_read(socket.fd.get(), &ignored);
        return;
    }
    // Closed earlier in this round.
    if (!socket.fd || (socket.container && socket.container->ended)) return;
    switch (socket.kind) {
        case Kind::udp:
            return read_udp(*socket.container);
        case Kind::listener:
            return accept(*socket.container);
        case Kind::connection:
            return on_connection(*socket.container, *socket.connection, events);
        default:
            return on_forward(*socket.forward, events);
    }
}

void Resolver::Loop::read_udp(Container& container) {
    for (std::size_t i = 0; i < questions_per_round; ++i) {
        sockaddr_in client{};
        socklen_t size = sizeof client;
        const ssize_t got =
            ::recvfrom(container.udp.fd.get(), buffer_.data(), buffer_.size(), 0, reinterpret_cast<sockaddr*>(&client), &size);
        if (got < 0) return;
        handle(container, dns::View(buffer_).first(static_cast<std::size_t>(got)), client, nullptr);
    }
}

void Resolver::Loop::accept(Container& container) {
    Fd accepted{::accept4(container.listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!accepted) {
        if (!is_shortage(errno)) return;
        warn("descriptors are used up");
        // Sent away: it asks again. Where not even that can be done the listener waits for the next sweep.
        static_cast<void>(spare_.accept(container.listener.fd.get()));
        if (spare_.keep()) return;
        watch(container.listener, 0, EPOLL_CTL_MOD);
        has_paused_ = true;
        return;
    }
    // The oldest gives way: nobody keeps others out by doing nothing.
    if (container.connections.size() >= connections_per_container) close(container, container.connections.front());
    ++open_connections_;
    Connection& connection = container.connections.emplace_back();
    connection.number = ++connections_;
    connection.deadline = Clock::now() + idle_connection;
    connection.socket = {.kind = Kind::connection, .fd = std::move(accepted), .container = &container, .connection = &connection};
    watch(connection.socket, EPOLLIN);
}

void Resolver::Loop::close(Container& container, Connection& connection) {
    const auto position = std::ranges::find_if(container.connections, [&](const Connection& each) { return &each == &connection; });
    if (position == container.connections.end()) return;
    connection.socket.fd = Fd();
    --open_connections_;
    closed_.splice(closed_.end(), container.connections, position);
}

void Resolver::Loop::on_connection(Container& container, Connection& connection, std::uint32_t events) {
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        std::array<std::byte, 4096> chunk{};
        const ssize_t got = ::recv(connection.socket.fd.get(), chunk.data(), chunk.size(), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return close(container, connection);
        if (got > 0) connection.in.insert(connection.in.end(), chunk.begin(), chunk.begin() + got);
        connection.deadline = Clock::now() + idle_connection;
        while (connection.in.size() >= 2) {
            const std::size_t size = std::to_integer<std::size_t>(connection.in[0]) << 8U | std::to_integer<std::size_t>(connection.in[1]);
            if (connection.in.size() < 2 + size) break;
            const Bytes message(connection.in.begin() + 2, connection.in.begin() + 2 + static_cast<std::ptrdiff_t>(size));
            connection.in.erase(connection.in.begin(), connection.in.begin() + 2 + static_cast<std::ptrdiff_t>(size));
            handle(container, message, {}, &connection);
        }
    }
    if (connection.out.empty()) return;
    const ssize_t sent = ::send(connection.socket.fd.get(), connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return close(container, connection);
    if (sent > 0) connection.out.erase(connection.out.begin(), connection.out.begin() + sent);
    // A client that asks and does not read is not read from.
    const bool slow = connection.out.size() > longest_message;
    watch(connection.socket, (slow ? 0U : EPOLLIN) | (connection.out.empty() ? 0U : EPOLLOUT), EPOLL_CTL_MOD);
}

void Resolver::Loop::reply(Container& container, const sockaddr_in& client, Connection* connection, const Bytes& answer) {
    if (answer.empty()) return;
    if (!connection) {
        ::sendto(container.udp.fd.get(), answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&client), sizeof client);
        return;
    }
    const Bytes frame = framed(answer);
    connection->out.insert(connection->out.end(), frame.begin(), frame.end());
    watch(connection->socket, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

void Resolver::Loop::handle(Container& container, dns::View query, const sockaddr_in& client, Connection* connection) {
    const dns::Parsed parsed = dns::parse_query(query);
    if (!parsed.question) {
        if (parsed.rcode != dns::Rcode::no_error) reply(container, client, connection, dns::answer_error(query, parsed.rcode));
        return;
    }
    const std::size_t limit = connection ? longest_message : parsed.question->udp_size;
    if (container.is_host) return reply(container, client, connection, names_.answer_to_host(query, *parsed.question, limit));
    if (const auto answer = names_.answer(container.view, *parsed.question, limit)) return reply(container, client, connection, *answer);
    start_forward(container, query, client, connection);
}

// --- upstream -----------------------------------------------------------------------------------------------------------

void Resolver::Loop::start_forward(Container& container, dns::View query, const sockaddr_in& client, Connection* connection) {
    const std::vector<SocketAddress>& servers = container.servers.empty() ? host_servers_.get() : container.servers;
    const auto refuse = [&]() GRUA_REQUIRES(mutex_) {
        reply(container, client, connection, dns::answer_error(query, dns::Rcode::server_failure));
    };
    // What the host would ask stays here where all networks are internal; a server of the container's own is asked from within.
    if (servers.empty() || (container.servers.empty() && !container.view.forward)) return refuse();
    if (container.forwards >= forwards_per_container || forwards_.size() >= forwards_in_all) {
        warn(fmt::format("container {}: more than {} questions wait for an answer", container.id.substr(0, 12), container.forwards));
        return refuse();
    }
    Forward& forward = forwards_.emplace_back();
    forward.container_id = container.id;
    forward.connection = connection ? connection->number : 0;
    forward.client = client;
    forward.client_id = dns::id_of(query);
    forward.query.assign(query.begin(), query.end());
    forward.servers.assign(servers.begin(), servers.begin() + static_cast<std::ptrdiff_t>(std::min(servers.size(), servers_tried)));
    ++container.forwards;
    if (!ask(forward)) ask_next(forward);
}

/// The current server. False where it cannot be asked.
bool Resolver::Loop::ask(Forward& forward) {
    const SocketAddress& server = forward.servers[forward.server];
    const bool tcp = forward.connection != 0;
    dns::set_id(forward.query, random_number());
    forward.in.clear();
    const auto container = containers_.find(forward.container_id);
    if (container == containers_.end()) return false;
    {
        std::optional<linux::NetnsVisit> visit;
        if (container->second->netns) visit.emplace(container->second->netns.get());
        forward.socket = {.kind = Kind::forward,
                          .fd = Fd{::socket(server.storage.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)},
                          .forward = &forward};
    }
    if (!forward.socket.fd) return false;
    forward.deadline = Clock::now() + patience;
    const int connected = ::connect(forward.socket.fd.get(), server.get(), server.size);
    if (connected != 0 && errno != EINPROGRESS) return false;
    if (!tcp && ::send(forward.socket.fd.get(), forward.query.data(), forward.query.size(), MSG_NOSIGNAL) < 0) return false;
    if (tcp) forward.out = framed(forward.query);
    watch(forward.socket, tcp ? EPOLLOUT : EPOLLIN);
    return true;
}

void Resolver::Loop::ask_next(Forward& forward) {
    while (++forward.server < forward.servers.size())
        if (ask(forward)) return;
    finish(forward, forward.refusal.empty() ? dns::answer_error(forward.query, dns::Rcode::server_failure) : std::move(forward.refusal));
}

void Resolver::Loop::on_forward(Forward& forward, std::uint32_t events) {
    Bytes answer;
    if (forward.connection == 0) {
        const ssize_t got = ::recv(forward.socket.fd.get(), buffer_.data(), buffer_.size(), 0);
        if (got < 0) return errno == EAGAIN ? void() : ask_next(forward);  // As where nobody listens there.
        answer.assign(buffer_.begin(), buffer_.begin() + got);
        if (!dns::is_answer_to(answer, forward.query)) return;  // Not from who was asked, or not about that.
    } else {
        if ((events & EPOLLOUT) != 0 && !forward.out.empty()) {
            const ssize_t sent = ::send(forward.socket.fd.get(), forward.out.data(), forward.out.size(), MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) return ask_next(forward);
            if (sent > 0) forward.out.erase(forward.out.begin(), forward.out.begin() + sent);
            if (forward.out.empty()) watch(forward.socket, EPOLLIN, EPOLL_CTL_MOD);
            return;
        }
        const ssize_t got = ::recv(forward.socket.fd.get(), buffer_.data(), buffer_.size(), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return ask_next(forward);
        if (got > 0) forward.in.insert(forward.in.end(), buffer_.begin(), buffer_.begin() + got);
        if (forward.in.size() < 2) return;
        const std::size_t size = std::to_integer<std::size_t>(forward.in[0]) << 8U | std::to_integer<std::size_t>(forward.in[1]);
        if (forward.in.size() < 2 + size) return;
        answer.assign(forward.in.begin() + 2, forward.in.begin() + 2 + static_cast<std::ptrdiff_t>(size));
        if (!dns::is_answer_to(answer, forward.query)) return ask_next(forward);
    }
    const dns::Rcode rcode = dns::rcode_of(answer);
    const bool refused = rcode == dns::Rcode::server_failure || rcode == dns::Rcode::refused || rcode == dns::Rcode::not_implemented;
    if (refused && forward.server + 1 < forward.servers.size()) {
        forward.refusal = std::move(answer);
        return ask_next(forward);
    }
    finish(forward, std::move(answer));
}

void Resolver::Loop::finish(Forward& forward, Bytes answer) {
    dns::set_id(answer, forward.client_id);
    if (const auto found = containers_.find(forward.container_id); found != containers_.end()) {
        Container& container = *found->second;
        Connection* connection = nullptr;
        for (Connection& each : container.connections)
            if (each.number == forward.connection) connection = &each;
        if (connection || forward.connection == 0) reply(container, forward.client, connection, answer);
    }
    drop(forward);
}

void Resolver::Loop::drop(Forward& forward) {
    if (const auto found = containers_.find(forward.container_id); found != containers_.end() && found->second->forwards > 0)
        --found->second->forwards;
    forward.socket.fd = Fd();
    const auto position = std::ranges::find_if(forwards_, [&](const Forward& each) { return &each == &forward; });
    over_.splice(over_.end(), forwards_, position);
}

/// What has waited for too long.
void Resolver::Loop::sweep() {
    const auto now = Clock::now();
    if (now < next_sweep_) return;
    next_sweep_ = now + sweep_interval;
    for (auto each = forwards_.begin(); each != forwards_.end();) {
        Forward& forward = *each++;
        if (forward.deadline <= now) ask_next(forward);
    }
    if (has_paused_ && spare_.keep()) {
        has_paused_ = false;
        for (auto& [id, container] : containers_) watch(container->listener, EPOLLIN, EPOLL_CTL_MOD);
    }
    if (open_connections_ == 0) return;
    for (auto& [id, container] : containers_) {
        for (auto each = container->connections.begin(); each != container->connections.end();) {
            Connection& connection = *each++;
            if (connection.deadline <= now) close(*container, connection);
        }
    }
}

int Resolver::Loop::until_next() {
    const MutexLock lock(mutex_);
    if (forwards_.empty() && open_connections_ == 0 && !has_paused_) return -1;
    return static_cast<int>(std::chrono::milliseconds(sweep_interval).count());
}

void Resolver::Loop::warn(const std::string& text) {
    const auto now = Clock::now();
    if (now < warned_ + warning_interval) return;
    warned_ = now;
    log::warn("dns: {}", text);
}

Resolver::Resolver(ResolverOptions options) : loop_(std::make_unique<Loop>(std::move(options))) {}
Resolver::~Resolver() = default;

void Resolver::serve(const std::string& container_id, int netns, ResolverView view, ResolverSockets sockets) {
    loop_->serve(container_id, netns, std::move(view), std::move(sockets));
}
ResolverSockets Resolver::sockets(const std::string& container_id) const { return loop_->sockets(container_id); }
void Resolver::serve_host(const Ip& ip, std::uint16_t port) { loop_->serve_host(ip, port); }
void Resolver::change(const std::string& container_id, ResolverView view) { loop_->change(container_id, std::move(view)); }
void Resolver::end(const std::string& container_id) { loop_->end(container_id); }
void Resolver::set_names(const std::string& container_id, NamedEndpoint endpoint) { loop_->set_names(container_id, std::move(endpoint)); }
void Resolver::remove_names(const std::string& container_id, const std::string& network_id) {
    loop_->remove_names(container_id, network_id);
}

}  // namespace grua::network
