#include "build/export_provenance.hpp"

#include "base/template.hpp"

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

}  // namespace

bool has_provenance(const ProvenanceWish& wish, const ImageForm& form, std::size_t manifests) noexcept {
    if (!wish.inline_only) return true;
    return form.oci_types.value_or(true) && (form.inline_attestations || manifests > 1);
}

void add_provenance(images::BuiltImage& image, const ImageForm& form, const ProvenanceWish& wish, const BuildRecord& record,
                    const std::vector<pb::Definition>& definitions) {
    // Before a digest is known: Docker's types have no attestations.
    image.oci_types = true;
    image.is_index = true;
    for (std::size_t at = 0; at < image.manifests.size(); ++at) {
        const images::BuiltManifest& manifest = image.manifests[at];
        const oci::Descriptor target = images::manifest_of(manifest, image.oci_types);
        const BuildPart part{
            .platform = manifest.platform, .definition = definitions.at(at), .layers = chains_of(definitions.at(at), manifest.layers)};
        const json::Value statement =
            in_toto_statement(predicate_type(wish.form), image_subjects(form.names, manifest.platform, oci::Digest::from(target.digest)),
                              provenance_predicate(wish, record, part));
        image.attestations.push_back(
            {.subject = at,
             .statements = {{.predicate_type = std::string(predicate_type(wish.form)), .text = boost::json::serialize(statement)}},
             .is_artifact = form.oci_artifact.value_or(true)});
    }
}

bool has_provenance_file(const ProvenanceWish& wish) noexcept { return !wish.inline_only; }

std::string provenance_file(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part, const TreeIndex& files) {
    return templates::pretty_json(
        in_toto_statement(predicate_type(wish.form), file_subjects(files), provenance_predicate(wish, record, part)), "  ");
}

}  // namespace grua::build
