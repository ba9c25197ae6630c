#include "api/http_parser.hpp"

#include "base/text.hpp"

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/status.hpp>

namespace grua::api {

namespace http = boost::beast::http;

struct RequestParser::State {
    http::request_parser<http::buffer_body> parser;
};

namespace {

[[noreturn]] void refuse(const boost::system::error_code& error) {
    if (error == http::error::header_limit) throw ProtocolError{431, fmt::format("request headers are larger than {} bytes", header_limit)};
    throw ProtocolError{400, fmt::format("malformed request: {}", error.message())};
}

}  // namespace

std::string_view reason_of(int status) noexcept {
    // What Docker answers an upgrade with; the name that 413 has in Go's server.
    if (status == 101) return "UPGRADED";
    if (status == 413) return "Request Entity Too Large";
    const auto known = http::int_to_status(static_cast<unsigned>(status));
    if (known == http::status::unknown) return "Unknown";
    const auto text = http::obsolete_reason(known);
    return {text.data(), text.size()};
}

RequestParser::RequestParser() : state_(std::make_unique<State>()) {
    state_->parser.header_limit(header_limit);
    state_->parser.body_limit(boost::none);  // The reader bounds it: load has no bound, JSON has.
}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;
RequestParser& RequestParser::operator=(RequestParser&&) noexcept = default;

std::size_t RequestParser::parse_header(std::string_view input) {
    boost::system::error_code error;
    const std::size_t used = state_->parser.put(boost::asio::buffer(input), error);
    if (error && error != http::error::need_more && error != http::error::need_buffer) refuse(error);
    return used;
}

bool RequestParser::header_done() const { return state_->parser.is_header_done(); }

RequestHead RequestParser::take_head() {
    const auto& request = state_->parser.get();
    RequestHead head;
    head.method = request.method_string();
    head.target = request.target();
    head.http_1_0 = request.version() == 10;
    head.keep_alive = state_->parser.keep_alive();
    head.chunked = state_->parser.chunked();
    if (const auto length = state_->parser.content_length()) head.content_length = *length;
    for (const auto& field : request) {
        head.headers.emplace_back(to_lower({field.name_string().data(), field.name_string().size()}), std::string(field.value()));
    }
    std::string_view target = head.target;
    // A proxy's absolute form; clients with tcp:// and http_proxy send it.
    if (target.starts_with("http://")) {
        const std::size_t slash = target.find('/', 7);
        target = slash == std::string_view::npos ? "/" : target.substr(slash);
    }
    const std::size_t question = target.find('?');
    try {
        head.path = percent_decode(target.substr(0, question), false);
        if (question != std::string_view::npos) head.query = Query::parse(target.substr(question + 1));
    } catch (const Error& error) {
        throw ProtocolError{400, error.what()};
    }
    return head;
}

RequestParser::Piece RequestParser::parse_body(std::string_view input, std::span<char> out) {
    auto& body = state_->parser.get().body();
    body.data = out.data();
    body.size = out.size();
    body.more = true;
    boost::system::error_code error;
    Piece piece;
    // Beast takes one element of the message (a chunk's header, a run of its bytes) at a time.
    while (!state_->parser.is_done() && body.size > 0 && piece.used < input.size()) {
        const std::size_t used = state_->parser.put(boost::asio::buffer(input.substr(piece.used)), error);
        piece.used += used;
        if (error == http::error::need_buffer || error == http::error::need_more) break;
        if (error) refuse(error);
        if (used == 0) break;
    }
    piece.produced = out.size() - body.size;
    return piece;
}

bool RequestParser::done() const { return state_->parser.is_done(); }

}  // namespace grua::api
