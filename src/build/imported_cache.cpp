#include "build/imported_cache.hpp"

#include "base/log.hpp"
#include "build/cache_mount_layers.hpp"
#include "build/step.hpp"

#include <algorithm>

namespace grua::build {
namespace {

TreePtr tree_of(const ResultPtr& result) { return as_tree(result); }

std::string name_of(const CacheImport& import) {
    if (const auto* registry = std::get_if<RegistryCache>(&import.where)) return registry->reference.text();
    return "local:" + std::get<LocalCache>(import.where).folder;
}

std::vector<CacheImport> imports_of(const Build& build) {
    CacheRequest request = parse_caches(build.request.cache());
    const auto given = build.request.frontendattrs().find("cache-imports");
    if (!request.imports.empty() || given == build.request.frontendattrs().end() || given->second.empty())
        return std::move(request.imports);
    return parse_cache_imports(given->second);
}

}  // namespace

void ImportedCache::add(RemoteCache cache, std::shared_ptr<CacheRemote> remote) {
    for (CacheContents& each : cache.contents) {
        auto source = std::make_unique<Source>();
        source->contents = std::move(each);
        source->remote = remote;
        sources_.push_back(std::move(source));
    }
    for (CachedMount& each : cache.mounts) mounts_.emplace_back(std::move(each), remote);
}

std::optional<Results> ImportedCache::find(const std::string& key, const VertexPtr& vertex) {
    for (const auto& source : sources_) {
        const auto found = source->contents.names.find(key);
        if (found == source->contents.names.end()) continue;
        const std::vector<std::size_t>& numbers = found->second;
        // Somebody else says so: that there are as many as the operation has is for us to see.
        if (static_cast<int>(numbers.size()) != results_of(vertex->op)) continue;
        if (std::ranges::any_of(numbers, [&](std::size_t each) { return layers_->is_lost(source->contents.results[each]); })) continue;
        Results out;
        for (const std::size_t each : numbers) {
            auto& given = source->given[each];
            auto tree = given.lock();
            if (!tree) {
                tree = std::make_shared<const ImportedTree>(source->contents.results[each], source->remote, layers_);
                given = tree;
            }
            out.push_back(std::move(tree));
        }
        hits_.insert_or_assign(key, Hit{.results = out, .vertex = vertex, .source = source.get()});
        return out;
    }
    return std::nullopt;
}

asio::awaitable<void> ImportedCache::keep_in(CacheStore& cache, asio::thread_pool& pool) {
    const auto hits = hits_;
    for (const auto& [key, hit] : hits) {
        co_await offload(pool, [&] {
            for (const ResultPtr& each : hit.results) tree_of(each)->imported()->look_again();
        });
        if (std::ranges::any_of(hit.results, [](const ResultPtr& each) { return !each->kept_layers(); })) continue;
        std::vector<images::CachedLayer> layers;
        for (const ResultPtr& result : hit.results)
            for (const CachedLayerPtr& each : tree_of(result)->imported()->cached_layers()) layers.push_back(*each);
        co_await cache.keep(key, hit.results, hit.vertex);
        cache.keep_blobs(layers);
    }
}

std::vector<std::string> ImportedCache::names_of(const std::string& key) const {
    std::vector<std::string> out;
    const auto hit = hits_.find(key);
    if (hit == hits_.end()) return out;
    const CacheContents& contents = hit->second.source->contents;
    const auto own = contents.names.find(key);
    for (const auto& [name, results] : contents.names)
        if (results == own->second) out.push_back(name);
    return out;
}

bool ImportedCache::fill_mount(const std::string& id, const std::string& folder) {
    // As the Dockerfile says it; before it stands the namespace, which mostly is none.
    const auto found = std::ranges::find_if(mounts_, [&](const auto& each) { return each.first.id == id || "/" + each.first.id == id; });
    if (found == mounts_.end()) return false;
    const CachedMount& mount = found->first;
    const std::shared_ptr<CacheRemote>& remote = found->second;
    try {
        images::BuildClaims claims(layers_->images);
        const std::stop_token stop = layers_->stop.get_token();
        const auto download = [&](const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink) {
            remote->read(blob, offset, sink, stop);
        };
        images::fetch_cached(layers_->content, layers_->layers, {mount.layer}, images::FetchWhat::blobs, download, claims, stop);
        fill_cache_mount(layers_->content, mount.layer.blob, mount.layer.diff_id, folder);
        return true;
    } catch (const Error& error) {
        // A cache is to help: without it the step begins as it would have.
        log::info("cache mount {}: {}", id, error.what());
        return false;
    }
}

asio::awaitable<std::shared_ptr<CacheRemote>> open_import(Workplace& place, const Build& build, CacheImport import) {
    const std::string session = build.request.session();
    if (const auto* registry = std::get_if<RegistryCache>(&import.where)) {
        refuse_insecure(registry->reference, registry->insecure);
        auto credentials = co_await place.resolver.credentials(registry->reference.domain(), session);
        co_return registry_remote(place.registry, registry->reference, std::move(credentials));
    }
    const auto& local = std::get<LocalCache>(import.where);
    co_return session_remote(place.loop, co_await place.sessions.find(session), "local:" + local.folder, local.digest->text());
}

asio::awaitable<std::shared_ptr<ImportedCache>> import_caches(Workplace& place, BuildPtr build) {
    const std::vector<CacheImport> imports = imports_of(*build);
    if (imports.empty()) co_return nullptr;
    const auto layers = std::make_shared<ImportedLayers>(place.content, place.layers, place.images, place.cached_layers, place.pool);
    const auto out = std::make_shared<ImportedCache>(layers);
    for (const CacheImport& each : imports) {
        const std::string name = name_of(each);
        try {
            co_await in_step(build->journal, fmt::format("importing cache manifest from {}", name), [&](Step&) -> asio::awaitable<void> {
                const auto remote = co_await open_import(place, *build, each);
                const auto found = co_await place.transfers.call(place.loop, [remote](const std::stop_token& stop) {
                    return std::make_shared<RemoteCache>(read_remote_cache(*remote, stop));
                });
                out->add(std::move(*found), remote);
            });
        } catch (const Error& error) {
            // The build goes on without it; its step says why.
            log::info("a build's cache {}: {}", name, error.what());
        }
    }
    co_return out;
}

}  // namespace grua::build
