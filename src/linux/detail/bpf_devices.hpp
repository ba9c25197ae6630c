// cgroup v2 decides about devices by a BPF program.
#pragma once

#include "linux/detail/device_rules.hpp"

#include <linux/bpf.h>
#include <vector>

namespace grua::linux::detail {

/// For BPF_PROG_TYPE_CGROUP_DEVICE; pure.
std::vector<bpf_insn> device_program(const DeviceList& list);

/// Makes the list the only one of the cgroup; programs that were there before are replaced. A list that allows everything is no program.
void attach_device_program(int cgroup, const DeviceList& list);

}  // namespace grua::linux::detail
