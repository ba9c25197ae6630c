#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/terminal.hpp"
#include "cli/units.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::cli {

std::string image_path(const std::string& reference, std::string_view rest) {
    std::string out;
    for (const std::string& part : split(reference, '/')) out += "/" + percent_encode(part);
    return fmt::format("/images{}{}", out, rest);
}

std::pair<std::string, std::string> split_reference(const std::string& reference) {
    if (const std::size_t digest = reference.find('@'); digest != std::string::npos)
        return {reference.substr(0, digest), reference.substr(digest + 1)};
    const std::size_t colon = reference.rfind(':');
    const std::size_t slash = reference.rfind('/');
    const bool has_tag = colon != std::string::npos && (slash == std::string::npos || slash < colon);
    if (!has_tag) return {reference, "latest"};
    return {reference.substr(0, colon), reference.substr(colon + 1)};
}

namespace {

std::string short_image_id(std::string id) {
    if (id.starts_with("sha256:")) id.erase(0, 7);
    return id.substr(0, 12);
}

std::vector<std::string> texts_at(const Value& document, std::string_view member) {
    std::vector<std::string> out;
    if (const auto* list = at(document, member).if_array()) {
        for (const Value& each : *list) out.emplace_back(each.as_string());
    }
    return out;
}

}  // namespace

Value image_row(const Value& image, const std::string& repository, const std::string& tag, const std::string& digest, bool truncate) {
    const std::string id = text_at(image, "Id");
    const std::int64_t created = number_at(image, "Created");
    const std::int64_t containers = at(image, "Containers").is_null() ? -1 : number_at(image, "Containers");
    const auto size = [](std::int64_t bytes) { return bytes == -1 ? std::string("N/A") : human_size(static_cast<double>(bytes)); };
    const std::int64_t shared = at(image, "SharedSize").is_null() ? -1 : number_at(image, "SharedSize");
    const std::int64_t whole = number_at(image, "Size");
    return boost::json::object{{"ID", truncate ? short_image_id(id) : id},
                               {"Repository", repository},
                               {"Tag", tag},
                               {"Digest", digest},
                               {"CreatedSince", human_duration(now().time_since_epoch().count() / 1'000'000'000 - created) + " ago"},
                               {"CreatedAt", local_time(created)},
                               {"Size", human_size(static_cast<double>(whole), 3)},
                               {"Containers", containers == -1 ? std::string("N/A") : std::to_string(containers)},
                               {"VirtualSize", human_size(static_cast<double>(whole))},
                               {"SharedSize", size(shared)},
                               {"UniqueSize", shared == -1 ? std::string("N/A") : size(whole - shared)}};
}

namespace {

/// An image has a row for each of its tags, and for each digest without a tag.
void add_rows(std::vector<Value>& rows, const Value& image, bool digests, bool truncate) {
    const std::vector<std::string> tags = texts_at(image, "RepoTags");
    std::vector<std::string> unused = texts_at(image, "RepoDigests");
    bool any = false;
    for (const std::string& each : tags) {
        if (each == "<none>:<none>") continue;
        const auto [repository, tag] = split_reference(each);
        any = true;
        std::vector<std::string> known;
        for (const std::string& other : unused) {
            if (digests && other.starts_with(repository + "@")) known.push_back(other.substr(repository.size() + 1));
        }
        if (known.empty()) known.emplace_back("<none>");
        for (const std::string& digest : known) rows.push_back(image_row(image, repository, tag, digest, truncate));
    }
    std::erase_if(unused, [&](const std::string& digest) {
        return digest == "<none>@<none>" ||
               std::ranges::any_of(tags, [&](const std::string& tag) { return digest.starts_with(split_reference(tag).first + "@"); });
    });
    for (const std::string& each : unused) {
        const auto [repository, digest] = split_reference(each);
        rows.push_back(image_row(image, repository, "<none>", digests ? digest : "", truncate));
        any = true;
    }
    if (!any) rows.push_back(image_row(image, "<none>", "<none>", "<none>", truncate));
}

constexpr std::array image_headings{Heading{"ID", "IMAGE ID"},
                                    Heading{"Repository", "REPOSITORY"},
                                    Heading{"Tag", "TAG"},
                                    Heading{"Digest", "DIGEST"},
                                    Heading{"CreatedSince", "CREATED"},
                                    Heading{"CreatedAt", "CREATED AT"},
                                    Heading{"Size", "SIZE"},
                                    Heading{"Containers", "CONTAINERS"},
                                    Heading{"VirtualSize", "SIZE"},
                                    Heading{"SharedSize", "SHARED SIZE"},
                                    Heading{"UniqueSize", "UNIQUE SIZE"}};

constexpr std::array history_headings{
    Heading{"ID", "IMAGE"},  Heading{"CreatedSince", "CREATED"}, Heading{"CreatedAt", "CREATED AT"}, Heading{"CreatedBy", "CREATED BY"},
    Heading{"Size", "SIZE"}, Heading{"Comment", "COMMENT"}};

/// "images ls" looks for images named "ls".
void hint_at_command(const std::string& word) {
    for (const Command& command : commands()) {
        for (const char* name : command.names) {
            if (name && name == "image " + word)
                return fmt::print(stderr, "No images found matching \"{}\": did you mean \"grua image {}\"?\n", word, word);
        }
    }
}

}  // namespace

int list_images(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool tree = flags.on("tree");
    for (const char* other : {"quiet", "no-trunc", "digests", "format"}) {
        if (tree && flags.given(other)) fail(ErrorKind::invalid_argument, "--{} is not yet supported with --tree", other);
    }
    std::vector<std::string> filters = flags.list("filter");
    if (!given.arguments.empty()) filters.push_back("reference=" + given.arguments[0]);
    const std::string argument = filters_argument(filters);
    client::Query query;
    query.add_if(flags.on("all"), "all", "1").add_if(!argument.empty(), "filters", argument).add_if(tree, "manifests", "1");
    client::Client& daemon = context.daemon();
    if (tree) require_api(daemon, 47, "tree");
    const Value answer = daemon.get("/images/json" + query.text());
    if (tree) {
        print(image_tree(answer, terminal_size().columns, may_paint(STDOUT_FILENO)));
        return 0;
    }
    const std::string format = flags.text("format");
    const bool digests = flags.on("digests") || format_mentions(format, "Digest");
    std::vector<Value> rows;
    for (const Value& image : answer.as_array()) add_rows(rows, image, digests, !flags.on("no-trunc"));
    const std::string digest_column = flags.on("digests") ? "{{.Digest}}\t" : "";
    const Listing listing{.default_table = "{{.Repository}}\t{{.Tag}}\t" + digest_column +
                                           "{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
                          .headings = image_headings};
    print(render_rows(listing, flags.on("quiet") && (format.empty() || format == "table") ? "{{.ID}}" : format, rows));
    if (rows.empty() && !given.arguments.empty()) hint_at_command(given.arguments[0]);
    return 0;
}

int tag_image(Context& context, const Parsed& given) {
    const auto [repository, tag] = split_reference(given.arguments[1]);
    client::Query query;
    query.add("repo", repository).add("tag", tag);
    context.daemon().post(image_path(given.arguments[0], "/tag" + query.text()));
    return 0;
}

int remove_images(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Client& daemon = context.daemon();
    client::Query query;
    query.add_if(flags.on("force"), "force", "1").add_if(flags.on("no-prune"), "noprune", "1");
    if (flags.given("platform")) require_api(daemon, 50, "platform");
    add_platforms(query, daemon, flags, "platforms");
    return for_each_name(given.arguments, [&](const std::string& name) {
        Value answer;
        try {
            answer = daemon.remove(image_path(name, query.text()));
        } catch (const client::ApiError& error) {
            if (error.status() != 404 || !flags.on("force")) throw;
            fmt::print(stderr, "{}\n", error_text(error));
            return;
        }
        if (!answer.is_array()) return;
        for (const Value& each : answer.get_array()) {
            if (const std::string deleted = text_at(each, "Deleted"); !deleted.empty())
                print("Deleted: " + deleted + "\n");
            else
                print("Untagged: " + text_at(each, "Untagged") + "\n");
        }
    });
}

int image_history(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Client& daemon = context.daemon();
    client::Query query;
    if (const std::string platform = flags.text("platform"); !platform.empty()) {
        require_api(daemon, 48, "platform");
        query.add("platform", platform_json(platform));
    }
    const Value answer = daemon.get(image_path(given.arguments[0], "/history" + query.text()));
    const bool truncate = !flags.on("no-trunc");
    const bool human = flags.on("human");
    std::vector<Value> rows;
    for (const Value& layer : answer.as_array()) {
        const std::string id = text_at(layer, "Id");
        const std::int64_t created = number_at(layer, "Created");
        std::string by = text_at(layer, "CreatedBy");
        std::ranges::replace(by, '\t', ' ');
        const std::int64_t size = number_at(layer, "Size");
        const std::string time = created > 0 ? format_time(Time(std::chrono::seconds(created))) : std::string();
        rows.push_back(boost::json::object{
            {"ID", id == "<missing>" || !truncate ? id : short_image_id(id)},
            {"CreatedSince",
             human ? (created > 0 ? human_duration(now().time_since_epoch().count() / 1'000'000'000 - created) + " ago" : "N/A") : time},
            {"CreatedAt", time},
            {"CreatedBy", truncate ? ellipsis(by, 45) : by},
            {"Size", human ? human_size(static_cast<double>(size), 3) : std::to_string(size)},
            {"Comment", text_at(layer, "Comment")}});
    }
    const Listing listing{.default_table = "{{.ID}}\t{{" + std::string(human ? ".CreatedSince" : ".CreatedAt") +
                                           "}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
                          .headings = history_headings};
    const std::string format = flags.text("format");
    print(render_rows(listing, flags.on("quiet") && (format.empty() || format == "table") ? "{{.ID}}" : format, rows));
    return 0;
}

}  // namespace grua::cli
