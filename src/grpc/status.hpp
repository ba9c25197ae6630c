// How a call ends: gRPC's codes, and the texts of header fields.
#pragma once

#include "base/error.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace grua::grpc {

enum class Code : std::uint8_t {
    ok,
    cancelled,
    unknown,
    invalid_argument,
    deadline_exceeded,
    not_found,
    already_exists,
    permission_denied,
    resource_exhausted,
    failed_precondition,
    aborted,
    out_of_range,
    unimplemented,
    internal,
    unavailable,
    data_loss,
    unauthenticated,
};

struct Status {
    Code code = Code::ok;
    std::string message;
    std::string details;  ///< A google.rpc.Status as it is on the wire; empty where there is none.
};

/// Ends a call with a status of its own, or says with which one a call to somebody else has ended.
class CallError : public Error {
public:
    explicit CallError(Status status);
    const Status& status() const noexcept { return status_; }

private:
    Status status_;
};

/// What a call ends with whose handler threw this.
Status status_of(const std::exception& error);

/// A code as it is in a header; one that is no number or that nobody knows is `unknown`.
Code parse_code(std::string_view text) noexcept;

/// Of grpc-message: all but the printable characters of ASCII, and "%".
std::string encode_message(std::string_view text);
/// What is no escape stays as it is.
std::string decode_message(std::string_view text);

/// Of grpc-timeout: up to eight digits and H, M, S, m, u or n. Nothing where it is something else.
std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) noexcept;
std::string format_timeout(std::chrono::nanoseconds time);

}  // namespace grua::grpc
