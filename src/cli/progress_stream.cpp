// A stream of progress from a connection to a descriptor. Frames go on while the daemon is silent, so that a stalled transfer is seen.
#include "cli/handlers.hpp"
#include "cli/progress.hpp"
#include "cli/session.hpp"
#include "cli/terminal.hpp"

#include "base/text.hpp"

#include <poll.h>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

constexpr int tick_milliseconds = 100;

ProgressStyle style_for(int out, Progress progress) {
    ProgressStyle style;
    if (progress == Progress::quiet)
        style.kind = ProgressStyle::Kind::quiet;
    else if (may_move_cursor(out))
        style.kind = ProgressStyle::Kind::painted;
    style.colour = may_paint(out);
    style.unicode = shows_unicode();
    style.size = terminal_size(out);
    return style;
}

}  // namespace

void show_progress(client::Stream& stream, int out, Progress progress, const std::function<void(const Value&)>& aux) {
    using Clock = ProgressView::Clock;
    ProgressView view(style_for(out, progress));
    const auto write = [&](const std::string& text) {
        if (!text.empty() && !write_stream(out, text)) throw ExitStatus{1};
    };
    const auto wait = [&] {
        while (view.is_live() && !stream.response.has_line() && !stream.connection->has_buffered()) {
            view.resize(terminal_size(out));
            write(view.tick(Clock::now()));
            pollfd polled{stream.connection->fd(), POLLIN, 0};
            if (::poll(&polled, 1, tick_milliseconds) != 0) break;
        }
    };
    try {
        for (wait(); const auto line = stream.response.read_line(); wait()) {
            if (trim(*line).empty()) continue;
            boost::system::error_code error;
            const Value message = boost::json::parse(*line, error);
            if (error) fail(ErrorKind::unavailable, "the daemon's answer is not JSON: {}", error.message());
            if (aux && !at(message, "aux").is_null()) aux(at(message, "aux"));
            view.resize(terminal_size(out));
            write(view.take(message, Clock::now()));
        }
    } catch (const Error&) {
        // The lines stay as they were when it failed; the error is told below them.
        write(view.finish(Clock::now()));
        throw;
    }
    write(view.finish(Clock::now()));
}

}  // namespace grua::cli
