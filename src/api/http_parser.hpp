// HTTP/1 requests from bytes. Boost.Beast's parser behind a door of our own: its templates stay in one file.
#pragma once

#include "api/exchange.hpp"

#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace grua::api {

/// The start line and all headers; more is refused with 431. Filters and registry credentials travel there.
inline constexpr std::uint32_t header_limit = 256U << 10U;

/// "Not Found" of 404, as the standards and Go's server have it.
std::string_view reason_of(int status) noexcept;

/// What a parser refuses. The connection answers with this status and closes: what follows cannot be trusted.
struct ProtocolError {
    int status = 400;
    std::string message;
};

/// Parses one request; make a new one for the next.
class RequestParser {
public:
    RequestParser();
    ~RequestParser();
    RequestParser(RequestParser&&) noexcept;
    RequestParser& operator=(RequestParser&&) noexcept;

    /// Returns how many bytes of `input` were used up; the rest must come again, with more behind it. Throws ProtocolError.
    std::size_t parse_header(std::string_view input);
    bool header_done() const;
    /// Once, after header_done. Throws ProtocolError where the target cannot be decoded.
    RequestHead take_head();

    struct Piece {
        std::size_t used = 0;      ///< Bytes of the input.
        std::size_t produced = 0;  ///< Bytes of body in the output.
    };
    Piece parse_body(std::string_view input, std::span<char> out);
    bool done() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace grua::api
