// What the files of ImageStore share.
#pragma once

#include "images/image_store.hpp"

namespace grua::images {

struct ImageStore::Snapshot {
    std::map<std::string, ImagePtr> images;
    std::map<oci::Reference, ImagePtr> references;
};

struct ImageStore::NewImage {
    std::string id;
    std::optional<oci::Digest> manifest;
    std::vector<oci::Reference> references;
};

/// "sha256:abc" and "abc".
inline bool is_id_prefix(std::string_view id, std::string_view text) { return id.starts_with(text) || id.substr(7).starts_with(text); }

/// Layers may exist before their image does: nothing is collected meanwhile.
class ImageStore::Loading {
public:
    explicit Loading(ImageStore& store) : store_(store) {
        const std::scoped_lock lock{store_.changing_};
        ++store_.loading_;
    }
    Loading(const Loading&) = delete;
    Loading& operator=(const Loading&) = delete;
    ~Loading();

private:
    ImageStore& store_;
    int errors_ = std::uncaught_exceptions();
};

}  // namespace grua::images
