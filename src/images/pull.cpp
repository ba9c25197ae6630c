// Images from registries: documents first, then the layers, side by side.
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "images/fetch.hpp"
#include "images/image_store_impl.hpp"

#include <algorithm>
#include <chrono>

namespace grua::images {

using namespace std::chrono_literals;

namespace {

constexpr auto watch_interval = 100ms;

bool is_stopped(const PullRequest& request) { return request.access.stop.stop_requested(); }

}  // namespace

/// One pull of one name.
class ImageStore::Pull {
public:
    Pull(ImageStore& store, const registry::Client& client, const PullRequest& request, const OnProgress& progress)
        : store_(store), client_(client), request_(request), progress_(progress), claims_(store) {}

    PullResult run() {
        const registry::Manifest root = client_.manifest(request_.reference, request_.access);
        const std::string& tag = request_.reference.digest() ? request_.reference.digest()->text() : request_.reference.tag();
        say(tag, "Pulling from " + request_.reference.path());
        // Not worth a line while there are plenty.
        if (const auto& limit = root.rate_limit; limit && limit->remaining * 10 <= limit->limit) {
            say({}, fmt::format("{}: {}", root.host, registry::describe(*limit)));
        }
        const oci::Descriptor target{
            .media_type = root.descriptor.media_type, .digest = root.descriptor.digest, .size = root.descriptor.size};
        if (request_.signatures) {
            request_.signatures->check(client_, request_.reference, oci::Digest::from(target.digest), request_.access);
        }
        keep(target, root.bytes);
        if (oci::is_index(target.media_type)) {
            take_index(oci::parse_index(root.bytes), target.digest, 0);
        } else {
            take_image(target, oci::parse_manifest(root.bytes), request_.platform);
        }
        wait_for_layers();
        claims_.publishes();
        while_doing("store what was pulled", [&] {
            fault_point("images:keep-documents");
            std::vector<content::ContentStore::Writer> documents;
            for (const auto& [digest, text] : documents_) {
                if (store_.content_.exists(digest)) continue;
                documents.push_back(store_.content_.ingest(digest, text.size()));
                documents.back().write(text);
            }
            store_.fetches_->publish(fetches_, std::move(documents));
        });
        for (const FetchPtr& each : fetches_) {
            // Whoever shared the fetch could have failed to keep it.
            if (!store_.content_.exists(oci::Digest::from(each->blob().digest))) {
                fail(ErrorKind::system, "blob {} could not be stored", each->blob().digest);
            }
        }

        oci::Reference name = request_.reference;
        if (name.digest()) name = name.with_digest(oci::Digest(*name.digest()));
        const ImagePtr before = store_.find(name.text());
        store_.add({{target, {name}, {}}});
        PullResult out{store_.get(name.text()), !before || before->id != target.digest};
        say({}, "Digest: " + target.digest);
        say({}, fmt::format("Status: {} for {}", out.changed ? "Downloaded newer image" : "Image is up to date",
                            request_.reference.familiar()));
        return out;
    }

private:
    void say(const std::string& id, const std::string& status) const {
        if (progress_) progress_({id, status, 0, 0});
    }

    /// Documents are few and small; they are stored when the layers are.
    void keep(const oci::Descriptor& descriptor, const std::string& text) {
        const oci::Digest digest = oci::Digest::from(descriptor.digest);
        claims_.blob(digest);
        documents_.emplace_back(digest, text);
    }

    /// A document of the image: from the store where it is there.
    std::string document(const oci::Descriptor& descriptor, std::size_t limit) {
        const oci::Digest digest = oci::Digest::from(descriptor.digest);
        claims_.blob(digest);
        if (store_.content_.exists(digest)) return store_.content_.read(digest, limit);
        if (descriptor.size > limit) {
            fail(ErrorKind::invalid_argument, "{} {} has {} bytes, at most {} are taken", descriptor.media_type, descriptor.digest,
                 descriptor.size, limit);
        }
        std::string text;
        if (oci::is_manifest(descriptor.media_type) || oci::is_index(descriptor.media_type)) {
            const registry::Manifest manifest = client_.manifest(request_.reference.with_digest(digest), request_.access);
            if (oci::is_manifest(manifest.descriptor.media_type) != oci::is_manifest(descriptor.media_type)) {
                fail(ErrorKind::invalid_argument, "manifest {} is a {}, its index says {}", descriptor.digest,
                     manifest.descriptor.media_type, descriptor.media_type);
            }
            text = manifest.bytes;
        } else {
            text = small_blob(descriptor, digest);
        }
        keep(descriptor, text);
        return text;
    }

    /// Of the first host whose bytes are their digest.
    std::string small_blob(const oci::Descriptor& descriptor, const oci::Digest& digest) const {
        registry::Access access = request_.access;
        for (bool again = false;; again = true) {
            std::string text;
            text.reserve(descriptor.size);
            access.avoid = client_.blob(request_.reference, descriptor, 0, [&](std::string_view bytes) { text += bytes; }, access);
            const oci::Digest actual = content::digest_of(text, digest.algorithm());
            if (actual == digest) return text;
            if (again) fail(ErrorKind::invalid_argument, "blob {} has the digest {}", digest.text(), actual.text());
        }
    }

    void take_index(const oci::Index& index, const std::string& name, int depth) {
        if (depth > index_depth_limit) fail(ErrorKind::invalid_argument, "image {}: indexes are nested too deeply", name);
        const oci::Platform wanted = request_.platform.value_or(oci::Platform::processor());
        const oci::Descriptor* best = oci::choose(index, wanted);
        if (!best) {
            for (const oci::Descriptor& each : index.manifests) {
                if (!oci::is_index(each.media_type)) continue;
                return take_index(oci::parse_index(document(each, oci::manifest_size_limit)), each.digest, depth + 1);
            }
            fail(ErrorKind::not_found, "no matching manifest for {} in the manifest list entries",
                 request_.platform.value_or(oci::Platform::host()).text());
        }
        take_image(*best, oci::parse_manifest(document(*best, oci::manifest_size_limit)), wanted);
        for (const oci::Descriptor& each : index.manifests) take_attestation(each, best->digest);
    }

    void take_image(const oci::Descriptor& descriptor, oci::Manifest manifest, const std::optional<oci::Platform>& wanted) {
        check_image_manifest(manifest, descriptor.digest);
        const ImageDocuments documents = check_image(manifest, document(manifest.config, oci::image_config_size_limit), descriptor.digest);
        const oci::Platform platform{documents.config.architecture, documents.config.os, documents.config.variant,
                                     documents.config.os_version};
        if (request_.platform && wanted && platform.fitness(*wanted) == 0) {
            fail(ErrorKind::not_found, "image with reference {} was found but its platform ({}) does not match the specified platform ({})",
                 request_.reference.familiar(), platform.text(), wanted->text());
        }
        for (std::size_t at = 0; at < documents.diff_ids.size(); ++at) take_layer(documents.manifest.layers[at], documents.diff_ids[at]);
    }

    void take_layer(const oci::Descriptor& layer, const oci::Digest& diff_id) {
        const oci::Digest digest = oci::Digest::from(layer.digest);
        const std::string id = short_id(layer.digest);
        const auto [seen, is_new] = diff_ids_.emplace(layer.digest, diff_id);
        if (seen->second != diff_id) {
            fail(ErrorKind::invalid_argument, "layer {} has the diff IDs {} and {}", layer.digest, seen->second.text(), diff_id.text());
        }
        if (!is_new) return;
        claims_.blob(digest);
        const bool unpacked = claims_.layer(diff_id) && store_.is_layer(layer.digest, diff_id);
        if (const auto size = store_.content_.size(digest)) {
            if (*size != layer.size) {
                fail(ErrorKind::invalid_argument, "layer {} has {} bytes, {} were announced", layer.digest, *size, layer.size);
            }
            if (unpacked) return say(id, "Already exists");
        }
        say(id, "Pulling fs layer");
        fetches_.push_back(start(layer, unpacked ? std::nullopt : std::optional(diff_id)));
        shown_.emplace_back();
    }

    /// What is said about the image, by who built it. It is kept where it can be had; the image is not worse without.
    void take_attestation(const oci::Descriptor& descriptor, const std::string& subject) {
        const auto of = descriptor.annotations.find("vnd.docker.reference.digest");
        if (!oci::is_attestation(descriptor) || of == descriptor.annotations.end() || of->second != subject) return;
        try {
            const oci::Manifest manifest = oci::parse_manifest(document(descriptor, oci::manifest_size_limit));
            static_cast<void>(document(manifest.config, oci::image_config_size_limit));
            for (const oci::Descriptor& each : manifest.layers) static_cast<void>(document(each, attestation_limit));
        } catch (const Error& error) {
            if (is_stopped(request_)) throw;
            say({}, fmt::format("attestation {} is left out: {}", short_id(descriptor.digest), error.what()));
        }
    }

    FetchPtr start(const oci::Descriptor& layer, const std::optional<oci::Digest>& diff_id) {
        // Copies: the fetch may outlive this pull, for another one. It is called again where the bytes were wrong: then not from there.
        auto download = [client = &client_, reference = request_.reference, layer, credentials = request_.access.credentials,
                         served = std::make_shared<std::vector<std::string>>()](std::uint64_t offset, const registry::Sink& sink,
                                                                                const std::stop_token& stop) {
            *served =
                client->blob(reference, layer, offset, sink, {.credentials = credentials, .stop = stop, .notice = {}, .avoid = *served});
        };
        bool started = false;
        FetchPtr fetch = store_.fetches_->join(layer, diff_id, std::move(download), started);
        if (!started) joined_.insert(layer.digest);
        return fetch;
    }

    void wait_for_layers() {
        for (bool all_done = fetches_.empty(); !all_done;) {
            const auto runs = [](const FetchPtr& each) { return each->state().phase != Fetch::Phase::done; };
            if (const auto first = std::ranges::find_if(fetches_, runs); first != fetches_.end()) (*first)->wait_for(watch_interval);
            if (is_stopped(request_)) fail(ErrorKind::unavailable, "context canceled");
            all_done = true;
            for (std::size_t at = 0; at < fetches_.size(); ++at) {
                show(*fetches_[at], shown_[at]);
                if (const std::exception_ptr error = fetches_[at]->error()) retry(at, error);
                // As it was told: what ends from here on is told in the next round.
                all_done = all_done && shown_[at].phase == Fetch::Phase::done;
            }
        }
    }

    /// What another pull began failed, perhaps for its credentials: once more with our own.
    void retry(std::size_t at, const std::exception_ptr& error) {
        const oci::Descriptor layer = fetches_[at]->blob();
        if (joined_.erase(layer.digest) == 0) std::rethrow_exception(error);
        fetches_[at] = start(layer, fetches_[at]->diff_id());
        shown_[at] = {};
        joined_.erase(layer.digest);
    }

    void show(const Fetch& fetch, Fetch::State& shown) const {
        const Fetch::State state = fetch.state();
        const std::string id = short_id(fetch.blob().digest);
        const std::uint64_t total = fetch.blob().size;
        using Phase = Fetch::Phase;
        if (state.downloaded != shown.downloaded && progress_) progress_({id, "Downloading", state.downloaded, total});
        if (state.phase >= Phase::extracting && shown.phase < Phase::extracting) {
            say(id, "Verifying Checksum");
            say(id, "Download complete");
        }
        if (state.phase == Phase::extracting && state.extracted != shown.extracted && progress_) {
            progress_({id, "Extracting", state.extracted, total});
        }
        if (state.phase == Phase::done && shown.phase != Phase::done && !fetch.error()) say(id, "Pull complete");
        shown = state;
    }

    static constexpr std::size_t attestation_limit = std::size_t{32} << 20U;

    ImageStore& store_;
    const registry::Client& client_;
    const PullRequest& request_;
    const OnProgress& progress_;
    Claims claims_;
    std::vector<std::pair<oci::Digest, std::string>> documents_;
    std::vector<FetchPtr> fetches_;
    std::vector<Fetch::State> shown_;
    std::set<std::string> joined_;
    std::map<std::string, oci::Digest> diff_ids_;  // of the layers that were taken
};

PullResult ImageStore::pull(const registry::Client& client, const PullRequest& request, const OnProgress& progress) {
    return Pull{*this, client, request, progress}.run();
}

}  // namespace grua::images
