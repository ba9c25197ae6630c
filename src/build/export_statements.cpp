#include "build/export_statements.hpp"

#include "base/template.hpp"

#include <algorithm>
#include <boost/json/serialize.hpp>

namespace grua::build {
namespace {

/// Those of the whole result. What its parts below have is not known here.
std::vector<LayerChain> chains_of(const pb::Definition& definition, const std::vector<images::PackedLayer>& packed) {
    const Edge head = read_graph(definition);
    if (!head.vertex) return {};
    LayerChain out{.vertex = head.vertex->digest, .index = head.index};
    for (const images::PackedLayer& each : packed)
        if (!each.is_empty) out.layers.push_back(each.blob);
    return {std::move(out)};
}

images::Attestation& attestation_of(images::BuiltImage& image, const ImageForm& form, std::size_t at) {
    const auto known = std::ranges::find(image.attestations, at, &images::Attestation::subject);
    if (known != image.attestations.end()) return *known;
    return image.attestations.emplace_back(
        images::Attestation{.subject = at, .statements = {}, .is_artifact = form.oci_artifact.value_or(true)});
}

/// Before a digest is known: Docker's types have no attestations.
void make_index(images::BuiltImage& image) {
    image.oci_types = true;
    image.is_index = true;
}

std::vector<Subject> subjects_of(const images::BuiltImage& image, const ImageForm& form, std::size_t at) {
    const images::BuiltManifest& manifest = image.manifests.at(at);
    return image_subjects(form.names, manifest.platform, oci::Digest::from(images::manifest_of(manifest, image.oci_types).digest));
}

}  // namespace

bool is_in_image(bool inline_only, const ImageForm& form, std::size_t manifests) noexcept {
    if (!inline_only) return true;
    return form.oci_types.value_or(true) && (form.inline_attestations || manifests > 1);
}

void add_statements(images::BuiltImage& image, const ImageForm& form, std::size_t at, const std::vector<GivenStatement>& given) {
    for (const GivenStatement& each : given) {
        if (!is_in_image(each.inline_only, form, image.manifests.size())) continue;
        make_index(image);
        std::string text = boost::json::serialize(statement_of(each, subjects_of(image, form, at)));
        attestation_of(image, form, at).statements.push_back({.predicate_type = each.predicate_type, .text = std::move(text)});
    }
}

void add_provenance(images::BuiltImage& image, const ImageForm& form, const ProvenanceWish& wish, const BuildRecord& record,
                    const std::vector<pb::Definition>& definitions) {
    make_index(image);
    for (std::size_t at = 0; at < image.manifests.size(); ++at) {
        const images::BuiltManifest& manifest = image.manifests[at];
        const BuildPart part{
            .platform = manifest.platform, .definition = definitions.at(at), .layers = chains_of(definitions.at(at), manifest.layers)};
        const json::Value statement =
            in_toto_statement(predicate_type(wish.form), subjects_of(image, form, at), provenance_predicate(wish, record, part));
        attestation_of(image, form, at)
            .statements.push_back({.predicate_type = std::string(predicate_type(wish.form)), .text = boost::json::serialize(statement)});
    }
}

std::string provenance_file(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part, const TreeIndex& files) {
    return templates::pretty_json(
        in_toto_statement(predicate_type(wish.form), file_subjects(files), provenance_predicate(wish, record, part)), "  ");
}

std::string statement_file(const GivenStatement& given, const TreeIndex& files) {
    return templates::pretty_json(statement_of(given, file_subjects(files)), "  ");
}

}  // namespace grua::build
