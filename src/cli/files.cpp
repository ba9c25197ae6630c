// diff, export and commit.
#include "cli/handlers.hpp"
#include "cli/output_file.hpp"
#include "cli/terminal.hpp"

#include "base/files.hpp"

#include <unistd.h>
#include <boost/json.hpp>

namespace grua::cli {

int container_changes(Context& context, const Parsed& given) {
    const Value answer = context.daemon().get(container_path(given.arguments[0], "/changes"));
    const auto* changes = answer.if_array();
    if (!changes) return 0;
    std::string out;
    for (const Value& each : *changes) {
        const std::int64_t kind = number_at(each, "Kind");
        out += fmt::format("{} {}\n", kind == 0 ? "C" : kind == 1 ? "A" : "D", text_at(each, "Path"));
    }
    print(out);
    return 0;
}

int export_container(Context& context, const Parsed& given) {
    const std::string path = given.flags.text("output");
    if (path.empty() && is_terminal(STDOUT_FILENO))
        fail(ErrorKind::invalid_argument, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
    std::optional<OutputFile> file;
    if (!path.empty()) file.emplace(path, "failed to export container");
    client::Stream stream = context.daemon().stream({.method = "GET", .target = container_path(given.arguments[0], "/export")});
    std::string buffer(std::size_t{256} << 10U, '\0');
    while (const std::size_t count = stream.response.read_some(buffer)) {
        const std::string_view piece = std::string_view(buffer).substr(0, count);
        if (file)
            write_all(file->fd(), piece, path);
        else
            print(piece);
    }
    if (file) file->publish();
    return 0;
}

int commit_container(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    if (flags.given("pause") && flags.given("no-pause"))
        fail(ErrorKind::invalid_argument, "conflicting options: --no-pause and --pause cannot be used together");
    const bool pause = flags.given("pause") ? flags.on("pause") : !flags.on("no-pause");
    client::Query query;
    query.add("container", given.arguments[0]);
    if (given.arguments.size() > 1) {
        if (given.arguments[1].contains('@')) fail(ErrorKind::invalid_argument, "refusing to create a tag with a digest reference");
        const auto [repository, tag] = split_reference(given.arguments[1]);
        query.add("repo", repository).add("tag", tag);
    }
    query.add("comment", flags.text("message")).add("author", flags.text("author")).add_if(!pause, "pause", "0");
    for (const std::string& change : flags.list("change")) query.add("changes", change);
    print(text_at(context.daemon().post("/commit" + query.text()), "Id") + "\n");
    return 0;
}

}  // namespace grua::cli
