// Where a container's mounts come from: -v and --mount, the image's volumes, other containers. Pure.
#include "base/text.hpp"
#include "engine/model/create_request.hpp"

#include <algorithm>
#include <array>
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

constexpr auto propagations = std::to_array<std::string_view>({"private", "rprivate", "shared", "rshared", "slave", "rslave"});

/// The third part of -v, and the second of --volumes-from.
struct Mode {
    bool read_only = false;
    bool no_copy = false;
    std::string propagation;
};

/// Nothing where it is none: of each kind there is one word at most.
std::optional<Mode> parse_mode(const std::string& text) {
    Mode out;
    if (text.empty()) return out;
    std::set<std::string_view> kinds;
    for (const std::string& word : split(text, ',')) {
        std::string_view kind;
        if (word == "ro" || word == "rw") {
            kind = "access";
            out.read_only = word == "ro";
        } else if (word == "z" || word == "Z") {
            kind = "label";
        } else if (word == "consistent" || word == "cached" || word == "delegated") {
            kind = "consistency";
        } else if (word == "nocopy") {
            kind = "copy";
            out.no_copy = true;
        } else if (std::ranges::count(propagations, word) != 0) {
            kind = "propagation";
            out.propagation = word;
        }
        if (kind.empty() || !kinds.insert(kind).second) return std::nullopt;
    }
    return out;
}

void apply_mode(PlannedMount& mount, const Mode& mode, const std::string& spec) {
    const bool is_bind = mount.point.type == "bind";
    const auto refuse = [&](const char* field) {
        fail(ErrorKind::invalid_argument,
             "invalid volume specification: '{}': invalid mount config for type \"{}\": field {} must not be specified", spec,
             mount.point.type, field);
    };
    if (mode.no_copy && is_bind) refuse("VolumeOptions");
    if (!mode.propagation.empty() && !is_bind) refuse("BindOptions");
    mount.point.rw = !mode.read_only;
    mount.copy = !mode.no_copy;
    if (!mode.propagation.empty()) mount.point.propagation = mode.propagation;
}

PlannedMount plan_bind(const std::string& spec) {
    const auto parts = split(spec, ':');
    // "/foo:rw" has a mode where its destination should be.
    if (parts.empty() || parts.size() > 3 || parts[0].empty() || (parts.size() == 2 && parse_mode(parts[1])))
        fail(ErrorKind::invalid_argument, "invalid volume specification: '{}'", spec);
    PlannedMount out;
    out.point.type = "volume";
    out.point.mode = "z";
    if (parts.size() == 1) {
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
        out.point.mode.clear();
        out.detail.create_source = true;
    } else {
        out.point.name = parts[0];
        out.point.driver = "local";
    }
    if (parts.size() == 3) {
        const auto mode = parse_mode(parts[2]);
        if (!mode) fail(ErrorKind::invalid_argument, "invalid mode: {}", parts[2]);
        apply_mode(out, *mode, spec);
        out.point.mode = parts[2];
    }
    return out;
}

/// One of --mount, its errors with the type in front.
class MountReader {
public:
    explicit MountReader(const Mount& mount) : mount_(mount) {}

    PlannedMount read() {
        check_options_of_others();
        if (mount_.target.empty()) bad("field Target must not be empty");
        out_.point.type = mount_.type;
        out_.point.destination = clean_path(mount_.target);
        out_.point.rw = !mount_.read_only;
        if (out_.point.destination == "/") bad("invalid specification: destination can't be '/'");
        check_absolute(mount_.target);
        if (mount_.type == "bind")
            read_bind();
        else if (mount_.type == "volume")
            read_volume();
        else if (mount_.type == "tmpfs")
            read_tmpfs();
        else if (mount_.type == "image")
            read_image();
        else
            bad("mount type unknown");
        return std::move(out_);
    }

private:
    [[noreturn]] void bad(const std::string& why) const {
        fail(ErrorKind::invalid_argument, "invalid mount config for type \"{}\": {}", mount_.type, why);
    }

    void check_absolute(const std::string& path) const {
        if (!path.starts_with('/')) bad(fmt::format("invalid mount path: '{}' mount path must be absolute", path));
    }

    void check_options_of_others() const {
        const auto of = [&](bool is_there, const char* type, const char* field) {
            if (is_there && mount_.type != type) bad(fmt::format("field {} must not be specified", field));
        };
        of(mount_.bind_options.has_value(), "bind", "BindOptions");
        of(mount_.volume_options.has_value(), "volume", "VolumeOptions");
        of(mount_.image_options.has_value(), "image", "ImageOptions");
        of(mount_.tmpfs_options.has_value(), "tmpfs", "TmpfsOptions");
    }

    /// A relative path that its text leaves inside; what links make of it is looked at when it is mounted.
    std::string checked_subpath(const std::string& subpath) const {
        const std::filesystem::path path(subpath);
        const std::string cleaned = path.lexically_normal().string();
        if (path.is_absolute() || cleaned == ".." || cleaned.starts_with("../")) bad("subpath must be a relative path within the volume");
        if (subpath.contains('\0')) bad("subpath has a NUL in it");
        return subpath;
    }

    void read_bind() {
        if (mount_.source.empty()) bad("field Source must not be empty");
        const BindOptions options = mount_.bind_options.value_or(BindOptions{});
        out_.point.propagation = options.propagation.empty() ? "rprivate" : options.propagation;
        if (std::ranges::count(propagations, out_.point.propagation) == 0)
            bad(fmt::format("invalid propagation mode: {}", out_.point.propagation));
        check_absolute(mount_.source);
        if (out_.point.rw && options.read_only_non_recursive) bad("mount options conflict: Writable && ReadOnlyNonRecursive");
        if (out_.point.rw && options.read_only_force_recursive) bad("mount options conflict: Writable && ReadOnlyForceRecursive");
        if (options.read_only_non_recursive && options.read_only_force_recursive)
            bad("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive");
        out_.point.source = clean_path(mount_.source);
        out_.detail.create_source = options.create_mountpoint;
        out_.detail.bind = mount_.bind_options;
    }

    void read_volume() {
        out_.point.name = mount_.source;
        out_.point.driver = "local";
        out_.point.mode = "z";
        out_.anonymous = mount_.source.empty();
        if (!mount_.volume_options) return;
        const VolumeOptions& options = *mount_.volume_options;
        if (!options.subpath.empty()) {
            if (out_.anonymous) bad("must not set Subpath when using anonymous volumes");
            out_.detail.subpath = checked_subpath(options.subpath);
        }
        if (options.driver_config) {
            check_volume_driver(options.driver_config->name);
            out_.volume_options = options.driver_config->options;
        }
        out_.copy = !options.no_copy;
        out_.labels = options.labels;
    }

    void read_tmpfs() {
        if (!mount_.source.empty()) bad("field Source must not be specified");
        if (!mount_.tmpfs_options) return;
        const TmpfsOptions& options = *mount_.tmpfs_options;
        if (options.size_bytes < 0) bad("field TmpfsOptions.SizeBytes must not be negative");
        if (options.mode > 07777) bad("field TmpfsOptions.Mode must be at most 07777");
        for (const StringList& each : options.options) {
            if (each.empty() || each.size() > 2) bad("invalid option array length");
            if (each[0] != "exec" && each[0] != "noexec") bad("invalid option: " + each[0]);
        }
        out_.detail.tmpfs = options;
    }

    void read_image() {
        if (mount_.source.empty()) bad("field Source must not be empty");
        out_.point.name = mount_.source;
        out_.point.rw = false;
        out_.point.propagation = "rprivate";
        if (mount_.image_options) out_.detail.subpath = checked_subpath(mount_.image_options->subpath);
    }

    const Mount& mount_;
    PlannedMount out_;
};

}  // namespace

VolumesFrom parse_volumes_from(const std::string& spec) {
    if (spec.empty()) fail(ErrorKind::invalid_argument, "volumes-from specification cannot be an empty string");
    const std::size_t colon = std::min(spec.find(':'), spec.size());
    const std::string text = colon == spec.size() ? "" : spec.substr(colon + 1);
    const auto mode = parse_mode(text);
    // How a mount propagates, and what was copied, is the other container's.
    if (!mode || mode->no_copy || !mode->propagation.empty()) fail(ErrorKind::invalid_argument, "invalid mode: {}", text);
    return {.container = spec.substr(0, colon), .read_only = mode->read_only};
}

std::vector<PlannedMount> plan_mounts(const ContainerConfig& config, const HostConfig& host_config, const std::vector<MountsFrom>& from) {
    std::map<std::string, PlannedMount> by_place;
    for (const MountsFrom& other : from) {
        for (const MountPoint& point : other.container->mounts) {
            PlannedMount mount{.point = point, .copy = false, .detail = detail_of(*other.container, point.destination)};
            mount.point.mode.clear();
            mount.detail.create_source = true;
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
    // Those of --mount name their own driver.
    const auto by_its_driver = [&](PlannedMount mount) {
        if (mount.point.type == "volume") check_volume_driver(host_config.volume_driver);
        return mount;
    };
    for (const auto& spec : host_config.binds) add(by_its_driver(plan_bind(spec)));
    for (const auto& mount : host_config.mounts) add(MountReader(mount).read());
    for (const auto& [path, value] : config.volumes) {
        const std::string place = clean_path(path);
        check_destination(place, path);
        if (by_place.contains(place) || host_config.tmpfs.contains(place)) continue;
        PlannedMount mount;
        mount.point.type = "volume";
        mount.point.driver = "local";
        mount.point.destination = place;
        mount.anonymous = true;
        by_place.emplace(place, by_its_driver(std::move(mount)));
    }
    std::vector<PlannedMount> out;
    out.reserve(by_place.size());
    for (auto& [place, mount] : by_place) out.push_back(std::move(mount));
    return out;
}

}  // namespace grua::engine
