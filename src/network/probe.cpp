#include "network/probe.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "linux/netns.hpp"
#include "network/socket_address.hpp"

#include <poll.h>
#include <charconv>

namespace grua::network {

std::vector<std::uint16_t> listening_ports(int netns) {
    constexpr std::string_view listens = "0A";
    std::set<std::uint16_t> out;
    const linux::NetnsVisit visit(netns);
    for (const char* file : {"tcp", "tcp6"}) {
        std::string text;
        try {
            text = read_file(fmt::format("/proc/thread-self/net/{}", file));
        } catch (const Error&) {
            continue;  // No IPv6.
        }
        for (const std::string& line : split(text, '\n')) {
            // "  0: 00000000:0050 00000000:0000 0A …": the address is in the host's byte order, by words.
            const auto fields = split(trim(line), ' ');
            if (fields.size() < 4 || fields[3] != listens) continue;
            const auto colon = fields[1].find(':');
            const std::string address = fields[1].substr(0, colon);
            const bool is_loopback = address.size() == 8 ? address.ends_with("7F") : address == "00000000000000000000000001000000";
            unsigned port = 0;
            const std::string digits = colon == std::string::npos ? "" : fields[1].substr(colon + 1);
            std::from_chars(digits.data(), digits.data() + digits.size(), port, 16);
            if (!is_loopback && port != 0) out.insert(static_cast<std::uint16_t>(port));
        }
    }
    return {out.begin(), out.end()};
}

std::set<std::uint16_t> connectable(int netns, const linux::Ip& address, const std::vector<std::uint16_t>& ports,
                                    std::chrono::milliseconds patience) {
    struct Attempt {
        Fd socket;
        std::uint16_t port = 0;
    };
    std::vector<Attempt> attempts;
    {
        const linux::NetnsVisit visit(netns);
        for (const std::uint16_t port : ports) {
            const SocketAddress to = socket_address(address, port);
            Attempt one{.socket = Fd{::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)}, .port = port};
            if (!one.socket) fail_errno("socket");
            if (::connect(one.socket.get(), to.get(), to.size) == 0 || errno == EINPROGRESS) attempts.push_back(std::move(one));
        }
    }
    std::set<std::uint16_t> out;
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!attempts.empty()) {
        std::vector<pollfd> waiting;
        for (const Attempt& each : attempts) waiting.push_back({.fd = each.socket.get(), .events = POLLOUT});
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0) break;
        if (::poll(waiting.data(), waiting.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) fail_errno("poll");
        std::vector<Attempt> open;
        for (std::size_t i = 0; i < attempts.size(); ++i) {
            if (waiting[i].revents == 0) {
                open.push_back(std::move(attempts[i]));
                continue;
            }
            int error = 0;
            socklen_t size = sizeof error;
            ::getsockopt(attempts[i].socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
            if (error == 0) out.insert(attempts[i].port);
        }
        attempts = std::move(open);
    }
    return out;
}

}  // namespace grua::network
