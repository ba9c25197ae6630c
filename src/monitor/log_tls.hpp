// TLS to a syslog server. The one door to OpenSSL of this room: in grua-log, not in the monitor.
#pragma once

#include "monitor/log_peer.hpp"
#include "monitor/log_spec.hpp"

namespace grua::monitor {

/// Sessions as the target's files want them. Making one throws Error where a file cannot be used.
MakePeerSession tls_sessions(const SyslogTarget& target);

}  // namespace grua::monitor
