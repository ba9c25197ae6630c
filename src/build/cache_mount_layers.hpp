// Cache mounts of RUN that travel with a cache (`--cache-to mounts=ID`): their files as a layer, and back where a mount begins.
#pragma once

#include "build/cache_manifest.hpp"
#include "build/layer_form.hpp"
#include "build/operations/operations.hpp"

#include <memory>
#include <optional>
#include <string>

namespace grua::build {

/// Its files as they are now; whoever has it meanwhile may be writing in it. Nothing where there is none by this ID.
asio::awaitable<std::optional<CachedMount>> pack_cache_mount(Workplace& place, std::string id, LayerForm form,
                                                             std::shared_ptr<images::BuildClaims> claims);

/// Into an empty folder. Blocks. Throws Error; the folder may have some of it then.
void fill_cache_mount(content::ContentStore& content, const oci::Descriptor& blob, const oci::Digest& diff_id, const std::string& folder);

}  // namespace grua::build
