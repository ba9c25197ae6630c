// Connections, and exchanges of datagrams, that the kernel tracks.
#pragma once

#include "linux/ip_address.hpp"

#include <cstdint>
#include <functional>

namespace grua::linux {

struct Flow {
    Ip destination;  ///< As its first packet had it, before that was translated.
    std::uint16_t destination_port = 0;
    Ip answered_by;  ///< Who it was led to.
};

/// In the calling thread's network namespace: the next packet of each flow that `is_meant` says is translated anew. Throws Error.
void forget_flows(Ip::Family family, std::uint8_t protocol, const std::function<bool(const Flow&)>& is_meant);

}  // namespace grua::linux
