// From a volume to what the API shows of it; pure.
#pragma once

#include "api/wire/volume.hpp"
#include "volumes/volumes.hpp"

namespace grua::api {

wire::Volume volume_of(const volumes::Volume& volume);

}  // namespace grua::api
