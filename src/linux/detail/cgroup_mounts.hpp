// What CgroupMounts holds.
#pragma once

#include "linux/cgroup.hpp"

namespace grua::linux {

struct CgroupMounts::Detected {
    struct Hierarchy {
        unsigned controllers;
        Fd root;
        std::string name;  ///< Of the folder that it is mounted on.
    };
    CgroupLayout layout = CgroupLayout::v1;
    unsigned controllers = 0;
    /// Joined by every cgroup; others when something is asked of them.
    unsigned joined = 0;
    std::vector<Hierarchy> hierarchies;
};

/// The controllers of a v2 cgroup.controllers or cgroup.subtree_control.
unsigned parse_controller_list(std::string_view text) noexcept;

}  // namespace grua::linux
