// The ports of EXPOSE.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace grua::build::dockerfile {

struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
    std::string protocol;  ///< "tcp", "udp" or "sctp"

    friend bool operator==(const PortRange&, const PortRange&) = default;
};

struct ExposedPort {
    PortRange range;
    bool odd_casing = false;  ///< The protocol is not in lower case.
    bool is_mapping = false;  ///< It has an address or a port of the host, which mean nothing.
};

/// [ip:][host:]port[-port][/protocol]. Throws Error(invalid_argument).
ExposedPort parse_port(std::string_view text);

}  // namespace grua::build::dockerfile
