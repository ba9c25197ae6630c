#include "client/http.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <charconv>

namespace grua::client {

Query& Query::add(std::string_view name, std::string_view value) {
    if (!text_.empty()) text_ += '&';
    text_ += percent_encode(name) + "=" + percent_encode(value);
    return *this;
}

namespace {

/// Writes without SIGPIPE. A closed connection is not an error yet: the daemon may have answered before it closed.
bool send_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            if (errno == EPIPE || errno == ECONNRESET) return false;
            fail_errno("send to the daemon");
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

}  // namespace

void Connection::send(const Request& request) {
    std::string head =
        fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: grua/{}\r\n", request.method, request.target, host_, GRUA_VERSION);
    for (const auto& [name, value] : request.headers) head += fmt::format("{}: {}\r\n", name, value);
    if (request.upgrade) head += "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    if (!request.content_type.empty()) head += fmt::format("Content-Type: {}\r\n", request.content_type);
    if (request.body_source) {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        if (!send_all(fd(), head)) return;
        for (std::string piece = request.body_source(); !piece.empty(); piece = request.body_source()) {
            if (!send_all(fd(), fmt::format("{:x}\r\n", piece.size()) + piece + "\r\n")) return;
        }
        send_all(fd(), "0\r\n\r\n");
        return;
    }
    if (request.method != "GET" && request.method != "HEAD") head += fmt::format("Content-Length: {}\r\n", request.body.size());
    head += "\r\n";
    send_all(fd(), head + request.body);
}

std::size_t Connection::read_raw(std::span<char> into) {
    if (has_buffered()) {
        const std::size_t count = std::min(into.size(), buffer_.size() - used_);
        std::copy_n(buffer_.data() + used_, count, into.data());
        used_ += count;
        return count;
    }
    while (true) {
        const ssize_t count = ::recv(fd(), into.data(), into.size(), 0);
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno == EINTR) continue;
        if (errno == ECONNRESET) return 0;
        fail_errno("read from the daemon");
    }
}

void Connection::fail_ended(std::string_view otherwise) const {
    const std::string why = link_.why_ended();
    fail(ErrorKind::unavailable, "{}", why.empty() ? otherwise : std::string_view(why));
}

std::string Connection::read_head_line() {
    std::size_t searched = used_;
    while (true) {
        const std::size_t end = buffer_.find('\n', searched);
        if (end != std::string::npos) {
            std::string line = buffer_.substr(used_, end - used_);
            used_ = end + 1;
            if (line.ends_with('\r')) line.pop_back();
            return line;
        }
        if (buffer_.size() - used_ > head_limit) fail(ErrorKind::unavailable, "the daemon's answer has a line that is too long");
        buffer_.erase(0, used_);
        used_ = 0;
        searched = buffer_.size();
        std::array<char, 8192> more;
        ssize_t count = -1;
        do {
            count = ::recv(fd(), more.data(), more.size(), 0);
        } while (count < 0 && errno == EINTR);
        if (count < 0 && errno != ECONNRESET) fail_errno("read from the daemon");
        if (count <= 0) {
            reusable_ = false;
            fail_ended("the daemon closed the connection");
        }
        buffer_.append(more.data(), static_cast<std::size_t>(count));
    }
}

Response Connection::receive() {
    Response response;
    response.connection_ = this;
    bool close = false;
    do {
        const std::string status_line = read_head_line();
        if (!status_line.starts_with("HTTP/1.") || status_line.size() < 12) {
            fail(ErrorKind::unavailable, "not an HTTP answer: {:?}", status_line.substr(0, 80));
        }
        close = status_line[7] == '0';
        response.status = static_cast<int>(parse_uint(std::string_view(status_line).substr(9, 3)).value_or(0));
        response.headers.clear();
        std::size_t total = 0;
        for (std::string line = read_head_line(); !line.empty(); line = read_head_line()) {
            total += line.size();
            if (total > head_limit) fail(ErrorKind::unavailable, "the daemon's answer has a head that is too long");
            const std::size_t colon = line.find(':');
            if (colon == std::string::npos) fail(ErrorKind::unavailable, "not an HTTP header: {:?}", line.substr(0, 80));
            response.headers.emplace_back(to_lower(line.substr(0, colon)), std::string(trim(std::string_view(line).substr(colon + 1))));
        }
    } while (response.status >= 100 && response.status < 200 && response.status != 101);

    if (to_lower(response.header("connection")).find("close") != std::string::npos) close = true;
    const std::string_view length = response.header("content-length");
    if (head_request_ || response.status == 204 || response.status == 304 || response.status == 101) {
        response.framing_ = Response::Framing::none;
        response.ended_ = true;
    } else if (to_lower(response.header("transfer-encoding")).find("chunked") != std::string::npos) {
        response.framing_ = Response::Framing::chunked;
    } else if (!length.empty()) {
        const auto bytes = parse_uint(length);
        if (!bytes) fail(ErrorKind::unavailable, "not a content length: {:?}", length);
        response.framing_ = Response::Framing::length;
        response.left_ = *bytes;
        response.ended_ = *bytes == 0;
    } else {
        response.framing_ = Response::Framing::until_close;
        close = true;
    }
    reusable_ = !close && response.status != 101;
    return response;
}

std::pair<Fd, std::string> Connection::take_stream() {
    std::string rest = buffer_.substr(used_);
    buffer_.clear();
    used_ = 0;
    reusable_ = false;
    return {std::move(link_.socket), std::move(rest)};
}

std::string_view Response::header(std::string_view lower_case_name) const {
    const auto found = std::ranges::find(headers, lower_case_name, [](const auto& each) -> const std::string& { return each.first; });
    return found == headers.end() ? std::string_view{} : std::string_view(found->second);
}

std::size_t Response::read_some(std::span<char> buffer) {
    if (ended_ || buffer.empty()) return 0;
    if (framing_ == Framing::chunked && left_ == 0) {
        std::string line = connection_->read_head_line();
        line = line.substr(0, line.find(';'));
        const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
        if (error != std::errc{} || end == line.data()) fail(ErrorKind::unavailable, "not a chunk's size: {:?}", line);
        if (left_ == 0) {
            while (!connection_->read_head_line().empty()) {
            }
            ended_ = true;
            return 0;
        }
    }
    if (framing_ != Framing::until_close) buffer = buffer.first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_)));
    const std::size_t count = connection_->read_raw(buffer);
    if (framing_ == Framing::until_close) {
        ended_ = count == 0;
        return count;
    }
    if (count == 0) {
        connection_->reusable_ = false;
        ended_ = true;
        connection_->fail_ended("unexpected EOF");
    }
    left_ -= count;
    if (left_ == 0) {
        if (framing_ == Framing::length)
            ended_ = true;
        else
            connection_->read_head_line();
    }
    return count;
}

std::string Response::read_all(std::size_t limit) {
    std::string out = std::move(pending_line_);
    pending_line_.clear();
    std::array<char, 32768> buffer;
    while (const std::size_t count = read_some(buffer)) {
        out.append(buffer.data(), count);
        if (out.size() > limit) fail(ErrorKind::unavailable, "the daemon's answer is longer than {} bytes", limit);
    }
    return out;
}

std::optional<std::string> Response::read_line() {
    std::array<char, 8192> buffer;
    while (true) {
        if (const std::size_t end = pending_line_.find('\n'); end != std::string::npos) {
            std::string line = pending_line_.substr(0, end);
            pending_line_.erase(0, end + 1);
            if (line.ends_with('\r')) line.pop_back();
            return line;
        }
        const std::size_t count = read_some(buffer);
        if (count == 0) {
            if (pending_line_.empty()) return std::nullopt;
            return std::exchange(pending_line_, {});
        }
        pending_line_.append(buffer.data(), count);
    }
}

}  // namespace grua::client
