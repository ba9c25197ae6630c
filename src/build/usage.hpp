// What the builder's caches take of the disk, and what goes: BuildKit's DiskUsage and Prune, for `docker buildx du` and `prune`, the same
// for Docker's own API (GET /system/df, POST /build/prune), and for the engine's collection.
#pragma once

#include "build/cache_mounts.hpp"
#include "build/cache_store.hpp"
#include "build/collection.hpp"
#include "build/context_store.hpp"
#include "build/git_cache.hpp"
#include "build/history.hpp"
#include "build/http_cache.hpp"
#include "build/usage_plan.hpp"
#include "engine/also_collected.hpp"
#include "grpc/server.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace grua::build {

/// Loop only.
class Usage {
public:
    struct Caches {
        CacheStore& results;
        ContextStore& contexts;
        CacheMounts& mounts;
        HttpCache& downloads;
        GitCache& repositories;
        History& history;
    };

    /// All of them outlive this. `directory`: of whose disk `min_free_space` is.
    Usage(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, Caches caches, std::string directory);

    /// The two methods of Control.
    void add_to(grpc::Services& services);

    /// Measures, on the pool.
    asio::awaitable<std::vector<UsageEntry>> list();

    /// What prune() would take, in this order. Throws Error(invalid_argument) for filters.
    asio::awaitable<std::vector<UsageEntry>> would_prune(PruneOptions options);

    /// One at a time. `told` is called of each when it has gone; ends where that throws.
    using Told = std::function<asio::awaitable<void>(const UsageEntry&)>;
    struct Pruned {
        std::vector<std::string> ids;
        std::uint64_t bytes = 0;  ///< Given back: what images have as well is none of it.
    };
    asio::awaitable<Pruned> prune(PruneOptions options, Told told = {});

    /// By the engine's policy. What is half made, and what nobody knows of any more, goes in any case.
    asio::awaitable<std::vector<images::Decision>> collect(engine::CollectionFacts facts);

private:
    enum class Source { result, context, mount, download, repository, history, build };
    struct Item {
        UsageEntry entry;
        Source source;
        std::string name;           ///< As its source knows it.
        std::string kept_for = {};  ///< See Collectable.
    };
    asio::awaitable<std::vector<Item>> items(std::set<std::string> leaving_images = {});
    asio::awaitable<void> add_history(std::vector<Item>& to);
    asio::awaitable<std::vector<Item>> plan(PruneOptions options);
    asio::awaitable<bool> remove(Item item);
    asio::awaitable<void> sweep();
    asio::awaitable<wire::control::DiskUsageResponse> disk_usage(wire::control::DiskUsageRequest request);
    asio::awaitable<void> prune_for(grpc::ServerCall& call);

    asio::thread_pool& pool_;
    const Clock& clock_;
    Caches caches_;
    std::string directory_;
    Lane pruning_;
};

}  // namespace grua::build
