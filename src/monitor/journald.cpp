#include "monitor/journald.hpp"

#include "base/error.hpp"
#include "base/passed_descriptor.hpp"
#include "base/unix_address.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <algorithm>

namespace grua::monitor {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t longest_name = 64;  // journald leaves out fields with longer ones.

Fd connect_to_journald() {
    Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto address = unix_address(journald_socket);
    if (socket && ::connect(socket.get(), plain(*address), sizeof *address) == 0) return socket;
    return {};
}

}  // namespace

std::string journald_name(std::string_view name) {
    std::string out;
    for (char c : name) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        if ((c < 'A' || c > 'Z') && (c < '0' || c > '9')) c = '_';
        if (out.empty() && c == '_') continue;
        out += c;
    }
    return out.substr(0, longest_name);
}

void append_journald_field(std::string& out, std::string_view name, std::string_view value) {
    out += name;
    if (!value.contains('\n')) {
        out += '=';
    } else {
        const auto size = static_cast<std::uint64_t>(value.size());
        out += '\n';
        for (unsigned shift = 0; shift < 64; shift += 8) out += static_cast<char>((size >> shift) & 0xFFU);
    }
    out += value;
    out += '\n';
}

std::string journald_entry(std::string_view fields, const LogLine& line, std::uint64_t ordinal) {
    std::string out{fields};
    append_journald_field(out, "MESSAGE", line.text);
    append_journald_field(out, "PRIORITY", line.stream == Stream::standard_error ? "3" : "6");
    append_journald_field(out, "SYSLOG_TIMESTAMP", format_time(line.time));
    append_journald_field(out, "CONTAINER_LOG_ORDINAL", std::to_string(ordinal));
    if (line.part != nullptr) {
        append_journald_field(out, "CONTAINER_PARTIAL_ID", line.part->id);
        append_journald_field(out, "CONTAINER_PARTIAL_ORDINAL", std::to_string(line.part->ordinal));
        append_journald_field(out, "CONTAINER_PARTIAL_LAST", line.part->last ? "true" : "false");
        if (!line.part->last) append_journald_field(out, "CONTAINER_PARTIAL_MESSAGE", "true");
    }
    return out;
}

Journald::Journald(LogHost& host, const LogAttributes& fields) : host_(host) {
    for (const auto& [name, value] : fields)
        if (!name.empty()) append_journald_field(fields_, name, value);
}

/// At once, so that an entry that was taken is with journald when the worker says so.
void Journald::log(const LogLine& line) noexcept {
    const std::string entry = journald_entry(fields_, line, ++ordinal_);
    for (auto pause = 100ms;;) {
        if (!socket_) socket_ = connect_to_journald();
        const int error = errno;
        const Sent sent = socket_ ? send(entry) : Sent::away;
        if (sent == Sent::yes) {
            if (std::exchange(away_, false)) host_.tell("journald is there again");
            return;
        }
        if (sent == Sent::away && !std::exchange(away_, true))
            host_.tell(fmt::format("journald is away: {}: {}", journald_socket, std::strerror(socket_ ? errno : error)));
        if (sent == Sent::away) socket_ = {};
        const bool goes_on = sent == Sent::wait ? host_.wait(socket_.get(), POLLOUT, 1s) : host_.wait(-1, 0, pause);
        if (!goes_on) {
            ++lost_;
            return;
        }
        if (sent == Sent::away) pause = std::min<std::chrono::milliseconds>(pause * 2, 2000ms);
    }
}

Journald::Sent Journald::send(std::string_view entry) {
    for (;;) {
        if (::send(socket_.get(), entry.data(), entry.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return Sent::yes;
        if (errno == EINTR) continue;
        if (errno == EMSGSIZE || errno == ENOBUFS) return send_as_file(entry);
        return errno == EAGAIN ? Sent::wait : Sent::away;
    }
}

Journald::Sent Journald::send_as_file(std::string_view entry) {
    const Fd file(::memfd_create("journal-entry", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    for (std::size_t done = 0; file && done < entry.size();) {
        const ssize_t written = ::write(file.get(), entry.data() + done, entry.size() - done);
        if (written <= 0) return Sent::wait;
        done += static_cast<std::size_t>(written);
    }
    if (!file || ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) return Sent::wait;
    msghdr message{};
    const PassedDescriptor passed{message, file.get()};
    if (::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return Sent::yes;
    return errno == EAGAIN || errno == EINTR ? Sent::wait : Sent::away;
}

}  // namespace grua::monitor
