// load, import and pull: a body up, a stream of progress down.
#include "cli/handlers.hpp"
#include "cli/session.hpp"
#include "cli/terminal.hpp"
#include "cli/units.hpp"

#include "base/fd.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <array>
#include <boost/json.hpp>
#include <map>
#include <memory>

namespace grua::cli {

namespace {

constexpr std::size_t piece_size = std::size_t{1} << 20U;

/// Progress lines of several layers on a terminal: each line is rewritten in its place.
class ProgressLines {
public:
    ProgressLines(int out, bool paint) : out_(out), paint_(paint) {}

    void show(const std::string& id, const std::string& text) {
        if (!paint_) return;
        const auto [found, fresh] = rows_.try_emplace(id, rows_.size());
        if (fresh) write_stream(out_, "\n");
        const std::size_t up = rows_.size() - found->second;
        write_stream(out_, fmt::format("\x1b[{}A\r\x1b[2K{}\x1b[{}B\r", up, text, up));
    }
    /// What follows stands below the lines.
    void plain(const std::string& text) {
        rows_.clear();
        write_stream(out_, text);
    }

private:
    int out_;
    bool paint_;
    std::map<std::string, std::size_t> rows_;
};

std::string bar(std::int64_t current, std::int64_t total) {
    constexpr std::int64_t width = 40;
    if (total <= 0) return human_size(static_cast<double>(current), 3);
    const std::int64_t done = std::min(width, width * current / total);
    return fmt::format("[{}{}{}]  {}/{}", std::string(static_cast<std::size_t>(done), '='), done < width ? ">" : "",
                       std::string(static_cast<std::size_t>(std::max<std::int64_t>(width - done - 1, 0)), ' '),
                       human_size(static_cast<double>(current), 4), human_size(static_cast<double>(total), 4));
}

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

void show_progress(client::Response& response, int out, Progress progress) {
    ProgressLines lines(out, progress == Progress::shown && may_paint(out));
    std::map<std::string, std::string> last_status;
    while (const auto line = response.read_line()) {
        if (trim(*line).empty()) continue;
        boost::system::error_code error;
        const Value message = boost::json::parse(*line, error);
        if (error) fail(ErrorKind::unavailable, "the daemon's answer is not JSON: {}", error.message());
        const std::string failed = text_at(at(message, "errorDetail"), "message").empty() ? text_at(message, "error")
                                                                                          : text_at(at(message, "errorDetail"), "message");
        if (!failed.empty()) fail(ErrorKind::system, "{}", failed);
        const std::string text = text_at(message, "stream");
        const std::string status = text_at(message, "status");
        const std::string id = text_at(message, "id");
        if (!text.empty()) {
            lines.plain(text);
        } else if (id.empty()) {
            if (!status.empty() && progress == Progress::shown) lines.plain(status + "\n");
        } else if (progress == Progress::shown) {
            const Value& detail = at(message, "progressDetail");
            const std::int64_t total = number_at(detail, "total");
            const std::int64_t current = number_at(detail, "current");
            lines.show(id, current > 0 ? fmt::format("{}: {} {}", id, status, bar(current, total)) : fmt::format("{}: {}", id, status));
            // Without a terminal each new state is one line; the steps between are not told.
            const bool fresh = std::exchange(last_status[id], status) != status;
            if (fresh && !may_paint(out) && current == 0) write_stream(out, fmt::format("{}: {}\n", id, status));
        }
    }
}

void pull(client::Client& daemon, const std::string& reference, const std::string& platform, Progress progress, int out) {
    const auto [name, tag] = split_reference(reference);
    client::Query query;
    query.add("fromImage", name).add("tag", tag).add_if(!platform.empty(), "platform", platform);
    client::Stream stream = daemon.stream({.method = "POST", .target = "/images/create" + query.text()});
    show_progress(stream.response, out, progress);
}

int pull_image(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool quiet = flags.on("quiet");
    const auto [name, tag] = split_reference(given.arguments[0]);
    if (given.arguments[0] == name && !quiet && !flags.on("all-tags")) fmt::print(stderr, "Using default tag: latest\n");
    if (flags.on("all-tags")) {
        client::Query query;
        query.add("fromImage", name).add_if(!flags.text("platform").empty(), "platform", flags.text("platform"));
        client::Stream stream = context.daemon().stream({.method = "POST", .target = "/images/create" + query.text()});
        show_progress(stream.response, STDOUT_FILENO, quiet ? Progress::quiet : Progress::shown);
    } else {
        pull(context.daemon(), given.arguments[0], flags.text("platform"), quiet ? Progress::quiet : Progress::shown, STDOUT_FILENO);
    }
    print(name + (tag.starts_with("sha256:") ? "@" : ":") + tag + "\n");
    return 0;
}

int load_images(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    Fd input = open_input(flags.text("input"), "load");
    const bool quiet = flags.on("quiet") || !is_terminal(STDOUT_FILENO);
    client::Query query;
    query.add("quiet", quiet ? "1" : "0").add_if(!flags.text("platform").empty(), "platform", flags.text("platform"));
    client::Stream stream = context.daemon().stream({.method = "POST",
                                                     .target = "/images/load" + query.text(),
                                                     .content_type = "application/x-tar",
                                                     .body_source = source_of(std::move(input))});
    show_progress(stream.response, STDOUT_FILENO, quiet ? Progress::quiet : Progress::shown);
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
    show_progress(stream.response, STDOUT_FILENO, Progress::shown);
    return 0;
}

}  // namespace grua::cli
