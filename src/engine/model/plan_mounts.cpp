// Where a container's mounts come from: -v and --mount, the image's volumes, other containers. Pure.
#include "base/text.hpp"
#include "engine/model/create_request.hpp"

#include <algorithm>
#include <filesystem>
#include <set>

namespace grua::engine {
namespace {

std::string clean_path(const std::string& path) {
    std::string out = std::filesystem::path(path).lexically_normal().string();
    if (out.size() > 1 && out.ends_with('/')) out.pop_back();
    return out;
}

void check_destination(const std::string& destination, const std::string& spec) {
    if (destination == "/")
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{}': invalid mount config: destination can't be '/'", spec);
    if (!destination.starts_with('/'))
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{0}': invalid mount path: '{1}' mount path must be absolute",
             spec, destination);
}

const std::set<std::string>& propagations() {
    static const std::set<std::string> all{"private", "rprivate", "shared", "rshared", "slave", "rslave"};
    return all;
}

const std::set<std::string>& tmpfs_switches() {
    static const std::set<std::string> all{"exec", "noexec", "suid", "nosuid", "dev", "nodev"};
    return all;
}

/// The third part of -v.
void apply_mode(PlannedMount& mount, const std::string& mode) {
    static const std::set<std::string> ignored{"z", "Z", "consistent", "cached", "delegated", "rw"};
    for (const auto& option : split(mode, ',')) {
        if (option == "ro")
            mount.point.rw = false;
        else if (option == "nocopy" && mount.point.type == "volume")
            mount.copy = false;
        else if (propagations().contains(option) && mount.point.type == "bind")
            mount.point.propagation = option;
        else if (!ignored.contains(option))
            fail(ErrorKind::invalid_argument, "invalid mode: {}", mode);
    }
}

PlannedMount plan_bind(const std::string& spec) {
    const auto parts = split(spec, ':');
    if (parts.empty() || parts.size() > 3 || parts[0].empty())
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{}'", spec);
    PlannedMount out;
    if (parts.size() == 1) {
        out.point.type = "volume";
        out.point.destination = clean_path(parts[0]);
        out.anonymous = true;
        check_destination(out.point.destination, spec);
        return out;
    }
    out.point.destination = clean_path(parts[1]);
    check_destination(out.point.destination, spec);
    if (parts[0].starts_with('/')) {
        out.point.type = "bind";
        out.point.source = clean_path(parts[0]);
        out.point.propagation = "rprivate";
        out.create_source = true;
    } else {
        out.point.type = "volume";
        out.point.name = parts[0];
        out.point.driver = "local";
        out.point.mode = "z";
    }
    if (parts.size() == 3) {
        apply_mode(out, parts[2]);
        out.point.mode = parts[2];
    }
    return out;
}

PlannedMount plan_mount(const Mount& mount) {
    const auto bad = [&](const std::string& why) {
        fail(ErrorKind::invalid_argument, "invalid mount config for type \"{}\": {}", mount.type, why);
    };
    if (mount.target.empty()) bad("field Target must not be empty");
    PlannedMount out;
    out.point.type = mount.type;
    out.point.destination = clean_path(mount.target);
    out.point.rw = !mount.read_only;
    if (!mount.target.starts_with('/')) bad(fmt::format("invalid mount path: '{}' mount path must be absolute", mount.target));
    if (out.point.destination == "/") bad("destination can't be '/'");
    if (mount.type == "bind") {
        if (mount.source.empty()) bad("field Source must not be empty");
        if (!mount.source.starts_with('/')) bad(fmt::format("invalid mount path: '{}' mount path must be absolute", mount.source));
        if (mount.volume_options) bad("field VolumeOptions must not be specified");
        out.point.source = clean_path(mount.source);
        out.point.propagation = "rprivate";
        if (mount.bind_options && !mount.bind_options->propagation.empty()) out.point.propagation = mount.bind_options->propagation;
        if (!propagations().contains(out.point.propagation)) bad(fmt::format("invalid propagation mode: {}", out.point.propagation));
        if (mount.tmpfs_options) bad("field TmpfsOptions must not be specified");
        out.create_source = mount.bind_options && mount.bind_options->create_mountpoint;
    } else if (mount.type == "volume") {
        if (mount.bind_options) bad("field BindOptions must not be specified");
        if (mount.tmpfs_options) bad("field TmpfsOptions must not be specified");
        out.point.name = mount.source;
        out.point.driver = "local";
        out.point.mode = "z";
        out.anonymous = mount.source.empty();
        if (mount.volume_options) {
            if (!mount.volume_options->subpath.empty()) fail(ErrorKind::not_implemented, "not implemented: subpaths of volumes");
            if (mount.volume_options->driver_config) {
                check_volume_driver(mount.volume_options->driver_config->name);
                if (!mount.volume_options->driver_config->options.empty())
                    fail(ErrorKind::not_implemented, "not implemented: options of local volumes");
            }
            out.copy = !mount.volume_options->no_copy;
            out.labels = mount.volume_options->labels;
        }
    } else if (mount.type == "tmpfs") {
        if (!mount.source.empty()) bad("field Source must not be specified");
        if (mount.bind_options) bad("field BindOptions must not be specified");
        if (mount.volume_options) bad("field VolumeOptions must not be specified");
        if (mount.tmpfs_options && mount.tmpfs_options->size_bytes < 0) bad("field TmpfsOptions.SizeBytes must not be negative");
        if (mount.tmpfs_options && mount.tmpfs_options->mode > 07777) bad("field TmpfsOptions.Mode must be at most 07777");
        if (mount.tmpfs_options) {
            for (const StringList& option : mount.tmpfs_options->options)
                if (option.size() != 1 || !tmpfs_switches().contains(option[0])) bad(fmt::format("invalid option: {}", join(option, "=")));
        }
    } else if (mount.type == "image" || mount.type == "cluster" || mount.type == "npipe") {
        fail(ErrorKind::not_implemented, "not implemented: mounts of type {}", mount.type);
    } else {
        bad("mount type unknown");
    }
    return out;
}

}  // namespace

std::vector<PlannedMount> plan_mounts(const ContainerConfig& config, const HostConfig& host_config, const std::vector<MountsFrom>& from) {
    std::map<std::string, PlannedMount> by_place;
    for (const MountsFrom& other : from) {
        for (const MountPoint& point : other.container->mounts) {
            if (point.type == "tmpfs") continue;
            PlannedMount mount{.point = point, .copy = false};
            if (other.read_only) mount.point.rw = false;
            by_place.insert_or_assign(point.destination, std::move(mount));
        }
    }
    std::set<std::string> asked;
    const auto add = [&](PlannedMount mount) {
        const std::string place = mount.point.destination;
        if (!asked.insert(place).second || host_config.tmpfs.contains(place))
            fail(ErrorKind::invalid_argument, "Duplicate mount point: {}", place);
        by_place.insert_or_assign(place, std::move(mount));
    };
    for (const auto& [place, options] : host_config.tmpfs) check_destination(clean_path(place), place);
    for (const auto& spec : host_config.binds) add(plan_bind(spec));
    for (const auto& mount : host_config.mounts) add(plan_mount(mount));
    for (const auto& [path, value] : config.volumes) {
        const std::string place = clean_path(path);
        check_destination(place, path);
        if (by_place.contains(place) || host_config.tmpfs.contains(place)) continue;
        PlannedMount mount;
        mount.point.type = "volume";
        mount.point.driver = "local";
        mount.point.destination = place;
        mount.anonymous = true;
        by_place.emplace(place, std::move(mount));
    }
    std::vector<PlannedMount> out;
    out.reserve(by_place.size());
    for (auto& [place, mount] : by_place) out.push_back(std::move(mount));
    return out;
}

}  // namespace grua::engine
