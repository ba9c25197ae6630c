#include "images/image_store.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "images/image_store_impl.hpp"

#include <algorithm>
#include <set>

namespace grua::images {
namespace {

constexpr std::array migrations{
    "CREATE TABLE images (id TEXT PRIMARY KEY, manifest TEXT, parent TEXT NOT NULL, tagged INTEGER NOT NULL) STRICT;"
    "CREATE TABLE image_references (name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE) STRICT"};

bool is_hex(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

ImageStore::ImageStore(store::Database& database, content::ContentStore& content, layers::LayerStore& layers)
    : database_(database), content_(content), layers_(layers), held_mutex_(std::make_shared<std::mutex>()) {
    database_.migrate("images", migrations);
    reload();
    collect();
}

ImageStore::~ImageStore() = default;

std::shared_ptr<const ImageStore::Snapshot> ImageStore::snapshot() const {
    const std::scoped_lock lock{snapshot_mutex_};
    return snapshot_;
}

void ImageStore::reload() {
    std::map<std::string, std::vector<oci::Reference>> names;
    for (const store::Row& row : database_.query("SELECT name, image FROM image_references ORDER BY name")) {
        names[row.text(1)].push_back(oci::Reference::parse(row.text(0)));
    }
    auto next = std::make_shared<Snapshot>();
    for (const store::Row& row : database_.query("SELECT id, manifest, parent, tagged FROM images")) {
        try {
            auto image = std::make_shared<Image>();
            image->id = row.text(0);
            if (!row.is_null(1)) image->manifest_digest = oci::Digest::from(row.text(1));
            image->parent = row.text(2);
            image->last_tagged = Time{std::chrono::nanoseconds{row.integer(3)}};
            image->raw_config = content_.read(oci::Digest::from(image->id), oci::image_config_size_limit);
            image->config = oci::parse_image_config(image->raw_config);
            image->diff_ids = oci::diff_ids(image->config);
            image->created = parse_time(image->config.created).value_or(Time{});
            for (const oci::Digest& diff_id : image->diff_ids) {
                if (const auto layer = layers_.find(diff_id)) image->size += layer->size;
            }
            image->references = names[image->id];
            for (const oci::Reference& reference : image->references) {
                (reference.digest() ? image->repo_digests : image->repo_tags).push_back(reference.familiar());
                next->references.emplace(reference, image);
            }
            next->images.emplace(image->id, std::move(image));
        } catch (const Error& error) {
            log::error("image {}: {}", row.text(0), error.what());
        }
    }
    const std::scoped_lock lock{snapshot_mutex_};
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
    const std::scoped_lock lock{*held_mutex_};
    ++held_[image_id];
    return {static_cast<const void*>(this), [this, image_id, mutex = held_mutex_](const void*) {
                const std::scoped_lock release{*mutex};
                if (--held_[image_id] == 0) held_.erase(image_id);
            }};
}

void ImageStore::add(const std::vector<NewImage>& images) {
    const std::scoped_lock lock{changing_};
    const auto time = static_cast<std::int64_t>(now().time_since_epoch().count());
    crash_point("images:before-commit");
    database_.transaction([&] {
        for (const NewImage& each : images) {
            std::optional<std::string> manifest;
            if (each.manifest) manifest = each.manifest->text();
            database_.execute(
                "INSERT INTO images (id, manifest, parent, tagged) VALUES (?1, ?2, '', ?3) ON CONFLICT (id) DO UPDATE SET "
                "manifest = coalesce(?2, manifest), tagged = ?3",
                {each.id, manifest, time});
            for (const oci::Reference& reference : each.references) {
                database_.execute("INSERT INTO image_references (name, image) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET image = ?2",
                                  {reference.text(), each.id});
            }
        }
    });
    crash_point("images:committed");
    reload();
}

void ImageStore::tag(std::string_view reference, std::string_view target) {
    const ImagePtr image = get(reference);
    const oci::Reference name = oci::Reference::parse(target).with_default_tag();
    if (name.digest()) fail(ErrorKind::invalid_argument, "refusing to create a tag with a digest reference");
    add({{image->id, std::nullopt, {name}}});
}

std::vector<HistoryLine> ImageStore::history(std::string_view reference) const {
    const ImagePtr image = get(reference);
    std::vector<HistoryLine> out;
    std::size_t layer = 0;
    for (const oci::HistoryEntry& each : image->config.history) {
        HistoryLine line{.id = "<missing>",
                         .created = parse_time(each.created).value_or(Time{}),
                         .created_by = each.created_by,
                         .comment = each.comment};
        if (!each.empty_layer && layer < image->diff_ids.size()) {
            if (const auto found = layers_.find(image->diff_ids[layer++])) line.size = found->size;
        }
        out.insert(out.begin(), std::move(line));
    }
    if (!out.empty()) {
        out.front().id = image->id;
        out.front().tags = image->repo_tags;
    }
    return out;
}

void ImageStore::collect() {
    const std::scoped_lock lock{changing_};
    collect_later_ = loading_ > 0;
    if (collect_later_) return;
    const auto state = snapshot();
    std::set<oci::Digest> wanted;
    for (const store::Row& row : database_.query("SELECT id FROM images")) {
        // An image that cannot be read keeps everything: its layers are not known.
        if (!state->images.contains(row.text(0))) return;
    }
    for (const auto& [id, image] : state->images) wanted.insert(image->diff_ids.begin(), image->diff_ids.end());
    std::vector<oci::Digest> unwanted;
    for (const layers::Layer& layer : layers_.list()) {
        if (!wanted.contains(layer.diff_id)) unwanted.push_back(layer.diff_id);
    }
    layers_.remove_layers(unwanted);
    for (const oci::Digest& blob : content_.list()) {
        if (!state->images.contains(blob.text())) content_.remove(blob);
    }
}

}  // namespace grua::images
