#include "cli/handlers.hpp"
#include "cli/session.hpp"

#include <unistd.h>

namespace grua::cli {

int dial_stdio(Context& context, const Parsed&) {
    if (is_terminal(STDIN_FILENO)) fail(ErrorKind::invalid_argument, "grua system dial-stdio is for ssh://, and not for a terminal");
    Session session{.stream = {.socket = context.connect().socket}, .stdin_open = true, .raw = true};
    SignalPipe signals({});
    run_session(session, signals);
    return 0;
}

}  // namespace grua::cli
