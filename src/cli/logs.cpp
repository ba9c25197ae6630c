#include "cli/handlers.hpp"
#include "cli/session.hpp"
#include "cli/units.hpp"

#include <unistd.h>
#include <array>

namespace grua::cli {

int container_logs(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Client& daemon = context.daemon();
    client::Query query;
    query.add("stdout", "1").add("stderr", "1");
    for (const char* bound : {"since", "until"}) {
        if (!flags.text(bound).empty()) query.add(bound, timestamp_argument(flags.text(bound)));
    }
    query.add_if(flags.on("follow"), "follow", "1")
        .add_if(flags.on("timestamps"), "timestamps", "1")
        .add_if(flags.on("details"), "details", "1");
    query.add("tail", flags.text("tail"));
    client::Stream logs = daemon.stream({.method = "GET", .target = container_path(given.arguments[0], "/logs" + query.text())});
    // Daemons before API 1.42 do not say whether the streams are framed.
    const std::string_view type = logs.response.header("content-type");
    bool framed = type == "application/vnd.docker.multiplexed-stream";
    if (!framed && type != "application/vnd.docker.raw-stream") {
        framed = !bool_at(at(daemon.get(container_path(given.arguments[0], "/json")), "Config"), "Tty");
    }
    Demultiplexer demultiplexer(STDOUT_FILENO, STDERR_FILENO);
    std::array<char, 65536> buffer;
    while (const std::size_t count = logs.response.read_some(buffer)) {
        const std::string_view bytes(buffer.data(), count);
        if (framed)
            demultiplexer.write(bytes);
        else if (!write_stream(STDOUT_FILENO, bytes))
            return 1;
    }
    return 0;
}

}  // namespace grua::cli
