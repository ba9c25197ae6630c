// From a request to a container that could start: names, image, volumes, writable layer, record.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/engine_impl.hpp"
#include "engine/model/names.hpp"
#include "engine/networking/networking.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "volumes/volumes.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>

namespace grua::engine {
namespace {

/// The name goes back unless the container took it.
class NameClaim {
public:
    NameClaim(std::map<std::string, std::string, std::less<>>& names, std::string name) : names_(names), name_(std::move(name)) {}
    NameClaim(const NameClaim&) = delete;
    NameClaim& operator=(const NameClaim&) = delete;
    ~NameClaim() {
        if (!kept_) names_.erase(name_);
    }
    void keep() { kept_ = true; }

private:
    std::map<std::string, std::string, std::less<>>& names_;
    std::string name_;
    bool kept_ = false;
};

void check_source(const PlannedMount& mount) {
    const std::string& source = mount.point.source;
    std::error_code error;
    if (std::filesystem::exists(source, error)) return;
    if (!mount.create_source)
        fail(ErrorKind::invalid_argument, "invalid mount config for type \"bind\": bind source path does not exist: {}", source);
    make_directories(source, 0755);
}

struct MadeVolume {
    std::string name;
    bool is_new = false;
};

struct Made {
    std::vector<MountPoint> mounts;
    StringList anonymous;
    std::vector<MadeVolume> volumes;
};

/// On the pool: gives every planned mount its source, fills volumes that are empty, makes the writable layer. Nothing where a
/// layer is not unpacked.
std::optional<Made> make(const Rooms& rooms, const std::string& id, const images::Image& image, const std::vector<PlannedMount>& planned,
                         bool auto_remove) {
    Made out;
    Fd image_root;
    const auto is_missing = [&](const oci::Digest& each) { return !rooms.layers.find(each); };
    if (std::ranges::any_of(image.diff_ids, is_missing)) return std::nullopt;
    for (const PlannedMount& mount : planned) {
        MountPoint point = mount.point;
        if (point.type == "bind") check_source(mount);
        if (point.type == "volume") {
            const bool known = !mount.anonymous && rooms.volumes.find(point.name);
            volumes::CreateOptions options;
            options.name = point.name;
            options.anonymous = mount.anonymous;
            options.labels = mount.labels;
            const auto volume = rooms.volumes.create(options);
            if (mount.anonymous) out.anonymous.push_back(volume->name);
            point.name = volume->name;
            point.driver = volume->driver;
            point.source = volume->mountpoint;
            out.volumes.push_back({.name = volume->name, .is_new = !known});
            if (mount.copy && !image.diff_ids.empty()) {
                if (!image_root) image_root = rooms.layers.mount_layers(image.diff_ids);
                rooms.volumes.populate(*volume, image_root.get(), point.destination);
            }
        }
        out.mounts.push_back(std::move(point));
    }
    rooms.layers.prepare(id, image.diff_ids, auto_remove ? layers::Durability::volatile_ : layers::Durability::normal);
    return out;
}

}  // namespace

std::string Engine::Impl::reserve_name(const std::string& asked, const std::string& id) {
    if (!asked.empty()) {
        std::string name = checked_name(asked);
        const auto [known, is_new] = names.try_emplace(name, id);
        if (!is_new)
            fail(ErrorKind::conflict,
                 "Conflict. The container name \"/{}\" is already in use by container \"{}\". You have to remove (or rename) that "
                 "container to "
                 "be able to reuse that name.",
                 name, known->second);
        return name;
    }
    for (int attempt = 0; attempt < 6; ++attempt) {
        std::string name = random_name(attempt);
        if (names.try_emplace(name, id).second) return name;
    }
    std::string name(short_id(id));
    names.insert_or_assign(name, id);
    return name;
}

namespace {

std::optional<network::NetworkConfig> find_network(const network::Networks& networks, const std::string& reference) {
    try {
        return networks.find_config(reference);
    } catch (const Error&) {
        return std::nullopt;  // The container's start says that it is not there.
    }
}

/// The networks that the container will be on, by their names.
void set_networks(const network::Networks& networks, const NetworkingConfig& asked, ContainerRecord& record) {
    const auto name_of = [&](const std::string& reference) {
        const auto found = find_network(networks, reference);
        return found ? found->name : reference;
    };
    const std::string mode = network_of_mode(record.host_config.network_mode);
    if (mode.empty()) return;
    const std::string first = is_user_defined(mode) ? name_of(mode) : mode;
    for (const auto& [key, settings] : asked.endpoints_config) {
        // Docker's clients say "default" for bridge, as the mode does.
        const std::string name = is_user_defined(key) ? name_of(key) : network_of_mode(key);
        record.networks[name] = settings;
    }
    if (record.networks.empty() || !is_user_defined(mode)) record.networks.try_emplace(first);
    for (auto& [name, settings] : record.networks) {
        // Before API 1.44 the container's own field says it, for the mode's network.
        if (settings.mac_address.empty() && name == first) settings.mac_address = record.config.mac_address;
        if (!settings.mac_address.empty()) record.desired_macs[name] = settings.mac_address;
        if (name == first && !settings.mac_address.empty()) record.config.mac_address = settings.mac_address;
    }
}

}  // namespace

asio::awaitable<Created> Engine::Impl::create(CreateRequest request) {
    if (request.host_config.shm_size == 0) request.host_config.shm_size = options.default_shm_size;
    if (request.config.network_disabled) request.host_config.network_mode = "none";
    StringList warnings = check_request(request.config, request.host_config, host);

    // Docker's clients name the network in both places; the mode decides.
    const std::string& mode = request.host_config.network_mode;
    for (const auto& [name, endpoint] : request.networking.endpoints_config)
        while_doing(fmt::format("invalid config for network {}", name == "default" ? "bridge" : name),
                    [&] { check_endpoint(name, endpoint, find_network(rooms.networks, name)); });
    for (const std::string* each : {&mode, static_cast<const std::string*>(&request.host_config.pid_mode)})
        if (each->starts_with("container:")) get_container(std::string_view(*each).substr(10));

    const std::map<std::string, std::string> links = linked_containers(request.host_config);

    std::vector<MountsFrom> from;
    for (const auto& each : request.host_config.volumes_from) {
        const auto colon = each.rfind(':');
        const bool has_mode = colon != std::string::npos;
        if (has_mode && each.substr(colon + 1) != "ro" && each.substr(colon + 1) != "rw")
            fail(ErrorKind::invalid_argument, "invalid volumes-from mode: {}", each);
        from.push_back(
            {.container = get_container(each.substr(0, colon))->record, .read_only = has_mode && each.substr(colon + 1) == "ro"});
    }

    auto [image, lease] = rooms.images.acquire(request.config.image);
    if (!request.platform.empty()) {
        image = co_await offload(
            pool, [this, image, platform = oci::Platform::parse(request.platform)] { return rooms.images.for_platform(image, platform); });
    }
    merge_image(request.config, image->config.config);
    auto planned = plan_mounts(request.config, request.host_config, from);
    std::string anonymous;  // Names, one a line: chosen before the volumes are made, so that recovery knows whose they are.
    for (PlannedMount& each : planned) {
        if (!each.anonymous) continue;
        each.point.name = random_id();
        anonymous += each.point.name + "\n";
    }

    ContainerRecord record;
    record.id = random_id();
    record.name = reserve_name(request.name, record.id);
    NameClaim claim(names, record.name);
    record.created = now();
    record.image_id = image->id;
    if (image->manifest_digest) record.image_manifest = image->manifest_digest->text();
    for (const auto& diff_id : image->diff_ids) record.chain.push_back(diff_id.text());
    if (request.config.hostname.empty() && request.host_config.uts_mode != "host" && mode != "host")
        request.config.hostname = short_id(record.id);
    // As Docker shows them.
    StringList shown;
    for (const auto& [alias, id] : links) shown.push_back(fmt::format("/{}:/{}/{}", get_container(id)->record->name, record.name, alias));
    if (!links.empty()) request.host_config.links = std::move(shown);
    record.links = links;
    const StringList command = command_of(request.config);
    record.path = command.front();
    record.args.assign(command.begin() + 1, command.end());
    record.config = std::move(request.config);
    record.host_config = std::move(request.host_config);
    set_networks(rooms.networks, request.networking, record);
    const std::string directory = container_directory(record.id);
    record.hostname_path = directory + "/hostname";
    record.hosts_path = directory + "/hosts";
    record.resolv_conf_path = directory + "/resolv.conf";
    if (record.host_config.log_config.type == "json-file") record.log_path = fmt::format("{0}/{1}-json.log", directory, record.id);

    std::exception_ptr failure;
    std::optional<Made> made;
    try {
        auto work = [this, id = record.id, image, planned, directory, auto_remove = record.host_config.auto_remove,
                     live = live_directory(record.id), anonymous] {
            make_directories(directory, 0710);
            make_directories(live, 0700);
            if (!anonymous.empty()) replace_file(live + "/new_volumes", anonymous, 0600);
            return make(rooms, id, *image, planned, auto_remove);
        };
        made = co_await offload(pool, work);
        // A variant for another platform is stored packed.
        while (!made) {
            co_await in_own_thread([this, image] { rooms.images.unpack(*image); });
            made = co_await offload(pool, work);
        }
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        auto undo = [this, id = record.id, directory, live = live_directory(record.id), anonymous] {
            rooms.layers.remove(id);
            std::error_code ignored;
            for (const auto& name : split(anonymous, '\n'))
                if (rooms.volumes.find(name)) rooms.volumes.remove(name, {});
            std::filesystem::remove_all(directory, ignored);
            std::filesystem::remove_all(live, ignored);
            return true;
        };
        co_await offload(pool, std::move(undo));
        std::rethrow_exception(failure);
    }
    record.mounts = made->mounts;
    record.anonymous_volumes = made->anonymous;

    if (record.host_config.auto_remove) {
        auto keep = [path = live_directory(record.id) + "/record.json", text = to_json(record)] {
            replace_file(path, text, 0600);
            return true;
        };
        co_await offload(pool, std::move(keep));
    } else {
        saver.save(record);
        co_await saver.flushed();
    }
    crash_point("engine-created");
    if (!anonymous.empty()) {
        auto forget = [path = live_directory(record.id) + "/new_volumes"] { return ::unlink(path.c_str()); };
        co_await offload(pool, std::move(forget));
    }
    claim.keep();
    const auto container = std::make_shared<Container>(loop, std::move(record));
    add(container);
    for (const auto& volume : made->volumes)
        if (volume.is_new) events.publish({.type = "volume", .action = "create", .id = volume.name, .attributes = {{"driver", "local"}}});
    emit(*container->record, "create");
    co_return Created{.id = container->id(), .warnings = std::move(warnings)};
}

asio::awaitable<void> Engine::Impl::rename(std::string reference, std::string name) {
    if (name.empty()) fail(ErrorKind::invalid_argument, "Neither old nor new names may be empty");
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->gone) fail(ErrorKind::not_found, "No such container: {}", reference);
    const std::string old = container->record->name;
    if (checked_name(name) == old) fail(ErrorKind::invalid_argument, "Renaming a container with the same name as its current name");
    const std::string reserved = reserve_name(name, container->id());
    std::map<std::string, StringList> found_by;
    container->update([&](ContainerRecord& next) {
        next.name = reserved;
        for (auto& [network, settings] : next.networks) {
            if (!settings.dns_names) continue;
            settings.dns_names = dns_names(next, settings);
            found_by[network] = *settings.dns_names;
        }
    });
    rooms.networks.rename(container->id(), reserved, found_by);
    names.erase(old);
    publish(*container);
    save(*container);
    emit(*container->record, "rename", {{"oldName", "/" + old}});
    if (container->record->host_config.auto_remove) {
        auto keep = [path = live_directory(container->id()) + "/record.json", text = to_json(*container->record)] {
            replace_file(path, text, 0600);
            return true;
        };
        co_await offload(pool, std::move(keep));
    }
    co_await saver.flushed();
}

}  // namespace grua::engine
