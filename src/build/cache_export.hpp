// Caches for elsewhere (--cache-to): what a build has come to, with its layers, into a registry or a folder of the client's. Blobs that are
// there already are not sent, and of a cache that was imported not even fetched.
#pragma once

#include "build/cache_candidates.hpp"
#include "build/cache_requests.hpp"

#include <vector>

namespace grua::build {

/// Inline ones are the image's business. Answers "cache.manifest". What `ignore_error` lets fail is told by its step alone.
asio::awaitable<ExportAnswer> export_caches(Workplace& place, BuildPtr build, std::vector<CacheExport> exports, std::vector<MadeImage> made,
                                            std::vector<CacheCandidate> candidates);

}  // namespace grua::build
