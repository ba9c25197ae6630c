// One overlayfs mount, detached: nobody's mount namespace has it until it is attached.
#pragma once

#include "base/fd.hpp"

#include <string>
#include <vector>

namespace grua::layers {

struct Overlay {
    std::vector<std::string> lower;  ///< folders, the highest first; at least one (two without upper)
    std::string upper;               ///< may be empty: read only
    std::string work;
    bool read_only = false;
    bool omit_syncs = false;  ///< overlayfs' "volatile"
};

Fd mount_overlay(const Overlay& overlay);

/// For kernels before 6.8, whose overlayfs takes its layers as one text of at most a page. Public for its test.
Fd mount_overlay_by_text(const Overlay& overlay);

}  // namespace grua::layers
