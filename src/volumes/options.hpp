// The options of a local volume, as `docker volume create --opt` has them: "type", "device" and "o" name what is mounted at its place
// while a container uses it, "size" bounds what may be written.
#pragma once

#include "linux/mount_process.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace grua::volumes {

using OptionMap = std::map<std::string, std::string>;

/// Throws Error(invalid_argument), with Docker's text where it has one. Nothing is looked at but the words.
void check_options(const OptionMap& options);

/// Bytes; nothing where none is asked for.
std::optional<std::uint64_t> size_of(const OptionMap& options);

struct MountPlan {
    linux::MountOrder order;
    unsigned long propagation = 0;  ///< MS_SHARED and its kind; 0: as it comes.
    linux::Recursion propagation_recursion = linux::Recursion::top_only;
    std::string shown;      ///< "o" as errors may show it: without passwords.
    std::string server;     ///< Of a file system on the network; empty where none is named.
    bool has_name = false;  ///< `server` is in "addr" and is a name: the kernel takes addresses only.
};

/// Nothing where the volume is a folder of its own. `options` have been checked.
std::optional<MountPlan> mount_plan(const OptionMap& options);

/// The address in the place of the server's name.
void set_address(MountPlan& plan, const std::string& address);

}  // namespace grua::volumes
