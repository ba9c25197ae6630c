#include "monitor/log_program.hpp"

#include "base/codec.hpp"
#include "base/files.hpp"
#include "monitor/log_spec.hpp"
#include "monitor/log_tls.hpp"
#include "monitor/log_worker.hpp"
#include "monitor/messages.hpp"
#include "monitor/syslog.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <cstdlib>

namespace grua::monitor {
namespace {

bool is_socket(int fd) {
    int kind = 0;
    socklen_t size = sizeof kind;
    return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) == 0;
}

}  // namespace

int run_log_program(int count, char** arguments) {
    if (count != 2 || !is_socket(log_program_socket)) {
        fmt::print(stderr, "grua-log sends a container's log to a syslog server over TLS; grua's monitors run it, nobody else\n");
        return 2;
    }
    Fd socket(log_program_socket);
    const Fd described(log_program_spec);
    (void)::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
    return run_log_worker(std::move(socket), [&](LogHost& host) -> std::unique_ptr<LogDriver> {
        check_version(std::atoi(arguments[1]), "the monitor");
        const auto spec = json::parse<LogSpec>(read_all(described.get(), "the log's spec"));
        if (spec.driver != "syslog" || !spec.syslog) fail(ErrorKind::not_implemented, "not implemented: grua-log for {}", spec.driver);
        return std::make_unique<Syslog>(host, *spec.syslog, spec.tag, tls_sessions(*spec.syslog));
    });
}

}  // namespace grua::monitor
