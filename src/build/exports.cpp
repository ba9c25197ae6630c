#include "build/exports.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

#include <algorithm>

namespace grua::build {
namespace {

constexpr std::string_view annotation_word = "annotation";
constexpr std::string_view date_argument = "build-arg:SOURCE_DATE_EPOCH";
constexpr std::string_view date_attribute = "source-date-epoch";

SourceDate take_source_date(Attributes& attributes, const wire::control::SolveRequest& request) {
    SourceDate out;
    if (const auto said = attributes.take(date_attribute)) {
        out.is_said = true;
        if (said->empty()) return out;
        out.seconds = parse_int(*said);
        if (!out.seconds) fail(ErrorKind::invalid_argument, "invalid {}: {:?}", date_attribute, *said);
        return out;
    }
    // One that is no number is for the build alone.
    const auto argument = request.frontendattrs().find(std::string(date_argument));
    if (argument == request.frontendattrs().end()) return out;
    if (!argument->second.empty() && !parse_int(argument->second)) return out;
    return {.is_said = true, .seconds = parse_int(argument->second)};
}

Annotation::Where parse_where(std::string_view text) {
    if (text.empty() || text == "manifest") return Annotation::Where::manifest;
    if (text == "manifest-descriptor") return Annotation::Where::manifest_descriptor;
    if (text == "index") return Annotation::Where::index;
    if (text == "index-descriptor") return Annotation::Where::index_descriptor;
    fail(ErrorKind::invalid_argument, "unrecognized annotation type {}", text);
}

/// "annotation.key", "annotation-index.key", "annotation-manifest[linux/amd64].key". Nothing where it is none of them.
std::optional<Annotation> parse_annotation(std::string_view name, const std::string& value) {
    if (!name.starts_with(annotation_word)) return std::nullopt;
    name.remove_prefix(annotation_word.size());
    std::string_view where;
    std::string_view platform;
    if (name.starts_with('-')) {
        const std::size_t end = name.find_first_of("[.");
        if (end == std::string_view::npos) return std::nullopt;
        where = name.substr(1, end - 1);
        name.remove_prefix(end);
    }
    if (name.starts_with('[')) {
        const std::size_t end = name.find(']');
        if (end == std::string_view::npos) return std::nullopt;
        platform = name.substr(1, end - 1);
        name.remove_prefix(end + 1);
    }
    if (!name.starts_with('.') || name.size() == 1) return std::nullopt;
    Annotation out{.where = parse_where(where), .platform = std::nullopt, .key = std::string(name.substr(1)), .value = value};
    if (!platform.empty()) out.platform = oci::Platform::parse(platform);
    return out;
}

std::vector<oci::Reference> take_names(Attributes& attributes) {
    std::vector<oci::Reference> out;
    for (const std::string& name : split(attributes.take("name").value_or(""), ',')) {
        if (name.empty()) continue;
        if (name == "*") fail(ErrorKind::not_implemented, "not implemented: name=*");
        const oci::Reference reference = oci::Reference::parse(name);
        if (reference.digest()) fail(ErrorKind::invalid_argument, "build tag cannot contain a digest: {}", name);
        const oci::Reference tagged = reference.with_default_tag();
        if (std::ranges::find(out, tagged) == out.end()) out.push_back(tagged);
    }
    return out;
}

ImageForm take_form(Attributes& attributes) {
    using enum Attributes::Empty;
    ImageForm out;
    out.names = take_names(attributes);
    out.layers = take_layers(attributes);
    out.oci_types = attributes.take_bool("oci-mediatypes", is_wrong);
    out.oci_artifact = attributes.take_bool("oci-artifact", is_wrong);
    out.inline_attestations = attributes.take_bool("attestation-inline", is_wrong).value_or(false);
    out.rewrite_timestamp = attributes.take_bool("rewrite-timestamp", is_wrong).value_or(false);
    attributes.refuse_if_on("prefer-nondist-layers", is_wrong);
    attributes.refuse_if_on("buildinfo", is_true);
    attributes.refuse_if_on("buildinfo-attrs", is_true);
    for (const auto& [name, value] : attributes.all()) {
        auto annotation = parse_annotation(name, value);
        if (!annotation) continue;
        attributes.take(name);
        out.annotations.push_back(std::move(*annotation));
    }
    if (out.oci_types == false && out.layers.compression == LayerCompression::zstd)
        fail(ErrorKind::invalid_argument, "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"");
    if (out.oci_types == false && out.oci_artifact == true)
        fail(ErrorKind::invalid_argument, "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"");
    return out;
}

ImageExport take_image(Attributes& attributes) {
    using enum Attributes::Empty;
    ImageExport out;
    const bool inlines = attributes.has("attestation-inline");
    const std::string names = attributes.has("name") ? attributes.all().at("name") : std::string();
    out.form = take_form(attributes);
    if (!inlines) out.form.inline_attestations = true;
    out.push = attributes.take_bool("push", is_true).value_or(out.push);
    out.push_by_digest = attributes.take_bool("push-by-digest", is_true).value_or(out.push_by_digest);
    out.insecure = attributes.take_bool("registry.insecure", is_true).value_or(out.insecure);
    out.unpack = attributes.take_bool("unpack", is_true).value_or(out.unpack);
    out.store = attributes.take_bool("store", is_true).value_or(out.store);
    out.name_canonical = attributes.take_bool("name-canonical", is_true).value_or(out.name_canonical);
    out.dangling_prefix = attributes.take("dangling-name-prefix").value_or("");
    // The protocol's own spelling.
    out.dangling_only_if_unnamed = attributes.take_bool("danging-name-empty-only", is_true).value_or(out.dangling_only_if_unnamed);
    attributes.refuse_if_on("unsafe-internal-store-allow-incomplete", is_true);
    for (const std::string& each : out.push_by_digest ? split(names, ',') : std::vector<std::string>{})
        if (!each.empty() && !oci::Reference::parse(each).is_name_only())
            fail(ErrorKind::invalid_argument, "can't push tagged ref {} by digest", each);
    if (out.push && out.form.names.empty()) fail(ErrorKind::invalid_argument, "push: there is no name to push it to");
    return out;
}

ArchiveExport take_archive(Attributes& attributes, ArchiveExport::Layout layout) {
    ArchiveExport out{.layout = layout, .form = take_form(attributes)};
    out.tar = attributes.take_bool("tar", Attributes::Empty::is_true).value_or(true);
    return out;
}

FilesExport::Mode parse_mode(std::string_view text) {
    const std::string word = to_lower(trim(text));
    if (word.empty() || word == "copy") return FilesExport::Mode::copy;
    if (word == "delete") return FilesExport::Mode::remove_others;
    fail(ErrorKind::invalid_argument, "invalid local exporter mode {:?}", text);
}

FilesExport take_files(Attributes& attributes, FilesExport::Kind kind) {
    FilesExport out{.kind = kind};
    out.platform_split = attributes.take_bool("platform-split", Attributes::Empty::is_wrong);
    out.attestation_prefix = attributes.take("attestation-prefix").value_or("");
    if (out.attestation_prefix.contains('/') || out.attestation_prefix.contains('\0'))
        fail(ErrorKind::invalid_argument, "attestation-prefix: it is the front of a name, and {:?} is none", out.attestation_prefix);
    if (kind == FilesExport::Kind::folder) out.mode = parse_mode(attributes.take("mode").value_or(""));
    return out;
}

Export parse_export(int id, const std::string& type, const google::protobuf::Map<std::string, std::string>& words,
                    const wire::control::SolveRequest& request) {
    return while_doing(fmt::format("exporter {:?}", to_valid_utf8(type)), [&] {
        Export out{.id = id, .type = type, .attributes = {words.begin(), words.end()}};
        Attributes attributes(out.attributes);
        out.source_date = take_source_date(attributes, request);
        // Where it goes is the client's own business, and some tell it all the same.
        attributes.take("dest");
        attributes.take("context");
        if (type == "moby" || type == "image")
            out.what = take_image(attributes);
        else if (type == "oci")
            out.what = take_archive(attributes, ArchiveExport::Layout::oci);
        else if (type == "docker")
            out.what = take_archive(attributes, ArchiveExport::Layout::docker);
        else if (type == "local")
            out.what = take_files(attributes, FilesExport::Kind::folder);
        else if (type == "tar")
            out.what = take_files(attributes, FilesExport::Kind::tar);
        else
            fail(ErrorKind::not_found, "there is no such exporter; there are image, oci, docker, local and tar");
        attributes.refuse_rest();
        return out;
    });
}

}  // namespace

std::vector<Export> parse_exports(const wire::control::SolveRequest& request) {
    std::vector<Export> out;
    if (static_cast<std::size_t>(request.exporters_size()) > exporter_limit)
        fail(ErrorKind::invalid_argument, "Exporters: more than {}", exporter_limit);
    for (const wire::control::Exporter& each : request.exporters())
        out.push_back(parse_export(static_cast<int>(out.size()), each.type(), each.attrs(), request));
    if (out.empty() && !request.exporterdeprecated().empty())
        out.push_back(parse_export(0, request.exporterdeprecated(), request.exporterattrsdeprecated(), request));
    return out;
}

}  // namespace grua::build
