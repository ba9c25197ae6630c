#include "api/grpc_refusal.hpp"

#include "base/error.hpp"

#include <algorithm>

namespace grua::api {
namespace {

constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t header_size = 9;
constexpr std::size_t payload_limit = 16384;  // of a peer that was told of no other
constexpr unsigned frame_limit = 10'000;

constexpr std::uint8_t type_headers = 1;
constexpr std::uint8_t type_settings = 4;
constexpr std::uint8_t type_ping = 6;
constexpr std::uint8_t type_goaway = 7;
constexpr std::uint8_t type_continuation = 9;
constexpr std::uint8_t flag_ack = 1;
constexpr std::uint8_t flag_end_stream = 1;
constexpr std::uint8_t flag_end_headers = 4;

void append_frame(std::string& out, std::uint8_t type, std::uint8_t flags, std::uint32_t stream, std::string_view payload) {
    const auto size = static_cast<std::uint32_t>(payload.size());
    for (const unsigned shift : {16U, 8U, 0U}) out += static_cast<char>(size >> shift);
    out += static_cast<char>(type);
    out += static_cast<char>(flags);
    for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(stream >> shift);
    out += payload;
}

/// HPACK (RFC 7541): a field that is spelled out and that no table keeps. Lengths of one byte.
void append_field(std::string& out, std::string_view name, std::string_view value) {
    out += '\0';
    for (const std::string_view each : {name, value}) {
        out += static_cast<char>(each.size());
        out += each;
    }
}

std::uint32_t number_at(std::string_view bytes, std::size_t at, std::size_t count) {
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < count; ++i) out = (out << 8U) | static_cast<unsigned char>(bytes[at + i]);
    return out;
}

}  // namespace

GrpcRefusal::GrpcRefusal(std::string message) {
    message.resize(std::min<std::size_t>(message.size(), 126));
    headers_ += '\x88';  // ":status: 200" of HPACK's own table
    append_field(headers_, "content-type", "application/grpc");
    append_field(headers_, "grpc-status", "12");
    append_field(headers_, "grpc-message", message);
}

std::string GrpcRefusal::take(std::string_view bytes) {
    input_ += bytes;
    std::string out;
    if (!greeted_) {
        const std::string_view begun = std::string_view(input_).substr(0, preface.size());
        if (!preface.starts_with(begun)) fail(ErrorKind::invalid_argument, "no HTTP/2");
        if (begun.size() < preface.size()) return out;
        input_.erase(0, preface.size());
        greeted_ = true;
        append_frame(out, type_settings, 0, 0, {});
    }
    std::size_t at = 0;
    while (!over_ && input_.size() - at >= header_size) {
        const std::string_view rest = std::string_view(input_).substr(at);
        const std::size_t size = number_at(rest, 0, 3);
        if (size > payload_limit) fail(ErrorKind::invalid_argument, "a frame of {} bytes", size);
        if (rest.size() < header_size + size) break;
        if (++frames_ > frame_limit) fail(ErrorKind::invalid_argument, "more than {} frames", frame_limit);
        answer({.type = static_cast<std::uint8_t>(rest[3]),
                .flags = static_cast<std::uint8_t>(rest[4]),
                .stream = number_at(rest, 5, 4) & 0x7FFFFFFFU,
                .payload = rest.substr(header_size, size)},
               out);
        at += header_size + size;
    }
    input_.erase(0, at);
    return out;
}

void GrpcRefusal::answer(const Frame& frame, std::string& out) {
    switch (frame.type) {
        case type_settings:
            if ((frame.flags & flag_ack) == 0) append_frame(out, type_settings, flag_ack, 0, {});
            return;
        case type_ping:
            if ((frame.flags & flag_ack) == 0) append_frame(out, type_ping, flag_ack, 0, frame.payload);
            return;
        case type_headers:
        case type_continuation:
            if ((frame.flags & flag_end_headers) != 0)
                append_frame(out, type_headers, flag_end_headers | flag_end_stream, frame.stream, headers_);
            return;
        case type_goaway:
            over_ = true;
            return;
        default:
            return;
    }
}

}  // namespace grua::api
