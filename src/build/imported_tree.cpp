#include "build/imported_tree.hpp"

#include "base/log.hpp"
#include "build/selection.hpp"
#include "build/tree_scan.hpp"

#include <algorithm>

namespace grua::build {

using images::FetchWhat;

void ImportedLayers::lose(const std::string& what) {
    const MutexLock lock{mutex_};
    lost_.insert(what);
}

bool ImportedLayers::is_lost(const CacheContents::Result& result) const {
    const MutexLock lock{mutex_};
    if (lost_.empty()) return false;
    return lost_.contains(result.key) || std::ranges::any_of(result.layers, [&](const CachedLayerPtr& each) GRUA_REQUIRES(mutex_) {
               return lost_.contains(each->blob.digest);
           });
}

std::size_t ImportedLayers::lost() const {
    const MutexLock lock{mutex_};
    return lost_.size();
}

ImportedTree::ImportedTree(const CacheContents::Result& result, std::shared_ptr<CacheRemote> remote, std::shared_ptr<ImportedLayers> all)
    : Tree(result.key), layers_(result.layers), remote_(std::move(remote)), all_(std::move(all)) {
    for (const CachedLayerPtr& each : layers_) diff_ids_.push_back(each->diff_id);
}

ImportedTree::~ImportedTree() {
    // What nobody has taken is collected, which takes its time.
    if (!claims_) return;
    asio::post(all_->pool, [claims = std::move(claims_), &images = all_->images]() mutable {
        claims.reset();
        try {
            images.collect();
        } catch (const std::exception& error) {
            log::error("images: after a build: {}", error.what());  // the next removal collects it
        }
    });
}

std::vector<images::CachedLayer> ImportedTree::all_layers() const {
    std::vector<images::CachedLayer> out;
    for (const CachedLayerPtr& each : layers_) out.push_back(*each);
    return out;
}

void ImportedTree::bring(const std::vector<images::CachedLayer>& layers, FetchWhat what) const {
    if (!claims_) claims_ = std::make_unique<images::BuildClaims>(all_->images);
    const std::stop_token stop = all_->stop.get_token();
    const auto download = [&](const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink) {
        try {
            remote_->read(blob, offset, sink, stop);
        } catch (const Error&) {
            if (!stop.stop_requested()) all_->lose(blob.digest);
            throw;
        }
    };
    try {
        images::fetch_cached(all_->content, all_->layers, layers, what, download, *claims_, stop);
    } catch (Error& error) {
        if (!all_->stop.stop_requested()) all_->lose(key);
        error.add_context("imported cache");
        throw;
    }
}

void ImportedTree::bring_files() const {
    const MutexLock lock{mutex_};
    if (is_here_) return;
    const std::vector<images::CachedLayer> layers = all_layers();
    bring(layers, FetchWhat::files);
    // What is made on top of it needs their blobs, whatever becomes of this.
    all_->cached.keep(layers);
    is_here_ = true;
}

void ImportedTree::bring_blobs() const {
    const MutexLock lock{mutex_};
    bring(all_layers(), FetchWhat::blobs);
}

std::vector<images::PackedLayer> ImportedTree::packed(images::BuildClaims& claims) const {
    std::vector<images::PackedLayer> out;
    for (const CachedLayerPtr& each : layers_) {
        const bool is_empty = each->blob.digest.empty();
        if (!is_empty) claims.blob(oci::Digest::from(each->blob.digest));
        static_cast<void>(claims.layer(each->diff_id));
        out.push_back({.layer = each->diff_id, .diff_id = each->diff_id, .blob = each->blob, .is_empty = is_empty});
    }
    return out;
}

void ImportedTree::bring_blob(const images::CachedLayer& layer) const {
    const MutexLock lock{mutex_};
    bring({layer}, FetchWhat::blobs);
}

void ImportedTree::look_again() const {
    const MutexLock lock{mutex_};
    if (is_here_) return;
    if (!claims_) claims_ = std::make_unique<images::BuildClaims>(all_->images);
    // No image unpacks those in which nothing is.
    for (const CachedLayerPtr& each : layers_)
        if (!each->blob.digest.empty() && !claims_->layer(each->diff_id)) return;
    bring(all_layers(), FetchWhat::files);
    is_here_ = true;
}

Fd ImportedTree::open() const {
    bring_files();
    return all_->layers.mount_layers(diff_ids_);
}

const std::vector<oci::Digest>* ImportedTree::layers() const {
    bring_files();
    return &diff_ids_;
}

std::string ImportedTree::digest_of(const std::vector<Selection>& selections, ReadFiles* read) const {
    return build::digest_of(scan_tree(Root::at(open()), selections), selections, read);
}

}  // namespace grua::build
