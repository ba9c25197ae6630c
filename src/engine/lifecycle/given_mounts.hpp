// Mounts of a container that come as descriptors, since no path stands for them: a part of a volume, an image, another container's
// shared memory.
#pragma once

#include "engine/lifecycle/ground.hpp"

namespace grua::engine {

/// What a mount of type "image" shows. Blocks. Throws Error(unavailable) where the image is gone.
Fd mount_image(Roots& roots, const Options& options, const MountDetail& detail);

/// /dev/shm as the container of this process sees it. Blocks. Throws Error(conflict) where that has ended or has none.
Fd shared_memory_of(const Fd& pidfd);

/// Of the images that are mounted: they stay while this lives.
Roots::Hold hold_images(Roots& roots, const ContainerRecord& record);

}  // namespace grua::engine
