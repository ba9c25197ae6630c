// What a cache of builds has, and how that is said in its document (cache_config.hpp). Pure.
//
// A result is a record without inputs whose digest is the key under which it came out. Of it alone, that is also the key by which it is
// found; other keys of an operation are records of their own, whose inputs are all that came of it:
//
//     {"digest": KEY OF A RESULT, "layers": [{"layer": 4}]}
//     {"digest": ANOTHER KEY, "inputs": [[{"link": NUMBER OF THAT RECORD, "selector": "grua.result"}]]}
//
// BuildKit reads both, and finds nothing by our keys, which are not its own; what BuildKit has written we read, and find nothing in it.
#pragma once

#include "build/cache_config.hpp"
#include "images/cached_layers.hpp"
#include "oci/manifest.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

using CachedLayerPtr = std::shared_ptr<const images::CachedLayer>;

struct CacheContents {
    struct Result {
        std::string key;
        std::vector<CachedLayerPtr> layers;  ///< The lowest first; at least one.
    };
    std::vector<Result> results;
    /// Of an operation's keys all of its results, in `results`.
    std::map<std::string, std::vector<std::size_t>, std::less<>> names;
};

/// Layers of all results together; more are refused.
inline constexpr std::size_t cached_layers_limit = 200'000;

/// By digest, as a manifest names them.
using BlobsByDigest = std::map<std::string, oci::Descriptor, std::less<>>;

/// A result with a layer of which `blobs` does not say what it is, is left out. Throws Error(invalid_argument).
CacheContents read_contents(const CacheConfig& config, const BlobsByDigest& blobs);

struct WrittenContents {
    CacheConfig config;
    std::vector<oci::Descriptor> blobs;  ///< Each once; with what read_contents() needs to know of them.
};
/// The same contents give the same, whatever their order.
WrittenContents write_contents(const CacheContents& contents);

/// For an image of these layers, among which those without an entry are: what can be said of it. Of other results nothing is.
CacheConfig write_inline(const CacheContents& contents, const std::vector<oci::Digest>& layers);

/// As a manifest has it, and back; null where it does not say what the layer is.
oci::Descriptor descriptor_of(const images::CachedLayer& layer);
CachedLayerPtr layer_of(const oci::Descriptor& descriptor);

}  // namespace grua::build
