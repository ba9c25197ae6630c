#include "api/older_requests.hpp"

#include "base/error.hpp"
#include "engine/networking/networking.hpp"

#include <algorithm>

namespace grua::api {

namespace {

void refuse(bool wrong, std::string_view text) {
    if (wrong) fail(ErrorKind::invalid_argument, "{}", text);
}

void take_mount(int minor_number, engine::Mount& mount) {
    engine::BindOptions* bind = mount.bind_options ? &*mount.bind_options : nullptr;
    if (bind && minor_number < 40) bind->non_recursive = false;
    if (bind && minor_number < 42) bind->create_mountpoint = false;
    if (minor_number >= 42) {
        const auto refuse_options = [&](bool wrong, const char* name) {
            refuse(wrong, fmt::format("{} must not be specified on mount type \"{}\"", name, mount.type));
        };
        refuse_options(mount.volume_options && mount.type != "volume", "VolumeOptions");
        refuse_options(bind && mount.type != "bind", "BindOptions");
        refuse_options(mount.tmpfs_options && mount.type != "tmpfs", "TmpfsOptions");
    }
    refuse(minor_number < 44 && bind && bind->read_only_force_recursive, "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
    refuse(minor_number < 45 && mount.volume_options && !mount.volume_options->subpath.empty(),
           "VolumeOptions.Subpath needs API v1.45 or newer");
    refuse(minor_number < 48 && mount.type == "image", "Mount type \"Image\" needs API v1.48 or newer");
}

/// The container's own address was the only one, and became one network's.
void take_mac_address(int minor_number, wire::CreateBody& body, engine::StringList& warnings) {
    auto& endpoints = body.networking_config.endpoints_config;
    const std::string network = engine::network_of_mode(body.host_config.network_mode);
    if (minor_number < 44) {
        for (auto& [name, endpoint] : endpoints) endpoint.mac_address.clear();
        const bool has_network = !network.empty() && network != "host" && network != "none";
        refuse(!body.mac_address.empty() && !has_network, "conflicting options: mac-address and the network mode");
        return;
    }
    if (body.mac_address.empty()) return;
    const auto main = endpoints.find(network);
    refuse(main != endpoints.end() && !main->second.mac_address.empty() && main->second.mac_address != body.mac_address,
           "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty");
    warnings.emplace_back("The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.");
}

bool has_volume_without_driver(const engine::HostConfig& host) {
    return std::ranges::any_of(host.mounts, [](const engine::Mount& mount) {
        const auto& options = mount.volume_options;
        return mount.type == "volume" && (!options || !options->driver_config || options->driver_config->name.empty());
    });
}

}  // namespace

engine::StringList take_as_in(json::Version version, wire::CreateBody& body) {
    const int minor_number = version.minor_number;
    engine::HostConfig& host = body.host_config;
    engine::StringList warnings;
    // The client removed the container itself.
    if (minor_number < 25) host.auto_remove = false;
    if (minor_number < 40) {
        host.kernel_memory_tcp = 0;
        if (host.ipc_mode.empty()) host.ipc_mode = "shareable";
    }
    if (minor_number < 42) host.console_size.clear();
    if (minor_number < 43) host.annotations.clear();
    auto& endpoints = body.networking_config.endpoints_config;
    if (minor_number < 44) {
        if (body.healthcheck) body.healthcheck->start_interval = 0;
        engine::StringList names;
        for (const auto& [name, endpoint] : endpoints) names.push_back(name);
        refuse(names.size() > 1, "Container cannot be created with multiple network endpoints: " + join(names, ", "));
    }
    if (minor_number < 48)
        for (auto& [name, endpoint] : endpoints) endpoint.gw_priority = 0;
    for (engine::Mount& mount : host.mounts) take_mount(minor_number, mount);
    take_mac_address(minor_number, body, warnings);
    if (minor_number >= 48 && !host.volume_driver.empty() && has_volume_without_driver(host))
        warnings.emplace_back(
            "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use '--mount "
            "type=volume,volume-driver=...' instead");
    return warnings;
}

}  // namespace grua::api
