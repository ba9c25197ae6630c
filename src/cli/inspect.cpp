#include "cli/handlers.hpp"
#include "cli/output.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

using Fetch = std::function<Value(const std::string& name)>;

/// What was found is shown, in docker's form; what was not is told after it.
int show(const Parsed& given, const Fetch& fetch) {
    const std::string format = given.flags.text("format");
    boost::json::array found;
    std::vector<std::string> errors;
    std::string out;
    for (const std::string& name : given.arguments) {
        try {
            Value document = fetch(name);
            if (!format.empty() && format != "json") out += render_document(format, document) + "\n";
            found.push_back(std::move(document));
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::unavailable && !dynamic_cast<const client::ApiError*>(&error)) throw;
            errors.push_back(error_text(error));
        }
    }
    if (format.empty())
        out = pretty_json(found) + "\n";
    else if (format == "json")
        out = to_json(found) + "\n";
    print(out);
    for (const std::string& error : errors) fmt::print(stderr, "{}\n", error);
    return errors.empty() ? 0 : 1;
}

std::string container_json(const std::string& name, bool size) { return container_path(name, size ? "/json?size=1" : "/json"); }

std::string named_path(const char* collection, const std::string& name) { return fmt::format("/{}/{}", collection, percent_encode(name)); }

}  // namespace

int inspect_containers(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    const bool size = given.flags.on("size");
    return show(given, [&](const std::string& name) { return daemon.get(container_json(name, size)); });
}

int inspect_images(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    client::Query query;
    if (const std::string platform = given.flags.text("platform"); !platform.empty()) {
        require_api(daemon, 49, "platform");
        query.add("platform", platform_json(platform));
    }
    return show(given, [&](const std::string& name) { return daemon.get(image_path(name, "/json" + query.text())); });
}

int inspect_volumes(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    return show(given, [&](const std::string& name) { return daemon.get(named_path("volumes", name)); });
}

int inspect_networks(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    const char* verbose = given.flags.on("verbose") ? "?verbose=true" : "";
    return show(given, [&](const std::string& name) { return daemon.get(named_path("networks", name) + verbose); });
}

int inspect_objects(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    const bool size = given.flags.on("size");
    struct Kind {
        const char* name;
        std::function<std::string(const std::string&)> path;
    };
    const std::vector<Kind> kinds{{"container", [&](const std::string& name) { return container_json(name, size); }},
                                  {"image", [](const std::string& name) { return image_path(name, "/json"); }},
                                  {"network", [](const std::string& name) { return named_path("networks", name); }},
                                  {"volume", [](const std::string& name) { return named_path("volumes", name); }}};
    const std::string type = given.flags.text("type");
    if (!type.empty()) {
        const auto kind = std::ranges::find_if(kinds, [&](const Kind& each) { return each.name == type; });
        if (kind == kinds.end()) fail(ErrorKind::invalid_argument, "\"{}\" is not a valid value for --type", type);
        return show(given, [&](const std::string& name) { return daemon.get(kind->path(name)); });
    }
    return show(given, [&](const std::string& name) -> Value {
        for (const Kind& kind : kinds) {
            try {
                return daemon.get(kind.path(name));
            } catch (const client::ApiError& error) {
                // What a daemon does not have at all, it has no object of.
                if (error.status() != 404 && error.status() != 501 && error.status() != 400) throw;
            }
        }
        fail(ErrorKind::not_found, "Error: No such object: {}", name);
    });
}

}  // namespace grua::cli
