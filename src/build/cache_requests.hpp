// Which caches a build reads and writes, from the words of its request. What we know and cannot do is refused as not implemented. Pure.
#pragma once

#include "build/layer_form.hpp"
#include "build/wire/control.pb.h"
#include "oci/digest.hpp"
#include "oci/reference.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace grua::build {

/// More of them are refused.
inline constexpr std::size_t cache_limit = 256;

struct RegistryCache {
    oci::Reference reference;
    bool insecure = false;  ///< The registry may be without TLS.
};
/// On the client's disk, reached through its session by the store "local:FOLDER".
struct LocalCache {
    std::string folder;
    std::optional<oci::Digest> digest;  ///< Of what is read.
};
/// In the image that is exported.
struct InlineCache {};

struct CacheExport {
    enum class Mode : std::uint8_t {
        min,  ///< What the result is made of.
        max,  ///< What was run.
    };
    std::string type;
    std::variant<InlineCache, RegistryCache, LocalCache> where;
    Mode mode = Mode::min;
    LayerForm layers;
    bool oci_types = true;
    bool image_manifest = true;  ///< An image's manifest, not an index.
    bool ignore_error = false;
    std::vector<std::string> mounts;  ///< IDs of cache mounts that travel with it.
};

struct CacheImport {
    std::string type;
    std::variant<RegistryCache, LocalCache> where;
};

struct CacheRequest {
    std::vector<CacheExport> exports;
    std::vector<CacheImport> imports;
};

/// Throws Error, `cache export "registry": …`; Error(not_implemented), "not implemented: cache type gha".
CacheRequest parse_caches(const wire::control::CacheOptions& options);

/// Imports as a front end has them, `cache-imports`: a JSON list of {"Type", "Attrs"}. Throws as parse_caches().
std::vector<CacheImport> parse_cache_imports(std::string_view json);

}  // namespace grua::build
