#include "base/files.hpp"
#include "base/text.hpp"
#include "cli/context_archive.hpp"
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/terminal.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

constexpr std::string_view default_description = "Current DOCKER_HOST based configuration";
constexpr const char* in_memory = "<IN MEMORY>";

/// Of --docker, in docker's words.
struct DockerEndpoint {
    std::string host;
    bool skip_verify = false;
    TlsMaterial material;
};

std::map<std::string, std::string> docker_options(const Flags& flags) {
    constexpr std::array known{"from", "host", "ca", "cert", "key", "skip-tls-verify"};
    std::map<std::string, std::string> out;
    for (const std::string& given : flags.list("docker")) {
        for (const std::string& each : split(given, ',')) {
            const std::size_t equals = each.find('=');
            if (equals == std::string::npos)
                throw UsageError(
                    fmt::format("invalid argument \"{}\" for \"--docker\" flag: {} must be formatted as key=value", given, each));
            const std::string name = each.substr(0, equals);
            if (std::ranges::find(known, name) == known.end())
                fail(ErrorKind::invalid_argument, "unable to create docker endpoint config: unrecognized config key: {}", name);
            out[name] = each.substr(equals + 1);
        }
    }
    return out;
}

void add_material(TlsMaterial& to, const tls::Files& files) {
    const auto add = [&](const char* name, const std::string& path) {
        if (!path.empty()) to["docker"][name] = read_file(path);
    };
    add("ca.pem", files.authorities);
    add("cert.pem", files.certificate);
    add("key.pem", files.key);
}

/// The daemon of another context, or of what the options and the environment say.
DockerEndpoint endpoint_of(const Context& context, const DockerContexts& store, const std::string& name) {
    DockerEndpoint out;
    if (name != default_context) {
        const DockerContext from = store.find(name);
        out.host = from.host();
        out.skip_verify = from.skip_verify();
        if (const TlsMaterial all = store.material(name); all.contains("docker")) out.material["docker"] = all.at("docker");
        return out;
    }
    const DaemonChoice& choice = context.choice();
    out.host = choice.host();
    if (const auto security = choice.security()) {
        out.skip_verify = security->daemon == tls::Verify::no;
        add_material(out.material, security->files);
    }
    return out;
}

DockerEndpoint endpoint_of(const Context& context, const DockerContexts& store, const std::map<std::string, std::string>& options) {
    const auto value = [&](const char* name) {
        const auto found = options.find(name);
        return found == options.end() ? std::string() : found->second;
    };
    if (const std::string from = value("from"); !from.empty()) return endpoint_of(context, store, from);
    return while_doing("unable to create docker endpoint config: invalid docker endpoint options", [&] {
        DockerEndpoint out{.host = value("host"), .skip_verify = parse_bool(value("skip-tls-verify")).value_or(false), .material = {}};
        if (!value("skip-tls-verify").empty() && !parse_bool(value("skip-tls-verify")))
            fail(ErrorKind::invalid_argument, "skip-tls-verify: {:?} is neither true nor false", value("skip-tls-verify"));
        if (!out.host.empty()) client::parse_endpoint(out.host);
        const tls::Files files{.authorities = value("ca"), .certificate = value("cert"), .key = value("key")};
        // What cannot be used is found now, and not by the first command that wants it.
        if (!files.authorities.empty() || !files.certificate.empty() || !files.key.empty()) tls::Context::client(files, tls::Verify::no);
        add_material(out.material, files);
        return out;
    });
}

void set_endpoint(DockerContext& context, const DockerEndpoint& endpoint) { context.set_host(endpoint.host, endpoint.skip_verify); }

void warn_of_environment(std::string_view wanted) {
    const char* name = nullptr;
    if (!environment_host(&name)) return;
    fmt::print(
        stderr,
        "Warning: {0} environment variable overrides the active context. To use {1}, either set the global --context flag, or unset {0} "
        "environment variable.\n",
        name, wanted);
}

/// As inspect shows it.
Value shown(const Context& context, const DockerContexts& store, const std::string& name) {
    const auto of = [](std::string_view metadata, std::string_view tls) {
        return boost::json::object{{"MetadataPath", metadata}, {"TLSPath", tls}};
    };
    if (name == default_context) {
        const auto security = context.choice().security();
        return boost::json::object{
            {"Name", name},
            {"Metadata", boost::json::object()},
            {"Endpoints",
             boost::json::object{{"docker", boost::json::object{{"Host", context.choice().host()},
                                                                {"SkipTLSVerify", security && security->daemon == tls::Verify::no}}}}},
            {"TLSMaterial", boost::json::object()},
            {"Storage", of(in_memory, in_memory)}};
    }
    boost::json::object out = store.find(name).document;
    boost::json::object material;
    for (const auto& [endpoint, files] : store.material(name)) {
        boost::json::array names;
        for (const auto& [file, bytes] : files) names.emplace_back(file);
        material[endpoint] = std::move(names);
    }
    out["TLSMaterial"] = std::move(material);
    out["Storage"] = of(store.metadata_path(name), store.tls_path(name));
    return out;
}

Fd open_input(const std::string& path) {
    if (path == "-") return Fd{::dup(STDIN_FILENO)};
    Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) fail_errno("open {}", path);
    return file;
}

}  // namespace

int create_context(Context& context, const Parsed& given) {
    DockerContexts store;
    const std::string& name = given.arguments.front();
    check_context_name(name);
    if (store.has(name)) fail(ErrorKind::conflict, "context \"{}\" already exists", name);
    const std::map<std::string, std::string> options = docker_options(given.flags);
    const std::string from = given.flags.text("from");
    if (!from.empty() && !options.empty()) fail(ErrorKind::invalid_argument, "conflicting options: --from and --docker");
    DockerContext made{.name = name, .document = {}};
    made.document["Name"] = name;
    made.document["Metadata"] = boost::json::object();
    TlsMaterial material;
    if (options.empty()) {
        const std::string source = from.empty() ? context.choice().context() : from;
        const DockerEndpoint endpoint = endpoint_of(context, store, source);
        made.describe(source == default_context ? std::string(default_description) : store.find(source).description());
        set_endpoint(made, endpoint);
        material = endpoint.material;
    } else {
        const DockerEndpoint endpoint = endpoint_of(context, store, options);
        set_endpoint(made, endpoint);
        material = endpoint.material;
    }
    if (given.flags.given("description")) made.describe(given.flags.text("description"));
    store.write(made, material);
    print(name + "\n");
    fmt::print(stderr, "Successfully created context \"{}\"\n", name);
    return 0;
}

int update_context(Context& context, const Parsed& given) {
    DockerContexts store;
    DockerContext changed = store.find(given.arguments.front());
    const std::map<std::string, std::string> options = docker_options(given.flags);
    std::optional<TlsMaterial> material;
    if (!options.empty()) {
        const DockerEndpoint endpoint = endpoint_of(context, store, options);
        set_endpoint(changed, endpoint);
        // Of other endpoints, as other programs keep them, it stays.
        material = store.material(changed.name);
        material->erase("docker");
        material->insert(endpoint.material.begin(), endpoint.material.end());
    }
    if (given.flags.given("description")) changed.describe(given.flags.text("description"));
    store.write(changed, material);
    print(changed.name + "\n");
    fmt::print(stderr, "Successfully updated context \"{}\"\n", changed.name);
    return 0;
}

int list_contexts(Context& context, const Parsed& given) {
    static constexpr std::array headings{Heading{"Name", "NAME"}, Heading{"Description", "DESCRIPTION"},
                                         Heading{"DockerEndpoint", "DOCKER ENDPOINT"}, Heading{"Error", "ERROR"},
                                         Heading{"Current", "CURRENT"}};
    const DockerContexts store;
    const std::string& current = context.choice().context();
    std::vector<boost::json::object> contexts;
    const auto add = [&](const std::string& name, std::string_view description, const std::string& host, const std::string& error) {
        contexts.push_back(
            {{"Name", name}, {"Description", description}, {"DockerEndpoint", host}, {"Current", name == current}, {"Error", error}});
    };
    add(std::string(default_context), default_description, context.choice().host(), "");
    bool known = current == default_context;
    for (const DockerContext& each : store.list()) {
        add(each.name, each.description(), each.host(), "");
        known = known || each.name == current;
    }
    if (!known) {
        try {
            store.find(current);
        } catch (const Error& error) {
            add(current, "", "", error.what());
        }
    }
    std::ranges::sort(contexts, {}, [](const boost::json::object& each) { return each.at("Name").get_string(); });
    if (given.flags.on("quiet")) {
        for (const auto& each : contexts) print(fmt::format("{}\n", std::string_view(each.at("Name").get_string())));
        return 0;
    }
    const std::string format = given.flags.text("format");
    std::vector<Value> rows;
    for (boost::json::object& each : contexts) {
        // A table marks the one in use; its cells are short.
        if (format.empty() || format.starts_with("table")) {
            if (each.at("Current").get_bool()) each["Name"] = fmt::format("{} *", std::string_view(each.at("Name").get_string()));
            const std::string error(each.at("Error").get_string());
            if (error.size() > 45) each["Error"] = error.substr(0, 44) + "…";
        }
        rows.emplace_back(std::move(each));
    }
    print(render_rows({.default_table = "{{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}", .headings = headings, .method = {}},
                      format, rows));
    warn_of_environment("a context");
    return 0;
}

int inspect_contexts(Context& context, const Parsed& given) {
    const DockerContexts store;
    std::vector<std::string> names = given.arguments;
    if (names.empty()) names.push_back(context.choice().context());
    const std::string format = given.flags.text("format");
    boost::json::array found;
    std::string out;
    const int status = for_each_name(names, [&](const std::string& name) {
        Value document = shown(context, store, name);
        if (!format.empty() && format != "json") out += render_document(format, document) + "\n";
        found.push_back(std::move(document));
    });
    if (format.empty()) out = pretty_json(found) + "\n";
    if (format == "json") out = to_json(found) + "\n";
    print(out);
    return status;
}

int use_context(Context&, const Parsed& given) {
    const std::string& name = given.arguments.front();
    const bool is_default = name == default_context;
    if (!is_default) DockerContexts().find(name);
    if (DockerConfig::current_context() != (is_default ? std::string() : name))
        DockerConfig::load().use_context(is_default ? std::string() : name);
    print(name + "\n");
    fmt::print(stderr, "Current context is now \"{}\"\n", name);
    if (!is_default) warn_of_environment(fmt::format("\"{}\"", name));
    return 0;
}

int show_context(Context& context, const Parsed&) {
    print(context.choice().context() + "\n");
    return 0;
}

int remove_contexts(Context& context, const Parsed& given) {
    DockerContexts store;
    return for_each_name(given.arguments, [&](const std::string& name) {
        if (name == default_context) fail(ErrorKind::invalid_argument, "context \"default\" cannot be removed");
        check_context_name(name);
        if (name == context.choice().context()) {
            if (!given.flags.on("force")) fail(ErrorKind::conflict, "context \"{}\" is in use, set -f flag to force remove", name);
            if (name == DockerConfig::current_context()) DockerConfig::load().use_context({});
        }
        if (!store.has(name) && given.flags.on("force")) return print(name + "\n");
        store.remove(name);
        print(name + "\n");
    });
}

int export_context(Context&, const Parsed& given) {
    const DockerContexts store;
    const std::string& name = given.arguments.front();
    const ContextArchive archive{.document = store.find(name).document, .material = store.material(name)};
    const std::string path = given.arguments.size() > 1 ? given.arguments[1] : name + ".dockercontext";
    if (path == "-") {
        if (is_terminal(STDOUT_FILENO)) fail(ErrorKind::invalid_argument, "cowardly refusing to export to a terminal, specify a file path");
        write_context(STDOUT_FILENO, archive);
        return 0;
    }
    // There are keys in it.
    const Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    if (!file) fail_errno("open {}", path);
    write_context(file.get(), archive);
    fmt::print(stderr, "Written file \"{}\"\n", path);
    return 0;
}

int import_context(Context&, const Parsed& given) {
    DockerContexts store;
    const std::string& name = given.arguments.front();
    check_context_name(name);
    if (store.has(name)) fail(ErrorKind::conflict, "context \"{}\" already exists", name);
    const Fd input = open_input(given.arguments[1]);
    ContextArchive archive = read_context(read_all(input.get(), given.arguments[1], context_limit + context_limit / 10));
    store.write({.name = name, .document = std::move(archive.document)}, archive.material);
    print(name + "\n");
    fmt::print(stderr, "Successfully imported context \"{}\"\n", name);
    return 0;
}

}  // namespace grua::cli
