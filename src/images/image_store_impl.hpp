// What the files of ImageStore share.
#pragma once

#include "images/image_store.hpp"

#include <exception>

namespace grua::images {

struct ImageStore::Snapshot {
    std::map<std::string, ImagePtr> images;
    std::map<oci::Reference, ImagePtr> references;
};

struct ImageStore::NewImage {
    oci::Descriptor target;
    std::vector<oci::Reference> references;
    std::string parent;
};

/// "sha256:abc" and "abc".
inline bool is_id_prefix(std::string_view id, std::string_view text) { return id.starts_with(text) || id.substr(7).starts_with(text); }

/// The first 12 digits, as Docker shows a digest.
inline std::string short_id(std::string_view digest) { return std::string(digest.substr(digest.find(':') + 1, 12)); }

/// Blobs and layers that an image on its way in will need: collect() leaves them. Claim first, then look whether it is there.
class ImageStore::Claims {
public:
    explicit Claims(ImageStore& store) : store_(store) {}
    Claims(const Claims&) = delete;
    Claims& operator=(const Claims&) = delete;
    ~Claims();

    void blob(const oci::Digest& digest);

    /// True where the layer is unpacked; it stays then.
    bool layer(const oci::Digest& diff_id);

    void keep(layers::StagedPtr staged) { staged_.push_back(std::move(staged)); }

    /// Layers and blobs become visible before the image that needs them. Where an exception ends this from now on, they go again.
    void publishes() noexcept { publishes_ = true; }

private:
    ImageStore& store_;
    std::vector<oci::Digest> blobs_;
    std::vector<layers::LayerStore::Hold> held_;
    std::vector<layers::StagedPtr> staged_;
    const int exceptions_ = std::uncaught_exceptions();
    bool publishes_ = false;
};

inline constexpr int index_depth_limit = 4;

/// What a manifest is, checked: an image's configuration, as many layers as diff IDs, known media types, linux.
struct ImageDocuments {
    oci::Manifest manifest;
    oci::ImageConfig config;
    std::string raw_config;
    std::vector<oci::Digest> diff_ids;
};
void check_image_manifest(const oci::Manifest& manifest, std::string_view digest);
ImageDocuments check_image(oci::Manifest manifest, std::string raw_config, std::string_view digest);

/// The image that `target` leads to, from what the content store has. Throws where a needed document is missing or wrong.
std::shared_ptr<Image> read_image(const content::ContentStore& content, const layers::LayerStore& layers, const oci::Descriptor& target,
                                  const std::optional<oci::Platform>& platform = {});

}  // namespace grua::images
