#include "runtime/mount_options.hpp"

#include <fmt/format.h>
#include <sys/mount.h>
#include <algorithm>
#include <array>
#include <cstdint>

namespace grua::runtime {
namespace {

struct Attribute {
    std::string_view name;
    bool clear;
    std::uint64_t flag;
};

// Each has a form with "r" in front for the whole tree.
constexpr std::array attributes{
    Attribute{"ro", false, MOUNT_ATTR_RDONLY},
    Attribute{"rw", true, MOUNT_ATTR_RDONLY},
    Attribute{"nosuid", false, MOUNT_ATTR_NOSUID},
    Attribute{"suid", true, MOUNT_ATTR_NOSUID},
    Attribute{"nodev", false, MOUNT_ATTR_NODEV},
    Attribute{"dev", true, MOUNT_ATTR_NODEV},
    Attribute{"noexec", false, MOUNT_ATTR_NOEXEC},
    Attribute{"exec", true, MOUNT_ATTR_NOEXEC},
    Attribute{"nodiratime", false, MOUNT_ATTR_NODIRATIME},
    Attribute{"diratime", true, MOUNT_ATTR_NODIRATIME},
    Attribute{"relatime", true, MOUNT_ATTR__ATIME},  // Relative is 0: to have it is to have neither of the others.
    Attribute{"norelatime", true, 0},
    Attribute{"noatime", false, MOUNT_ATTR_NOATIME},
    Attribute{"atime", true, MOUNT_ATTR__ATIME},
    Attribute{"strictatime", false, MOUNT_ATTR_STRICTATIME},
    Attribute{"nostrictatime", true, MOUNT_ATTR__ATIME},
    Attribute{"nosymfollow", false, 0x00200000},  // MOUNT_ATTR_NOSYMFOLLOW, Linux 5.14
    Attribute{"symfollow", true, 0x00200000},
};

struct Propagation {
    std::string_view name;
    unsigned long flag;
};
constexpr std::array propagations{
    Propagation{"private", MS_PRIVATE},
    Propagation{"slave", MS_SLAVE},
    Propagation{"shared", MS_SHARED},
    Propagation{"unbindable", MS_UNBINDABLE},
};

// Of the superblock: handed to the file system as they are, meaningless for a bind.
constexpr std::array<std::string_view, 8> of_superblock{"sync", "async", "dirsync", "mand", "nomand", "lazytime", "nolazytime", "iversion"};
// Accepted and of no effect in the mount API.
constexpr std::array<std::string_view, 4> no_effect{"defaults", "loud", "silent", "noiversion"};

bool set_attribute(linux::MountChange& change, std::string_view name) {
    const auto found = std::ranges::find(attributes, name, &Attribute::name);
    if (found == attributes.end()) return false;
    // The last word counts.
    const std::uint64_t whole = (found->flag & MOUNT_ATTR__ATIME) != 0 ? std::uint64_t{MOUNT_ATTR__ATIME} : found->flag;
    change.set &= ~whole;
    change.clear &= ~whole;
    (found->clear ? change.clear : change.set) |= found->flag;
    return true;
}

}  // namespace

unsigned long parse_propagation(std::string_view text, linux::Recursion& recursion) {
    auto found = std::ranges::find(propagations, text, &Propagation::name);
    if (found != propagations.end()) {
        recursion = linux::Recursion::top_only;
        return found->flag;
    }
    if (!text.starts_with('r')) return 0;
    found = std::ranges::find(propagations, text.substr(1), &Propagation::name);
    if (found == propagations.end()) return 0;
    recursion = linux::Recursion::recursive;
    return found->flag;
}

MountOptions parse_mount_options(const std::vector<std::string>& options) {
    MountOptions out;
    for (const std::string& option : options) {
        if (option == "bind") {
            out.bind = true;
        } else if (option == "rbind") {
            out.bind = out.recursive_bind = true;
        } else if (option == "remount") {
            out.remount = true;
        } else if (option == "tmpcopyup") {
            out.copy_up = true;
        } else if (option == "idmap" || option == "ridmap") {
            out.id_mapped = true;
            out.id_mapped_recursive = option == "ridmap";
        } else if (const unsigned long propagation = parse_propagation(option, out.propagation_recursion)) {
            out.propagation = propagation;
        } else if (set_attribute(out.top, option) || std::ranges::count(no_effect, option) != 0) {
            continue;
        } else if (!option.starts_with('r') || !set_attribute(out.below, std::string_view(option).substr(1))) {
            if (!option.empty()) out.filesystem.push_back(option);
        }
    }
    if (out.bind) std::erase_if(out.filesystem, [](const std::string& each) { return std::ranges::count(of_superblock, each) != 0; });
    return out;
}

std::vector<std::string> known_mount_options() {
    std::vector<std::string> names{"bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"};
    for (const auto& each : attributes) {
        names.emplace_back(each.name);
        names.push_back(fmt::format("r{}", each.name));
    }
    for (const auto& each : propagations) {
        names.emplace_back(each.name);
        names.push_back(fmt::format("r{}", each.name));
    }
    for (const auto each : of_superblock) names.emplace_back(each);
    for (const auto each : no_effect) names.emplace_back(each);
    std::ranges::sort(names);
    return names;
}

}  // namespace grua::runtime
