// Is the store whole? Blobs against their digests, documents, unpacked layers to the last file, and what refers to what.
// Repair fetches again only what is broken and puts it in its place at once; nothing else is touched.
#pragma once

#include "images/values.hpp"
#include "oci/digest.hpp"
#include "registry/client.hpp"

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

namespace grua::images {

struct CheckRequest {
    const registry::Client* registry = nullptr;  ///< To repair from; null: nothing is repaired.
    registry::Access access;                     ///< Its stop ends the check, too.
};

}  // namespace grua::images
