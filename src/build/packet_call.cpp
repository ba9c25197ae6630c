#include "build/packet_call.hpp"

#include <utility>

namespace grua::build {

asio::awaitable<std::optional<wire::files::Packet>> PacketCall::read() {
    const auto message = co_await std::visit([](auto* call) { return call->read(); }, call_);
    if (!message) co_return std::nullopt;
    co_return grpc::Services::parse<wire::files::Packet>(*message);
}

asio::awaitable<void> PacketCall::write(std::string_view packet) {
    return std::visit([&](auto* call) { return call->write(packet); }, call_);
}

asio::awaitable<void> PacketCall::write(wire::files::Packet::PacketType type, std::uint32_t id, std::string data) {
    wire::files::Packet packet;
    packet.set_type(type);
    packet.set_id(id);
    packet.set_data(std::move(data));
    const std::string message = packet.SerializeAsString();
    co_await write(message);
}

void PacketCall::end() {
    if (auto* const* call = std::get_if<grpc::ClientCall*>(&call_)) (*call)->end();
}

}  // namespace grua::build
