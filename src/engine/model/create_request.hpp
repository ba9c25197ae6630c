// What a request for a container means: checked, filled in from the image, its mounts planned. Pure, no file is looked at.
#pragma once

#include "engine/model/record.hpp"
#include "engine/spec/spec.hpp"
#include "oci/image_config.hpp"

#include <string>
#include <vector>

namespace grua::engine {

/// Fills in what the request leaves to the image, and Docker's defaults. Throws Error(invalid_argument, "no command specified").
void merge_image(ContainerConfig& config, const oci::ImageRunConfig& image);

/// Entrypoint and command as one argv.
StringList command_of(const ContainerConfig& config);

/// Checks limits and gives them Docker's defaults (swap is twice the memory). Returns warnings. Throws Error(invalid_argument).
StringList check_resources(Resources& limits, const HostFacts& host);

/// Checks everything that needs no other object and fills in defaults. Returns warnings. Throws Error(invalid_argument) with
/// Docker's texts, not_implemented for what grua does not do yet.
StringList check_request(ContainerConfig& config, HostConfig& host_config, const HostFacts& host);

/// Throws Error(invalid_argument) with Docker's text for one that is not there: clients take `not_found` for the image, and pull it.
void check_volume_driver(const std::string& driver);

/// --storage-opt size: what may be written to the container's own layer, in bytes.
std::optional<std::uint64_t> root_size(const HostConfig& host);

/// A cgroup parent as it is used: absolute, without ".." and a slash at its end; empty for the root.
std::string clean_cgroup_parent(std::string_view parent);

/// A mount that has its place but perhaps no source yet.
struct PlannedMount {
    MountPoint point;
    bool anonymous = false;    ///< A volume without a name: one is made.
    bool copy = true;          ///< Fill an empty volume from the image.
    StringMap labels;          ///< Of a volume that is made.
    StringMap volume_options;  ///< Likewise.
    MountDetail detail;
};

/// One of --volumes-from: "name", "name:ro", "name:rw,z".
struct VolumesFrom {
    std::string container;
    bool read_only = false;
};
/// Throws Error(invalid_argument, "invalid mode: …").
VolumesFrom parse_volumes_from(const std::string& spec);

struct MountsFrom {
    RecordPtr container;
    bool read_only = false;
};

std::vector<PlannedMount> plan_mounts(const ContainerConfig& config, const HostConfig& host_config, const std::vector<MountsFrom>& from);

}  // namespace grua::engine
