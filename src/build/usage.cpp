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

UsageEntry entry_of(const HttpCache::Entry& kept) {
    return {.id = usage_id("http\n" + kept.name),
            .description = "http url " + kept.shown,
            .bytes = kept.bytes,
            .created = kept.last_used,
            .last_used = kept.last_used,
            .uses = 1};
}

UsageEntry entry_of(const GitCache::Kept& kept) {
    return {.id = usage_id("git\n" + kept.name),
            .description = "shared git repo for " + kept.remote,
            .bytes = kept.bytes,
            .created = kept.last_used,
            .last_used = kept.last_used,
            .uses = 1,
            .is_mutable = true,
            .in_use = kept.is_used};
}

/// What ended builds have told, as one: a list of caches is not to be a list of builds. Those that are pinned are another one, and in use.
void add_build(UsageEntry& all, const KeptBuild& build) {
    all.bytes += build.bytes;
    all.created = all.uses == 0 ? build.completed : std::min(all.created, build.completed);
    all.last_used = std::max(all.last_used, build.completed);
    ++all.uses;
}

}  // namespace

Usage::Usage(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, Caches caches, std::string directory)
    : pool_(pool), clock_(clock), caches_(caches), directory_(std::move(directory)), pruning_(std::move(loop)) {}

asio::awaitable<std::vector<Usage::Item>> Usage::items(std::set<std::string> leaving_images) {
    std::vector<Item> out;
    std::vector<UsageEntry> results = co_await caches_.results.list(std::move(leaving_images));
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
    auto fetched = [this] { return std::pair(caches_.downloads.list(), caches_.repositories.list()); };
    const auto [downloads, repositories] = co_await offload(pool_, std::move(fetched));
    for (const HttpCache::Entry& each : downloads) out.push_back({.entry = entry_of(each), .source = Source::download, .name = each.name});
    for (const GitCache::Kept& each : repositories)
        out.push_back({.entry = entry_of(each), .source = Source::repository, .name = each.name});
    co_return out;
}

asio::awaitable<void> Usage::add_history(std::vector<Item>& to) {
    UsageEntry all{.id = usage_id("history"), .type = "internal"};
    UsageEntry pinned{.id = usage_id("pinned history"), .type = "internal", .in_use = true};
    for (const KeptBuild& each : co_await caches_.history.kept()) add_build(each.is_pinned ? pinned : all, each);
    for (UsageEntry* each : {&all, &pinned}) {
        if (each->uses == 0) continue;
        each->description = fmt::format("history of {} {}builds", each->uses, each->in_use ? "pinned " : "");
        to.push_back({.entry = std::move(*each), .source = Source::history, .name = {}});
    }
}

asio::awaitable<std::vector<UsageEntry>> Usage::list() {
    std::vector<UsageEntry> out;
    std::vector<Item> all = co_await items();
    co_await add_history(all);
    for (Item& each : all) out.push_back(std::move(each.entry));
    co_return out;
}

asio::awaitable<std::vector<Usage::Item>> Usage::plan(PruneOptions options) {
    (void)Filter::parse(options.filters);  // before anything is measured
    std::vector<Item> all = co_await items();
    co_await add_history(all);
    auto work = [all = std::move(all), options = std::move(options), now = clock_.wall(), directory = directory_]() mutable {
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
    switch (item.source) {
        case Source::result:
            co_return caches_.results.remove(item.name);
        case Source::mount:
            co_return co_await caches_.mounts.remove(item.name);
        case Source::build:
            co_return co_await caches_.history.forget(item.name);
        case Source::history:
            for (const KeptBuild& each : co_await caches_.history.kept())
                if (!each.is_pinned) (void)co_await caches_.history.forget(each.ref);
            co_return true;
        case Source::context:
        case Source::download:
        case Source::repository:
            break;
    }
    auto work = [this, item = std::move(item)] {
        if (item.source == Source::context) return caches_.contexts.remove(item.name);
        return item.source == Source::download ? caches_.downloads.remove(item.name) : caches_.repositories.remove(item.name);
    };
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
    if (!out.ids.empty()) co_await caches_.results.flush();
    co_return out;
}

asio::awaitable<void> Usage::sweep() {
    co_await caches_.results.sweep();
    co_await caches_.results.flush();
    co_await caches_.mounts.settle();
    co_await caches_.history.collect();
}

asio::awaitable<std::vector<images::Decision>> Usage::collect(engine::CollectionFacts facts) {
    using images::Decision;
    const Lane::Turn turn = co_await pruning_.take();
    if (facts.mode == images::GcMode::real) co_await sweep();
    std::vector<Decision> out;
    // Nothing is measured that nobody reads.
    if (facts.explained == engine::Explained::removals && !facts.disk.is_above(facts.policy.high)) co_return out;
    std::vector<Item> all = co_await items(facts.leaving_images);
    for (KeptBuild& each : co_await caches_.history.kept())
        all.push_back(
            {.entry = {.id = each.ref, .type = "internal", .description = each.name, .bytes = each.bytes, .last_used = each.completed},
             .source = Source::build,
             .name = each.ref,
             .kept_for = each.is_pinned ? "it is pinned" : ""});
    std::vector<Collectable> candidates;
    for (const Item& each : all)
        candidates.push_back(
            {.entry = each.entry, .kind = each.source == Source::build ? "build-history" : "build-cache", .kept_for = each.kept_for});
    std::set<std::string> needed;  // by what has come into use
    for (CollectionStep& step : plan_collection(candidates, facts.policy, facts.disk, facts.freed, clock_.wall())) {
        Decision& decision = out.emplace_back(std::move(step.decision));
        if (decision.verdict == Decision::Verdict::keep || facts.mode != images::GcMode::real) continue;
        const UsageEntry& entry = all[step.at].entry;
        if (!needed.contains(entry.id) && co_await remove(all[step.at])) continue;
        needed.insert(entry.parents.begin(), entry.parents.end());
        decision.verdict = Decision::Verdict::keep;
        decision.reason = "it came into use meanwhile";
    }
    const bool removes = std::ranges::any_of(out, [](const Decision& each) { return each.verdict == Decision::Verdict::remove; });
    if (removes && facts.mode == images::GcMode::real) co_await caches_.results.flush();
    co_return out;
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
