// The caches elsewhere that a build may take from (--cache-from): what they have is found by the solver's keys. That a cache cannot be read
// fails nothing, and neither does a blob that is not there: then its result is found no more, and whoever needed it looks again.
#pragma once

#include "build/cache_manifest.hpp"
#include "build/cache_requests.hpp"
#include "build/cache_store.hpp"
#include "build/control.hpp"
#include "build/imported_tree.hpp"
#include "build/operations/operations.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

/// Loop only, but for fill_mount().
class ImportedCache final : public Imports {
public:
    explicit ImportedCache(std::shared_ptr<ImportedLayers> layers) : layers_(std::move(layers)) {}
    ImportedCache(const ImportedCache&) = delete;
    ImportedCache& operator=(const ImportedCache&) = delete;
    ~ImportedCache() override { layers_->stop.request_stop(); }

    void add(RemoteCache cache, std::shared_ptr<CacheRemote> remote);

    /// The first of the caches that has it whole.
    std::optional<Results> find(const std::string& key, const VertexPtr& vertex) override;

    /// Grows with each result that could not be had.
    std::size_t lost() const { return layers_->lost(); }

    /// What was found and is here by now, for this engine's own cache. `blobs`: of its layers.
    asio::awaitable<void> keep_in(CacheStore& cache, asio::thread_pool& pool);

    /// For who exports it again: of what find() has given under `key`, all keys.
    std::vector<std::string> names_of(const std::string& key) const;

    bool fill_mount(const std::string& id, const std::string& folder) override;

private:
    struct Source {
        CacheContents contents;
        std::shared_ptr<CacheRemote> remote;
        std::map<std::size_t, std::weak_ptr<const ImportedTree>> given;  ///< By their numbers.
    };
    struct Hit {
        Results results;
        VertexPtr vertex;
        const Source* source = nullptr;
    };

    std::shared_ptr<ImportedLayers> layers_;
    std::vector<std::unique_ptr<Source>> sources_;
    std::vector<std::pair<CachedMount, std::shared_ptr<CacheRemote>>> mounts_;
    std::map<std::string, Hit, std::less<>> hits_;
};

/// The remote that an import names, with the credentials of the build's client. Throws Error.
asio::awaitable<std::shared_ptr<CacheRemote>> open_import(Workplace& place, const Build& build, CacheImport import);

/// Those that the request names, each a step of the build. Null where it names none.
asio::awaitable<std::shared_ptr<ImportedCache>> import_caches(Workplace& place, BuildPtr build);

}  // namespace grua::build
