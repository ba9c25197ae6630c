// Layers become blobs: what no image has packed yet is packed, several at a time, and made durable at once.
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/thread.hpp"
#include "images/built_claims.hpp"
#include "images/cached_layers.hpp"
#include "images/make.hpp"
#include "layers/source.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

namespace grua::images {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t side_by_side = 2;  // each has threads of its own
constexpr std::uint64_t sync_from = std::uint64_t{32} << 20U;
constexpr auto watch_interval = 100ms;
constexpr std::size_t buffer_size = std::size_t{256} << 10U;

/// Counts, and ends where somebody wants it to end.
class Watched : public layers::Sink {
public:
    Watched(layers::Sink& inner, std::atomic<std::uint64_t>& count, std::function<bool()> is_stopped)
        : inner_(inner), count_(count), is_stopped_(std::move(is_stopped)) {}

    void write(std::string_view bytes) override {
        if (is_stopped_()) fail(ErrorKind::unavailable, "context canceled");
        inner_.write(bytes);
        count_ += bytes.size();
    }

private:
    layers::Sink& inner_;
    std::atomic<std::uint64_t>& count_;
    std::function<bool()> is_stopped_;
};

void copy(layers::Source& from, layers::Sink& to) {
    std::vector<char> buffer(buffer_size);
    while (const std::size_t count = from.read(buffer)) to.write({buffer.data(), count});
}

}  // namespace

/// One call of pack_layers().
class ImageStore::Pack {
public:
    Pack(ImageStore& store, const std::vector<oci::Digest>& chain, const PackOptions& options, BuildClaims& build, const OnPacked& progress,
         std::stop_token stop)
        : store_(store),
          chain_(chain),
          options_(options),
          build_(build),
          claims_(*build.state_),
          progress_(progress),
          stop_(std::move(stop)) {}

    std::vector<PackedLayer> run() {
        layers::check_level(options_.compression);
        // Once more for what another build was packing, and failed to.
        while (plan()) {
            pack_mine();
            commit();
            wait_for_others();
        }
        std::vector<PackedLayer> out;
        for (const oci::Digest& each : chain_) out.push_back(packed_.at(each));
        return out;
    }

private:
    struct Job {
        oci::Digest layer;
        std::size_t at = 0;                     // in the chain
        std::optional<oci::Digest> diff_id;     // that must come out
        std::optional<oci::Descriptor> blob;    // to read it from; else from the layer's files
        std::optional<std::int64_t> rewritten;  // see PackOptions
        std::uint64_t size = 0;
        std::string key;
        PackingPtr packing;
        PackingDuty duty;  // where it is ours
        std::optional<content::ContentStore::Writer> writer;
        std::optional<PackedLayer> result;
    };

    bool is_stopped() const { return stop_.stop_requested() || failed_; }

    /// What is not packed and not here becomes a job. False where nothing is left to do.
    bool plan() {
        jobs_.clear();
        std::set<oci::Digest> planned;
        for (std::size_t at = 0; at < chain_.size(); ++at) {
            const oci::Digest& layer = chain_[at];
            if (packed_.contains(layer) || !planned.insert(layer).second) continue;
            while_doing("layer " + layer.text(), [&] { plan_layer(layer, at); });
        }
        return !jobs_.empty();
    }

    void plan_layer(const oci::Digest& layer, std::size_t at) {
        if (layer == empty_layer_id()) {
            packed_.emplace(layer, PackedLayer{.layer = layer, .diff_id = layer, .blob = {}, .is_empty = true});
            return;
        }
        Job job{.layer = layer, .at = at};
        if (layer.is_step()) {
            const auto step = store_.layers_.find_step(layer);
            if (!step) fail(ErrorKind::not_found, "it is not here");
            claims_.claims.layer(layer);
            job.size = step->size;
            job.rewritten = options_.rewrite_timestamps;
        } else {
            if (const auto found = store_.layers_.find(layer)) job.size = found->size;
            claims_.claims.layer(layer);
            job.diff_id = layer;
        }
        if (take_blob(job)) return;
        // What an image's layer was packed from is not known: other bytes would be another layer.
        if (!job.blob && !layer.is_step()) fail(ErrorKind::not_found, "no image that is here has its blob");
        job.key = fmt::format("{} {} {} {}", layer.text(), static_cast<int>(options_.compression.kind),
                              options_.compression.level ? std::to_string(*options_.compression.level) : "",
                              job.rewritten ? std::to_string(*job.rewritten) : "");
        Packings::Joined joined = store_.packings_->join(job.key);
        // The build that packed it may have made its image, and gone, since we looked.
        if (joined.duty && take_blob(job)) return;
        job.packing = std::move(joined.packing);
        job.duty = std::move(joined.duty);
        jobs_.push_back(std::move(job));
    }

    /// True where an image has the layer packed as it is wanted; where it is packed otherwise it can be read from there.
    bool take_blob(Job& job) {
        if (job.layer.is_step() && !job.rewritten) {
            if (const auto step = store_.layers_.find_step(job.layer)) job.diff_id = step->diff_id;
        }
        if (!job.diff_id) return false;
        job.blob = store_.find_blob(*job.diff_id, options_, build_);
        if (!job.blob || (options_.force && compression_of(job.blob->media_type) != options_.compression.kind)) return false;
        packed_.emplace(job.layer, PackedLayer{.layer = job.layer, .diff_id = *job.diff_id, .blob = *std::move(job.blob)});
        return true;
    }

    /// In threads; this one tells how far they are.
    void pack_mine() {
        std::vector<Job*> mine;
        for (Job& each : jobs_) {
            if (each.duty) mine.push_back(&each);
        }
        if (mine.empty()) return;
        PackProgress told{.layers = mine.size()};
        for (const Job* each : mine) told.total += each->size;
        if (progress_) progress_(told);
        // The largest first: the small ones fill what time is left beside it.
        std::ranges::sort(mine, std::ranges::greater{}, &Job::size);
        std::atomic<std::size_t> next = 0;
        Mutex mutex;
        std::condition_variable_any ended;
        std::size_t running = 0;
        std::exception_ptr error;
        std::vector<std::jthread> threads;
        const auto begin = [&](auto body) {
            const auto work = [&, body](const std::stop_token& left) {
                try {
                    body(left);
                } catch (...) {
                    const MutexLock lock{mutex};
                    if (!error) error = std::current_exception();
                    failed_ = true;  // now: another that ends for it is not the reason
                }
                const MutexLock lock{mutex};
                --running;
                ended.notify_all();
            };
            {
                const MutexLock lock{mutex};
                ++running;
            }
            threads.push_back(start_thread<std::jthread>(work));
        };
        const auto pack_some = [&](const std::stop_token& left) {
            for (std::size_t at = next++; at < mine.size(); at = next++) {
                pack(*mine[at], [&] { return is_stopped() || left.stop_requested(); });
            }
        };
        for (std::size_t count = 0; count < std::min(side_by_side, mine.size()); ++count) begin(pack_some);
        // The disk has the time that the processors take; an image waits for it anyway.
        if (told.total >= sync_from) begin([this](const std::stop_token&) { store_.layers_.sync_steps(); });
        for (bool is_over = false; !is_over;) {
            {
                MutexLock lock{mutex};
                ended.wait_for(lock, watch_interval, [&] { return running == 0; });
                is_over = running == 0;
            }
            if (const std::uint64_t done = std::min(done_.load(), told.total); progress_ && done != told.current) {
                told.current = done;
                progress_(told);
            }
        }
        threads.clear();
        if (error) std::rethrow_exception(error);
        told.current = told.total;
        if (progress_) progress_(told);
    }

    void pack(Job& job, const std::function<bool()>& is_given_up) {
        while_doing("layer " + job.layer.text(), [&] {
            fault_point("images:pack-layer");
            // One with other times is unpacked from its blob.
            using Reading = content::ContentStore::Reading;
            job.writer.emplace(store_.content_.receive(job.rewritten ? Reading::soon : Reading::later));
            content::ContentStore::Writer& writer = *job.writer;
            layers::BlockCompressor compressor{options_.compression, std::thread::hardware_concurrency(),
                                               [&](std::string_view bytes) { writer.write(bytes); }};
            Watched sink{compressor, done_, is_given_up};
            bool has_entries = true;
            if (job.blob) {
                const Fd file = store_.content_.open(oci::Digest::from(job.blob->digest));
                layers::FdSource packed{file.get()};
                copy(*layers::decompress(packed), sink);
            } else {
                const auto below = chain_.begin() + static_cast<std::ptrdiff_t>(job.at);
                std::optional<timespec> latest;
                if (job.rewritten) latest = timespec{*job.rewritten, 0};
                has_entries = store_.layers_.pack_layer(job.layer, {chain_.begin(), below}, sink, latest);
            }
            const std::optional<oci::Digest> of_tar = compressor.finish();
            writer.verify();
            const oci::Digest diff_id = of_tar.value_or(writer.digest());
            if (!has_entries) {
                job.writer.reset();
                job.result = PackedLayer{.layer = job.layer, .diff_id = empty_layer_id(), .blob = {}, .is_empty = true};
                return;
            }
            if (job.diff_id && diff_id != *job.diff_id)
                fail(ErrorKind::system, "its diff ID was {}, and is {} now: its files were changed", job.diff_id->text(), diff_id.text());
            job.result = PackedLayer{
                .layer = job.layer,
                .diff_id = diff_id,
                .blob = {
                    .media_type = layer_type(options_.compression.kind, true), .digest = writer.digest().text(), .size = writer.written()}};
        });
    }

    /// What was packed becomes blobs, durable at once, and is there for others.
    void commit() {
        std::vector<content::ContentStore::Writer> writers;
        for (Job& each : jobs_) {
            if (!each.writer) continue;
            const oci::Digest digest = each.writer->digest();
            claims_.claims.blob(digest);
            if (store_.content_.exists(digest)) continue;
            claims_.made.insert(digest);
            writers.push_back(std::move(*each.writer));
        }
        if (!writers.empty()) {
            while_doing("store the layers", [&] {
                fault_point("images:commit-packed");
                store_.content_.commit(writers);
            });
            crash_point("images:packed");
        }
        for (Job& each : jobs_) {
            if (!each.duty) continue;
            // With other times it is another layer than the step's folder: add_built() makes that.
            if (each.layer.is_step() && !each.rewritten && !each.result->is_empty)
                store_.layers_.identify(each.layer, each.result->diff_id);
            claims_.claims.layer(each.result->diff_id);
            packed_.emplace(each.layer, *each.result);
            claims_.packings.push_back(each.packing);
            each.duty.end(std::move(*each.result));
        }
    }

    void wait_for_others() {
        for (const Job& each : jobs_) {
            if (packed_.contains(each.layer)) continue;
            while (each.packing->wait_for(watch_interval) == Packing::State::running) {
                if (is_stopped()) fail(ErrorKind::unavailable, "context canceled");
            }
            std::optional<PackedLayer> result = each.packing->result();
            if (!result) continue;
            if (!result->is_empty) {
                const oci::Digest blob = oci::Digest::from(result->blob.digest);
                claims_.claims.blob(blob);
                // The build that packed it may be over, without an image.
                if (!store_.content_.exists(blob)) {
                    store_.packings_->forget(each.key, each.packing);
                    continue;
                }
                claims_.made.insert(blob);
                claims_.claims.layer(result->diff_id);
            }
            claims_.packings.push_back(each.packing);
            packed_.emplace(each.layer, std::move(*result));
        }
    }

    ImageStore& store_;
    const std::vector<oci::Digest>& chain_;
    const PackOptions& options_;
    BuildClaims& build_;
    BuildClaims::State& claims_;
    const OnPacked& progress_;
    const std::stop_token stop_;
    std::vector<Job> jobs_;
    std::map<oci::Digest, PackedLayer> packed_;
    std::atomic<std::uint64_t> done_ = 0;
    std::atomic<bool> failed_ = false;
};

std::vector<PackedLayer> ImageStore::pack_layers(const std::vector<oci::Digest>& chain, const PackOptions& options, BuildClaims& claims,
                                                 const OnPacked& progress, std::stop_token stop) {
    return Pack{*this, chain, options, claims, progress, std::move(stop)}.run();
}

std::optional<oci::Descriptor> ImageStore::find_blob(const oci::Digest& diff_id, const PackOptions& options, BuildClaims& claims) const {
    std::vector<oci::Descriptor> candidates;
    const auto add = [&](const Image& image) {
        for (std::size_t at = 0; at < std::min(image.layers.size(), image.diff_ids.size()); ++at) {
            if (image.diff_ids[at] != diff_id) continue;
            const oci::Digest blob = oci::Digest::from(image.layers[at].digest);
            claims.blob(blob);
            if (content_.exists(blob)) candidates.push_back(image.layers[at]);
            return;
        }
    };
    for (const ImagePtr& each : options.bases) add(*each);
    const bool has_base = !candidates.empty();
    for (const auto& [id, image] : snapshot()->images) add(*image);
    if (candidates.empty()) {
        if (auto cached = detail::read_cached_layer(database_, diff_id)) {
            const oci::Digest blob = oci::Digest::from(cached->blob.digest);
            claims.blob(blob);
            if (content_.exists(blob)) candidates.push_back(std::move(cached->blob));
        }
    }
    if (candidates.empty()) return std::nullopt;
    const auto is_wanted = [&](const oci::Descriptor& each) { return compression_of(each.media_type) == options.compression.kind; };
    auto chosen = candidates.begin();
    if (options.force || !has_base) {
        const auto wanted = std::ranges::find_if(candidates, is_wanted);
        if (wanted != candidates.end()) chosen = wanted;
    }
    return *chosen;
}

}  // namespace grua::images
