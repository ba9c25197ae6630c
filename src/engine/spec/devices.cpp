#include "engine/spec/devices.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <algorithm>
#include <filesystem>
#include <set>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;

std::optional<oci::Device> node_at(const std::string& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0 || (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode))) return std::nullopt;
    oci::Device out;
    out.path = path;
    out.type = S_ISCHR(status.st_mode) ? "c" : "b";
    out.major = major(status.st_rdev);
    out.minor = minor(status.st_rdev);
    out.file_mode = status.st_mode & 07777U;
    out.uid = status.st_uid;
    out.gid = status.st_gid;
    return out;
}

/// Every node of a folder, but not what the container has of its own.
void add_folder(const fs::path& folder, std::vector<GrantedDevice>& out) {
    static const std::set<std::string> own{"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "ptmx"};
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, ignored)) {
        if (own.contains(entry.path().filename().string())) continue;
        if (entry.is_directory(ignored) && !entry.is_symlink(ignored)) {
            add_folder(entry.path(), out);
        } else if (auto node = node_at(entry.path().string())) {
            out.push_back({.node = std::move(*node), .access = "rwm"});
        }
    }
}

void add_mapping(const DeviceMapping& mapping, std::vector<GrantedDevice>& out) {
    std::error_code error;
    const std::string resolved = fs::canonical(mapping.path_on_host, error).string();
    if (error)
        fail(ErrorKind::invalid_argument, "error gathering device information while adding custom device \"{}\": no such file or directory",
             mapping.path_on_host);
    const std::string access = mapping.cgroup_permissions.empty() ? "rwm" : mapping.cgroup_permissions;
    const std::string target = mapping.path_in_container.empty() ? mapping.path_on_host : mapping.path_in_container;
    if (auto node = node_at(resolved)) {
        node->path = target;
        out.push_back({.node = std::move(*node), .access = access});
        return;
    }
    std::vector<GrantedDevice> below;
    if (fs::is_directory(resolved, error)) add_folder(resolved, below);
    if (below.empty())
        fail(ErrorKind::invalid_argument, "error gathering device information while adding custom device \"{}\": not a device node",
             mapping.path_on_host);
    for (GrantedDevice& each : below) {
        each.node.path = target + each.node.path.substr(resolved.size());
        each.access = access;
        out.push_back(std::move(each));
    }
}

}  // namespace

std::vector<GrantedDevice> granted_devices(const HostConfig& config) {
    std::vector<GrantedDevice> out;
    if (config.privileged) add_folder("/dev", out);
    for (const DeviceMapping& mapping : config.devices) {
        if (config.privileged && (mapping.path_in_container.empty() || mapping.path_in_container == mapping.path_on_host)) continue;
        add_mapping(mapping, out);
    }
    return out;
}

DeviceNumbers block_device_numbers(const HostConfig& config) {
    DeviceNumbers out;
    const auto add = [&](const std::string& path) {
        struct stat status{};
        if (::stat(path.c_str(), &status) != 0) fail(ErrorKind::invalid_argument, "stat {}: no such file or directory", path);
        out[path] = {major(status.st_rdev), minor(status.st_rdev)};
    };
    for (const auto& each : config.blkio_weight_device) add(each.path);
    for (const auto* list :
         {&config.blkio_device_read_bps, &config.blkio_device_write_bps, &config.blkio_device_read_iops, &config.blkio_device_write_iops})
        for (const auto& each : *list) add(each.path);
    return out;
}

}  // namespace grua::engine
