#include "build/provenance.hpp"

#include "base/encoding.hpp"
#include "base/utf8.hpp"
#include "build/graph_json.hpp"
#include "content/hash.hpp"

#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace grua::build {
namespace {

using boost::json::array;
using boost::json::object;

constexpr std::string_view statement_type = "https://in-toto.io/Statement/v0.1";
constexpr std::string_view build_type_0_2 = "https://mobyproject.org/buildkit@v1";
constexpr std::string_view build_type_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// Where a build was told to begin.
struct ConfigSource {
    std::string uri;
    std::string digest;
    std::string path;
};

/// What is said, before it takes one of the forms.
struct Told {
    ConfigSource source;
    std::map<std::string, std::string> arguments;
    std::map<std::string, std::string> version_control;
    Materials materials;
    bool has_all_arguments = true;
    bool has_needs = true;  ///< Secrets and agents are named.
};

void add_text(object& out, std::string_view name, std::string_view text) {
    if (!text.empty()) out[name] = to_valid_utf8(text);
}

object texts_json(const std::map<std::string, std::string>& texts) {
    object out;
    for (const auto& [name, text] : texts) out[to_valid_utf8(name)] = to_valid_utf8(text);
    return out;
}

/// {"sha256": "…"} of "sha256:…", or of a commit.
object digest_set(const std::string& digest) {
    object out;
    if (digest.empty()) return out;
    if (const std::size_t colon = digest.find(':'); colon != std::string::npos)
        out[to_valid_utf8(digest.substr(0, colon))] = to_valid_utf8(digest.substr(colon + 1));
    else
        out[digest.size() == 64 ? "sha256" : "sha1"] = to_valid_utf8(digest);
    return out;
}

// --- what is told -------------------------------------------------------------------------------------------------------------------

/// Without what is of this host, or is said elsewhere.
std::map<std::string, std::string> told_options(const ClientOptions& options, const std::string& context_key) {
    static constexpr std::array<std::string_view, 4> of_host{"cgroup-parent", "image-resolve-mode", "platform", "cache-imports"};
    std::map<std::string, std::string> out;
    for (const auto& [name, value] : options) {
        if (std::ranges::find(of_host, name) != of_host.end() || name.starts_with("attest:")) continue;
        const bool is_context = name == context_key || name.starts_with("context:");
        out[name] = is_context ? without_secrets(value) : value;
    }
    return out;
}

std::string take(std::map<std::string, std::string>& from, const std::string& name) {
    const auto found = from.find(name);
    if (found == from.end() || found->second.empty()) return {};
    return std::move(from.extract(found).mapped());
}

/// A repository as materials name it: its folder is left out, and a ref of the query is one of the fragment.
std::string repository_name(const std::string& context) {
    const std::size_t sign = context.find('#');
    std::string ref = sign == std::string::npos ? std::string() : context.substr(sign + 1);
    ref = ref.substr(0, ref.find(':'));
    std::string url = context.substr(0, sign);
    if (const std::size_t question = url.find('?'); question != std::string::npos) {
        for (const std::string& each : split(url.substr(question + 1), '&')) {
            const std::size_t equals = each.find('=');
            if (equals == std::string::npos || equals + 1 == each.size()) continue;
            const std::string value = each.substr(equals + 1);
            if (each.starts_with("ref=")) ref = value;
            if (each.starts_with("branch=")) ref = "refs/heads/" + value;
            if (each.starts_with("tag=")) ref = "refs/tags/" + value;
        }
        url.resize(question);
    }
    return ref.empty() ? url : fmt::format("{}#{}", url, ref);
}

ConfigSource find_source(const std::string& context, const Materials& materials) {
    if (context.empty()) return {};
    const std::string name = repository_name(context);
    if (const auto found = materials.repositories.find(name); found != materials.repositories.end())
        return {.uri = found->first, .digest = found->second};
    if (const auto found = materials.files.find(context); found != materials.files.end())
        return {.uri = found->first, .digest = found->second};
    return {.uri = context};
}

Told told_of(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part) {
    Told out;
    out.materials = materials_of(read_graph(part.definition), record.pins);
    out.materials.merge(for_platform(record.seen, part.platform, record.platforms));
    name_images_once(out.materials);
    const auto own_key = record.options.find("contextkey");
    const bool has_own_key = own_key != record.options.end() && !own_key->second.empty();
    std::string context_key = has_own_key ? own_key->second : "context";
    out.arguments = told_options(record.options, context_key);
    if (!has_own_key && out.arguments.contains("input:context")) context_key = "input:context";
    out.source = find_source(take(out.arguments, context_key), out.materials);
    out.source.path = take(out.arguments, "filename");
    const std::string vcs = "vcs:";
    for (auto each = out.arguments.lower_bound(vcs); each != out.arguments.end() && each->first.starts_with(vcs);
         each = out.arguments.erase(each)) {
        const std::string name = each->first.substr(vcs.size());
        if (!each->second.empty()) out.version_control[name] = name == "source" ? without_secrets(each->second) : each->second;
    }
    out.has_all_arguments = !record.front_end.empty();
    if (wish.mode == ProvenanceWish::Mode::max) return out;
    out.has_needs = false;
    const std::size_t count = out.arguments.size();
    std::erase_if(out.arguments, [](const auto& each) { return each.first.starts_with("build-arg:") || each.first.starts_with("label:"); });
    if (out.arguments.size() != count) out.has_all_arguments = false;
    return out;
}

// --- steps --------------------------------------------------------------------------------------------------------------------------

/// The operations of a definition, each after those that it needs, and last what says which result is asked for.
class Steps {
public:
    explicit Steps(const pb::Definition& definition) {
        const Edge head = read_graph(definition);
        if (!head.vertex) return;
        vertices_ = in_order(head);
        for (const VertexPtr& each : vertices_) numbers_.emplace(each->digest, numbers_.size());
        head_ = content::digest_of(definition.def(definition.def_size() - 1)).text();
        numbers_.emplace(head_, numbers_.size());
        asked_ = head;
    }

    /// Into an object that also has other things.
    void add_to(object& out) const {
        if (vertices_.empty()) return;
        array steps;
        for (const VertexPtr& each : vertices_) steps.push_back(step(each->digest, each->op, each->inputs));
        steps.push_back(step(head_, {}, {asked_}));
        out["llbDefinition"] = std::move(steps);
        object names;
        std::map<std::string_view, std::size_t> sorted(numbers_.begin(), numbers_.end());
        for (const auto& [digest, number] : sorted) names[digest] = fmt::format("step{}", number);
        out["digestMapping"] = std::move(names);
    }

    /// "step3"; nothing where it is none of them.
    std::optional<std::string> name(const std::string& digest) const {
        const auto found = numbers_.find(digest);
        return found == numbers_.end() ? std::nullopt : std::optional(fmt::format("step{}", found->second));
    }

private:
    object step(const std::string& digest, pb::Op op, const std::vector<Edge>& inputs) const {
        op.clear_inputs();
        if (op.has_source()) {
            // Of one build, and of one client.
            pb::SourceOp& source = *op.mutable_source();
            source.mutable_attrs()->erase("local.session");
            source.mutable_attrs()->erase("local.unique");
            source.set_identifier(without_secrets(source.identifier()));
            if (const auto url = source.mutable_attrs()->find("git.fullurl"); url != source.mutable_attrs()->end())
                url->second = without_secrets(url->second);
        }
        object out{{"id", *name(digest)}, {"op", to_json(op)}};
        array names;
        for (const Edge& each : inputs) names.emplace_back(fmt::format("{}:{}", *name(each.vertex->digest), each.index));
        if (!names.empty()) out["inputs"] = std::move(names);
        return out;
    }

    std::vector<VertexPtr> vertices_;
    std::map<std::string, std::size_t, std::less<>> numbers_;
    std::string head_;
    Edge asked_;
};

object source_json(const pb::Definition& definition, const Steps& steps) {
    std::map<std::string, const pb::Locations*> sorted;
    for (const auto& [digest, locations] : definition.source().locations())
        if (const auto name = steps.name(digest)) sorted.emplace(*name, &locations);
    object locations;
    for (const auto& [name, each] : sorted) locations[name] = to_json(*each);
    array files;
    for (const pb::SourceInfo& each : definition.source().infos()) {
        object file;
        add_text(file, "filename", each.filename());
        add_text(file, "language", each.language());
        if (!each.data().empty()) file["data"] = base64_encode(each.data());
        Steps(each.definition()).add_to(file);
        files.push_back(std::move(file));
    }
    object out;
    if (!locations.empty()) out["locations"] = std::move(locations);
    out["infos"] = std::move(files);
    return out;
}

object layers_json(const std::vector<LayerChain>& chains, const Steps& steps) {
    std::map<std::string, std::vector<std::vector<std::string>>> told;  // Digests by the names of results, against saying one twice.
    object out;
    for (const LayerChain& chain : chains) {
        const auto step = steps.name(chain.vertex);
        if (!step) continue;
        const std::string name = fmt::format("{}:{}", *step, chain.index);
        std::vector<std::string> digests;
        array layers;
        for (const oci::Descriptor& each : chain.layers) {
            digests.push_back(each.digest);
            layers.push_back(object{{"mediaType", each.media_type}, {"digest", each.digest}, {"size", each.size}});
        }
        auto& known = told[name];
        if (std::ranges::find(known, digests) != known.end()) continue;
        known.push_back(std::move(digests));
        if (!out.contains(name)) out[name] = array();
        out[name].as_array().push_back(std::move(layers));
    }
    return out;
}

/// What has no name in SLSA.
object more_of(const ProvenanceWish& wish, const Told& told, const BuildPart& part, const Steps& steps) {
    object out;
    if (!told.version_control.empty()) out["vcs"] = texts_json(told.version_control);
    if (wish.mode != ProvenanceWish::Mode::max) return out;
    if (part.definition.source().infos_size() > 0) out["source"] = source_json(part.definition, steps);
    if (object layers = layers_json(part.layers, steps); !layers.empty()) out["layers"] = std::move(layers);
    return out;
}

object build_config(const Steps& steps) {
    object out;
    steps.add_to(out);
    return out;
}

// --- parts of both forms ------------------------------------------------------------------------------------------------------------

/// A client's own graph may call an image whatever it likes.
std::string image_url(const ImageMaterial& image) {
    try {
        return package_url(image.is_layout ? "oci" : "docker", oci::Reference::parse(image.reference), image.platform);
    } catch (const Error&) {
        return image.reference;
    }
}

array materials_json(const Materials& materials) {
    array out;
    const auto add = [&](std::string uri, const std::string& digest) {
        object one{{"uri", to_valid_utf8(uri)}};
        if (object set = digest_set(digest); !set.empty()) one["digest"] = std::move(set);
        out.push_back(std::move(one));
    };
    for (const auto& [image, digest] : materials.images) add(image_url(image), digest);
    for (const auto& [url, commit] : materials.repositories) add(url, commit);
    for (const auto& [url, digest] : materials.files) add(url, digest);
    return out;
}

array needs_json(const std::map<std::string, bool>& needs) {
    array out;
    for (const auto& [id, is_optional] : needs) {
        object one{{"id", to_valid_utf8(id)}};
        if (is_optional) one["optional"] = true;
        out.push_back(std::move(one));
    }
    return out;
}

object parameters_json(const Told& told, const BuildRecord& record) {
    object out;
    add_text(out, "frontend", record.front_end);
    if (!told.arguments.empty()) out["args"] = texts_json(told.arguments);
    if (told.has_needs && !told.materials.secrets.empty()) out["secrets"] = needs_json(told.materials.secrets);
    if (told.has_needs && !told.materials.agents.empty()) out["ssh"] = needs_json(told.materials.agents);
    array folders;
    for (const std::string& each : told.materials.folders) folders.push_back(object{{"name", to_valid_utf8(each)}});
    if (!folders.empty()) out["locals"] = std::move(folders);
    return out;
}

object source_json(const ConfigSource& source, std::string_view name_of_path) {
    object out;
    add_text(out, "uri", source.uri);
    if (object set = digest_set(source.digest); !set.empty()) out["digest"] = std::move(set);
    add_text(out, name_of_path, source.path);
    return out;
}

object form_0_2(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part, const Told& told) {
    const bool is_max = wish.mode == ProvenanceWish::Mode::max;
    const Steps steps(is_max ? part.definition : pb::Definition());
    const bool is_fixed = told.materials.are_fixed();
    object out{{"builder", object{{"id", to_valid_utf8(wish.builder_id)}}}, {"buildType", build_type_0_2}};
    if (array materials = materials_json(told.materials); !materials.empty()) out["materials"] = std::move(materials);
    out["invocation"] = object{{"configSource", source_json(told.source, "entryPoint")},
                               {"parameters", parameters_json(told, record)},
                               {"environment", object{{"platform", record.builder.text()}}}};
    if (is_max) out["buildConfig"] = build_config(steps);
    object metadata;
    add_text(metadata, "buildInvocationID", record.invocation);
    metadata["buildStartedOn"] = format_time(record.started);
    metadata["buildFinishedOn"] = format_time(record.finished);
    metadata["completeness"] = object{{"parameters", told.has_all_arguments}, {"environment", true}, {"materials", is_fixed}};
    metadata["reproducible"] = wish.is_reproducible;
    metadata["https://mobyproject.org/buildkit@v1#metadata"] = more_of(wish, told, part, steps);
    if (is_fixed && !told.materials.uses_network) metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true;
    out["metadata"] = std::move(metadata);
    return out;
}

object form_1(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part, const Told& told) {
    const bool is_max = wish.mode == ProvenanceWish::Mode::max;
    const Steps steps(is_max ? part.definition : pb::Definition());
    const bool is_fixed = told.materials.are_fixed();
    object definition{{"buildType", build_type_1}};
    if (array materials = materials_json(told.materials); !materials.empty()) definition["resolvedDependencies"] = std::move(materials);
    definition["externalParameters"] =
        object{{"configSource", source_json(told.source, "path")}, {"request", parameters_json(told, record)}};
    object internal;
    if (is_max) internal["buildConfig"] = build_config(steps);
    internal["builderPlatform"] = record.builder.text();
    definition["internalParameters"] = std::move(internal);
    object metadata;
    add_text(metadata, "invocationID", record.invocation);
    metadata["startedOn"] = format_time(record.started);
    metadata["finishedOn"] = format_time(record.finished);
    metadata["buildkit_metadata"] = more_of(wish, told, part, steps);
    if (is_fixed && !told.materials.uses_network) metadata["buildkit_hermetic"] = true;
    metadata["buildkit_completeness"] = object{{"request", told.has_all_arguments}, {"resolvedDependencies", is_fixed}};
    if (wish.is_reproducible) metadata["buildkit_reproducible"] = true;
    return object{{"buildDefinition", std::move(definition)},
                  {"runDetails", object{{"builder", object{{"id", to_valid_utf8(wish.builder_id)}}}, {"metadata", std::move(metadata)}}}};
}

}  // namespace

std::string_view predicate_type(ProvenanceWish::Form form) noexcept {
    return form == ProvenanceWish::Form::slsa_1 ? "https://slsa.dev/provenance/v1" : "https://slsa.dev/provenance/v0.2";
}

json::Value provenance_predicate(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part) {
    const Told told = told_of(wish, record, part);
    if (wish.form == ProvenanceWish::Form::slsa_1) return form_1(wish, record, part, told);
    return form_0_2(wish, record, part, told);
}

std::vector<Subject> image_subjects(const std::vector<oci::Reference>& names, const oci::Platform& platform, const oci::Digest& manifest) {
    std::vector<Subject> out;
    for (const oci::Reference& each : names) out.push_back(Subject::of(package_url("docker", each, platform.text()), manifest));
    return out;
}

std::vector<Subject> file_subjects(const TreeIndex& files) {
    std::vector<Subject> out;
    for (const auto& [path, entry] : files)
        if (S_ISREG(entry.mode)) out.push_back(Subject::of(path, oci::Digest::from(entry.digest)));
    return out;
}

json::Value in_toto_statement(std::string_view type_of_predicate, const std::vector<Subject>& subjects, json::Value predicate) {
    array all;
    for (const Subject& each : subjects) {
        object digests;
        for (const auto& [algorithm, digest] : each.digests) digests[to_valid_utf8(algorithm)] = to_valid_utf8(digest);
        all.push_back(object{{"name", to_valid_utf8(each.name)}, {"digest", std::move(digests)}});
    }
    return object{
        {"_type", statement_type}, {"predicateType", type_of_predicate}, {"subject", std::move(all)}, {"predicate", std::move(predicate)}};
}

std::string package_url(std::string_view kind, const oci::Reference& reference, const std::string& platform) {
    std::string out = fmt::format("pkg:{}", kind);
    for (const std::string& each : split(reference.familiar_name(), '/')) out += "/" + percent_encode(each);
    const oci::Reference named = reference.with_default_tag();
    if (!named.tag().empty()) out += "@" + percent_encode(named.tag());
    std::vector<std::string> qualifiers;
    if (named.digest()) qualifiers.push_back("digest=" + named.digest()->text());
    if (!platform.empty()) qualifiers.push_back("platform=" + percent_encode(platform));
    if (!qualifiers.empty()) out += "?" + join(qualifiers, "&");
    return out;
}

}  // namespace grua::build
