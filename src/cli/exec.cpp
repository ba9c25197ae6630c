#include "cli/create.hpp"
#include "cli/handlers.hpp"
#include "cli/session.hpp"

#include <unistd.h>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

boost::json::object exec_body(const Parsed& given, bool detach) {
    const Flags& flags = given.flags;
    std::vector<std::string> variables;
    for (const std::string& file : flags.list("env-file")) {
        for (std::string& each : detail::read_variables(file, true)) variables.push_back(std::move(each));
    }
    for (const std::string& each : flags.list("env")) {
        const char* here = each.find('=') == std::string::npos ? std::getenv(each.c_str()) : nullptr;
        variables.push_back(here ? each + "=" + here : each);
    }
    boost::json::object body{{"User", flags.text("user")},
                             {"Privileged", flags.on("privileged")},
                             {"Tty", flags.on("tty")},
                             {"AttachStdin", !detach && flags.on("interactive")},
                             {"AttachStderr", !detach},
                             {"AttachStdout", !detach},
                             {"DetachKeys", flags.text("detach-keys")},
                             {"Env", detail::list_or_null(variables)},
                             {"WorkingDir", flags.text("workdir")},
                             {"Cmd", detail::to_array(std::span(given.arguments).subspan(1))}};
    const ConsoleSize size = terminal_size();
    if (size.rows != 0) body["ConsoleSize"] = boost::json::array{size.rows, size.columns};
    return body;
}

}  // namespace

int exec_command(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool detach = flags.on("detach");
    const bool tty = flags.on("tty");
    const bool in = flags.on("interactive");
    if (!detach && tty && in && !is_terminal(STDIN_FILENO)) fail(ErrorKind::invalid_argument, "the input device is not a TTY");
    if (!flags.text("detach-keys").empty()) parse_detach_keys(flags.text("detach-keys"));
    client::Client& daemon = context.daemon();
    const Value body = exec_body(given, detach);
    const std::string id = text_at(daemon.post(container_path(given.arguments[0], "/exec"), &body), "Id");
    if (id.empty()) fail(ErrorKind::system, "exec ID empty");

    boost::json::object start{{"Detach", detach}, {"Tty", tty}};
    if (const Value& size = at(body, "ConsoleSize"); size.is_array() && tty) start["ConsoleSize"] = size;
    const Value start_body = start;
    if (detach) {
        daemon.post(fmt::format("/exec/{}/start", id), &start_body);
        return 0;
    }
    SignalPipe signals(session_signals(false, tty));
    Session session;
    session.stream = daemon.hijack(fmt::format("/exec/{}/start", id), boost::json::serialize(start));
    session.tty = tty;
    session.stdin_open = in;
    if (!flags.text("detach-keys").empty()) session.detach_keys = flags.text("detach-keys");
    if (tty && is_terminal(STDOUT_FILENO)) {
        session.resize = [&](ConsoleSize size) {
            try {
                daemon.post(fmt::format("/exec/{}/resize?h={}&w={}", id, size.rows, size.columns));
            } catch (const Error&) {
                // The process has ended; the end of the stream tells.
            }
        };
        session.resize(terminal_size());
    }
    if (run_session(session, signals) == SessionEnd::detached) {
        fmt::print(stderr, "read escape sequence\n");
        return 0;
    }
    return static_cast<int>(number_at(daemon.get(fmt::format("/exec/{}/json", id)), "ExitCode"));
}

}  // namespace grua::cli
