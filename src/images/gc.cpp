#include "images/gc.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "images/cached_layers.hpp"
#include "images/image_store_impl.hpp"

#include <sys/statvfs.h>
#include <algorithm>

namespace grua::images {

using Verdict = Decision::Verdict;

bool is_pinned(const std::map<std::string, std::string>& labels, const std::string& pin) {
    const auto found = labels.find(pin);
    return found != labels.end() && found->second != "false" && found->second != "0";
}

Disk disk_of(const std::string& path) {
    struct statvfs status{};
    if (::statvfs(path.c_str(), &status) != 0) fail_errno("statvfs {}", path);
    const std::uint64_t used = (status.f_blocks - status.f_bfree) * status.f_frsize;
    return {.used = used, .total = used + status.f_bavail * status.f_frsize};
}

std::string rough_time(std::chrono::seconds time) {
    struct Unit {
        std::int64_t seconds;
        const char* name;
    };
    for (const Unit& unit : {Unit{86400, "day"}, Unit{3600, "hour"}, Unit{60, "minute"}}) {
        const std::int64_t count = time.count() / unit.seconds;
        if (count > 0) return fmt::format("{} {}{}", count, unit.name, count == 1 ? "" : "s");
    }
    return fmt::format("{} second{}", time.count(), time.count() == 1 ? "" : "s");
}

/// One run.
class ImageStore::Collection {
public:
    Collection(ImageStore& store, const GcPolicy& policy, const GcFacts& facts, const UsedBy& used_by)
        : store_(store), policy_(policy), facts_(facts), used_by_(used_by), time_(now()), freed_(facts.freed) {}

    /// Under the store's lock.
    void plan() {
        state_ = store_.snapshot();
        for (const store::Row& row : store_.database_.query("SELECT id FROM images")) {
            if (!state_->images.contains(row.text(0))) broken_.insert(row.text(0));
        }
        count_uses();
        for (const std::string& id : broken_) say("image", id, "", Verdict::keep, "it cannot be read: see `grua system check`");
        plan_images();
        plan_partials();
        if (broken_.empty()) plan_orphans();
    }

    /// Without the lock; each step takes it.
    std::vector<Removed> carry_out() {
        std::vector<Removed> removed;
        for (Decision& each : decisions_) {
            if (each.verdict != Verdict::remove) continue;
            try {
                if (each.kind == "image") {
                    std::ranges::move(take_out(each.id), std::back_inserter(removed));
                } else if (each.kind == "partial" && !store_.content_.remove_partial(oci::Digest::from(each.id))) {
                    each.verdict = Verdict::keep;
                    each.reason = "a download goes on with it";
                }
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::conflict && error.kind() != ErrorKind::not_found) throw;
                each.verdict = Verdict::keep;
                each.reason = error.what();
            }
        }
        store_.collect();
        for (Decision& each : decisions_) {
            if (each.verdict != Verdict::remove) continue;
            const bool stays = each.kind == "blob"    ? store_.content_.exists(oci::Digest::from(each.id))
                               : each.kind == "layer" ? store_.layers_.find(oci::Digest::from(each.id)).has_value()
                                                      : false;
            if (!stays) continue;
            each.verdict = Verdict::keep;
            each.reason = "it came into use meanwhile";
        }
        return removed;
    }

    std::vector<Decision> take() { return std::move(decisions_); }

private:
    void say(std::string kind, std::string id, std::string name, Verdict verdict, std::string reason, std::uint64_t size = 0) {
        decisions_.push_back({std::move(kind), std::move(id), std::move(name), verdict, std::move(reason), size});
    }

    void count_uses() {
        for (const auto& [id, image] : state_->images) {
            for (const oci::Digest& each : image->blobs) ++blob_users_[each];
            for (const oci::Digest& each : image->all_diff_ids) ++layer_users_[each];
        }
        for (const CachedLayer& each : detail::read_cached_layers(store_.database_)) {
            if (const auto blob = oci::Digest::parse(each.blob.digest)) ++blob_users_[*blob];
            ++layer_users_[each.diff_id];
        }
        for (const std::string& id : store_.layers_.containers()) {
            if (facts_.leaving.contains(id)) continue;
            try {
                for (const oci::Digest& each : store_.layers_.container_layers(id)) layer_containers_.emplace(each, id);
            } catch (const Error& error) {
                if (error.kind() != ErrorKind::not_found) throw;  // removed meanwhile
            }
        }
    }

    /// The longest unused first; a child before its parent, because with it the parent may go.
    void plan_images() {
        std::vector<ImagePtr> candidates;
        for (const auto& [id, image] : state_->images) candidates.push_back(image);
        std::ranges::sort(candidates, {}, [&](const ImagePtr& each) { return std::pair(store_.last_used(each->id), each->id); });
        std::map<std::string, std::string> kept;
        for (bool more = true; more;) {
            more = false;
            for (const ImagePtr& image : candidates) {
                if (gone_.contains(image->id)) continue;
                kept[image->id] = why_kept(*image);
                if (!kept[image->id].empty()) continue;
                remove(*image);
                more = true;
            }
        }
        for (const ImagePtr& image : candidates) {
            if (!gone_.contains(image->id)) say("image", image->id, name_of(*image), Verdict::keep, kept[image->id], own_size(*image));
        }
    }

    static std::string name_of(const Image& image) { return image.references.empty() ? "" : image.references.front().familiar(); }

    /// Empty where nothing keeps it.
    std::string why_kept(const Image& image) const {
        for (const ContainerUse& use : used_by_ ? used_by_(image.id) : std::vector<ContainerUse>{}) {
            if (!facts_.leaving.contains(use.container_id)) return "used by container " + short_id(use.container_id);
        }
        if (store_.is_held(image.id)) return "a container or an image is being made of it";
        if (is_pinned(image.config.config.labels, policy_.pin)) return fmt::format("pinned by its label {}", policy_.pin);
        if (policy_.images == GcPolicy::Images::none) return "the policy removes no images";
        if (!image.references.empty() && policy_.images == GcPolicy::Images::dangling) return "it has a name";
        for (const auto& [id, other] : state_->images) {
            if (other->parent == image.id && !gone_.contains(id)) return fmt::format("image {} was made of it", short_id(id));
        }
        if (!broken_.empty()) return "an image cannot be read, so what it needs is not known";
        const auto age = std::chrono::duration_cast<std::chrono::seconds>(time_ - store_.last_used(image.id));
        if (age < policy_.keep) return fmt::format("used {} ago, kept for {}", rough_time(std::max(age, {})), rough_time(policy_.keep));
        const unsigned full = facts_.disk.total == 0 ? 0 : static_cast<unsigned>(facts_.disk.used * 100 / facts_.disk.total);
        if (!facts_.disk.is_above(policy_.high)) return fmt::format("the disk is {} % full, images go above {} %", full, policy_.high);
        if (!facts_.disk.is_above(policy_.low, freed_)) return fmt::format("without the others the disk is below {} %", policy_.low);
        return {};
    }

    /// Bytes of what only this image needs.
    std::uint64_t own_size(const Image& image) const {
        std::uint64_t sum = 0;
        for (const oci::Digest& each : image.blobs) {
            if (blob_users_.at(each) == 1 && !store_.is_claimed(each)) sum += store_.content_.size(each).value_or(0);
        }
        for (const oci::Digest& each : image.all_diff_ids) {
            if (layer_users_.at(each) != 1 || layer_containers_.contains(each) || store_.layers_.is_held(each)) continue;
            if (const auto layer = store_.layers_.find(each); layer && !layer->is_step) sum += layer->size;
        }
        return sum;
    }

    void remove(const Image& image) {
        const std::uint64_t size = own_size(image);
        freed_ += size;
        gone_.insert(image.id);
        const auto age = std::chrono::duration_cast<std::chrono::seconds>(time_ - store_.last_used(image.id));
        say("image", image.id, name_of(image), Verdict::remove, fmt::format("unused for {}", rough_time(std::max(age, {}))), size);
        for (const oci::Digest& each : image.blobs) --blob_users_[each];
        for (const oci::Digest& each : image.all_diff_ids) --layer_users_[each];
        for (const oci::Digest& each : image.blobs) with_images_.insert(each);
        for (const oci::Digest& each : image.all_diff_ids) with_images_.insert(each);
    }

    void plan_partials() {
        for (const content::ContentStore::Partial& each : store_.content_.partials()) {
            const auto age = std::chrono::duration_cast<std::chrono::seconds>(time_ - each.modified);
            const std::string id = each.digest.text();
            if (each.in_use) {
                say("partial", id, "", Verdict::keep, "a download goes on with it", each.size);
            } else if (age < policy_.partials) {
                say("partial", id, "", Verdict::keep,
                    fmt::format("it broke off {} ago, kept for {}", rough_time(std::max(age, {})), rough_time(policy_.partials)),
                    each.size);
            } else {
                say("partial", id, "", Verdict::remove, fmt::format("nobody went on with it for {}", rough_time(age)), each.size);
            }
        }
    }

    /// What belongs to no image; parts of images are not told one by one.
    void plan_orphans() {
        for (const layers::Layer& layer : store_.layers_.list()) {
            if (const auto users = layer_users_.find(layer.diff_id); users != layer_users_.end() && users->second > 0) continue;
            const std::string id = layer.diff_id.text();
            if (const auto container = layer_containers_.find(layer.diff_id); container != layer_containers_.end()) {
                say("layer", id, "", Verdict::keep, "used by container " + short_id(container->second), layer.size);
            } else if (store_.layers_.is_held(layer.diff_id)) {
                say("layer", id, "", Verdict::keep, "an image on its way in needs it", layer.size);
            } else if (layer.is_step) {
                say("layer", id, "", Verdict::keep, "the builder keeps it for the next build", layer.size);
            } else if (!with_images_.contains(layer.diff_id)) {
                say("layer", id, "", Verdict::remove, "no image and no container needs it", layer.size);
            }
        }
        for (const oci::Digest& blob : store_.content_.list()) {
            if (const auto users = blob_users_.find(blob); users != blob_users_.end() && users->second > 0) continue;
            const std::uint64_t size = store_.content_.size(blob).value_or(0);
            if (store_.is_claimed(blob)) {
                say("blob", blob.text(), "", Verdict::keep, "an image on its way in needs it", size);
            } else if (!with_images_.contains(blob)) {
                say("blob", blob.text(), "", Verdict::remove, "no image needs it", size);
            }
        }
    }

    /// The image, where everything is still as it was when it was decided upon.
    std::vector<Removed> take_out(const std::string& id) {
        const ImagePtr seen = state_->images.at(id);
        const Time used = store_.last_used(id);
        const RemoveOptions options{.force = true, .prune_parents = false};
        return store_.take_out(id, options, used_by_, [&](const Image& image) {
            return image.references == seen->references && store_.last_used(id) == used && (!used_by_ || used_by_(id).empty());
        });
    }

    ImageStore& store_;
    const GcPolicy& policy_;
    const GcFacts& facts_;
    const UsedBy& used_by_;
    const Time time_;
    std::shared_ptr<const Snapshot> state_;
    std::set<std::string> broken_;
    std::set<std::string> gone_;
    std::map<oci::Digest, int> blob_users_;
    std::map<oci::Digest, int> layer_users_;
    std::map<oci::Digest, std::string> layer_containers_;
    std::set<oci::Digest> with_images_;
    std::uint64_t freed_;
    std::vector<Decision> decisions_;
};

ImageStore::Collected ImageStore::collect(const GcPolicy& policy, const GcFacts& facts, const UsedBy& used_by, GcMode mode) {
    Collection collection{*this, policy, facts, used_by};
    {
        const MutexLock lock{changing_};
        collection.plan();
    }
    Collected out;
    if (mode == GcMode::real) {
        out.removed = collection.carry_out();
        const MutexLock lock{changing_};
        database_.transaction([&] { store_uses(); });
    }
    out.decisions = collection.take();
    return out;
}

void ImageStore::touch(const std::string& image_id, Time time) {
    if (!snapshot()->images.contains(image_id)) return;
    const MutexLock lock{*held_mutex_};
    Time& used = used_[image_id];
    if (time <= used) return;
    used = time;
    touched_.insert(image_id);
}

Time ImageStore::last_used(const std::string& image_id) const {
    const MutexLock lock{*held_mutex_};
    const auto found = used_.find(image_id);
    return found == used_.end() ? Time{} : found->second;
}

/// Inside a transaction.
void ImageStore::store_uses() {
    std::map<std::string, Time> uses;
    {
        const MutexLock lock{*held_mutex_};
        for (const std::string& id : touched_) uses[id] = used_[id];
        touched_.clear();
    }
    for (const auto& [id, time] : uses) {
        database_.execute("UPDATE images SET used = ?2 WHERE id = ?1", {id, static_cast<std::int64_t>(time.time_since_epoch().count())});
    }
}

bool ImageStore::is_held(const std::string& image_id) const {
    const MutexLock lock{*held_mutex_};
    return held_.contains(image_id);
}

/// An image has them together, so it was checked that the one is in the other. A layer that is merely here says nothing about the
/// blob: an image that names it gets another image's files.
bool ImageStore::is_layer(const std::string& blob, const oci::Digest& diff_id) const {
    const auto has = [&](const auto& entry) {
        const Image& image = *entry.second;
        for (std::size_t at = 0; at < std::min(image.layers.size(), image.diff_ids.size()); ++at) {
            if (image.layers[at].digest == blob && image.diff_ids[at] == diff_id) return true;
        }
        return false;
    };
    return std::ranges::any_of(snapshot()->images, has);
}

bool ImageStore::is_claimed(const oci::Digest& blob) const {
    const MutexLock lock{*held_mutex_};
    return claimed_.contains(blob);
}

}  // namespace grua::images
