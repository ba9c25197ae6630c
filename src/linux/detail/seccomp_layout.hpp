// A filter laid out for a fast start.
//
// The kernel checks, translates, compiles and - for each system call number of each architecture - dry-runs a filter when it is loaded
// (kernel/seccomp.c, seccomp_cache_prepare). libseccomp compares numbers one by one; but neighbours mostly have the same fate. So for each
// architecture the program is run in the abstract with the number known and the arguments not: what is left of it, for each run of equal
// numbers, is a leaf of a search tree over ranges. What a filter decides stays exactly what libseccomp made it decide.
#pragma once

#include "linux/seccomp.hpp"

#include <linux/filter.h>
#include <cstdint>
#include <optional>
#include <vector>

namespace grua::linux::detail {

/// An architecture of a filter. Numbers from `first` to `last` that are above `newest` get ENOSYS; nothing: they keep the default.
struct FilterArchitecture {
    std::uint32_t audit = 0;  ///< AUDIT_ARCH_*, as seccomp_data has it.
    struct Unknown {
        std::uint32_t newest, last;
    };
    std::vector<Unknown> unknown;
};

/// Throws Error(system) on instructions that libseccomp does not make.
std::vector<sock_filter> lay_out(const std::vector<sock_filter>& program, const std::vector<FilterArchitecture>& architectures);

/// libseccomp's own program, before it is laid out.
struct CompiledFilter {
    std::vector<sock_filter> program;
    std::vector<FilterArchitecture> architectures;
    bool notifies = false;
};
CompiledFilter compile_with_library(const SeccompProfile& profile);

}  // namespace grua::linux::detail
