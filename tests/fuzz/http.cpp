// Requests as clients send them, in one piece and in pieces of any size: what is parsed, and where the request ends - what follows is a
// hijacked connection's input, or the next request - must not depend on how the bytes came.
#include "api/http_parser.hpp"
#include "fuzz.hpp"

#include <array>
#include <optional>
#include <vector>

namespace {

using namespace grua;

struct Outcome {
    int refused = 0;  ///< Status, where it was.
    std::string refusal;
    bool has_head = false;
    std::string target;
    std::size_t headers = 0;
    std::string body;
    bool done = false;
    std::string rest;
};

/// As a connection reads: bytes are appended to what was not used up, and the parser has its turn.
Outcome parse(std::string_view bytes, std::size_t piece_size, std::size_t out_size) {
    Outcome outcome;
    api::RequestParser parser;
    std::string buffer;
    std::vector<char> out(out_size);
    const auto turn = [&] {
        while (!parser.header_done()) {
            const std::size_t used = buffer.empty() ? 0 : parser.parse_header(buffer);
            fuzz::check(used <= buffer.size());
            buffer.erase(0, used);
            if (used == 0 && !parser.header_done()) return;
        }
        if (!outcome.has_head) {
            const api::RequestHead head = parser.take_head();
            outcome.has_head = true;
            outcome.target = head.target;
            outcome.headers = head.headers.size();
        }
        while (!parser.done() && !buffer.empty()) {
            const api::RequestParser::Piece piece = parser.parse_body(buffer, out);
            fuzz::check(piece.used <= buffer.size() && piece.produced <= out.size());
            buffer.erase(0, piece.used);
            outcome.body.append(out.data(), piece.produced);
            if (piece.used == 0 && piece.produced == 0) return;
        }
    };
    try {
        for (std::size_t at = 0; at < bytes.size() && !parser.done(); at += piece_size) {
            buffer += bytes.substr(at, piece_size);
            turn();
            if (parser.header_done() && parser.done()) {
                outcome.rest = buffer + std::string(bytes.substr(std::min(bytes.size(), at + piece_size)));
                outcome.done = true;
                break;
            }
        }
    } catch (const api::ProtocolError& error) {
        fuzz::check(error.status >= 400 && error.status < 500 && !error.message.empty());
        outcome.refused = error.status;
        outcome.refusal = error.message;
    }
    return outcome;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::string_view bytes = grua::fuzz::text(data + 2, size - 2);
    const Outcome whole = parse(bytes, bytes.size() + 1, 4096);
    const Outcome pieces = parse(bytes, std::size_t{data[0]} + 1, std::size_t{data[1]} + 1);
    grua::fuzz::check(whole.body.size() + whole.rest.size() <= bytes.size());
    // What is wrong before the headers' end may be seen at once or when they are whole; a whole request is taken or refused either way.
    if (whole.refused != 0 || pieces.refused != 0) {
        grua::fuzz::check(!whole.done && !pieces.done);
        return 0;
    }
    grua::fuzz::check(whole.has_head == pieces.has_head && whole.target == pieces.target && whole.headers == pieces.headers);
    grua::fuzz::check(whole.done == pieces.done && whole.body == pieces.body && whole.rest == pieces.rest);
    return 0;
}
