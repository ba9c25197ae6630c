#include "images/check.hpp"

#include "base/error.hpp"
#include "images/image_store_impl.hpp"
#include "layers/source.hpp"

#include <unistd.h>
#include <algorithm>
#include <memory>

namespace grua::images {
namespace {

constexpr std::size_t piece = std::size_t{256} << 10U;
constexpr std::size_t document_limit = std::max(oci::manifest_size_limit, oci::image_config_size_limit);

}  // namespace

/// One check, under no lock: what images need is claimed first, so that it stays while it is looked at.
class ImageStore::Check {
public:
    Check(ImageStore& store, const CheckRequest& request, const std::function<void(const Finding&)>& found)
        : store_(store), request_(request), found_(found), claims_(store) {}

    bool saw_removal() const {
        return std::ranges::any_of(images_, [&](const std::string& each) { return !still_there(each); });
    }

    CheckSums run() {
        const auto rows = store_.database_.query("SELECT id, media_type, size FROM images");
        for (const store::Row& row : rows) {
            const oci::Descriptor target{
                .media_type = row.text(1), .digest = row.text(0), .size = static_cast<std::uint64_t>(row.integer(2))};
            images_.push_back(target.digest);
            check_image_row(target);
        }
        for (const auto& [digest, want] : wanted_) {
            if (!is_good(digest)) check_blob(digest, want);
        }
        for (const oci::Digest& digest : store_.content_.list()) {
            if (!wanted_.contains(digest) && !checked_.contains(digest)) check_blob(digest, {});
        }
        check_layers();
        check_references();
        if (!renewed_.empty()) {
            const MutexLock lock{store_.changing_};
            store_.reload(renewed_);
        }
        return sums_;
    }

private:
    /// A blob that an image needs.
    struct Wanted {
        oci::Descriptor descriptor;
        std::string image;  ///< Its ID; empty where no image needs it.
    };

    void check_stop() const {
        if (request_.access.stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
    }

    void tell(std::string kind, std::string id, std::string problem, bool repaired) {
        ++sums_.problems;
        if (repaired) ++sums_.repaired;
        found_({std::move(kind), std::move(id), std::move(problem), repaired});
    }

    bool is_good(const oci::Digest& digest) const {
        const auto found = checked_.find(digest);
        return found != checked_.end() && found->second;
    }

    // --- images ------------------------------------------------------------------------------------------------

    void check_image_row(const oci::Descriptor& target) {
        check_stop();
        ++sums_.checked;
        problem_.clear();
        complete_ = 0;
        const std::uint64_t repaired = sums_.repaired;
        walk(target, target.digest, 0, Need::must);
        if (problem_.empty() && complete_ == 0) fetch_variant(target);
        if (problem_.empty() && complete_ == 0) problem_ = "no variant of it is complete";
        const bool known = store_.snapshot()->images.contains(target.digest);
        if (problem_.empty() && !known) {
            // It could not be read at the start; now it can.
            if (sums_.repaired > repaired || request_.registry) {
                renewed_.insert(target.digest);
                tell("image", target.digest, "it could not be read", true);
            } else {
                tell("image", target.digest, "it could not be read when gruad started", false);
            }
        } else if (!problem_.empty() && still_there(target.digest)) {
            tell("image", target.digest, problem_, false);
        }
    }

    bool still_there(const std::string& image) const {
        return !store_.database_.query("SELECT 1 FROM images WHERE id = ?", {image}).empty();
    }

    enum class Need { must, may };

    /// Notes what the image needs. `may`: another platform's, which need not be here.
    void walk(const oci::Descriptor& descriptor, const std::string& image, int depth, Need need) {
        if (depth > index_depth_limit) return blame("its indexes are nested too deeply");
        if (!oci::is_index(descriptor.media_type) && !oci::is_manifest(descriptor.media_type)) return;
        const oci::Digest digest = oci::Digest::from(descriptor.digest);
        claims_.blob(digest);
        if (need == Need::may && !store_.content_.exists(digest)) return;
        wanted_.try_emplace(digest, Wanted{descriptor, image});
        if (!is_good(digest) && !check_blob(digest, {descriptor, image})) {
            if (need == Need::must) blame(fmt::format("its document {} is broken", short_id(descriptor.digest)));
            return;
        }
        try {
            const std::string text = store_.content_.read(digest, document_limit);
            if (oci::is_index(descriptor.media_type)) {
                for (const oci::Descriptor& each : oci::parse_index(text).manifests) walk(each, image, depth + 1, Need::may);
            } else {
                walk_manifest(descriptor, oci::parse_manifest(text), image);
            }
        } catch (const Error& error) {
            blame(fmt::format("its document {}: {}", short_id(descriptor.digest), error.what()));
        }
    }

    void walk_manifest(const oci::Descriptor& descriptor, const oci::Manifest& manifest, const std::string& image) {
        const bool attestation = oci::is_attestation(descriptor);
        const auto take = [&](const oci::Descriptor& each) {
            const oci::Digest digest = oci::Digest::from(each.digest);
            claims_.blob(digest);
            // What is said about an image is kept where it could be had.
            if (attestation && !store_.content_.exists(digest)) return;
            wanted_.try_emplace(digest, Wanted{each, image});
        };
        take(manifest.config);
        for (const oci::Descriptor& each : manifest.layers) take(each);
        if (attestation) return;
        const oci::Digest config_digest = oci::Digest::from(manifest.config.digest);
        if (!is_good(config_digest) && !check_blob(config_digest, {manifest.config, image}))
            return blame(fmt::format("its configuration {} is broken", short_id(manifest.config.digest)));
        const std::vector<oci::Digest> diff_ids =
            oci::diff_ids(oci::parse_image_config(store_.content_.read(config_digest, oci::image_config_size_limit)));
        if (diff_ids.size() != manifest.layers.size()) return;  // not an image for running
        for (std::size_t at = 0; at < diff_ids.size(); ++at) {
            claims_.layer(diff_ids[at]);
            sources_.try_emplace(diff_ids[at], Wanted{manifest.layers[at], image});
        }
        ++complete_;
        const auto state = store_.snapshot();
        if (const auto known = state->images.find(image);
            known != state->images.end() && known->second->manifest_digest->text() == descriptor.digest) {
            unpacked_.insert(diff_ids.begin(), diff_ids.end());
        }
    }

    void blame(std::string problem) {
        if (problem_.empty()) problem_ = std::move(problem);
    }

    /// An index none of whose images is here: the one for this machine is fetched.
    void fetch_variant(const oci::Descriptor& target) {
        if (!request_.registry || !oci::is_index(target.media_type)) return;
        const oci::Index index = oci::parse_index(store_.content_.read(oci::Digest::from(target.digest), document_limit));
        const oci::Descriptor* best = oci::choose(index, oci::Platform::processor());
        if (best) walk(*best, target.digest, 1, Need::must);
    }

    // --- blobs -------------------------------------------------------------------------------------------------

    /// True where it is good, also by repair. Says what is wrong with it once.
    bool check_blob(const oci::Digest& digest, const Wanted& want) {
        check_stop();
        if (const auto known = checked_.find(digest); known != checked_.end()) return known->second;
        ++sums_.checked;
        std::string problem = problem_of_blob(digest, want);
        const bool good = problem.empty();
        checked_[digest] = good;
        if (good) return true;
        if (want.image.empty()) {
            // Nothing needs it: removed meanwhile, or a collection will take it.
            if (store_.content_.exists(digest)) tell("blob", digest.text(), problem + "; no image needs it", false);
            return false;
        }
        if (!still_there(want.image)) return false;
        const bool repaired = repair_blob(digest, want, problem);
        checked_[digest] = repaired;
        if (repaired) renewed_.insert(want.image);
        tell("blob", digest.text(), std::move(problem), repaired);
        return repaired;
    }

    std::string problem_of_blob(const oci::Digest& digest, const Wanted& want) {
        try {
            const Fd file = store_.content_.open(digest);
            content::Hasher hasher{digest.algorithm()};
            std::uint64_t size = 0;
            for (;;) {
                check_stop();
                const ssize_t count = ::read(file.get(), buffer_.get(), piece);
                if (count < 0 && errno == EINTR) continue;
                if (count < 0) return fmt::format("it cannot be read: {}", std::generic_category().message(errno));
                if (count == 0) break;
                hasher.update({buffer_.get(), static_cast<std::size_t>(count)});
                size += static_cast<std::uint64_t>(count);
            }
            sums_.bytes += size;
            if (const oci::Digest actual = hasher.finish(); actual != digest) return "its bytes have the digest " + actual.text();
            if (!want.descriptor.digest.empty() && want.descriptor.size != size) {
                return fmt::format("it has {} bytes, its manifest says {}", size, want.descriptor.size);
            }
            return {};
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::not_found) return "it is missing";
            throw;
        }
    }

    std::vector<oci::Reference> names_of(const std::string& image) const {
        std::vector<oci::Reference> out;
        for (const store::Row& row : store_.database_.query("SELECT name FROM image_references WHERE image = ? ORDER BY name", {image})) {
            out.push_back(oci::Reference::parse(row.text(0)));
        }
        return out;
    }

    /// From the registry of any of the image's names. `problem` gets why not.
    bool repair_blob(const oci::Digest& digest, const Wanted& want, std::string& problem) {
        if (!request_.registry) return false;
        std::string why = "the image has no name to fetch it by";
        for (const oci::Reference& name : names_of(want.image)) {
            try {
                fetch(digest, want.descriptor, name);
                return true;
            } catch (const Error& error) {
                check_stop();
                why = fmt::format("{}: {}", name.familiar(), error.what());
            }
        }
        problem += "; not repaired: " + why;
        return false;
    }

    void fetch(const oci::Digest& digest, const oci::Descriptor& descriptor, const oci::Reference& name) {
        auto writer = store_.content_.ingest(digest, descriptor.size);
        if (oci::is_index(descriptor.media_type) || oci::is_manifest(descriptor.media_type)) {
            writer.write(request_.registry->manifest(name.with_digest(digest), request_.access).bytes);
        } else {
            request_.registry->blob(name, descriptor, 0, [&](std::string_view bytes) { writer.write(bytes); }, request_.access);
        }
        writer.commit();
    }

    // --- layers ------------------------------------------------------------------------------------------------

    void check_layers() {
        for (const layers::Layer& layer : store_.layers_.list()) check_layer(layer.diff_id);
        for (const oci::Digest& each : unpacked_) {
            if (!layers_checked_.contains(each)) check_layer(each);
        }
    }

    void check_layer(const oci::Digest& diff_id) {
        check_stop();
        layers_checked_.insert(diff_id);
        const auto source = sources_.find(diff_id);
        // A container's whose image is gone: nothing is left to compare it with.
        if (source == sources_.end()) return;
        ++sums_.checked;
        const oci::Digest blob = oci::Digest::from(source->second.descriptor.digest);
        if (!is_good(blob)) {
            if (still_there(source->second.image) && !store_.layers_.find(diff_id))
                tell("layer", diff_id.text(), "it is not unpacked, and its blob is broken", false);
            return;
        }
        layers::LayerStore::Verified verified;
        try {
            const Fd file = store_.content_.open(blob);
            layers::FdSource bytes{file.get()};
            verified = store_.layers_.verify(diff_id, bytes, [this] { check_stop(); });
        } catch (const Error& error) {
            check_stop();
            tell("layer", diff_id.text(), fmt::format("its blob {} cannot be unpacked: {}", short_id(blob.text()), error.what()), false);
            return;
        }
        if (!verified.difference || !still_there(source->second.image)) return;
        std::string problem = *verified.difference;
        const bool repaired = repair_layer(diff_id, verified.fresh, problem);
        if (repaired) renewed_.insert(source->second.image);
        tell("layer", diff_id.text(), std::move(problem), repaired);
    }

    bool repair_layer(const oci::Digest& diff_id, const layers::StagedPtr& fresh, std::string& problem) {
        if (!request_.registry) return false;
        if (!store_.layers_.find(diff_id)) {
            store_.layers_.publish({fresh});
            return true;
        }
        const bool replaced = store_.layers_.replace(fresh);
        if (!replaced) problem += "; not repaired: containers run on it or are read";
        return replaced;
    }

    // --- references --------------------------------------------------------------------------------------------

    void check_references() {
        check_stop();
        for (const store::Row& row :
             store_.database_.query("SELECT r.name, r.image, i.id FROM image_references r LEFT JOIN images i ON i.id = r.image")) {
            ++sums_.checked;
            if (row.is_null(2)) tell("reference", row.text(0), fmt::format("its image {} is not there", row.text(1)), false);
        }
        sums_.checked += store_.layers_.containers().size();
        for (const auto& each : store_.layers_.inconsistencies()) {
            // A layer that was told of is one problem.
            tell("reference", each.id, each.problem, false);
        }
    }

    ImageStore& store_;
    const CheckRequest& request_;
    const std::function<void(const Finding&)>& found_;
    Claims claims_;
    std::vector<std::string> images_;
    std::map<oci::Digest, Wanted> wanted_;
    std::map<oci::Digest, bool> checked_;    // blobs; good or not
    std::map<oci::Digest, Wanted> sources_;  // diff ID → the blob that it is unpacked from
    std::set<oci::Digest> unpacked_;         // diff IDs of the variants that run here
    std::set<oci::Digest> layers_checked_;
    std::set<std::string> renewed_;
    std::string problem_;  // of the image that is walked
    int complete_ = 0;     // its variants that are here
    CheckSums sums_;
    std::unique_ptr<char[]> buffer_ = std::make_unique_for_overwrite<char[]>(piece);
};

CheckSums ImageStore::check(const CheckRequest& request, const std::function<void(const Finding&)>& found) {
    CheckSums sums;
    bool removed = false;
    {
        Check check{*this, request, found};
        sums = check.run();
        removed = check.saw_removal();
    }
    // What was looked at has stayed for so long.
    if (removed) collect();
    return sums;
}

}  // namespace grua::images
