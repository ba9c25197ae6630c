// How layers are packed, as the image store takes it.
#pragma once

#include "build/layer_form.hpp"
#include "images/built.hpp"

namespace grua::build {

inline images::PackOptions pack_options(const LayerForm& form) {
    images::PackOptions out;
    switch (form.compression) {
        case LayerCompression::uncompressed:
            out.compression.kind = images::Compression::uncompressed;
            break;
        case LayerCompression::gzip:
            out.compression.kind = images::Compression::gzip;
            break;
        case LayerCompression::zstd:
            out.compression.kind = images::Compression::zstd;
            break;
    }
    out.compression.level = form.level;
    out.force = form.is_forced;
    return out;
}

}  // namespace grua::build
