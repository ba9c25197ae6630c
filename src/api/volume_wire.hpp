// From a volume to what the API shows of it; pure.
#pragma once

#include "api/wire/volume.hpp"
#include "engine/volume_service.hpp"

namespace grua::api {

wire::Volume volume_of(const engine::Volume& volume);

}  // namespace grua::api
