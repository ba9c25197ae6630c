// What is behind a BuildClaims.
#pragma once

#include "images/image_store_impl.hpp"
#include "images/packings.hpp"

#include <set>
#include <vector>

namespace grua::images {

struct BuildClaims::State {
    explicit State(ImageStore& images) : store(images), claims(images) {}

    ImageStore& store;
    ImageStore::Claims claims;
    std::set<oci::Digest> made;        ///< Blobs and layers that are there for this build and that no image has yet.
    std::vector<PackingPtr> packings;  ///< For other builds to find while the blobs are claimed.
};

}  // namespace grua::images
