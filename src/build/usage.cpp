#include "build/usage.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "images/gc.hpp"

#include <algorithm>
#include <set>

namespace grua::build {
namespace {

/// Of a key as fetch_local() makes it: whose folder it is, what it is called there, what of it is wanted. The name is for people.
std::string name_of_context(const std::string& key) {
    const std::vector<std::string> parts = split(key, '\n');
    return parts.size() > 1 ? parts[1] : key;
}

UsageEntry entry_of(const ContextStore::Kept& kept) {
    return {.id = usage_id(kept.name),
            .type = "source.local",
            .description = "local source for " + name_of_context(kept.key),
            .bytes = kept.bytes,
            .created = kept.last_used,
            .last_used = kept.last_used,
            .uses = 1,
            .is_mutable = true,
            .in_use = kept.is_used};
}

}  // namespace

Usage::Usage(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, Caches caches, Surroundings surroundings)
    : pool_(pool), clock_(clock), caches_(caches), surroundings_(std::move(surroundings)), pruning_(std::move(loop)) {}

asio::awaitable<std::vector<Usage::Item>> Usage::items() {
    std::vector<Item> out;
    std::vector<UsageEntry> results = co_await caches_.results.list();
    mark_used_parents(results);
    for (UsageEntry& each : results) {
        std::string id = each.id;
        out.push_back({.entry = std::move(each), .source = Source::result, .name = std::move(id)});
    }
    auto work = [&contexts = caches_.contexts] { return contexts.list(); };
    for (const ContextStore::Kept& each : co_await offload(pool_, std::move(work)))
        out.push_back({.entry = entry_of(each), .source = Source::context, .name = each.name});
    for (CacheMounts::Kept& each : co_await caches_.mounts.list())
        out.push_back({.entry = std::move(each.entry), .source = Source::mount, .name = std::move(each.name)});
    co_return out;
}

asio::awaitable<std::vector<UsageEntry>> Usage::list() {
    std::vector<UsageEntry> out;
    for (Item& each : co_await items()) out.push_back(std::move(each.entry));
    co_return out;
}

asio::awaitable<std::vector<Usage::Item>> Usage::plan(PruneOptions options) {
    (void)Filter::parse(options.filters);  // before anything is measured
    std::vector<Item> all = co_await items();
    auto work = [all = std::move(all), options = std::move(options), now = clock_.wall(), directory = surroundings_.directory]() mutable {
        std::uint64_t free = 0;
        if (options.min_free_space != 0) {
            const images::Disk disk = images::disk_of(directory);
            free = disk.total - std::min(disk.total, disk.used);
        }
        std::vector<UsageEntry> entries;
        for (const Item& each : all) entries.push_back(each.entry);
        std::vector<Item> out;
        for (const std::size_t each : plan_prune(entries, options, now, free)) out.push_back(std::move(all[each]));
        return out;
    };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<std::vector<UsageEntry>> Usage::would_prune(PruneOptions options) {
    std::vector<UsageEntry> out;
    for (Item& each : co_await plan(std::move(options))) out.push_back(std::move(each.entry));
    co_return out;
}

asio::awaitable<bool> Usage::remove(Item item) {
    if (item.source == Source::result) co_return caches_.results.remove(item.name);
    if (item.source == Source::mount) co_return co_await caches_.mounts.remove(item.name);
    auto work = [&contexts = caches_.contexts, name = item.name] { return contexts.remove(name); };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<Usage::Pruned> Usage::prune(PruneOptions options, Told told) {
    const Lane::Turn turn = co_await pruning_.take();
    Pruned out;
    std::set<std::string> needed;  // by what is in use after all
    for (Item& each : co_await plan(std::move(options))) {
        if (needed.contains(each.entry.id) || !co_await remove(each)) {
            needed.insert(each.entry.parents.begin(), each.entry.parents.end());
            continue;
        }
        out.ids.push_back(each.entry.id);
        if (!each.entry.is_shared) out.bytes += each.entry.bytes;
        if (told) co_await told(each.entry);
    }
    if (out.ids.empty()) co_return out;
    co_await caches_.results.flush();
    if (surroundings_.has_removed) {
        auto work = [&has_removed = surroundings_.has_removed] { has_removed(); };
        co_await offload(pool_, std::move(work));
    }
    co_return out;
}

asio::awaitable<Usage::Pruned> Usage::collect(std::chrono::nanoseconds keep, std::uint64_t bytes) {
    return prune({.filters = {}, .all = true, .unused = keep, .max_used_space = bytes});
}

asio::awaitable<wire::control::DiskUsageResponse> Usage::disk_usage(wire::control::DiskUsageRequest request) {
    const Filter filter = Filter::parse({request.filter().begin(), request.filter().end()});
    if (request.agelimit() < 0) fail(ErrorKind::invalid_argument, "ageLimit: {} is negative", request.agelimit());
    const Time latest = clock_.wall() - std::chrono::nanoseconds(request.agelimit());
    wire::control::DiskUsageResponse out;
    for (const UsageEntry& each : co_await list()) {
        if (request.agelimit() > 0 && each.last_used > latest) continue;
        if (matches(filter, each)) *out.add_record() = to_record(each);
    }
    co_return out;
}

asio::awaitable<void> Usage::prune_for(grpc::ServerCall& call) {
    const PruneOptions options = read_prune_request(grpc::Services::parse<wire::control::PruneRequest>(co_await call.read_only()));
    const Told told = [&call](const UsageEntry& entry) -> asio::awaitable<void> {
        const std::string record = to_record(entry).SerializeAsString();
        co_await call.write(record);
    };
    (void)co_await prune(options, told);
}

void Usage::add_to(grpc::Services& services) {
    const std::string service = "/moby.buildkit.v1.Control/";
    services.add_unary<wire::control::DiskUsageRequest>(
        service + "DiskUsage", [this](grpc::ServerCall&, const wire::control::DiskUsageRequest& request) { return disk_usage(request); });
    services.add(service + "Prune", [this](grpc::ServerCall& call) { return prune_for(call); });
}

}  // namespace grua::build
