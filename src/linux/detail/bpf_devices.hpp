// cgroup v2 decides about devices by a BPF program.
#pragma once

#include "base/fd.hpp"
#include "linux/detail/device_rules.hpp"

#include <linux/bpf.h>
#include <string_view>
#include <vector>

namespace grua::linux::detail {

/// `what` names it in the error.
Fd load_program(bpf_prog_type type, const std::vector<bpf_insn>& program, std::string_view what);

/// For BPF_PROG_TYPE_CGROUP_DEVICE; pure.
std::vector<bpf_insn> device_program(const DeviceList& list);

/// Makes the list the only one of the cgroup; programs that were there before are replaced. A list that allows everything is no program.
void attach_device_program(int cgroup, const DeviceList& list);

}  // namespace grua::linux::detail
