#include "images/image_store.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "images/cached_layers.hpp"
#include "images/fetch.hpp"
#include "images/image_store_impl.hpp"
#include "images/packings.hpp"
#include "images/rebuild.hpp"
#include "layers/source.hpp"

#include <algorithm>
#include <set>

namespace grua::images {
namespace {

constexpr std::array migrations{
    "CREATE TABLE images (id TEXT PRIMARY KEY, manifest TEXT, parent TEXT NOT NULL, tagged INTEGER NOT NULL) STRICT;"
    "CREATE TABLE image_references (name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE) STRICT",
    // Images are known by their manifest or index; those of before kept neither, nor their layers' blobs, and are loaded again.
    "DROP TABLE image_references;"
    "DROP TABLE images;"
    "CREATE TABLE images (id TEXT PRIMARY KEY, media_type TEXT NOT NULL, size INTEGER NOT NULL, parent TEXT NOT NULL, "
    "tagged INTEGER NOT NULL, used INTEGER NOT NULL) STRICT;"
    "CREATE TABLE image_references (name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE) STRICT"};

bool is_hex(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

void set_references(Image& image, std::vector<oci::Reference> references) {
    image.references = std::move(references);
    image.repo_tags.clear();
    image.repo_digests.clear();
    const oci::Digest target = oci::Digest::from(image.id);
    for (const oci::Reference& reference : image.references) {
        if (!reference.digest()) image.repo_tags.push_back(reference.familiar());
        std::string digest = reference.with_digest(reference.digest().value_or(target)).familiar();
        if (std::ranges::find(image.repo_digests, digest) == image.repo_digests.end()) image.repo_digests.push_back(std::move(digest));
    }
}

}  // namespace

void migrate(store::Database& database) { database.migrate("images", migrations); }

ImageStore::ImageStore(store::Database& database, content::ContentStore& content, layers::LayerStore& layers)
    : database_(database), content_(content), layers_(layers), held_mutex_(std::make_shared<Mutex>()) {
    migrate(database_);
    detail::migrate_cached_layers(database_);
    fetches_ = std::make_unique<Fetches>(content_, layers_);
    packings_ = std::make_unique<Packings>();
    for (const store::Row& row : database_.query("SELECT id, used FROM images")) {
        used_[row.text(0)] = Time{std::chrono::nanoseconds{row.integer(1)}};
    }
    reload({});
    collect();
}

ImageStore::~ImageStore() = default;

ImageStore::Claims::~Claims() {
    {
        const MutexLock lock{*store_.held_mutex_};
        for (const oci::Digest& each : blobs_) {
            if (--store_.claimed_[each] == 0) store_.claimed_.erase(each);
        }
    }
    if (!publishes_ || std::uncaught_exceptions() <= exceptions_) return;
    staged_.clear();
    held_.clear();
    try {
        store_.collect();
    } catch (const std::exception& error) {
        log::error("images: after a failure: {}", error.what());  // the next removal collects it
    }
}

void ImageStore::Claims::blob(const oci::Digest& digest) {
    blobs_.push_back(digest);
    const MutexLock lock{*store_.held_mutex_};
    ++store_.claimed_[digest];
}

bool ImageStore::Claims::layer(const oci::Digest& diff_id) {
    if (auto held = store_.layers_.hold(diff_id)) {
        held_.push_back(std::move(held));
        return true;
    }
    return false;
}

std::shared_ptr<const ImageStore::Snapshot> ImageStore::snapshot() const {
    const MutexLock lock{snapshot_mutex_};
    return snapshot_;
}

void ImageStore::reload(const std::set<std::string>& changed) {
    std::map<std::string, std::vector<oci::Reference>> names;
    for (const store::Row& row : database_.query("SELECT name, image FROM image_references ORDER BY name")) {
        names[row.text(1)].push_back(oci::Reference::parse(row.text(0)));
    }
    const auto old = snapshot();
    auto next = std::make_shared<Snapshot>();
    for (const store::Row& row : database_.query("SELECT id, media_type, size, parent, tagged FROM images")) {
        const std::string& id = row.text(0);
        try {
            const oci::Descriptor target{.media_type = row.text(1), .digest = id, .size = static_cast<std::uint64_t>(row.integer(2))};
            const Time tagged{std::chrono::nanoseconds{row.integer(4)}};
            ImagePtr image;
            if (old && !changed.contains(id)) {
                if (const auto known = old->images.find(id); known != old->images.end()) image = known->second;
            }
            if (!image || image->references != names[id] || image->last_tagged != tagged) {
                // What the documents say is the same where only names changed.
                const auto fresh = image ? std::make_shared<Image>(*image) : read_image(content_, layers_, target);
                fresh->parent = row.text(3);
                fresh->last_tagged = tagged;
                set_references(*fresh, std::move(names[id]));
                image = fresh;
            }
            for (const oci::Reference& reference : image->references) next->references.emplace(reference, image);
            next->images.emplace(id, std::move(image));
        } catch (const Error& error) {
            log::error("image {}: {}", id, error.what());
        }
    }
    const MutexLock lock{snapshot_mutex_};
    snapshot_ = std::move(next);
}

ImagePtr ImageStore::find(std::string_view reference) const {
    const auto state = snapshot();
    const bool full_id = (reference.starts_with("sha256:") && is_hex(reference.substr(7))) || (reference.size() == 64 && is_hex(reference));
    if (!full_id) {
        oci::Reference name = oci::Reference::parse(reference).with_default_tag();
        // A digest says all; a tag beside it is only for people.
        if (name.digest()) name = name.with_digest(oci::Digest(*name.digest()));
        const auto named = state->references.find(name);
        if (named != state->references.end()) return named->second;
        if (!is_hex(reference)) return nullptr;
    }
    // An index knows its images by their own digests as well.
    if (const auto asked = oci::Digest::parse(reference)) {
        for (const auto& [id, image] : state->images) {
            if (image->manifest_digest == asked || image->config_digest == asked) return image;
        }
    }
    ImagePtr found;
    for (const auto& [id, image] : state->images) {
        if (!is_id_prefix(id, reference)) continue;
        if (found) return nullptr;
        found = image;
    }
    return found;
}

ImagePtr ImageStore::get(std::string_view reference) const {
    if (ImagePtr image = find(reference)) return image;
    if (reference.size() == 64 && is_hex(reference)) fail(ErrorKind::not_found, "No such image: sha256:{}", reference);
    if (reference.starts_with("sha256:")) fail(ErrorKind::not_found, "No such image: {}", reference);
    fail(ErrorKind::not_found, "No such image: {}", oci::Reference::parse(reference).with_default_tag().familiar());
}

std::vector<ImagePtr> ImageStore::list() const {
    std::vector<ImagePtr> out;
    for (const auto& [id, image] : snapshot()->images) out.push_back(image);
    std::ranges::sort(out, [](const ImagePtr& a, const ImagePtr& b) { return a->created > b->created; });
    return out;
}

ImageStore::Lease ImageStore::hold(const std::string& image_id) {
    const MutexLock lock{*held_mutex_};
    ++held_[image_id];
    return {static_cast<const void*>(this),
            [this, image_id, mutex = held_mutex_](const void*) GRUA_NOT_ANALYSED {  // the same mutex by another name
                const MutexLock release{*mutex};
                if (--held_[image_id] == 0) held_.erase(image_id);
            }};
}

ImageStore::Acquired ImageStore::acquire(std::string_view reference) {
    for (;;) {
        Acquired out;
        out.image = get(reference);
        out.lease = hold(out.image->id);
        {
            const MutexLock lock{*held_mutex_};
            if (removing_.contains(out.image->id)) fail(ErrorKind::not_found, "No such image: {}", reference);
        }
        // A removal that came before the lease has ended: it is seen by now.
        const ImagePtr again = find(reference);
        if (!again || again->id != out.image->id) continue;
        touch(out.image->id, now());
        return out;
    }
}

void ImageStore::add(const std::vector<NewImage>& images) {
    // What a step of a build wrote may be known by the diff ID of a layer that comes in with an image: it is what the image stands on
    // then, and would be gone after a power cut.
    const auto is_made_here = [&](const oci::Digest& each) {
        const auto layer = layers_.find(each);
        return layer && layer->is_made_here();
    };
    const auto stands_on_steps = [&, known = snapshot()](const NewImage& each) {
        if (known->images.contains(each.target.digest)) return false;
        return std::ranges::any_of(read_image(content_, layers_, each.target)->all_diff_ids, is_made_here);
    };
    while_doing("store the image's layers", [&] {
        if (std::ranges::any_of(images, stands_on_steps)) layers_.sync_steps();
    });
    const MutexLock lock{changing_};
    const auto time = static_cast<std::int64_t>(now().time_since_epoch().count());
    std::set<std::string> changed;
    crash_point("images:before-commit");
    const auto store = [&] {
        fault_point("images:before-commit");
        for (const NewImage& each : images) {
            changed.insert(each.target.digest);
            database_.execute(
                "INSERT INTO images (id, media_type, size, parent, tagged, used) VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (id) DO "
                "UPDATE SET tagged = excluded.tagged, used = excluded.used",
                {each.target.digest, each.target.media_type, each.target.size, each.parent, time});
            for (const oci::Reference& reference : each.references) {
                database_.execute("INSERT INTO image_references (name, image) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET image = ?2",
                                  {reference.text(), each.target.digest});
            }
        }
        store_uses();
    };
    while_doing("store the image", [&] { database_.transaction(store); });
    crash_point("images:committed");
    reload(changed);
    for (const std::string& id : changed) touch(id, Time{std::chrono::nanoseconds{time}});
}

std::vector<std::pair<std::string, std::string>> ImageStore::moved_from(const std::vector<oci::Reference>& names,
                                                                        const std::string& image_id) const {
    const auto state = snapshot();
    std::vector<std::pair<std::string, std::string>> out;
    for (const oci::Reference& name : names) {
        const auto old = state->references.find(name);
        if (old != state->references.end() && old->second->id != image_id) out.emplace_back(name.familiar(), old->second->id);
    }
    return out;
}

ImagePtr ImageStore::for_platform(const ImagePtr& image, const oci::Platform& platform) const {
    const auto is_main = [&](const Variant& each) { return each.manifest.digest == image->manifest_digest->text(); };
    const auto main = std::ranges::find_if(image->variants, is_main);
    if (image->variants.size() == 1 && main->platform.fitness(platform) == 0) {
        fail(ErrorKind::not_found, "image with reference {} was found but its platform ({}) does not match the specified platform ({})",
             image->references.empty() ? image->id : image->references.front().familiar(), main->platform.text(), platform.text());
    }
    const auto out = read_image(content_, layers_, image->target, platform);
    out->parent = image->parent;
    out->last_tagged = image->last_tagged;
    set_references(*out, image->references);
    return out;
}

void ImageStore::unpack(const Image& image) {
    Claims claims{*this};
    std::vector<layers::StagedPtr> staged;
    for (std::size_t at = 0; at < image.diff_ids.size(); ++at) {
        if (claims.layer(image.diff_ids[at])) continue;
        const oci::Digest blob = oci::Digest::from(image.layers[at].digest);
        const Fd file = content_.open(blob);
        layers::FdSource source{file.get()};
        staged.push_back(layers_.stage(source, image.diff_ids[at]));
    }
    if (staged.empty()) return;
    layers_.publish(staged);
    const MutexLock lock{changing_};
    reload({image.id});
}

void ImageStore::tag(std::string_view reference, std::string_view target) {
    // Held: a row without its blobs would come of tagging what is being removed.
    const auto [image, lease] = acquire(reference);
    const oci::Reference name = oci::Reference::parse(target).with_default_tag();
    if (name.digest()) fail(ErrorKind::invalid_argument, "refusing to create a tag with a digest reference");
    add({{image->target, {name}, image->parent}});
}

std::vector<HistoryLine> ImageStore::history(std::string_view reference) const { return history(*get(reference)); }

std::vector<HistoryLine> ImageStore::history(const Image& image) const {
    std::vector<HistoryLine> out;
    std::size_t layer = 0;
    for (const oci::HistoryEntry& each : image.config.history) {
        HistoryLine line{.id = "<missing>",
                         .created = parse_time(each.created).value_or(Time{}),
                         .created_by = each.created_by,
                         .comment = each.comment};
        if (!each.empty_layer && layer < image.diff_ids.size()) {
            if (const auto found = layers_.find(image.diff_ids[layer++])) line.size = found->size;
        }
        out.insert(out.begin(), std::move(line));
    }
    if (!out.empty()) {
        out.front().id = image.id;
        out.front().tags = image.repo_tags;
    }
    return out;
}

std::map<std::string, std::int64_t> ImageStore::shared_sizes(const std::vector<ImagePtr>& images) const {
    std::map<oci::Digest, int> layer_users;
    std::map<oci::Digest, int> blob_users;
    for (const ImagePtr& image : images) {
        for (const oci::Digest& each : image->all_diff_ids) ++layer_users[each];
        for (const oci::Digest& each : image->blobs) ++blob_users[each];
    }
    std::map<std::string, std::int64_t> out;
    for (const ImagePtr& image : images) {
        std::uint64_t sum = 0;
        for (const oci::Digest& each : image->all_diff_ids) {
            if (layer_users[each] < 2) continue;
            if (const auto layer = layers_.find(each)) sum += layer->size;
        }
        for (const oci::Digest& each : image->blobs) {
            if (blob_users[each] > 1) sum += content_.size(each).value_or(0);
        }
        out[image->id] = static_cast<std::int64_t>(sum);
    }
    return out;
}

std::uint64_t ImageStore::disk_usage() const {
    std::uint64_t sum = 0;
    for (const oci::Digest& each : content_.list()) sum += content_.size(each).value_or(0);
    for (const layers::Layer& each : layers_.list()) sum += each.size;
    return sum;
}

void ImageStore::collect() {
    const MutexLock lock{changing_};
    const auto state = snapshot();
    for (const store::Row& row : database_.query("SELECT id FROM images")) {
        // An image that cannot be read keeps everything: what it needs is not known.
        if (!state->images.contains(row.text(0))) return;
    }
    std::set<oci::Digest> layers;
    std::set<oci::Digest> blobs;
    for (const auto& [id, image] : state->images) {
        layers.insert(image->all_diff_ids.begin(), image->all_diff_ids.end());
        blobs.insert(image->blobs.begin(), image->blobs.end());
    }
    for (const CachedLayer& each : detail::read_cached_layers(database_)) {
        layers.insert(each.diff_id);
        if (const auto blob = oci::Digest::parse(each.blob.digest)) blobs.insert(*blob);
    }
    std::vector<oci::Digest> unwanted;
    for (const layers::Layer& layer : layers_.list()) {
        if (!layers.contains(layer.diff_id)) unwanted.push_back(layer.diff_id);
    }
    layers_.remove_layers(unwanted);
    for (const oci::Digest& blob : content_.list()) {
        if (blobs.contains(blob)) continue;
        const MutexLock claims{*held_mutex_};
        if (!claimed_.contains(blob)) content_.remove(blob);
    }
}

}  // namespace grua::images
