// An image as everybody sees it: immutable, built from the documents in the content store.
#pragma once

#include "base/prepared.hpp"
#include "base/text.hpp"
#include "oci/digest.hpp"
#include "oci/image_config.hpp"
#include "oci/manifest.hpp"
#include "oci/platform.hpp"
#include "oci/reference.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::images {

/// One manifest below an image: for a platform, or an attestation about one of those.
struct Variant {
    enum class Kind { image, attestation, unknown };
    Kind kind = Kind::unknown;
    oci::Descriptor manifest;
    oci::Platform platform;
    bool available = false;              ///< Manifest, configuration and all layers are here.
    std::optional<oci::Digest> subject;  ///< Whose attestation this is.
    std::uint64_t content_size = 0;      ///< Bytes of its blobs that are here.
    std::uint64_t unpacked_size = 0;     ///< Bytes of the files of its unpacked layers.
};

struct Image {
    std::string id;                 ///< "sha256:…", the digest of `target`
    oci::Descriptor target;         ///< The manifest or index that it was pulled, loaded or made with.
    std::vector<Variant> variants;  ///< One where the target is a manifest.

    // Of the variant that runs here; where there is none, of the first that is available.
    std::optional<oci::Digest> manifest_digest;
    std::optional<oci::Digest> config_digest;
    oci::ImageConfig config;
    std::string raw_config;             ///< The document's bytes.
    std::vector<oci::Digest> diff_ids;  ///< The lowest first; for LayerStore::prepare.
    std::vector<oci::Descriptor> layers;
    std::uint64_t size = 0;        ///< Bytes of all layers' files.
    std::uint64_t total_size = 0;  ///< Bytes of `blobs` and of the files of `all_diff_ids`.

    /// What keeps the image complete: all of its blobs that are here, and the layers of every variant.
    std::vector<oci::Digest> blobs;
    std::vector<oci::Digest> all_diff_ids;

    std::vector<oci::Reference> references;
    std::vector<std::string> repo_tags;     ///< Familiar, sorted: "redis:7".
    std::vector<std::string> repo_digests;  ///< Familiar: "redis@sha256:…".
    Time created{};
    std::string parent;  ///< ID of the image it was committed or built from here; mostly empty.
    Time last_tagged{};  ///< Time{} where never.

    Prepared prepared;  ///< What readers made of it.
};

using ImagePtr = std::shared_ptr<const Image>;

}  // namespace grua::images
