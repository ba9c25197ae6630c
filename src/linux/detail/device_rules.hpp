// Device rules of OCI in a form that both generations can be given.
#pragma once

#include "linux/cgroup_resources.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::linux::detail {

/// A rule checked: 'c' or 'b' only, access as BPF_DEVCG_ACC_* bits.
struct DeviceEntry {
    bool allow = false;
    char type = 'c';
    std::optional<std::uint32_t> major, minor;
    unsigned access = 7;

    bool same_device(const DeviceEntry& other) const { return type == other.type && major == other.major && minor == other.minor; }
    bool operator==(const DeviceEntry&) const = default;
};

inline constexpr unsigned access_mknod = 1, access_read = 2, access_write = 4, access_all = 7;

/// In order: the last entry that matches a device and a kind of access decides it, `allow_by_default` where none does.
struct DeviceList {
    bool allow_by_default = false;
    std::vector<DeviceEntry> entries;
};

/// Rules about all devices with all access drop what stands before them. Throws Error(invalid_argument) on a rule that means nothing.
DeviceList device_list(const std::vector<DeviceRule>& rules);

/// (to devices.allow?, line) in order. v1 knows only a default and exceptions from it: rules that undo a part of a wider one before
/// them cannot be said, and Error(invalid_argument) is better than a container with a device too many.
std::vector<std::pair<bool, std::string>> device_writes_v1(const DeviceList& list);

}  // namespace grua::linux::detail
