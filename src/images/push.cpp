// Images to registries: blobs, then the manifests that name them, the tag last.
#include "base/error.hpp"
#include "images/image_store_impl.hpp"

#include <algorithm>

namespace grua::images {

class ImageStore::Push {
public:
    Push(ImageStore& store, const registry::Client& client, const PushRequest& request, const OnProgress& progress)
        : store_(store), client_(client), request_(request), progress_(progress) {}

    PushResult run() {
        const ImagePtr image = store_.find(request_.reference.text());
        if (!image) {
            fail(ErrorKind::not_found, "An image does not exist locally with the tag: {}", request_.reference.familiar_name());
        }
        const Lease lease = store_.hold(image->id);
        for (const oci::Reference& each : image->references) {
            if (each.domain() == request_.reference.domain() && each.path() != request_.reference.path()) mount_from_.push_back(each);
        }
        say({}, fmt::format("The push refers to repository [{}]", request_.reference.name()));
        const oci::Descriptor target = choose(*image);
        push_tree(target, 0);
        say({}, fmt::format("{}: digest: {} size: {}", request_.reference.tag(), target.digest, target.size));
        return {oci::Digest::from(target.digest), target.size};
    }

private:
    void say(const std::string& id, const std::string& status) const {
        if (progress_) progress_({id, status, 0, 0});
    }

    /// The whole index where all of it is here, else the one platform that is.
    oci::Descriptor choose(const Image& image) const {
        if (!oci::is_index(image.target.media_type)) {
            if (request_.platform) static_cast<void>(store_.for_platform(store_.find(image.id), *request_.platform));
            return image.target;
        }
        if (!request_.platform) {
            if (std::ranges::all_of(image.variants, &Variant::available)) return image.target;
            say({}, "Not all multiplatform-content is present and only the available single-platform image was pushed");
        }
        const std::string wanted = request_.platform
                                       ? store_.for_platform(store_.find(image.id), *request_.platform)->manifest_digest->text()
                                       : image.manifest_digest->text();
        return std::ranges::find(image.variants, wanted, [](const Variant& each) { return each.manifest.digest; })->manifest;
    }

    void push_tree(const oci::Descriptor& descriptor, int depth) {
        if (depth > index_depth_limit) fail(ErrorKind::invalid_argument, "image {}: indexes are nested too deeply", descriptor.digest);
        const oci::Digest digest = oci::Digest::from(descriptor.digest);
        const std::string text = store_.content_.read(digest, oci::manifest_size_limit);
        if (oci::is_index(descriptor.media_type)) {
            for (const oci::Descriptor& each : oci::parse_index(text).manifests) push_tree(each, depth + 1);
        } else {
            const oci::Manifest manifest = oci::parse_manifest(text);
            for (const oci::Descriptor& layer : manifest.layers) say(short_id(layer.digest), "Preparing");
            for (const oci::Descriptor& layer : manifest.layers) push_blob(layer, true);
            push_blob(manifest.config, false);
        }
        const oci::Reference name = depth == 0 ? request_.reference : request_.reference.with_digest(digest);
        client_.push_manifest(name, descriptor.media_type, text, request_.access);
    }

    void push_blob(const oci::Descriptor& blob, bool shown) {
        const oci::Digest digest = oci::Digest::from(blob.digest);
        if (!pushed_.insert(digest).second) return;
        const std::string id = short_id(blob.digest);
        const Fd file = store_.content_.open(digest);
        const auto progress = [&](std::uint64_t done) {
            if (shown && progress_) progress_({id, "Pushing", done, blob.size});
        };
        const registry::PushResult result =
            client_.push_blob(request_.reference, blob, registry::file_source(file.get()), mount_from_, progress, request_.access);
        if (!shown) return;
        switch (result.how) {
            case registry::Pushed::existed:
                return say(id, "Layer already exists");
            case registry::Pushed::mounted:
                return say(id, "Mounted from " + result.mounted_from);
            case registry::Pushed::uploaded:
                return say(id, "Pushed");
        }
    }

    ImageStore& store_;
    const registry::Client& client_;
    const PushRequest& request_;
    const OnProgress& progress_;
    std::vector<oci::Reference> mount_from_;
    std::set<oci::Digest> pushed_;
};

PushResult ImageStore::push(const registry::Client& client, const PushRequest& request, const OnProgress& progress) {
    return Push{*this, client, request, progress}.run();
}

}  // namespace grua::images
