// fsutil's messages on a call, from whichever side of it: a folder comes from a client that we call, or goes to one that calls us.
#pragma once

#include "build/wire/files.pb.h"
#include "grpc/client.hpp"
#include "grpc/server.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace grua::build {

/// The call outlives it. Loop only.
class PacketCall {
public:
    PacketCall(grpc::ClientCall& call) : call_(&call) {}
    PacketCall(grpc::ServerCall& call) : call_(&call) {}

    /// Nothing where the other side has said its last. Throws Error.
    asio::awaitable<std::optional<wire::files::Packet>> read();

    asio::awaitable<void> write(std::string_view packet);
    asio::awaitable<void> write(wire::files::Packet::PacketType type, std::uint32_t id = 0, std::string data = {});

    /// Nothing more will be written. A call of somebody else ends with its handler.
    void end();

private:
    std::variant<grpc::ClientCall*, grpc::ServerCall*> call_;
};

}  // namespace grua::build
