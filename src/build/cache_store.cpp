#include "build/cache_store.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/utf8.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <boost/asio/detached.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

constexpr auto change_delay = 500ms;
constexpr auto use_delay = 60s;  // that it was used again is not worth a commit of its own
constexpr auto retry_delay = 10s;
constexpr auto orphan_age = 10min;
constexpr std::size_t keys_limit = 32;  // of a record; a context that changes gives a new one each time
constexpr std::size_t records_limit = 20'000;
constexpr std::size_t dropped_at_once = records_limit / 20;
constexpr std::size_t description_limit = 1000;

std::string type_of(const pb::Op& op) {
    if (!op.has_source()) return "regular";
    const std::string& identifier = op.source().identifier();
    if (identifier.starts_with("local://")) return "source.local";
    if (identifier.starts_with("git://")) return "source.git.checkout";
    const auto said = op.source().attrs().find("image.recordtype");
    return said != op.source().attrs().end() && (said->second == "internal" || said->second == "frontend") ? said->second : "regular";
}

/// The same for all keys that one run's results are kept by.
std::string id_of(const std::string& key, const Results& results) {
    if (std::ranges::none_of(results, [](const ResultPtr& each) { return each != nullptr; })) return key;
    if (results.size() == 1) return results[0]->key;
    std::string all;
    for (const ResultPtr& each : results) all += (each ? each->key : "-") + "\n";
    return content::digest_of(all).text();
}

}  // namespace

struct CacheStore::Record {
    KeptRecordPtr kept;
    CacheUse use;
    std::deque<std::string> keys;
    std::vector<std::weak_ptr<const Result>> latest;  ///< As they were given out last.
    std::vector<std::weak_ptr<const Result>> given;   ///< All that may still be there.
    int being_made = 0;
    bool is_gone = false;

    bool in_use() const {
        return being_made > 0 || std::ranges::any_of(given, [](const auto& each) { return !each.expired(); });
    }
    void give(const Results& results) {
        std::erase_if(given, [](const auto& each) { return each.expired(); });
        latest.assign(results.begin(), results.end());
        for (const ResultPtr& each : results)
            if (each) given.emplace_back(each);
    }
    /// Where all of them are still there.
    std::optional<Results> lent() const {
        if (latest.size() != kept->results.size()) return std::nullopt;
        Results out;
        for (std::size_t at = 0; at < latest.size(); ++at) {
            out.push_back(latest[at].lock());
            if (!out.back() && !kept->results[at].is_nothing) return std::nullopt;
        }
        return out;
    }
};

struct CacheStore::Batch {
    std::vector<CacheRow> put;
    std::vector<CacheRows::Use> uses;
    std::vector<std::string> gone;
    std::vector<oci::Digest> forgotten;
    std::vector<layers::LayerStore::Hold> let_go;
    std::map<oci::Digest, layers::LayerStore::Hold> held;
    std::vector<images::CachedLayer> new_blobs;
    std::vector<oci::Digest> gone_blobs;

    bool is_empty() const {
        return put.empty() && uses.empty() && gone.empty() && forgotten.empty() && let_go.empty() && held.empty() && new_blobs.empty() &&
               gone_blobs.empty();
    }
};

struct CacheStore::Loaded {
    std::vector<CacheRow> rows;
    std::vector<oci::Digest> blobs;
    std::map<oci::Digest, layers::LayerStore::Hold> holds;
};

struct CacheStore::Looked {
    std::vector<UsageEntry> entries;
    std::set<oci::Digest> missing;
    std::vector<layers::LayerStore::Step> steps;
};

CacheStore::CacheStore(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, Timers& timers, store::Database& database,
                       layers::LayerStore& layers, std::vector<oci::Digest> earlier_steps, MakeResult make, ImageLayers image_layers,
                       LayerBlobs blobs)
    : loop_(loop),
      pool_(pool),
      clock_(clock),
      timers_(timers),
      layer_store_(layers),
      make_(std::move(make)),
      image_layers_(std::move(image_layers)),
      blobs_(std::move(blobs)),
      rows_(database),
      earlier_steps_(std::move(earlier_steps)),
      loading_(loop),
      writing_(std::move(loop)) {}

CacheStore::~CacheStore() = default;

// --- what is in memory ---------------------------------------------------------------------------------------------

/// On the pool.
CacheStore::Loaded CacheStore::read() {
    Loaded out;
    out.rows = rows_.load();
    for (const CacheRow& row : out.rows)
        for (const KeptResult& result : row.record->results)
            for (const LayerName& each : result.layers)
                if (const auto [at, is_new] = out.holds.try_emplace(*each); is_new) at->second = layer_store_.hold(*each);
    out.blobs = blobs_.kept();
    return out;
}

asio::awaitable<void> CacheStore::load() {
    if (is_loaded_) co_return;
    const Lane::Turn turn = co_await loading_.take();
    if (is_loaded_) co_return;
    Loaded loaded;
    try {
        auto work = [this] { return read(); };
        loaded = co_await offload(pool_, std::move(work));
    } catch (const Error& error) {
        log::error("the cache of builds cannot be read, and begins anew: {}", error.what());
    }
    for (const CacheRow& row : loaded.rows) {
        const auto record = put_record(row.record);
        record->use = row.use;
        for (const std::string& each : row.keys) add_key(record, each);
    }
    for (auto& [digest, layer] : layers_) layer.hold = std::move(loaded.holds.at(digest));
    changed_.clear();
    not_held_.clear();
    is_loaded_ = true;
    const auto all = records_;
    for (const auto& [id, record] : all) {
        const auto is_gone = [&](const LayerName& each) { return !layers_.at(*each).hold; };
        if (std::ranges::any_of(record->kept->results, [&](const auto& each) { return std::ranges::any_of(each.layers, is_gone); }))
            drop(record);
    }
    // What a kill has left between the layers' and blobs' rows and ours.
    for (const oci::Digest& each : std::exchange(earlier_steps_, {}))
        if (!layers_.contains(each)) forgotten_.push_back(each);
    for (const oci::Digest& each : loaded.blobs)
        if (!layers_.contains(each)) gone_blobs_.push_back(each);
    if (!forgotten_.empty() || !gone_blobs_.empty()) write_at(clock_.steady() + change_delay);
}

LayerName CacheStore::take_layer(const oci::Digest& digest) {
    Layer& layer = layers_[digest];
    if (layer.records++ == 0) {
        layer.name = std::make_shared<const oci::Digest>(digest);
        not_held_.insert(digest);
    }
    return layer.name;
}

void CacheStore::let_go_of_layers(const KeptRecord& record) {
    for (const KeptResult& result : record.results) {
        for (const LayerName& each : result.layers) {
            const auto found = layers_.find(*each);
            if (--found->second.records > 0) continue;
            (each->is_step() ? forgotten_ : gone_blobs_).push_back(*each);
            if (found->second.hold) let_go_.push_back(std::move(found->second.hold));
            not_held_.erase(*each);
            layers_.erase(found);
        }
    }
}

/// In the place of one with the same ID.
CacheStore::RecordPtr CacheStore::put_record(const KeptRecordPtr& kept) {
    const auto record = std::make_shared<Record>();
    auto own = std::make_shared<KeptRecord>(*kept);
    for (KeptResult& result : own->results)
        for (LayerName& each : result.layers) each = take_layer(*each);
    record->kept = std::move(own);
    if (RecordPtr& place = records_[kept->id]; RecordPtr before = std::exchange(place, record)) {
        before->is_gone = true;
        record->use = before->use;
        record->keys = std::exchange(before->keys, {});
        for (const std::string& each : record->keys) keys_[each] = record;
        leaving_.push_back(std::move(before));
    }
    usage_ids_[kept->usage_id] = record;
    change(*record);
    return record;
}

void CacheStore::take_key(const std::string& key) {
    const auto found = keys_.find(key);
    if (found == keys_.end()) return;
    const RecordPtr record = found->second;
    keys_.erase(found);
    std::erase(record->keys, key);
    // Nobody could find it any more.
    if (record->keys.empty()) drop(record);
}

void CacheStore::add_key(const RecordPtr& record, const std::string& key) {
    if (const auto found = keys_.find(key); found != keys_.end()) {
        if (found->second == record) return;
        change(*found->second);
        take_key(key);
    }
    keys_[key] = record;
    record->keys.push_back(key);
    while (record->keys.size() > keys_limit) take_key(std::string(record->keys.front()));
    change(*record);
}

void CacheStore::drop(const RecordPtr& record) {
    if (std::exchange(record->is_gone, true)) return;
    for (const std::string& each : record->keys) keys_.erase(each);
    records_.erase(record->kept->id);
    usage_ids_.erase(record->kept->usage_id);
    leaving_.push_back(record);
    change(*record);
}

/// Whoever has its results still asks for their layers.
void CacheStore::let_go_of_unused() {
    std::erase_if(leaving_, [&](const RecordPtr& each) {
        if (each->in_use()) return false;
        let_go_of_layers(*each->kept);
        return true;
    });
}

void CacheStore::drop_oldest() {
    std::vector<std::pair<Time, RecordPtr>> unused;
    for (const auto& [id, record] : records_)
        if (!record->in_use()) unused.emplace_back(record->use.last_used, record);
    std::ranges::sort(unused, {}, [](const auto& each) { return each.first; });
    for (std::size_t at = 0; at < std::min(dropped_at_once, unused.size()); ++at) drop(unused[at].second);
}

void CacheStore::touch(Record& record) {
    record.use.last_used = clock_.wall();
    ++record.use.uses;
    used_.insert(record.kept->id);
    write_at(clock_.steady() + use_delay);
}

void CacheStore::change(const Record& record) {
    changed_.insert(record.kept->id);
    if (is_loaded_) write_at(clock_.steady() + change_delay);
}

// --- what builds ask -----------------------------------------------------------------------------------------------

asio::awaitable<std::optional<Results>> CacheStore::find(std::string key) {
    co_await load();
    const auto found = keys_.find(key);
    if (found == keys_.end()) co_return std::nullopt;
    const RecordPtr record = found->second;
    touch(*record);
    if (auto lent = record->lent()) co_return lent;
    struct Making {
        Record& record;
        explicit Making(Record& of) : record(of) { ++record.being_made; }
        ~Making() { --record.being_made; }
    } const making(*record);
    auto work = [this, kept = record->kept]() -> std::optional<Results> {
        try {
            Results out;
            for (const KeptResult& each : kept->results) {
                std::vector<oci::Digest> layers;
                for (const LayerName& layer : each.layers) layers.push_back(*layer);
                out.push_back(each.is_nothing ? nullptr : make_(each.key, layers));
            }
            return out;
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) throw;
            return std::nullopt;
        }
    };
    std::optional<Results> out = co_await offload(pool_, std::move(work));
    if (out)
        record->give(*out);
    else
        drop(record);
    co_return out;
}

KeptRecordPtr CacheStore::make_record(const std::string& key, const Results& results, const Vertex& made_by) {
    auto out = std::make_shared<KeptRecord>();
    out->id = id_of(key, results);
    out->usage_id = usage_id(out->id);
    out->type = type_of(made_by.op);
    out->description = to_valid_utf8(cut_utf8(made_by.name, description_limit));
    out->created = clock_.wall();
    for (const ResultPtr& each : results) {
        KeptResult result{.key = each ? each->key : std::string(), .layers = {}, .is_nothing = !each};
        if (each)
            for (const oci::Digest& layer : *each->kept_layers()) result.layers.push_back(std::make_shared<const oci::Digest>(layer));
        out->results.push_back(std::move(result));
    }
    return out;
}

asio::awaitable<void> CacheStore::keep(std::string key, Results results, VertexPtr made_by) {
    co_await load();
    if (results.empty() || std::ranges::any_of(results, [](const ResultPtr& each) { return each && !each->kept_layers(); })) co_return;
    const KeptRecordPtr made = make_record(key, results, *made_by);
    const auto known = records_.find(made->id);
    RecordPtr record = known == records_.end() ? nullptr : known->second;
    if (!record || record->kept->results != made->results) {
        record = put_record(made);
        touch(*record);
    }
    record->give(results);
    add_key(record, key);
    // Not with each that comes: where a build has all of them in use, they are looked through in vain.
    if (records_.size() > records_limit && records_.size() % dropped_at_once == 0) drop_oldest();
}

void CacheStore::keep_blobs(const std::vector<images::CachedLayer>& layers) {
    for (const images::CachedLayer& each : layers)
        if (layers_.contains(each.diff_id)) new_blobs_.push_back(each);
    if (!new_blobs_.empty()) write_at(clock_.steady() + change_delay);
}

asio::awaitable<std::optional<CacheStore::Known>> CacheStore::look(std::string key) {
    co_await load();
    const auto found = keys_.find(key);
    if (found == keys_.end()) co_return std::nullopt;
    co_return Known{.record = found->second->kept, .keys = {found->second->keys.begin(), found->second->keys.end()}};
}

// --- what is written -----------------------------------------------------------------------------------------------

void CacheStore::write_at(Clock::Point when) {
    if (when >= write_at_) return;
    write_at_ = when;
    alarm_ = timers_.at(when, [this] { asio::co_spawn(loop_, write(), asio::detached); });
}

CacheStore::Batch CacheStore::take_batch() {
    let_go_of_unused();
    Batch out;
    const auto row_of = [](const Record& record) {
        return CacheRow{.record = record.kept, .use = record.use, .keys = {record.keys.begin(), record.keys.end()}};
    };
    for (const std::string& id : changed_) {
        if (const auto found = records_.find(id); found != records_.end())
            out.put.push_back(row_of(*found->second));
        else
            out.gone.push_back(id);
    }
    for (const std::string& id : used_)
        if (const auto found = records_.find(id); found != records_.end() && !changed_.contains(id))
            out.uses.push_back({.id = id, .use = found->second->use});
    for (const oci::Digest& each : not_held_) out.held.emplace(each, nullptr);
    changed_.clear();
    used_.clear();
    not_held_.clear();
    out.forgotten = std::exchange(forgotten_, {});
    out.let_go = std::exchange(let_go_, {});
    out.new_blobs = std::exchange(new_blobs_, {});
    for (oci::Digest& each : std::exchange(gone_blobs_, {}))
        if (!layers_.contains(each)) out.gone_blobs.push_back(std::move(each));
    return out;
}

/// On the pool, one at a time. What has been done of a batch is no more in it.
void CacheStore::commit(Batch& batch) {
    for (auto& [digest, hold] : batch.held) hold = layer_store_.hold(digest);
    // Before the rows of those who have them.
    if (!batch.new_blobs.empty()) blobs_.keep(batch.new_blobs);
    batch.new_blobs.clear();
    rows_.remove(batch.gone);
    if (!batch.gone.empty()) crash_point("build:cache:removed");
    batch.gone.clear();
    batch.let_go.clear();
    if (!batch.put.empty()) {
        layer_store_.store_steps();
        crash_point("build:cache:rows");
        rows_.put(batch.put);
        batch.put.clear();
        crash_point("build:cache:stored");
    }
    rows_.set_uses(batch.uses);
    batch.uses.clear();
    // Now that no row names them.
    layer_store_.forget_steps(batch.forgotten);
    if (!batch.gone_blobs.empty()) blobs_.let_go(batch.gone_blobs);
    if (!batch.forgotten.empty() || !batch.gone_blobs.empty()) blobs_.collect();
    batch.forgotten.clear();
    batch.gone_blobs.clear();
}

void CacheStore::give_back(Batch& batch) {
    for (const CacheRow& each : batch.put) changed_.insert(each.record->id);
    for (const CacheRows::Use& each : batch.uses) used_.insert(each.id);
    changed_.insert(batch.gone.begin(), batch.gone.end());
    std::ranges::move(batch.forgotten, std::back_inserter(forgotten_));
    std::ranges::move(batch.let_go, std::back_inserter(let_go_));
    std::ranges::move(batch.new_blobs, std::back_inserter(new_blobs_));
    std::ranges::move(batch.gone_blobs, std::back_inserter(gone_blobs_));
}

asio::awaitable<void> CacheStore::write() {
    const Lane::Turn turn = co_await writing_.take();
    alarm_.reset();
    write_at_ = Clock::never;
    const auto batch = std::make_shared<Batch>(take_batch());
    if (!leaving_.empty()) write_at(clock_.steady() + retry_delay);
    if (batch->is_empty()) co_return;
    std::string failure;
    try {
        auto work = [this, batch] { commit(*batch); };
        co_await offload(pool_, std::move(work));
    } catch (const std::exception& error) {
        failure = error.what();
    }
    if (!failure.empty()) {
        log::error("the cache of builds cannot be stored: {}; it is tried again", failure);
        give_back(*batch);
        write_at(clock_.steady() + retry_delay);
    }
    std::set<oci::Digest> missing;
    for (auto& [digest, hold] : batch->held) {
        const auto found = layers_.find(digest);
        if (found == layers_.end()) {
            if (hold) let_go_.push_back(std::move(hold));
        } else if (hold) {
            found->second.hold = std::move(hold);
        } else if (!failure.empty()) {
            not_held_.insert(digest);
        } else {
            missing.insert(digest);
        }
    }
    if (!let_go_.empty()) write_at(clock_.steady() + use_delay);
    drop_those_with(missing);
}

void CacheStore::drop_those_with(const std::set<oci::Digest>& missing) {
    if (missing.empty()) return;
    std::vector<RecordPtr> broken;
    for (const auto& [id, record] : records_) {
        const auto lacks = [&](const KeptResult& each) {
            return std::ranges::any_of(each.layers, [&](const LayerName& layer) { return missing.contains(*layer); });
        };
        if (std::ranges::any_of(record->kept->results, lacks)) broken.push_back(record);
    }
    for (const RecordPtr& each : broken) drop(each);
}

asio::awaitable<void> CacheStore::flush() {
    if (is_loaded_) co_await write();
}

asio::awaitable<void> CacheStore::sync() {
    co_await flush();
    auto work = [this] { layer_store_.sync_steps(); };
    co_await offload(pool_, std::move(work));
}

// --- what takes room -----------------------------------------------------------------------------------------------

/// On the pool.
CacheStore::Looked CacheStore::measure(std::vector<SeenRecord> seen, const std::vector<LayerName>& names,
                                       const std::set<std::string>& leaving_images) {
    Looked out;
    out.steps = layer_store_.steps();
    const std::set<oci::Digest> of_images = image_layers_(leaving_images);
    std::map<oci::Digest, const layers::LayerStore::Step*> steps;
    for (const auto& each : out.steps) steps.emplace(each.id, &each);
    std::map<oci::Digest, LayerFacts> facts;
    std::set<oci::Digest> counted;  // steps that made the same files are one folder
    for (const LayerName& each : names) {
        if (each->is_step()) {
            if (const auto found = steps.find(*each); found != steps.end())
                facts.emplace(
                    *each,
                    LayerFacts{.bytes = !found->second->diff_id || counted.insert(*found->second->diff_id).second ? found->second->size : 0,
                               .is_in_image = found->second->diff_id && of_images.contains(*found->second->diff_id)});
            else
                out.missing.insert(*each);
        } else if (const auto layer = layer_store_.find(*each)) {
            facts.emplace(*each, LayerFacts{.bytes = layer->size, .is_in_image = of_images.contains(*each)});
        } else {
            out.missing.insert(*each);
        }
    }
    out.entries = entries_of(seen, facts);
    return out;
}

asio::awaitable<std::vector<UsageEntry>> CacheStore::list(std::set<std::string> leaving_images) {
    co_await load();
    std::vector<SeenRecord> seen;
    for (const auto& [id, record] : records_) seen.push_back({.record = record->kept, .use = record->use, .in_use = record->in_use()});
    std::vector<LayerName> names;
    for (const auto& [digest, layer] : layers_) names.push_back(layer.name);
    auto work = [this, seen = std::move(seen), names = std::move(names), leaving = std::move(leaving_images)]() mutable {
        return measure(std::move(seen), names, leaving);
    };
    Looked looked = co_await offload(pool_, std::move(work));
    drop_those_with(looked.missing);
    forget_orphans(looked.steps);
    std::erase_if(looked.entries, [&](const UsageEntry& each) { return !usage_ids_.contains(each.id); });
    co_return std::move(looked.entries);
}

/// What a build has made that was called off. A step that is just being made has no record either, and nobody may hold it for a moment: so
/// only those are forgotten that were seen like that long ago already.
void CacheStore::forget_orphans(const std::vector<layers::LayerStore::Step>& steps) {
    std::map<oci::Digest, Clock::Point> seen;
    const Clock::Point now = clock_.steady();
    for (const auto& each : steps) {
        if (each.is_held || layers_.contains(each.id)) continue;
        const auto known = orphans_.find(each.id);
        const Clock::Point since = known == orphans_.end() ? now : known->second;
        if (now - since >= orphan_age) {
            forgotten_.push_back(each.id);
            write_at(now + change_delay);
        } else {
            seen.emplace(each.id, since);
        }
    }
    orphans_ = std::move(seen);
}

asio::awaitable<void> CacheStore::sweep() {
    co_await load();
    auto work = [&layers = layer_store_] { return layers.steps(); };
    forget_orphans(co_await offload(pool_, std::move(work)));
}

bool CacheStore::remove(const std::string& usage_id) {
    const auto found = usage_ids_.find(usage_id);
    if (found == usage_ids_.end() || found->second->in_use()) return false;
    const RecordPtr record = found->second;  // the entry goes meanwhile
    drop(record);
    return true;
}

}  // namespace grua::build
