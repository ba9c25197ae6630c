// The log driver syslog: RFC 3164 and 5424 over udp, tcp, TLS and Unix sockets, as Docker's driver writes them. In a LogWorker.
#pragma once

#include "monitor/log_peer.hpp"
#include "monitor/log_spec.hpp"

#include <string>
#include <vector>

namespace grua::monitor {

/// One message, without what frames it.
std::string syslog_message(const SyslogTarget& target, std::string_view tag, const LogLine& line, pid_t pid);

class Syslog final : public LogDriver {
public:
    /// A target with TLS needs `sessions`: log_tls.hpp.
    Syslog(LogHost& host, const SyslogTarget& target, std::string tag, MakePeerSession sessions = {});
    void log(const LogLine& line) noexcept override;
    void flush() noexcept override;
    std::uint64_t lost() const noexcept override { return lost_; }

private:
    SyslogTarget target_;
    std::string tag_;
    LogPeer peer_;
    std::vector<std::string> waiting_;
    std::uint64_t lost_ = 0;
};

}  // namespace grua::monitor
