// The documents of a built image, and how it comes into the store.
#include "images/built.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/log.hpp"
#include "images/built_claims.hpp"
#include "images/make.hpp"
#include "layers/source.hpp"

#include <algorithm>
#include <set>

namespace grua::images {
namespace {

constexpr std::string_view statement_media_type = "application/vnd.in-toto+json";
constexpr std::string_view attestation_artifact_type = "application/vnd.docker.attestation.manifest.v1+json";
constexpr std::string_view empty_media_type = "application/vnd.oci.empty.v1+json";

/// What an image's builder or registry notes for itself and no manifest has.
bool is_internal(std::string_view annotation) {
    return annotation == "containerd.io/uncompressed" || annotation == "buildkit/createdat" ||
           annotation.starts_with("containerd.io/distribution.source.");
}

/// As the manifest names it: one that others may pass on.
oci::Descriptor layer_descriptor(const PackedLayer& layer, bool oci_types) {
    oci::Descriptor out{.media_type = layer.blob.media_type, .digest = layer.blob.digest, .size = layer.blob.size};
    if (const auto compression = compression_of(out.media_type)) out.media_type = layer_type(*compression, oci_types);
    if (!oci_types) return out;
    for (const auto& [key, value] : layer.blob.annotations) {
        if (!is_internal(key)) out.annotations.emplace(key, value);
    }
    return out;
}

/// The configuration of an attestation that looks like an image.
std::string attestation_config(const std::vector<oci::Descriptor>& statements) {
    oci::ImageConfig config;
    config.architecture = "unknown";
    config.os = "unknown";
    config.rootfs.type = "layers";
    for (const oci::Descriptor& each : statements) config.rootfs.diff_ids.push_back(each.digest);
    return json::dump(config, {});
}

class Documents {
public:
    explicit Documents(bool oci_types) : oci_types_(oci_types) {}

    oci::Descriptor add(std::string_view type, std::string text) {
        oci::Descriptor out{.media_type = std::string(type), .digest = content::digest_of(text).text(), .size = text.size()};
        if (seen_.insert(out.digest).second) documents.push_back({out, std::move(text)});
        return out;
    }

    oci::Descriptor add_image(const BuiltManifest& built) {
        oci::Manifest manifest = begin_manifest();
        std::vector<const PackedLayer*> layers;
        for (const PackedLayer& each : built.layers) {
            if (each.is_empty) continue;
            layers.push_back(&each);
            manifest.layers.push_back(layer_descriptor(each, oci_types_));
            const oci::Descriptor& blob = manifest.layers.back();
            if (seen_.insert(blob.digest).second) blobs.push_back(blob);
        }
        manifest.annotations = built.annotations;
        manifest.config = add(config_type(), built.config);
        configs.push_back(oci::Digest::from(manifest.config.digest));
        const ImageDocuments checked = check_image(manifest, built.config, manifest.config.digest);
        for (std::size_t at = 0; at < layers.size(); ++at) {
            if (checked.diff_ids[at] != layers[at]->diff_id) {
                fail(ErrorKind::invalid_argument, "layer {} has the diff ID {}, the configuration says {}", layers[at]->layer.text(),
                     layers[at]->diff_id.text(), checked.diff_ids[at].text());
            }
        }
        oci::Descriptor out = add_manifest(manifest);
        out.annotations = built.descriptor_annotations;
        if (!built.platform.empty()) out.platform = built.platform;
        return out;
    }

    oci::Descriptor add_attestation(const Attestation& attestation, const oci::Descriptor& subject) {
        oci::Manifest manifest = begin_manifest();
        for (const Attestation::Statement& each : attestation.statements) {
            oci::Descriptor& layer = manifest.layers.emplace_back(add(statement_media_type, each.text));
            layer.annotations.emplace("in-toto.io/predicate-type", each.predicate_type);
        }
        if (attestation.is_artifact) {
            manifest.config = add(empty_media_type, "{}");
            manifest.artifact_type = attestation_artifact_type;
            manifest.subject = {.media_type = subject.media_type, .digest = subject.digest, .size = subject.size};
        } else {
            manifest.config = add(config_type(), attestation_config(manifest.layers));
        }
        oci::Descriptor out = add_manifest(manifest);
        out.annotations = {{"vnd.docker.reference.type", "attestation-manifest"}, {"vnd.docker.reference.digest", subject.digest}};
        out.platform = oci::Platform{.architecture = "unknown", .os = "unknown", .variant = {}, .os_version = {}};
        return out;
    }

    std::vector<BuiltDocument> documents;
    std::vector<oci::Descriptor> blobs;
    std::vector<oci::Digest> configs;

private:
    std::string_view config_type() const { return oci_types_ ? config_media_type : docker_config_media_type; }

    oci::Manifest begin_manifest() const {
        oci::Manifest manifest;
        manifest.schema_version = 2;
        manifest.media_type = oci_types_ ? oci::media_type::manifest : oci::media_type::docker_manifest;
        return manifest;
    }

    oci::Descriptor add_manifest(const oci::Manifest& manifest) {
        std::string text = json::dump(manifest, {});
        static_cast<void>(oci::parse_manifest(text));  // its bounds
        return add(manifest.media_type, std::move(text));
    }

    bool oci_types_;
    std::set<std::string> seen_;
};

bool needs_index(const BuiltImage& image) { return image.is_index || image.manifests.size() > 1 || !image.attestations.empty(); }

void check_forms(const BuiltImage& image) {
    if (image.manifests.empty()) fail(ErrorKind::invalid_argument, "an image needs a manifest");
    for (const Attestation& each : image.attestations) {
        if (each.subject >= image.manifests.size()) fail(ErrorKind::invalid_argument, "an attestation about none of the image's manifests");
    }
    if (!needs_index(image) && !(image.annotations.empty() && image.descriptor_annotations.empty()))
        fail(ErrorKind::invalid_argument, "index annotations not supported for single platform export");
    if (image.oci_types) return;
    if (!image.attestations.empty()) fail(ErrorKind::invalid_argument, R"(cannot export attestations with "oci-mediatypes=false")");
    const auto has_annotations = [](const BuiltManifest& each) { return !each.descriptor_annotations.empty(); };
    if (!image.annotations.empty() || !image.descriptor_annotations.empty() || std::ranges::any_of(image.manifests, has_annotations))
        fail(ErrorKind::invalid_argument, R"(cannot export annotations with "oci-mediatypes=false")");
}

/// As documents.cpp chooses.
std::size_t main_of(const std::vector<BuiltManifest>& manifests) {
    const auto fitness = [here = oci::Platform::processor()](const BuiltManifest& each) { return each.platform.fitness(here); };
    return static_cast<std::size_t>(std::ranges::max_element(manifests, {}, fitness) - manifests.begin());
}

std::vector<oci::Reference> names_of(const BuiltImage& image) {
    std::vector<oci::Reference> out;
    for (const oci::Reference& each : image.names) {
        if (each.digest()) fail(ErrorKind::invalid_argument, "{}: an image cannot be given a name with a digest", each.familiar());
        const oci::Reference name = each.with_default_tag();
        if (std::ranges::find(out, name) == out.end()) out.push_back(name);
    }
    return out;
}

}  // namespace

oci::Descriptor manifest_of(const BuiltManifest& manifest, bool oci_types) { return Documents{oci_types}.add_image(manifest); }

BuiltDocuments documents_of(const BuiltImage& image) {
    check_forms(image);
    Documents documents{image.oci_types};
    BuiltDocuments out;
    for (const BuiltManifest& each : image.manifests) out.manifests.push_back(documents.add_image(each));
    if (needs_index(image)) {
        oci::Index index;
        index.schema_version = 2;
        index.media_type = image.oci_types ? oci::media_type::index : oci::media_type::docker_index;
        index.annotations = image.annotations;
        index.manifests = out.manifests;
        for (const Attestation& each : image.attestations)
            index.manifests.push_back(documents.add_attestation(each, out.manifests[each.subject]));
        std::string text = json::dump(index, {});
        static_cast<void>(oci::parse_index(text));
        out.target = documents.add(index.media_type, std::move(text));
        out.target.annotations = image.descriptor_annotations;
    } else {
        out.target = out.manifests.front();
    }
    out.configs = std::move(documents.configs);
    out.documents = std::move(documents.documents);
    out.blobs = std::move(documents.blobs);
    out.main = main_of(image.manifests);
    return out;
}

// --- claims ---------------------------------------------------------------------------------------------------------

BuildClaims::BuildClaims(ImageStore& images) : state_(std::make_unique<State>(images)) {}

BuildClaims::~BuildClaims() {
    ImageStore& store = state_->store;
    const bool leaves_something = !state_->made.empty();
    state_.reset();
    if (!leaves_something) return;
    try {
        store.collect();
    } catch (const std::exception& error) {
        log::error("images: after a build: {}", error.what());  // the next removal collects it
    }
}

void BuildClaims::blob(const oci::Digest& digest) { state_->claims.blob(digest); }
bool BuildClaims::layer(const oci::Digest& layer) { return state_->claims.layer(layer); }

// --- into the store -------------------------------------------------------------------------------------------------

/// Layers that are only a blob so far: those whose times were rewritten, and those of images that were never unpacked here.
std::vector<layers::StagedPtr> ImageStore::stage_built(const BuiltManifest& manifest, BuildClaims::State& claims) {
    std::vector<layers::StagedPtr> staged;
    for (const PackedLayer& each : manifest.layers) {
        if (each.is_empty || claims.claims.layer(each.diff_id)) continue;
        if (std::ranges::find(staged, each.diff_id, [](const layers::StagedPtr& other) { return other->diff_id(); }) != staged.end())
            continue;
        while_doing("layer " + each.layer.text(), [&] {
            const Fd file = content_.open(oci::Digest::from(each.blob.digest));
            layers::FdSource source{file.get()};
            staged.push_back(layers_.stage(source, each.diff_id));
        });
    }
    return staged;
}

BuiltResult ImageStore::add_built(const BuiltImage& image, BuildClaims& build) {
    const std::vector<oci::Reference> names = names_of(image);
    BuiltDocuments documents = documents_of(image);
    BuildClaims::State& claims = *build.state_;
    for (const oci::Descriptor& each : documents.blobs) {
        const oci::Digest digest = oci::Digest::from(each.digest);
        claims.claims.blob(digest);
        if (!content_.exists(digest)) fail(ErrorKind::not_found, "the blob {} of a layer is not here", each.digest);
    }
    const std::vector<layers::StagedPtr> staged = stage_built(image.manifests[documents.main], claims);

    std::vector<content::ContentStore::Writer> writers;
    for (const BuiltDocument& each : documents.documents) {
        const oci::Digest digest = oci::Digest::from(each.descriptor.digest);
        claims.claims.blob(digest);
        if (content_.exists(digest)) continue;
        claims.made.insert(digest);
        writers.push_back(content_.ingest(digest, each.text.size()));
        writers.back().write(each.text);
    }
    while_doing("store the image", [&] {
        fault_point("images:publish-built");
        for (const layers::StagedPtr& each : staged) {
            claims.made.insert(each->diff_id());
            claims.claims.keep(each);
        }
        layers_.publish(staged);
        if (!writers.empty()) content_.commit(writers);
    });

    BuiltResult out{
        .id = documents.target.digest, .target = documents.target, .configs = std::move(documents.configs), .names = {}, .moved = {}};
    for (const oci::Reference& each : names) out.names.push_back(each.familiar());
    out.moved = moved_from(names, out.id);
    NewImage added{.target = {.media_type = out.target.media_type, .digest = out.target.digest, .size = out.target.size},
                   .references = names,
                   .parent = {}};
    for (const oci::Reference& each : image.repositories) added.references.push_back(each.with_digest(oci::Digest::from(out.id)));
    add({added});
    for (const BuiltDocument& each : documents.documents) claims.made.erase(oci::Digest::from(each.descriptor.digest));
    for (const oci::Descriptor& each : documents.blobs) claims.made.erase(oci::Digest::from(each.digest));
    for (const layers::StagedPtr& each : staged) claims.made.erase(each->diff_id());
    return out;
}

}  // namespace grua::images
