// Results of operations, kept for builds to come: found by keys, made of layers of the layer store.
//
// What is kept is there for the next build at once, and has rows half a second later or at the end of its build, whichever is first: first
// the layers' rows, then its own. A gruad that is killed before has forgotten it, and the operation is run again. Nothing is loaded before
// a build asks: then all records are in memory, and their layers are held. A record one of whose layers is gone goes with it.
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/condition.hpp"
#include "build/cache_entries.hpp"
#include "build/cache_rows.hpp"
#include "build/solver.hpp"
#include "images/cached_layers.hpp"
#include "layers/layers.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace grua::build {

/// Loop only.
class CacheStore final : public Cache {
public:
    /// A result out of its layers, on the pool. Throws Error(not_found) where one is gone.
    using MakeResult = std::function<ResultPtr(std::string key, const std::vector<oci::Digest>& layers)>;
    /// Diff IDs of all layers that images have, those of some IDs aside; on the pool.
    using ImageLayers = std::function<std::set<oci::Digest>(const std::set<std::string>& leaving)>;

    /// Blobs of layers that records have and perhaps no image. On the pool.
    struct LayerBlobs {
        std::function<std::vector<oci::Digest>()> kept;
        std::function<void(const std::vector<images::CachedLayer>&)> keep;
        std::function<void(const std::vector<oci::Digest>&)> let_go;
        std::function<void()> collect;  ///< Behind records that are gone: layers and blobs that no image has may go.
    };

    /// All of them outlive this; flush() comes before its end. `earlier_steps`: those that the layer store had before this gruad built
    /// anything. What no record has of them is nobody's.
    CacheStore(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, Timers& timers, store::Database& database,
               layers::LayerStore& layers, std::vector<oci::Digest> earlier_steps, MakeResult make, ImageLayers image_layers,
               LayerBlobs blobs);
    ~CacheStore() override;

    asio::awaitable<std::optional<Results>> find(std::string key) override;
    /// Of results that end with whoever has them (Result::kept_layers) nothing is kept.
    asio::awaitable<void> keep(std::string key, Results results, VertexPtr made_by) override;

    /// For as long as a record has one of these layers its blob stays with it.
    void keep_blobs(const std::vector<images::CachedLayer>& layers);

    /// What is known by a key, and by which others; no use of it.
    struct Known {
        KeptRecordPtr record;
        std::vector<std::string> keys;
    };
    asio::awaitable<std::optional<Known>> look(std::string key);

    /// What find() and keep() do first. From then on layers of base images stay when the images go.
    asio::awaitable<void> load();

    /// At the end of a build: what is kept has rows then. What the disk does not take is tried again later, and is no failure.
    asio::awaitable<void> flush();
    /// At the end of a build whose layers an image is going to name: they survive a power cut. Throws where they do not.
    asio::awaitable<void> sync();

    /// What builds that were called off have left goes, at the second time that is seen.
    asio::awaitable<void> sweep();

    /// For du and prune. Measures, on the pool. `leaving_images`: as if these were not there any more.
    asio::awaitable<std::vector<UsageEntry>> list(std::set<std::string> leaving_images = {});
    /// Its layers go with the next flush(). False where it is in use, and where there is none.
    bool remove(const std::string& usage_id);

    std::size_t size() const noexcept { return records_.size(); }

private:
    struct Record;
    using RecordPtr = std::shared_ptr<Record>;
    struct Layer {
        LayerName name;
        std::size_t records = 0;  ///< That have it; each as often as it does.
        layers::LayerStore::Hold hold;
    };
    struct Batch;
    struct Loaded;
    struct Looked;

    Loaded read();
    KeptRecordPtr make_record(const std::string& key, const Results& results, const Vertex& made_by);
    RecordPtr put_record(const KeptRecordPtr& kept);
    void add_key(const RecordPtr& record, const std::string& key);
    void take_key(const std::string& key);
    LayerName take_layer(const oci::Digest& digest);
    void let_go_of_layers(const KeptRecord& record);
    void drop(const RecordPtr& record);
    void let_go_of_unused();
    void drop_oldest();
    void touch(Record& record);
    void change(const Record& record);
    void write_at(Clock::Point when);
    void drop_those_with(const std::set<oci::Digest>& missing);
    Batch take_batch();
    void commit(Batch& batch);
    void give_back(Batch& batch);
    asio::awaitable<void> write();
    Looked measure(std::vector<SeenRecord> seen, const std::vector<LayerName>& names, const std::set<std::string>& leaving_images);
    void forget_orphans(const std::vector<layers::LayerStore::Step>& steps);

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    const Clock& clock_;
    Timers& timers_;
    layers::LayerStore& layer_store_;
    MakeResult make_;
    ImageLayers image_layers_;
    LayerBlobs blobs_;
    CacheRows rows_;
    std::vector<oci::Digest> earlier_steps_;  ///< Until they are loaded.

    Lane loading_;
    bool is_loaded_ = false;
    std::map<std::string, RecordPtr> records_;
    std::map<std::string, RecordPtr> keys_;
    std::map<std::string, RecordPtr, std::less<>> usage_ids_;
    std::map<oci::Digest, Layer> layers_;
    std::vector<RecordPtr> leaving_;  ///< That are found no more, and whose layers somebody may still ask for.

    // What is to be written: records by their IDs; one that is not there any more is deleted.
    Lane writing_;
    std::set<std::string> changed_;
    std::set<std::string> used_;
    std::vector<oci::Digest> forgotten_;  ///< Steps that no record has.
    std::vector<layers::LayerStore::Hold> let_go_;
    std::vector<images::CachedLayer> new_blobs_;
    std::vector<oci::Digest> gone_blobs_;  ///< Of layers that had no record any more; where they have one again they stay.
    std::set<oci::Digest> not_held_;
    Clock::Point write_at_ = Clock::never;
    std::unique_ptr<Alarm> alarm_;
    std::map<oci::Digest, Clock::Point> orphans_;  ///< Steps that no record has, and since when that is known.
};

}  // namespace grua::build
