// Is the store whole? Blobs against their digests, documents, unpacked layers to the last file, and what refers to what.
// Repair fetches again only what is broken and puts it in its place at once; nothing else is touched.
#pragma once

#include "oci/digest.hpp"
#include "registry/client.hpp"

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

namespace grua::images {

struct Finding {
    std::string kind;     ///< "blob", "layer", "image", "reference"
    std::string id;       ///< A digest, a container's ID, a name.
    std::string problem;  ///< With why it could not be repaired.
    bool repaired = false;
};

struct CheckRequest {
    const registry::Client* registry = nullptr;  ///< To repair from; null: nothing is repaired.
    registry::Access access;                     ///< Its stop ends the check, too.
};

struct CheckSums {
    std::uint64_t checked = 0;  ///< Blobs, layers, images and references.
    std::uint64_t problems = 0;
    std::uint64_t repaired = 0;
    std::uint64_t bytes = 0;  ///< That were read of blobs.
};

}  // namespace grua::images
