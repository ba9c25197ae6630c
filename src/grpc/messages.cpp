#include "grpc/messages.hpp"

#include "grpc/status.hpp"

#include <cstdint>

namespace grua::grpc {
namespace {

constexpr std::size_t head_size = 5;

std::uint32_t length_at(std::string_view head) {
    std::uint32_t out = 0;
    for (std::size_t i = 1; i < head_size; ++i) out = out << 8U | static_cast<unsigned char>(head[i]);
    return out;
}

}  // namespace

std::string frame(std::string_view message) {
    const auto size = static_cast<std::uint32_t>(message.size());
    std::string out;
    out.reserve(head_size + message.size());
    out += '\0';
    for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(size >> shift & 0xffU);
    out += message;
    return out;
}

void MessageReader::add(std::string_view bytes) {
    // What has been taken goes when it is the larger part, so that each byte is moved once at most.
    if (at_ > bytes_.size() / 2) {
        bytes_.erase(0, at_);
        at_ = 0;
    }
    bytes_ += bytes;
}

std::optional<std::string> MessageReader::next() {
    const std::string_view rest = std::string_view(bytes_).substr(at_);
    if (rest.size() < head_size) return std::nullopt;
    if (rest[0] != 0) throw CallError({.code = Code::unimplemented, .message = "not implemented: compressed messages", .details = {}});
    const std::size_t length = length_at(rest);
    if (length > limit_)
        throw CallError({.code = Code::resource_exhausted,
                         .message = fmt::format("a message of {} bytes is more than the {} that are allowed", length, limit_),
                         .details = {}});
    if (rest.size() - head_size < length) return std::nullopt;
    std::string out(rest.substr(head_size, length));
    at_ += head_size + length;
    if (at_ == bytes_.size()) {
        // A large one is not kept room for.
        bytes_ = {};
        at_ = 0;
    }
    return out;
}

}  // namespace grua::grpc
