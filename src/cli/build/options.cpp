#include "cli/build/options.hpp"

#include "base/error.hpp"
#include "base/options.hpp"
#include "base/text.hpp"
#include "cli/create.hpp"
#include "oci/platform.hpp"
#include "oci/reference.hpp"

#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>
#include <tuple>

namespace grua::cli {
namespace {

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

const char* environment(const char* name) {
    const char* value = std::getenv(name);
    return value && *value ? value : nullptr;
}

/// "a=b,c=d", names in lower case.
std::vector<std::pair<std::string, std::string>> fields_of(const std::string& text) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const std::string& field : detail::split_csv(text)) {
        const std::size_t equals = field.find('=');
        if (equals == std::string::npos) bad("invalid value {}", field);
        out.emplace_back(to_lower(trim(std::string_view(field).substr(0, equals))), field.substr(equals + 1));
    }
    return out;
}

/// What a list's elements have between their commas.
std::vector<std::string> slices(const std::vector<std::string>& texts) {
    std::vector<std::string> out;
    for (const std::string& text : texts)
        for (std::string& each : detail::split_csv(text)) out.push_back(std::move(each));
    return out;
}

enum class Unsaid { is_environment, is_empty };

Words read_pairs(const std::vector<std::string>& texts, Unsaid unsaid) {
    Words out;
    for (const std::string& text : texts) {
        const std::size_t equals = text.find('=');
        const std::string name = text.substr(0, equals);
        if (name.empty()) bad("invalid key-value pair \"{}\": empty key", text);
        if (equals != std::string::npos)
            out[name] = text.substr(equals + 1);
        else if (unsaid == Unsaid::is_empty)
            out[name] = "";
        else if (const char* value = std::getenv(name.c_str()))
            out[name] = value;
    }
    return out;
}

std::vector<std::string> read_platforms(const Flags& flags) {
    std::vector<std::string> texts = flags.list("platform");
    if (const char* usual = environment("DOCKER_DEFAULT_PLATFORM"); usual && texts.empty()) texts.emplace_back(usual);
    std::vector<std::string> out;
    for (const std::string& text : texts) {
        for (const std::string& each : split(text, ',')) {
            const std::string word(trim(each));
            if (word.empty()) continue;
            out.push_back((word == "local" ? oci::Platform::host() : oci::Platform::parse(word)).text());
        }
    }
    return out;
}

std::vector<std::pair<std::string, std::string>> read_hosts(const Flags& flags) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const std::string& each : slices(flags.list("add-host"))) {
        std::size_t at = each.find('=');
        if (at == std::string::npos) at = each.find(':');
        if (at == std::string::npos || at == 0 || at + 1 == each.size()) bad("invalid host {}", each);
        std::string address = each.substr(at + 1);
        if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
        std::array<unsigned char, 16> bytes{};
        if (address != "host-gateway" && ::inet_pton(AF_INET, address.c_str(), bytes.data()) != 1 &&
            ::inet_pton(AF_INET6, address.c_str(), bytes.data()) != 1)
            bad("invalid host {}", each);
        out.emplace_back(each.substr(0, at), std::move(address));
    }
    return out;
}

std::vector<std::string> read_ulimits(const Flags& flags) {
    std::vector<std::string> out;
    for (const auto& each : detail::parse_ulimits(flags.list("ulimit")))
        out.push_back(
            fmt::format("{}={}:{}", std::string_view(each.at("Name").as_string()), each.at("Soft").as_int64(), each.at("Hard").as_int64()));
    return out;
}

std::vector<std::string> read_tags(const Flags& flags) {
    std::vector<std::string> out;
    for (const std::string& each : flags.list("tag")) {
        try {
            (void)oci::Reference::parse(each);
        } catch (const Error& error) {
            bad("invalid tag \"{}\": {}", each, error.what());
        }
        out.push_back(each);
    }
    return out;
}

/// --provenance=mode=max is --attest=type=provenance,mode=max.
std::map<std::string, std::optional<std::string>> read_attestations(const Flags& flags) {
    std::vector<std::string> texts = flags.list("attest");
    for (const char* type : {"provenance", "sbom"}) {
        const std::string said = flags.text(type);
        if (said.empty()) continue;
        if (const auto on = parse_bool(said))
            texts.push_back(fmt::format("type={},disabled={}", type, !*on));
        else
            texts.push_back(fmt::format("type={},{}", type, said));
    }
    std::map<std::string, std::optional<std::string>> out;
    for (const std::string& text : texts) {
        std::string type;
        bool is_off = false;
        for (const auto& [name, value] : fields_of(text)) {
            if (name == "type") type = value;
            if (name != "disabled") continue;
            const auto off = parse_bool(value);
            if (!off) bad("invalid value disabled={}", value);
            is_off = *off;
        }
        if (type.empty()) bad("attestation type not specified");
        const auto [place, is_new] = out.emplace(type, is_off ? std::nullopt : std::optional(text));
        if (!is_new) bad("duplicate attestation field {}", type);
    }
    return out;
}

/// --push and --load beside the outputs, and what all of them have in common.
std::vector<BuildOutput> read_outputs(const Flags& flags) {
    std::vector<BuildOutput> out;
    for (const std::string& text : flags.list("output"))
        if (!text.empty()) out.push_back(detail::parse_output(text));
    const auto find = [&](std::string_view type) { return std::ranges::find(out, type, &BuildOutput::type); };
    if (flags.on("push")) {
        if (find("moby") == out.end()) out.push_back({.type = "moby", .attributes = {}, .destination = {}});
        for (BuildOutput& each : out)
            if (each.type == "moby") each.attributes["push"] = "true";
    }
    // The engine's images are its own: what is exported as one is loaded.
    if (flags.on("load") && find("moby") == out.end()) out.push_back({.type = "moby", .attributes = {}, .destination = {}});
    const Words annotations = detail::parse_annotations(flags.list("annotation"));
    for (BuildOutput& each : out)
        if (each.type == "moby" || each.type == "oci" || each.type == "docker")
            each.attributes.insert(annotations.begin(), annotations.end());
    if (std::ranges::count(out, std::string("-"), &BuildOutput::destination) > 1) bad("multiple outputs configured to write to stdout");
    return out;
}

BuildProgress read_progress(const Flags& flags) {
    constexpr std::array known{std::pair{"auto", BuildProgress::automatic}, std::pair{"plain", BuildProgress::plain},
                               std::pair{"tty", BuildProgress::tty}, std::pair{"rawjson", BuildProgress::rawjson},
                               std::pair{"quiet", BuildProgress::quiet}};
    std::string text = flags.text("progress");
    if (const char* usual = environment("BUILDKIT_PROGRESS"); usual && text == "auto") text = usual;
    const auto* found = std::ranges::find_if(known, [&](const auto& each) { return text == each.first; });
    if (found == known.end()) bad("invalid progress mode {}", text);
    if (!flags.on("quiet")) return found->second;
    if (flags.given("progress") && found->second != BuildProgress::automatic && found->second != BuildProgress::quiet)
        bad("progress={} and quiet cannot be used together", text);
    return BuildProgress::quiet;
}

void check_together(const BuildOptions& options) {
    const auto is_type = [&](std::string_view type) {
        return std::ranges::any_of(options.outputs, [&](const BuildOutput& each) { return each.type == type; });
    };
    if (!options.image_id_file.empty() && (is_type("local") || is_type("tar")))
        bad("local and tar exporters are incompatible with image ID file");
    for (const BuildOutput& each : options.outputs) {
        const auto push = each.attributes.find("push");
        const bool is_pushed = push != each.attributes.end() && parse_bool(push->second).value_or(false);
        if (is_pushed && options.tags.empty() && !each.attributes.contains("name")) bad("tag is needed when pushing to registry");
    }
    if (options.network != "default" && options.network != "none" && options.network != "host")
        bad("network mode \"{}\" not supported by buildkit", options.network);
    std::set<std::string> ids;
    for (const BuildAgent& each : options.agents)
        if (!ids.insert(each.id).second) bad("duplicate agent ID \"{}\"", each.id);
    if (options.context == "-" && options.file == "-") bad("invalid argument: can't use stdin for both build context and dockerfile");
}

}  // namespace

bool BuildOutput::is_folder() const {
    if (type == "local") return true;
    const auto tar = attributes.find("tar");
    return (type == "oci" || type == "docker") && tar != attributes.end() && !parse_bool(tar->second).value_or(true);
}

BuildOutput detail::parse_output(const std::string& text) {
    BuildOutput out;
    const std::vector<std::string> words = split_csv(text);
    if (words.size() == 1 && words[0] == text && !text.starts_with("type=")) {
        out.type = text == "-" ? "tar" : "local";
        out.destination = text;
        return out;
    }
    for (auto& [name, value] : fields_of(text)) {
        if (name == "type")
            out.type = value;
        else if (name == "dest")
            out.destination = value;
        else
            out.attributes[name] = value;
    }
    if (out.type.empty()) bad("type is required for output");
    if (out.type == "registry") {
        out.type = "image";
        out.attributes["push"] = "true";
    }
    // The image that the engine keeps is the one that docker would load.
    if (out.type == "docker" && out.destination.empty() && !out.is_folder()) out.type = "image";
    if (out.type == "image") out.type = "moby";
    constexpr std::array known{"moby", "oci", "docker", "local", "tar", "cacheonly"};
    if (std::ranges::find(known, out.type) == known.end()) bad("exporter \"{}\" could not be found", out.type);
    if (out.is_folder()) {
        if (out.destination.empty()) bad("dest is required for {} exporter", out.type);
        if (out.destination == "-") bad("dest cannot be stdout for {} exporter", out.type);
    } else if (out.type == "moby" || out.type == "cacheonly") {
        if (!out.destination.empty()) bad("dest is of no use for {} exporter", out.type == "moby" ? "image" : out.type);
    } else if (out.destination.empty()) {
        out.destination = "-";
    }
    return out;
}

BuildSecret detail::parse_secret(const std::string& text) {
    BuildSecret out;
    std::string type;
    for (const std::string& field : split_csv(text)) {
        const std::size_t equals = field.find('=');
        if (equals == std::string::npos) bad("invalid field '{}' must be a key=value pair", field);
        const std::string name = to_lower(field.substr(0, equals));
        const std::string value = field.substr(equals + 1);
        if (name == "type" && value != "file" && value != "env") bad("unsupported secret type \"{}\"", value);
        if (name == "type")
            type = value;
        else if (name == "id")
            out.id = value;
        else if (name == "source" || name == "src")
            out.path = value;
        else if (name == "env")
            out.variable = value;
        else
            bad("unexpected key '{}' in '{}'", name, field);
    }
    if (type == "env" && out.variable.empty()) out.variable = std::exchange(out.path, {});
    if (out.id.empty()) bad("secret missing ID");
    if (out.variable.empty() && out.path.empty()) (std::getenv(out.id.c_str()) ? out.variable : out.path) = out.id;
    return out;
}

BuildAgent detail::parse_agent(const std::string& text) {
    const std::size_t equals = text.find('=');
    BuildAgent out{.id = text.substr(0, equals), .socket = {}};
    if (out.id.empty()) out.id = "default";
    std::vector<std::string> paths;
    if (equals != std::string::npos) {
        for (const std::string& each : split(std::string_view(text).substr(equals + 1), ',')) {
            if (each == "raw=true")
                out.is_raw = true;
            else if (each != "raw=false" && !each.empty())
                paths.push_back(each);
        }
    }
    if (paths.size() > 1)
        fail(ErrorKind::not_implemented, "not implemented: --ssh with several keys; start an agent and give it the keys (ssh-add)");
    if (!paths.empty())
        out.socket = paths.front();
    else if (const char* usual = environment("SSH_AUTH_SOCK"))
        out.socket = usual;
    if (out.socket.empty()) bad("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
    return out;
}

std::vector<BuildCacheEntry> detail::parse_caches(const std::vector<std::string>& texts) {
    std::vector<BuildCacheEntry> out;
    for (const std::string& text : texts) {
        if (text.empty()) continue;
        if (!text.contains('=')) {
            for (const std::string& each : split_csv(text)) out.push_back({.type = "registry", .attributes = {{"ref", each}}});
            continue;
        }
        BuildCacheEntry entry;
        for (auto& [name, value] : fields_of(text)) {
            if (name == "type")
                entry.type = value;
            else
                entry.attributes[name] = value;
        }
        if (entry.type.empty()) bad("type required for \"{}\"", text);
        out.push_back(std::move(entry));
    }
    return out;
}

Words detail::parse_annotations(const std::vector<std::string>& texts) {
    constexpr std::array known{"index", "index-descriptor", "manifest", "manifest-descriptor"};
    Words out;
    for (const std::string& text : texts) {
        if (text.empty()) continue;
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos) bad("invalid annotation \"{}\", expected key=value", text);
        const std::string value = text.substr(equals + 1);
        const std::size_t colon = text.substr(0, equals).find(':');
        if (colon == std::string::npos) {
            out["annotation." + text.substr(0, equals)] = value;
            continue;
        }
        for (const std::string& place : split(std::string_view(text).substr(0, colon), ',')) {
            const std::string word = place.substr(0, place.find('['));
            if (std::ranges::find(known, word) == known.end()) bad("unknown annotation type \"{}\"", place);
            out[fmt::format("annotation-{}.{}", place, text.substr(colon + 1, equals - colon - 1))] = value;
        }
    }
    return out;
}

BuildCall detail::parse_call(const std::string& text) {
    BuildCall out;
    const std::vector<std::string> words = split_csv(text);
    if (words.size() == 1 && !text.contains('=')) {
        out.name = text;
    } else {
        std::size_t index = 0;
        for (const std::string& word : words) {
            const std::size_t equals = word.find('=');
            if (equals == std::string::npos) {
                if (index++ != 0) bad("invalid print value: {}", text);
                out.name = word;
                continue;
            }
            ++index;
            const std::string name = word.substr(0, equals);
            const std::string value = word.substr(equals + 1);
            if (name == "format") {
                if (value != "json" && value != "text") bad("invalid format \"{}\"", value);
                out.is_json = value == "json";
            } else if (name == "ignorestatus") {
                const auto on = parse_bool(value);
                if (!on) bad("invalid ignorestatus print value: {}", value);
                out.ignores_status = *on;
            } else {
                bad("invalid print value: {}", text);
            }
        }
    }
    if (out.name == "check") out.name = "lint";
    return out;
}

BuildOptions read_build_options(const Flags& flags, const std::string& context) {
    if (const std::string builder = flags.text("builder"); !builder.empty() && builder != "default")
        fail(ErrorKind::not_implemented, "not implemented: --builder {}; the engine's own, default, is the only one", builder);
    BuildOptions out{.context = context, .file = flags.text("file")};
    out.tags = read_tags(flags);
    out.arguments = read_pairs(flags.list("build-arg"), Unsaid::is_environment);
    if (const char* date = environment("SOURCE_DATE_EPOCH")) out.arguments.emplace("SOURCE_DATE_EPOCH", date);
    out.labels = read_pairs(flags.list("label"), Unsaid::is_empty);
    out.target = flags.text("target");
    out.no_cache = flags.on("no-cache");
    out.no_cache_stages = flags.list("no-cache-filter");
    out.pull = flags.on("pull");
    out.platforms = read_platforms(flags);
    out.outputs = read_outputs(flags);
    out.has_output = !out.outputs.empty();
    std::erase_if(out.outputs, [](const BuildOutput& each) { return each.type == "cacheonly"; });
    for (const std::string& each : flags.list("secret")) out.secrets.push_back(detail::parse_secret(each));
    for (const std::string& each : flags.list("ssh")) out.agents.push_back(detail::parse_agent(each));
    out.hosts = read_hosts(flags);
    out.network = flags.text("network");
    if (out.network.empty()) out.network = "default";
    out.cgroup_parent = flags.text("cgroup-parent");
    out.shm_size = flags.bytes("shm-size");
    out.ulimits = read_ulimits(flags);
    for (const std::string& each : flags.list("build-context")) {
        const std::size_t equals = each.find('=');
        if (equals == std::string::npos || equals == 0) bad("invalid context value: {}, expected key=value", each);
        out.contexts[each.substr(0, equals)] = each.substr(equals + 1);
    }
    out.cache_from = detail::parse_caches(flags.list("cache-from"));
    out.cache_to = detail::parse_caches(flags.list("cache-to"));
    if (const auto inlined = out.arguments.find("BUILDKIT_INLINE_CACHE");
        inlined != out.arguments.end() && parse_bool(inlined->second).value_or(false))
        out.cache_to.push_back({.type = "inline", .attributes = {}});
    out.entitlements = slices(flags.list("allow"));
    out.attestations = read_attestations(flags);
    out.image_id_file = flags.text("iidfile");
    out.metadata_file = flags.text("metadata-file");
    out.progress = read_progress(flags);
    const std::string call = flags.on("check") ? "check" : flags.text("call");
    if (!call.empty() && call != "build") out.call = detail::parse_call(call);
    if (flags.given("why")) out.why = flags.text("why");
    if (flags.given("reproducible")) {
        const std::string how = flags.text("reproducible");
        out.is_checked = how == "check";
        if (!how.empty() && !out.is_checked && !parse_bool(how)) bad("invalid --reproducible={}: true, false or check", how);
        out.is_reproducible = how.empty() || out.is_checked || parse_bool(how).value_or(false);
    }
    if (out.is_checked && (out.call || context == "-" || out.file == "-"))
        bad("--reproducible=check builds twice, which needs a context that can be read twice");
    if (out.call && out.why)
        fail(ErrorKind::invalid_argument, "--why and --{} cannot be given together: nothing is built",
             flags.on("check") ? "check" : "call");
    check_together(out);
    return out;
}

}  // namespace grua::cli
