// load and import: a body up, a stream of progress down.
#include "cli/handlers.hpp"
#include "cli/terminal.hpp"

#include "base/fd.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <memory>

namespace grua::cli {

namespace {

constexpr std::size_t piece_size = std::size_t{1} << 20U;

Fd open_input(const std::string& path, const char* command) {
    if (!path.empty() && path != "-") {
        Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
        if (!file) fail_errno("open {}", path);
        return file;
    }
    if (is_terminal(STDIN_FILENO)) fail(ErrorKind::invalid_argument, "requested {} from stdin, but stdin is empty", command);
    return Fd{::dup(STDIN_FILENO)};
}

std::function<std::string()> source_of(Fd file) {
    return [shared = std::make_shared<Fd>(std::move(file))] {
        std::string piece(piece_size, '\0');
        ssize_t count = -1;
        do {
            count = ::read(shared->get(), piece.data(), piece.size());
        } while (count < 0 && errno == EINTR);
        if (count < 0) fail_errno("read");
        piece.resize(static_cast<std::size_t>(count));
        return piece;
    };
}

}  // namespace

int load_images(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    Fd input = open_input(flags.text("input"), "load");
    const bool quiet = flags.on("quiet") || !is_terminal(STDOUT_FILENO);
    client::Query query;
    query.add("quiet", quiet ? "1" : "0");
    client::Client& daemon = context.daemon();
    add_platforms(query, daemon, flags, "platform");
    client::Stream stream = daemon.stream({.method = "POST",
                                           .target = "/images/load" + query.text(),
                                           .content_type = "application/x-tar",
                                           .body_source = source_of(std::move(input))});
    show_progress(stream, STDOUT_FILENO, quiet ? Progress::quiet : Progress::shown);
    return 0;
}

int import_image(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::string& source = given.arguments[0];
    const bool remote = source.starts_with("http://") || source.starts_with("https://");
    client::Query query;
    query.add("fromSrc", remote ? source : "-");
    if (given.arguments.size() > 1) {
        const auto [repository, tag] = split_reference(given.arguments[1]);
        query.add("repo", repository).add("tag", tag);
    }
    query.add_if(!flags.text("message").empty(), "message", flags.text("message"))
        .add_if(!flags.text("platform").empty(), "platform", flags.text("platform"));
    for (const std::string& change : flags.list("change")) query.add("changes", change);
    client::Request request{.method = "POST", .target = "/images/create" + query.text()};
    if (!remote) {
        request.content_type = "application/x-tar";
        request.body_source = source_of(open_input(source, "import"));
    }
    client::Stream stream = context.daemon().stream(std::move(request));
    show_progress(stream, STDOUT_FILENO, Progress::shown);
    return 0;
}

}  // namespace grua::cli
