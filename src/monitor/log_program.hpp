// grua-log: the worker of a log driver whose libraries the monitor does not carry, OpenSSL for syslog over TLS. A LogWorker executes it.
#pragma once

namespace grua::monitor {

inline constexpr int log_program_socket = 3;  ///< To the LogWorker.
inline constexpr int log_program_spec = 4;    ///< A LogSpec in JSON.

/// The program's whole life: `grua-log VERSION`, that of the messages. Returns the exit status.
int run_log_program(int count, char** arguments);

}  // namespace grua::monitor
