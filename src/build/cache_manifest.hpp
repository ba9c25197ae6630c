// The documents that lead to a cache of builds: BuildKit's manifest or index with the cache's own as configuration, or an image that has
// its records in its configuration.
#pragma once

#include "build/cache_contents.hpp"
#include "build/cache_remote.hpp"

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// The files of a cache mount (`--cache-to mounts=`), as a layer.
struct CachedMount {
    std::string id;
    images::CachedLayer layer;
};

struct CacheManifest {
    oci::Descriptor config;  ///< Nothing where it is an image, or an index of images.
    std::vector<oci::Descriptor> blobs;
};
/// Throws Error(invalid_argument).
CacheManifest parse_cache_manifest(std::string_view text);

enum class CacheForm {
    manifest,      ///< OCI's image manifest.
    index,         ///< OCI's index, whose entries are blobs.
    docker_index,  ///< The same in Docker's older types.
};
/// `config`: of the cache. Its media type says the form.
struct CacheRoot {
    oci::Descriptor descriptor;
    std::string text;
};
CacheRoot write_cache_manifest(CacheForm form, const oci::Descriptor& config, std::vector<oci::Descriptor> blobs);

/// As descriptor_of() of a layer, with the mount's ID.
oci::Descriptor descriptor_of(const CachedMount& mount);

struct RemoteCache {
    std::vector<CacheContents> contents;  ///< Of an index of images, of each.
    std::vector<CachedMount> mounts;
};
/// All documents, and no blob. Of an image without a cache it is empty. Throws Error; blocks.
RemoteCache read_remote_cache(CacheRemote& remote, const std::stop_token& stop);

/// An image's configuration with the records in it.
std::string with_inline_cache(std::string_view config, const CacheConfig& records);

/// The records of an image, with its layers; nothing where it has none. Throws Error(invalid_argument).
CacheContents read_inline_cache(const oci::Manifest& manifest, std::string_view config);

}  // namespace grua::build
