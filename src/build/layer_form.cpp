#include "build/layer_form.hpp"

namespace grua::build {
namespace {

LayerCompression parse_compression(std::string_view text) {
    if (text == "uncompressed") return LayerCompression::uncompressed;
    if (text == "gzip") return LayerCompression::gzip;
    if (text == "zstd") return LayerCompression::zstd;
    if (text == "estargz" || text == "nydus") fail(ErrorKind::not_implemented, "not implemented: compression {}", text);
    fail(ErrorKind::invalid_argument, "unsupported compression type {}", text);
}

}  // namespace

LayerForm take_layers(Attributes& attributes) {
    LayerForm out;
    if (const auto type = attributes.take("compression")) out.compression = parse_compression(*type);
    out.is_forced = attributes.take_bool("force-compression", Attributes::Empty::is_true).value_or(false);
    if (const auto level = attributes.take_integer("compression-level")) {
        if (out.compression == LayerCompression::uncompressed)
            fail(ErrorKind::invalid_argument, "compression-level: uncompressed layers have none");
        const int highest = out.compression == LayerCompression::zstd ? 22 : 9;
        if (*level < 0 || *level > highest)
            fail(ErrorKind::invalid_argument, "compression-level: {} is not within 0 and {}", *level, highest);
        out.level = static_cast<int>(*level);
    }
    return out;
}

}  // namespace grua::build
