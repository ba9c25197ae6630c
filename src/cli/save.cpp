// save: a tar from the daemon to a file that appears whole or not at all, or to standard output.
#include "cli/handlers.hpp"
#include "cli/output_file.hpp"
#include "cli/progress.hpp"
#include "cli/session.hpp"
#include "cli/terminal.hpp"

#include "base/files.hpp"
#include "base/text.hpp"

#include <unistd.h>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

constexpr std::size_t piece_size = std::size_t{256} << 10U;

/// --platform may be given many times, and with commas.
std::vector<std::string> platforms_of(const Flags& flags) {
    std::vector<std::string> out;
    for (const std::string& each : flags.list("platform")) {
        for (const std::string& one : split(each, ',')) {
            if (!trim(one).empty()) out.emplace_back(trim(one));
        }
    }
    return out;
}

/// How much there is already, on a terminal.
class SaveProgress {
public:
    SaveProgress(std::string name, bool wanted)
        : name_(std::move(name)),
          view_({.kind = wanted && may_move_cursor(STDERR_FILENO) ? ProgressStyle::Kind::painted : ProgressStyle::Kind::quiet,
                 .colour = may_paint(STDERR_FILENO),
                 .unicode = shows_unicode(),
                 .size = terminal_size(STDERR_FILENO)}) {}

    void moved(std::size_t count) {
        bytes_ += static_cast<std::int64_t>(count);
        view_.resize(terminal_size(STDERR_FILENO));
        const Value message =
            boost::json::object{{"status", "Saving"}, {"id", name_}, {"progressDetail", boost::json::object{{"current", bytes_}}}};
        write_stream(STDERR_FILENO, view_.take(message, ProgressView::Clock::now()));
    }
    void finish() { write_stream(STDERR_FILENO, view_.finish(ProgressView::Clock::now())); }

private:
    std::string name_;
    ProgressView view_;
    std::int64_t bytes_ = 0;
};

}  // namespace

void add_platforms(client::Query& query, client::Client& daemon, const Flags& flags, const char* member) {
    const std::vector<std::string> platforms = platforms_of(flags);
    if (!platforms.empty()) require_api(daemon, 48, "platform");
    for (const std::string& platform : platforms) {
        query.add(member, while_doing("invalid platform", [&] { return platform_json(platform); }));
    }
}

int save_images(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::string path = flags.text("output");
    if (path.empty() && is_terminal(STDOUT_FILENO))
        fail(ErrorKind::invalid_argument, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
    client::Client& daemon = context.daemon();
    client::Query query;
    for (const std::string& name : given.arguments) query.add("names", name);
    add_platforms(query, daemon, flags, "platform");
    std::optional<OutputFile> file;
    if (!path.empty()) file.emplace(path, "failed to save image");
    client::Stream stream = daemon.stream({.method = "GET", .target = "/images/get" + query.text()});

    const int out = file ? file->fd() : STDOUT_FILENO;
    SaveProgress progress(given.arguments.size() == 1 ? given.arguments[0] : fmt::format("{} images", given.arguments.size()),
                          file.has_value());
    std::string buffer(piece_size, '\0');
    while (const std::size_t count = stream.response.read_some(buffer)) {
        if (file)
            write_all(out, std::string_view(buffer).substr(0, count), path);
        else
            print(std::string_view(buffer).substr(0, count));
        progress.moved(count);
    }
    progress.finish();
    if (file) file->publish();
    return 0;
}

}  // namespace grua::cli
