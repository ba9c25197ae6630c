// A result that a cache elsewhere has: its layers come when its files are needed, its blobs when an image of them is made, and neither
// before.
#pragma once

#include "base/mutex.hpp"
#include "build/cache_contents.hpp"
#include "build/cache_remote.hpp"
#include "build/tree.hpp"
#include "images/image_store.hpp"

#include <atomic>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

namespace grua::build {

/// What all trees of one build's caches share. Thread-safe.
class ImportedLayers {
public:
    /// All of them outlive the trees.
    ImportedLayers(content::ContentStore& its_content, layers::LayerStore& its_layers, images::ImageStore& its_images,
                   images::CachedLayers& its_cached, asio::thread_pool& its_pool)
        : content(its_content), layers(its_layers), images(its_images), cached(its_cached), pool(its_pool) {}

    content::ContentStore& content;
    layers::LayerStore& layers;
    images::ImageStore& images;
    images::CachedLayers& cached;
    asio::thread_pool& pool;
    std::stop_source stop;  ///< The build is over: nothing more comes.

    /// What could not be had: a blob by its digest, a result by its key.
    void lose(const std::string& what) GRUA_EXCLUDES(mutex_);
    bool is_lost(const CacheContents::Result& result) const GRUA_EXCLUDES(mutex_);
    std::size_t lost() const GRUA_EXCLUDES(mutex_);

private:
    mutable Mutex mutex_;
    std::set<std::string, std::less<>> lost_ GRUA_GUARDED_BY(mutex_);
};

class ImportedTree final : public Tree {
public:
    ImportedTree(const CacheContents::Result& result, std::shared_ptr<CacheRemote> remote, std::shared_ptr<ImportedLayers> all);
    ~ImportedTree() override;

    // These bring the layers.
    Fd open() const override;
    const std::vector<oci::Digest>* layers() const override;
    std::string digest_of(const std::vector<Selection>& selections, ReadFiles* read) const override;

    const std::vector<oci::Digest>* kept_layers() const noexcept override { return is_here_ ? &diff_ids_ : nullptr; }
    const ImportedTree* imported() const noexcept override { return this; }

    const std::vector<CachedLayerPtr>& cached_layers() const noexcept { return layers_; }
    const std::vector<oci::Digest>& diff_ids() const noexcept { return diff_ids_; }

    std::vector<images::CachedLayer> all_layers() const;

    /// So that an image can be made of it. Blocks.
    void bring_blobs() const;
    /// As the store of images takes them, the blobs being here; claimed.
    std::vector<images::PackedLayer> packed(images::BuildClaims& claims) const;
    /// One of them. Blocks.
    void bring_blob(const images::CachedLayer& layer) const;

    /// Where an image has brought the layers meanwhile. Blocks.
    void look_again() const;

private:
    void bring(const std::vector<images::CachedLayer>& layers, images::FetchWhat what) const GRUA_REQUIRES(mutex_);
    void bring_files() const GRUA_EXCLUDES(mutex_);
    std::vector<CachedLayerPtr> layers_;
    std::vector<oci::Digest> diff_ids_;
    std::shared_ptr<CacheRemote> remote_;
    std::shared_ptr<ImportedLayers> all_;
    mutable Mutex mutex_;
    mutable std::unique_ptr<images::BuildClaims> claims_ GRUA_GUARDED_BY(mutex_);
    mutable std::atomic<bool> is_here_ = false;  ///< The layers, held by the claims.
};

}  // namespace grua::build
