// The specification's limits as the cgroup takes them, with the device rules that every container has after its own.
#pragma once

#include "linux/cgroup.hpp"
#include "oci/runtime_spec.hpp"

namespace grua::runtime {

linux::Resources resources_of(const oci::Resources& from);

}  // namespace grua::runtime
