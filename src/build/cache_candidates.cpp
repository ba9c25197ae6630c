#include "build/cache_candidates.hpp"

#include "build/with_graph.hpp"

#include <algorithm>
#include <set>
#include <span>

namespace grua::build {
namespace {

CacheCandidate of_record(const CacheStore::Known& known) {
    CacheCandidate out{.keys = known.keys, .results = {}};
    for (const KeptResult& each : known.record->results) {
        CacheCandidate::Result result{.key = each.key, .layers = {}, .imported = {}};
        for (const LayerName& layer : each.layers) result.layers.push_back(*layer);
        out.results.push_back(std::move(result));
    }
    return out;
}

CacheCandidate of_import(const ImportedCache& imported, const std::string& key, const Results& results) {
    CacheCandidate out{.keys = imported.names_of(key), .results = {}};
    for (const ResultPtr& each : results) {
        auto tree = std::static_pointer_cast<const ImportedTree>(each);
        out.results.push_back({.key = tree->key, .layers = tree->diff_ids(), .imported = tree});
    }
    return out;
}

/// The numbers of the results in `contents`, which are added where they are not there. Nothing where `take` has not all of them.
template <typename Take>
void add_candidate(CacheContents& contents, std::map<std::string, std::size_t>& numbers, const CacheCandidate& candidate, Take take) {
    std::vector<std::size_t> all;
    for (const CacheCandidate::Result& each : candidate.results) {
        if (const auto known = numbers.find(each.key); known != numbers.end()) {
            all.push_back(known->second);
            continue;
        }
        std::vector<CachedLayerPtr> layers = take(each);
        if (layers.empty()) return;
        numbers.emplace(each.key, contents.results.size());
        all.push_back(contents.results.size());
        contents.results.push_back({.key = each.key, .layers = std::move(layers)});
    }
    for (const std::string& key : candidate.keys) contents.names.insert_or_assign(key, all);
}

}  // namespace

asio::awaitable<std::vector<CacheCandidate>> find_candidates(asio::thread_pool& pool, BuildPtr build, std::vector<MadeImage> made,
                                                             CacheStore& cache) {
    std::vector<CacheCandidate> out;
    std::set<std::string> seen;
    for (const MadeImage& image : made) {
        const std::vector<VertexPtr> vertices =
            co_await with_graph(pool, image.definition, [](const Edge& edge) { return in_order(edge); });
        for (const VertexPtr& each : vertices) {
            const auto key = build->keys.find(each->digest);
            if (key == build->keys.end() || !seen.insert(key->second).second) continue;
            if (const auto known = co_await cache.look(key->second)) {
                out.push_back(of_record(*known));
            } else if (build->imported.cache) {
                if (const auto results = build->imported.cache->find(key->second, each))
                    out.push_back(of_import(*build->imported.cache, key->second, *results));
            }
        }
    }
    co_return out;
}

CacheContents contents_of_front(const std::vector<CacheCandidate>& candidates, const std::vector<oci::Digest>& chain,
                                const std::vector<images::CachedLayer>& packed) {
    std::vector<CachedLayerPtr> layers;
    for (const images::CachedLayer& each : packed) layers.push_back(std::make_shared<const images::CachedLayer>(each));
    // A step that was packed meanwhile may be known by its diff ID to others.
    const auto is_same = [&](const CacheCandidate::Result& result) {
        if (result.layers.size() > chain.size()) return false;
        for (std::size_t at = 0; at < result.layers.size(); ++at)
            if (result.layers[at] != chain[at] && result.layers[at] != packed[at].diff_id) return false;
        return true;
    };
    const auto take = [&](const CacheCandidate::Result& result) {
        return is_same(result) ? std::vector(layers.begin(), layers.begin() + static_cast<std::ptrdiff_t>(result.layers.size()))
                               : std::vector<CachedLayerPtr>{};
    };
    CacheContents out;
    std::map<std::string, std::size_t> numbers;
    for (const CacheCandidate& each : candidates) add_candidate(out, numbers, each, take);
    return out;
}

std::vector<images::CachedLayer> cached_layers(const std::vector<images::PackedLayer>& packed, const std::vector<Time>& made) {
    std::vector<images::CachedLayer> out;
    for (std::size_t at = 0; at < packed.size(); ++at)
        out.push_back({.blob = packed[at].blob, .diff_id = packed[at].diff_id, .made = made[at]});
    return out;
}

}  // namespace grua::build
