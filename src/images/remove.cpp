// Removal of names and images, with Docker's rules of what must be forced and what cannot be.
#include "base/error.hpp"
#include "base/files.hpp"
#include "content/hash.hpp"
#include "images/image_store_impl.hpp"

#include <algorithm>
#include <set>

namespace grua::images {
namespace {

constexpr const char* being_created = "image is being used by a container that is being created";

/// At most one tag, and everything in one repository.
bool is_single(const std::vector<oci::Reference>& references) {
    if (references.size() <= 1) return references.size() == 1;
    const auto same_name = [&](const oci::Reference& each) { return each.name() == references.front().name(); };
    return std::ranges::all_of(references, same_name) &&
           std::ranges::count_if(references, [](const oci::Reference& each) { return !each.digest(); }) <= 1;
}

/// The digest of a layer and all below it (OCI image spec, config.md, layer ChainID), the lowest first.
std::vector<std::string> chain_ids(const std::vector<oci::Digest>& diff_ids) {
    std::vector<std::string> out;
    for (const oci::Digest& each : diff_ids) {
        out.push_back(out.empty() ? each.text() : content::digest_of(out.back() + " " + each.text()).text());
    }
    return out;
}

}  // namespace

/// One call of remove(), under the store's lock.
class ImageStore::Removal {
public:
    Removal(ImageStore& store, const RemoveOptions& options, const UsedBy& used_by)
        : store_(store), options_(options), used_by_(used_by), state_(store.snapshot()) {}

    void by_name(const Image& image, std::string_view given) {
        std::vector<oci::Reference> left = image.references;
        const auto users = users_of(image);
        if (!options_.force && is_single(left) && !users.empty()) {
            fail(ErrorKind::conflict,
                 "conflict: unable to remove repository reference \"{}\" (must force) - container {} is using its referenced image {}",
                 given, short_id(users.front().container_id), short_id(image.id));
        }
        oci::Reference name = oci::Reference::parse(given).with_default_tag();
        if (name.digest()) name = name.with_digest(oci::Digest(*name.digest()));
        untag(image, name, left);
        // The digests of a repository go with its last tag.
        const auto is_tag_of_it = [&](const oci::Reference& each) { return !each.digest() && each.name() == name.name(); };
        if (!name.digest() && std::ranges::none_of(left, is_tag_of_it)) {
            for (const oci::Reference& each : std::vector(left)) {
                if (each.digest() && each.name() == name.name()) untag(image, each, left);
            }
        }
        if (left.empty()) drop(image, left, options_.force, true);
    }

    void by_id(const Image& image) {
        std::vector<oci::Reference> left = image.references;
        if (is_single(left)) {
            if (const auto conflict = conflict_of(image, {}, options_.force)) throw Error(*conflict->error);
            for (const oci::Reference& each : image.references) untag(image, each, left);
        }
        drop(image, left, options_.force, false);
    }

    std::vector<Removed> take() { return std::move(removed_); }

private:
    struct Conflict {
        std::optional<Error> error;
        bool used = false;
    };

    std::vector<ContainerUse> users_of(const Image& image) const { return used_by_ ? used_by_(image.id) : std::vector<ContainerUse>{}; }

    std::vector<ImagePtr> others(const Image& image) const {
        std::vector<ImagePtr> out;
        for (const auto& [id, each] : state_->images) {
            if (id != image.id && !gone_.contains(id)) out.push_back(each);
        }
        return out;
    }

    bool has_children(const Image& image) const {
        return std::ranges::any_of(others(image), [&](const ImagePtr& each) { return each->parent == image.id; });
    }

    std::optional<Conflict> conflict_of(const Image& image, const std::vector<oci::Reference>& references, bool force) const {
        const auto conflict = [&](std::string_view how, const std::string& why, bool used) {
            return Conflict{
                Error(ErrorKind::conflict, fmt::format("conflict: unable to delete {} ({}) - {}", short_id(image.id), how, why)), used};
        };
        const char* hard = "cannot be forced";
        if (has_children(image)) return conflict(hard, "image has dependent child images", false);
        const auto users = users_of(image);
        const auto running = std::ranges::find(users, true, &ContainerUse::running);
        if (running != users.end())
            return conflict(hard, "image is being used by running container " + short_id(running->container_id), true);
        if (store_.is_held(image.id)) return conflict(hard, being_created, true);
        if (force) return std::nullopt;
        const char* soft = "must be forced";
        if (!references.empty()) return conflict(soft, "image is referenced in multiple repositories", false);
        if (!users.empty()) return conflict(soft, "image is being used by stopped container " + short_id(users.front().container_id), true);
        return std::nullopt;
    }

    void untag(const Image& image, const oci::Reference& reference, std::vector<oci::Reference>& left) {
        store_.database_.execute("DELETE FROM image_references WHERE name = ?", {reference.text()});
        std::erase(left, reference);
        removed_.push_back({reference.familiar(), "", image.id});
    }

    /// Deletes the image. `quiet`: what stands on it keeps it, which is no failure.
    void drop(const Image& image, std::vector<oci::Reference> left, bool force, bool quiet) {
        if (const auto conflict = conflict_of(image, left, force)) {
            if (quiet && (!left.empty() || has_children(image) || conflict->used)) return;
            throw Error(*conflict->error);
        }
        {
            // From here on acquire() refuses it: who took a lease before is seen here, who comes later sees this.
            const MutexLock lock{*store_.held_mutex_};
            if (store_.held_.contains(image.id)) {
                if (quiet) return;
                fail(ErrorKind::conflict, "conflict: unable to delete {} (cannot be forced) - {}", short_id(image.id), being_created);
            }
            store_.removing_.insert(image.id);
        }
        for (const oci::Reference& each : std::vector(left)) untag(image, each, left);
        store_.database_.execute("DELETE FROM images WHERE id = ?", {image.id});
        crash_point("images:before-remove");
        gone_.insert(image.id);
        removed_.push_back({"", image.id, image.id});
        tell_layers(image);
        if (!options_.prune_parents || image.parent.empty()) return;
        if (const auto parent = state_->images.find(image.parent); parent != state_->images.end()) {
            drop(*parent->second, parent->second->references, false, true);
        }
    }

    /// The highest first, up to the first that something else stands on.
    void tell_layers(const Image& image) {
        if (!users_of(image).empty()) return;
        const std::vector<ImagePtr> rest = others(image);
        const std::vector<std::string> chain = chain_ids(image.diff_ids);
        for (std::size_t count = chain.size(); count > 0; --count) {
            const auto starts_with_it = [&](const ImagePtr& each) {
                return each->diff_ids.size() >= count &&
                       std::equal(image.diff_ids.begin(), image.diff_ids.begin() + static_cast<std::ptrdiff_t>(count),
                                  each->diff_ids.begin());
            };
            if (std::ranges::any_of(rest, starts_with_it)) return;
            removed_.push_back({"", chain[count - 1], ""});
        }
    }

    ImageStore& store_;
    const RemoveOptions& options_;
    const UsedBy& used_by_;
    std::shared_ptr<const Snapshot> state_;
    std::set<std::string> gone_;
    std::vector<Removed> removed_;
};

std::vector<Removed> ImageStore::remove(std::string_view reference, const RemoveOptions& options, const UsedBy& used_by) {
    std::vector<Removed> removed = take_out(reference, options, used_by);
    collect();
    return removed;
}

std::vector<Removed> ImageStore::take_out(std::string_view reference, const RemoveOptions& options, const UsedBy& used_by,
                                          const StillUnwanted& still) {
    const MutexLock lock{changing_};
    const ImagePtr image = get(reference);
    if (still && !still(*image)) fail(ErrorKind::conflict, "image {} came into use meanwhile", short_id(image->id));
    Removal removal{*this, options, used_by};
    struct Done {
        ImageStore& store;
        ~Done() {
            const MutexLock held{*store.held_mutex_};
            store.removing_.clear();
        }
    } const done{*this};
    database_.transaction([&] {
        if (is_id_prefix(image->id, reference)) {
            removal.by_id(*image);
        } else {
            removal.by_name(*image, reference);
        }
    });
    std::vector<Removed> removed = removal.take();
    reload({});
    const MutexLock held{*held_mutex_};
    for (const Removed& each : removed) {
        if (each.deleted.empty() || each.image_id.empty()) continue;
        used_.erase(each.image_id);
        touched_.erase(each.image_id);
    }
    return removed;
}

std::vector<Removed> ImageStore::remove_platforms(std::string_view reference, const std::vector<oci::Platform>& platforms,
                                                  const UsedBy& used_by) {
    std::vector<Removed> removed;
    {
        const MutexLock lock{changing_};
        const ImagePtr image = get(reference);
        const auto is_here = [](const Variant& each) { return each.kind == Variant::Kind::image && each.available; };
        std::set<std::string> going;
        for (const oci::Platform& platform : platforms) {
            // Not one that would merely run there.
            const auto is_it = [&](const Variant& each) {
                return is_here(each) && each.platform.fitness(platform) > 0 && platform.fitness(each.platform) > 0;
            };
            const auto found = std::ranges::find_if(image->variants, is_it);
            if (found == image->variants.end())
                fail(ErrorKind::not_found, "image {} has no variant for {} here", reference, platform.text());
            going.insert(found->manifest.digest);
        }
        const auto stays = [&](const Variant& each) { return is_here(each) && !going.contains(each.manifest.digest); };
        if (std::ranges::none_of(image->variants, stays))
            fail(ErrorKind::conflict, "conflict: no other platform of image {} is here: remove the image itself", reference);
        if (is_held(image->id))
            fail(ErrorKind::conflict, "conflict: unable to delete {} (cannot be forced) - {}", short_id(image->id), being_created);
        for (const ContainerUse& use : used_by ? used_by(image->id) : std::vector<ContainerUse>{}) {
            if (going.contains(use.manifest))
                fail(ErrorKind::conflict, "conflict: unable to delete {} (cannot be forced) - container {} is using it",
                     short_id(use.manifest), short_id(use.container_id));
        }
        for (const auto& [id, other] : snapshot()->images) {
            const auto uses = [&](const oci::Digest& each) { return going.contains(each.text()); };
            if (id != image->id && std::ranges::any_of(other->blobs, uses))
                fail(ErrorKind::conflict, "conflict: image {} has the same variant",
                     other->repo_tags.empty() ? short_id(id) : other->repo_tags.front());
        }
        // What is said about a variant goes with it. Without the documents nothing holds their layers and configurations.
        for (const Variant& each : image->variants) {
            if (each.subject && going.contains(each.subject->text())) going.insert(each.manifest.digest);
        }
        for (const std::string& digest : going) {
            content_.remove(oci::Digest::from(digest));
            removed.push_back({"", digest, ""});
        }
        crash_point("images:variant-removed");
        reload({image->id});
    }
    collect();
    return removed;
}

ImageStore::Pruned ImageStore::prune(bool all, const UsedBy& used_by, const std::function<bool(const Image&)>& keep) {
    const std::uint64_t before = disk_usage();
    Pruned out;
    for (const ImagePtr& image : list()) {
        if ((!all && !image->references.empty()) || (keep && keep(*image)) || (used_by && !used_by(image->id).empty())) continue;
        // Forced because of several names, so what began to use it meanwhile is looked at once more.
        const auto still = [&](const Image& now) { return now.references == image->references && (!used_by || used_by(now.id).empty()); };
        try {
            std::ranges::move(take_out(image->id, {.force = !image->references.empty()}, used_by, still), std::back_inserter(out.removed));
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::conflict && error.kind() != ErrorKind::not_found) throw;
        }
    }
    collect();
    const std::uint64_t after = disk_usage();
    out.reclaimed = before > after ? before - after : 0;
    return out;
}

}  // namespace grua::images
