// HTTP/2 (RFC 9113) as far as it takes to tell a gRPC client that what it asks for is not there.
//
// buildx asks POST /grpc whether an engine builds. Where that is no address it makes a builder of its own, in a privileged container of an
// image that it pulls. Here each of its calls is answered with UNIMPLEMENTED, which it shows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace grua::api {

/// One connection. Bytes in, bytes out; what the calls are is not looked at.
class GrpcRefusal {
public:
    explicit GrpcRefusal(std::string message);

    /// What is to be sent for these. Throws Error(invalid_argument) for what is no HTTP/2, and after too much of it.
    std::string take(std::string_view bytes);

    /// The client has said goodbye.
    bool is_over() const noexcept { return over_; }

private:
    struct Frame {
        std::uint8_t type = 0;
        std::uint8_t flags = 0;
        std::uint32_t stream = 0;
        std::string_view payload;
    };
    void answer(const Frame& frame, std::string& out);

    std::string headers_;  ///< The block of every answer.
    std::string input_;
    bool greeted_ = false;
    bool over_ = false;
    unsigned frames_ = 0;
};

}  // namespace grua::api
