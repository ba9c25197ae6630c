// Images that a build makes: its layers become blobs, its documents are made around them, and all of it becomes an image at once or
// goes into an archive.
//
// Order: pack_layers() gives the layers' diff IDs and blobs, with which the caller completes the configuration; manifest_of() says the
// manifest's digest, for attestations about it; then ImageStore::add_built() or save_built(). One BuildClaims lives through all of it.
#pragma once

#include "layers/block_compressor.hpp"
#include "oci/digest.hpp"
#include "oci/manifest.hpp"
#include "oci/platform.hpp"
#include "oci/reference.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::images {

class ImageStore;
struct Image;

using layers::Compression;
using layers::CompressionOptions;

struct PackOptions {
    CompressionOptions compression;
    bool force = false;  ///< Layers that have a blob get another where it is compressed otherwise.
    /// Seconds since 1970: no entry of a step's layer is younger. What came with other images is left as it is.
    std::optional<std::int64_t> rewrite_timestamps;
    /// The images that the build stands on: their blobs are taken before other images' of the same layers.
    std::vector<std::shared_ptr<const Image>> bases;
};

struct PackedLayer {
    oci::Digest layer;      ///< As it was given.
    oci::Digest diff_id;    ///< Where the times were rewritten, not the step's.
    oci::Descriptor blob;   ///< In OCI's media types. Nothing where it is empty.
    bool is_empty = false;  ///< It has no entry: add_built() and save_built() leave it out, and the history must say so (`empty_layer`).
};

struct PackProgress {
    std::size_t layers = 0;  ///< That are packed anew.
    std::uint64_t current = 0;
    std::uint64_t total = 0;  ///< Bytes of their files, which is a little less than their tars.
};
using OnPacked = std::function<void(const PackProgress&)>;

/// What a build is about to make an image of: while this lives no collection takes it. Destroyed, what no image has is collected.
/// Calls with one BuildClaims come one after the other. Not to outlive the store.
class BuildClaims {
public:
    explicit BuildClaims(ImageStore& images);
    BuildClaims(const BuildClaims&) = delete;
    BuildClaims& operator=(const BuildClaims&) = delete;
    ~BuildClaims();

    void blob(const oci::Digest& digest);
    bool layer(const oci::Digest& layer);  ///< A diff ID or a step. True where it is there; it stays then.

private:
    friend class ImageStore;
    struct State;
    std::unique_ptr<State> state_;
};

/// A manifest and its configuration.
struct BuiltManifest {
    std::string config;               ///< The JSON document, complete: it is stored as it is.
    std::vector<PackedLayer> layers;  ///< The lowest first: what of them is not empty has its diff ID in `config`.
    std::map<std::string, std::string> annotations;
    std::map<std::string, std::string> descriptor_annotations;  ///< Of what leads to the manifest.
    oci::Platform platform;
};

/// What is said about one of the manifests (in-toto), in a manifest of its own.
struct Attestation {
    struct Statement {
        std::string predicate_type;
        std::string text;  ///< The JSON document.
    };
    std::size_t subject = 0;  ///< Which of the manifests.
    std::vector<Statement> statements;
    bool is_artifact = true;  ///< As OCI 1.1 has it, with a subject; false: as older registries take it, in the form of an image.
};

struct BuiltImage {
    std::vector<BuiltManifest> manifests;  ///< Of different platforms.
    std::vector<Attestation> attestations;
    std::map<std::string, std::string> annotations;             ///< Of the index.
    std::map<std::string, std::string> descriptor_annotations;  ///< Of what leads to the index.
    std::vector<oci::Reference> names;                          ///< With a tag, or `latest`.
    std::vector<oci::Reference> repositories;                   ///< In which it is known by its digest.
    bool is_index = false;                                      ///< Also where there is one manifest alone and nothing is said about it.
    bool oci_types = true;  ///< Or Docker's older ones, which have no attestations and no annotations of an index.
};

struct BuiltDocument {
    oci::Descriptor descriptor;
    std::string text;
};

struct BuiltDocuments {
    oci::Descriptor target;                  ///< Of the index, or of the one manifest; with what is said of it.
    std::vector<oci::Descriptor> manifests;  ///< Of the platforms, as given.
    std::vector<oci::Digest> configs;        ///< Of the platforms, as given.
    std::vector<BuiltDocument> documents;    ///< What is named before what names it; each once.
    std::vector<oci::Descriptor> blobs;      ///< The layers, each once.
    std::size_t main = 0;                    ///< The manifest that is used here, as Image has it.
};

/// The manifest as it will be, for those who say something about it. Throws as documents_of().
oci::Descriptor manifest_of(const BuiltManifest& manifest, bool oci_types);

/// The same image gives the same bytes. Throws Error(invalid_argument) where a configuration's diff IDs are not the layers', and for what
/// the media types cannot say.
BuiltDocuments documents_of(const BuiltImage& image);

struct BuiltResult {
    std::string id;          ///< "sha256:…", the digest of `target`
    oci::Descriptor target;  ///< With annotations and platform.
    std::vector<oci::Digest> configs;
    std::vector<std::string> names;                          ///< Familiar: "redis:7".
    std::vector<std::pair<std::string, std::string>> moved;  ///< Names that were another image's before, with its ID.
};

enum class ArchiveForm {
    oci,     ///< An OCI layout.
    docker,  ///< One that is a docker-archive as well.
};

}  // namespace grua::images
