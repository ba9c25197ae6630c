// How layers are packed that an image or a cache has.
#pragma once

#include "build/export_attributes.hpp"

#include <cstdint>
#include <optional>

namespace grua::build {

enum class LayerCompression : std::uint8_t { uncompressed, gzip, zstd };

struct LayerForm {
    LayerCompression compression = LayerCompression::gzip;
    bool is_forced = false;    ///< Also of layers that are there, packed otherwise.
    std::optional<int> level;  ///< Of gzip 0 to 9, of zstd 0 to 22.
};

/// compression, force-compression, compression-level. Throws Error(invalid_argument), Error(not_implemented) for those of others.
LayerForm take_layers(Attributes& attributes);

}  // namespace grua::build
