// What a build could give to a cache elsewhere: of each operation of its graphs the keys by which it is known, and what came of it.
#pragma once

#include "build/cache_contents.hpp"
#include "build/cache_store.hpp"
#include "build/imported_cache.hpp"
#include "build/run_exports.hpp"

#include <memory>
#include <string>
#include <vector>

namespace grua::build {

struct CacheCandidate {
    struct Result {
        std::string key;
        std::vector<oci::Digest> layers;               ///< Diff IDs and steps, the lowest first.
        std::shared_ptr<const ImportedTree> imported;  ///< Where it is a cache's elsewhere: its layers may not be here.
    };
    std::vector<std::string> keys;
    std::vector<Result> results;  ///< All of the operation's.
};

/// Of what ended with the build - folders of its client - there is nothing.
asio::awaitable<std::vector<CacheCandidate>> find_candidates(asio::thread_pool& pool, BuildPtr build, std::vector<MadeImage> made,
                                                             CacheStore& cache);

/// Those that are made of the front of this chain, by the chain's layers as they are packed (as many as `chain`).
CacheContents contents_of_front(const std::vector<CacheCandidate>& candidates, const std::vector<oci::Digest>& chain,
                                const std::vector<images::CachedLayer>& packed);

/// As a cache has them. `made`: times of the layers, by their place.
std::vector<images::CachedLayer> cached_layers(const std::vector<images::PackedLayer>& packed, const std::vector<Time>& made);

}  // namespace grua::build
