// The servers that the resolver hands questions to.
#pragma once

#include "network/resolver.hpp"
#include "network/socket_address.hpp"

#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace grua::network {

/// Addresses with an optional port, see ResolverView; what is none is left out.
std::vector<SocketAddress> parse_servers(const std::vector<std::string>& texts);

/// Those of the host's resolv.conf. For one thread.
class HostServers {
public:
    using Clock = std::chrono::steady_clock;

    explicit HostServers(ResolverOptions options) : options_(std::move(options)) {}

    /// Read again when a watched file is another one than it was, looked at twice a second at most.
    const std::vector<SocketAddress>& get(Clock::time_point now = Clock::now());

private:
    const ResolverOptions options_;
    std::vector<SocketAddress> servers_;
    std::vector<std::pair<timespec, std::uint64_t>> seen_;
    Clock::time_point looked_{};
};

}  // namespace grua::network
