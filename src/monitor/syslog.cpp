#include "monitor/syslog.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <array>
#include <cstdlib>
#include <ctime>

namespace grua::monitor {
namespace {

constexpr int severity_error = 3;
constexpr int severity_informational = 6;
constexpr std::array local_sockets{"/dev/log", "/var/run/syslog", "/var/run/log"};

bool is_5424(const SyslogTarget& target) { return target.format.starts_with("rfc5424"); }

std::string formatted(const std::tm& time, const char* how) {
    std::array<char, 64> out{};
    return {out.data(), std::strftime(out.data(), out.size(), how, &time)};
}

/// +01:00, and Z where there is none.
std::string offset_of(const std::tm& time) {
    if (time.tm_gmtoff == 0) return "Z";
    const long minutes = std::abs(time.tm_gmtoff) / 60;
    return fmt::format("{}{:02}:{:02}", time.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

std::vector<PeerAddress> addresses_of(const SyslogTarget& target) {
    std::vector<PeerAddress> out;
    if (target.network.empty())
        for (const char* each : local_sockets)
            for (const auto kind : {PeerAddress::Kind::datagram_path, PeerAddress::Kind::stream_path})
                out.push_back({.kind = kind, .address = each});
    auto kind = PeerAddress::Kind::tcp;
    if (target.network == "udp") kind = PeerAddress::Kind::udp;
    if (target.network == "unix") kind = PeerAddress::Kind::stream_path;
    if (target.network == "unixgram") kind = PeerAddress::Kind::datagram_path;
    for (const std::string& each : target.addresses) out.push_back({.kind = kind, .address = each, .port = target.port});
    return out;
}

std::string name_of(const SyslogTarget& target) {
    if (target.network.empty()) return "the syslog of this host";
    if (target.network.starts_with("unix"))
        return fmt::format("{}://{}", target.network, target.addresses.empty() ? std::string() : target.addresses.front());
    return fmt::format("{}://{}:{}", target.network, target.host, target.port);
}

}  // namespace

std::string syslog_message(const SyslogTarget& target, std::string_view tag, const LogLine& line, pid_t pid) {
    const int severity = line.stream == Stream::standard_error ? severity_error : severity_informational;
    const int priority = target.facility * 8 + severity;
    const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(line.time));
    std::tm local{};
    ::localtime_r(&seconds, &local);
    if (is_5424(target)) {
        std::string time = formatted(local, "%Y-%m-%dT%H:%M:%S");
        if (target.format == "rfc5424micro") {
            const auto fraction = line.time - std::chrono::floor<std::chrono::seconds>(line.time);
            time += fmt::format(".{:06}", std::chrono::duration_cast<std::chrono::microseconds>(fraction).count());
        }
        return fmt::format("<{}>1 {}{} {} {} {} {} - {}\n", priority, time, offset_of(local), target.hostname, tag, pid, tag, line.text);
    }
    const std::string host = target.format == "rfc3164" ? target.hostname + " " : "";
    return fmt::format("<{}>{} {}{}[{}]: {}\n", priority, formatted(local, "%b %e %H:%M:%S"), host, tag, pid, line.text);
}

Syslog::Syslog(LogHost& host, const SyslogTarget& target, std::string tag, MakePeerSession sessions)
    : target_(target), tag_(std::move(tag)), peer_(host, name_of(target), addresses_of(target), std::move(sessions)) {}

void Syslog::log(const LogLine& line) noexcept {
    if (line.text.empty()) return;  // Docker sends none either.
    std::string message = syslog_message(target_, tag_, line, ::getpid());
    // RFC 5425: the length of what follows.
    if (is_5424(target_) && target_.network == "tcp+tls") message.insert(0, std::to_string(message.size()) + " ");
    waiting_.push_back(std::move(message));
}

void Syslog::flush() noexcept {
    if (!waiting_.empty() && !peer_.send(std::exchange(waiting_, {}))) ++lost_;
}

}  // namespace grua::monitor
