// Layers that caches of builds have elsewhere, and perhaps no image here: how they come, and that they stay with their blobs for as long as
// the builder keeps results that are made of them. Blocks, so it is used from the pool or threads of its own.
#pragma once

#include "base/text.hpp"
#include "content/content_store.hpp"
#include "images/built.hpp"
#include "layers/layers.hpp"
#include "registry/client.hpp"
#include "store/database.hpp"

#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

namespace grua::images {

struct CachedLayer {
    oci::Descriptor blob;  ///< Nothing where the layer has no entry.
    oci::Digest diff_id;
    Time made{};  ///< As the history of an image that is built with it has it; Time{} where nobody knows.
};

/// The tar without an entry: what the diff ID of a layer is in which nothing is.
const oci::Digest& empty_layer_id();

enum class FetchWhat {
    blobs,  ///< As they are.
    files,  ///< The layers, unpacked; the blobs of those that are not here come as well.
};
/// Hands the blob's bytes from `offset` on to the sink.
using DownloadBlob = std::function<void(const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink)>;

/// What is here does not come again; all of it is claimed. A blob is its digest and the layer's diff ID, or this throws.
void fetch_cached(content::ContentStore& content, layers::LayerStore& layers, const std::vector<CachedLayer>& wanted, FetchWhat what,
                  const DownloadBlob& download, BuildClaims& claims, const std::stop_token& stop);

/// Those that stay: a table of the store, which the image store's collections look at. Thread-safe.
class CachedLayers {
public:
    /// It outlives this, and an image store has opened it.
    explicit CachedLayers(store::Database& database) : database_(database) {}

    /// Who has claimed them goes on to do so until this has come back. What is kept already stays as it was.
    void keep(const std::vector<CachedLayer>& layers);
    /// Whether they are kept or not. What nobody else needs goes with the next collection.
    void let_go(const std::vector<oci::Digest>& diff_ids);
    std::optional<CachedLayer> find(const oci::Digest& diff_id) const;
    std::vector<CachedLayer> all() const;

private:
    store::Database& database_;
};

namespace detail {

void migrate_cached_layers(store::Database& database);
std::vector<CachedLayer> read_cached_layers(store::Database& database);
std::optional<CachedLayer> read_cached_layer(store::Database& database, const oci::Digest& diff_id);

}  // namespace detail
}  // namespace grua::images
