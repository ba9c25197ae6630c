// Images that are made here: the documents around a new layer.
#pragma once

#include "content/content_store.hpp"
#include "images/incoming.hpp"
#include "layers/block_compressor.hpp"
#include "layers/layers.hpp"
#include "oci/manifest.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace grua::images {

inline constexpr std::string_view config_media_type = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view docker_config_media_type = "application/vnd.docker.container.image.v1+json";

/// The OCI type of a layer that begins with these bytes: a tar, gzip or zstd.
std::string layer_media_type(std::string_view first_bytes);

/// Docker's older name of a layer's type as OCI's; others as they are.
std::string oci_layer_type(std::string_view type);

/// How a layer of this type is compressed, in OCI's names and Docker's; nothing where the type does not say.
std::optional<layers::Compression> compression_of(std::string_view type);

std::string layer_type(layers::Compression compression, bool oci_types);

/// The document; the same manifest gives the same bytes.
std::string manifest_text(oci::Manifest manifest);

/// A layer that was read: not committed, not visible.
struct NewLayer {
    oci::Descriptor blob;
    layers::StagedPtr staged;
    content::ContentStore::Writer writer;
};

/// Reads a layer's tar to its end. What comes as gzip or zstd is kept as it is, all else as gzip.
NewLayer read_layer(int input, content::ContentStore& content, layers::LayerStore& layers,
                    const std::function<void(std::uint64_t done)>& progress);

}  // namespace grua::images
