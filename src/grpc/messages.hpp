// gRPC's messages in a stream of bytes: a flag, four bytes of length, the message.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace grua::grpc {

inline constexpr std::size_t message_limit = std::size_t{16} << 20U;

/// The message as it is sent.
std::string frame(std::string_view message);

/// Messages out of pieces of any size.
class MessageReader {
public:
    explicit MessageReader(std::size_t limit = message_limit) : limit_(limit) {}

    void add(std::string_view bytes);

    /// The next whole message, where it has come. Throws Error: CallError(resource_exhausted) of one above the limit, before its bytes are
    /// kept, CallError(unimplemented) of one that is compressed.
    std::optional<std::string> next();

    /// In the middle of one.
    bool has_part() const noexcept { return at_ < bytes_.size(); }
    /// That it has of them.
    std::size_t held() const noexcept { return bytes_.size(); }

private:
    std::size_t limit_;
    std::string bytes_;
    std::size_t at_ = 0;
};

}  // namespace grua::grpc
