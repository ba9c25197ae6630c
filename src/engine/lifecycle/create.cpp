// From a request to a container that could start: names, image, volumes, writable layer, record. The list of steps is create_steps.
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "engine/engine_impl.hpp"
#include "engine/lifecycle/steps.hpp"
#include "engine/model/names.hpp"
#include "engine/model/request_texts.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/log.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "linux/root.hpp"
#include "monitor/log_options.hpp"
#include "volumes/volumes.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
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
    if (!mount.detail.create_source)
        fail(ErrorKind::invalid_argument, "invalid mount config for type \"bind\": bind source path does not exist: {}", source);
    make_directories(source, 0755);
}

}  // namespace

std::string Lifecycle::reserve_name(const std::string& asked, const std::string& id) {
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

namespace {

struct CreateWork : AtStep {
    CreateWork(std::shared_ptr<Lifecycle> engine, const Rooms& given, CreateRequest asked)
        : keeps(std::move(engine)), life(*keeps), rooms(given), request(std::move(asked)) {}

    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    const Rooms rooms;
    CreateRequest request;
    StringList warnings;
    std::map<std::string, std::string> links;
    std::vector<MountsFrom> from;
    images::ImagePtr image;
    std::shared_ptr<const void> image_lease;
    std::vector<images::ImageStore::Acquired> mounted_images;
    std::vector<PlannedMount> planned;
    std::vector<volumes::Lease> volume_leases;
    StringList new_volumes;  ///< Names that were not there before.
    struct Filling {
        volumes::VolumePtr volume;
        std::string subpath;
        std::string from;  ///< In the image.
    };
    std::vector<Filling> to_fill;
    ContainerRecord record;
    Owned owned;
    ContainerPtr container;
};
using Work = std::shared_ptr<CreateWork>;

/// --bridge none: who asks for no network, or for the one that is not there, has none, as with dockerd.
void leave_default_bridge_out(CreateRequest& request) {
    std::string& mode = request.host_config.network_mode;
    if (!mode.empty() && mode != "default" && mode != "bridge") return;
    mode = "none";
    for (const char* name : {"default", "bridge"}) request.networking.endpoints_config.erase(name);
}

/// What can be refused before anything is made.
asio::awaitable<void> check(Work work) {
    Lifecycle& life = work->life;
    CreateRequest& request = work->request;
    if (request.host_config.shm_size == 0) request.host_config.shm_size = life.options.default_shm_size;
    if (request.config.network_disabled) request.host_config.network_mode = "none";
    if (!life.options.default_bridge) leave_default_bridge_out(request);
    check_texts(request.config, request.host_config, request.networking);
    if (request.host_config.log_config.type.empty()) request.host_config.log_config.type = life.options.log_driver;
    if (request.host_config.ipc_mode.empty()) request.host_config.ipc_mode = life.options.ipc_mode;
    if (request.host_config.cgroupns_mode.empty()) request.host_config.cgroupns_mode = life.options.cgroupns_mode;
    work->warnings = check_request(request.config, request.host_config, life.host);

    // Shown as they hold for it: what rotates, and when, is no secret.
    LogConfig& log = request.host_config.log_config;
    for (const auto& [name, value] : life.options.log_options)
        if (log.type == life.options.log_driver || monitor::is_cache_option(name)) log.config.emplace(name, value);
    // Of syslog's the certificates are read.
    if (log.type == "syslog")
        co_await offload(life.pool, [work] { check_log_config(work->request.host_config.log_config); });
    else
        check_log_config(log);

    // Docker's clients name the network in both places; the mode decides.
    for (const auto& [name, endpoint] : request.networking.endpoints_config)
        while_doing(fmt::format("invalid config for network {}", name == "default" ? "bridge" : name),
                    [&] { check_endpoint(name, endpoint, find_network(work->rooms.networks, name)); });
    // Not `not_found`: of that clients think that the image is what is missing, and pull it.
    const auto other_container = [&](std::string_view other) {
        try {
            return life.get_container(other);
        } catch (const Error& error) {
            fail(ErrorKind::invalid_argument, "{}", error.what());
        }
    };
    // By its ID: its name may be another's when this one starts.
    HostConfig& asked = request.host_config;
    for (std::string* each : {&asked.network_mode, &asked.pid_mode, &asked.ipc_mode})
        if (each->starts_with("container:")) *each = "container:" + other_container(std::string_view(*each).substr(10))->id();

    work->links = life.linked_containers(request.host_config);
    for (const auto& each : request.host_config.volumes_from) {
        const VolumesFrom source = parse_volumes_from(each);
        work->from.push_back({.container = other_container(source.container)->record, .read_only = source.read_only});
    }
    co_return;
}

/// Docker's words; what its driver asks for is what ours needs too, on xfs or ext4.
asio::awaitable<void> check_root_size(Work work) {
    if (!root_size(work->request.host_config)) co_return;
    if (!co_await offload(work->life.pool, [work] { return work->rooms.layers.can_bound(); }))
        fail(ErrorKind::invalid_argument, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
}

asio::awaitable<void> find_image(Work work) {
    CreateRequest& request = work->request;
    auto [image, lease] = work->rooms.images.acquire(request.config.image);
    work->image = std::move(image);
    work->image_lease = std::make_shared<decltype(lease)>(std::move(lease));
    if (!request.platform.empty()) {
        auto choose = [work, platform = oci::Platform::parse(request.platform)] {
            return work->rooms.images.for_platform(work->image, platform);
        };
        work->image = co_await offload(work->life.pool, std::move(choose));
    }
    merge_image(request.config, work->image->config.config);
}

void plan_image(CreateWork& work, PlannedMount& mount) {
    try {
        work.mounted_images.push_back(work.rooms.images.acquire(mount.point.name));
    } catch (const Error& error) {
        // Not `not_found`: of that clients think that the container's own image is what is missing, and pull it.
        fail(ErrorKind::invalid_argument, "invalid mount config for type \"image\": {}", error.what());
    }
    const images::Image& image = *work.mounted_images.back().image;
    mount.detail.image_id = image.id;
    for (const auto& diff_id : image.diff_ids) mount.detail.chain.push_back(diff_id.text());
    mount.point.source = image.id;
}

/// Nobody removes the volumes that it will have from here on.
asio::awaitable<void> plan_volumes(Work work) {
    CreateRequest& request = work->request;
    work->record.id = random_id();
    work->planned = plan_mounts(request.config, request.host_config, work->from);
    for (PlannedMount& each : work->planned) {
        // Chosen before they are made, so that recovery knows whose they are.
        if (each.anonymous) {
            each.point.name = random_id();
            work->record.anonymous_volumes.push_back(each.point.name);
        }
        if (each.point.type == "volume") work->volume_leases.push_back(work->rooms.volumes.lease(each.point.name));
        if (each.point.type == "image" && each.detail.chain.empty()) plan_image(*work, each);
    }
    co_return;
}

asio::awaitable<void> take_name(Work work) {
    Lifecycle& life = work->life;
    work->record.name = life.reserve_name(work->request.name, work->record.id);
    work->owned.add(Held::name, {.on_pool = {}, .on_loop = [&life, name = work->record.name]() -> asio::awaitable<void> {
                                     life.names.erase(name);
                                     co_return;
                                 }});
    co_return;
}

asio::awaitable<void> fill_record(Work work) {
    Lifecycle& life = work->life;
    CreateRequest& request = work->request;
    ContainerRecord& record = work->record;
    const images::Image& image = *work->image;
    record.created = life.ground.clock.wall();
    record.image_id = image.id;
    if (image.manifest_digest) record.image_manifest = image.manifest_digest->text();
    for (const auto& diff_id : image.diff_ids) record.chain.push_back(diff_id.text());
    if (request.config.hostname.empty() && request.host_config.uts_mode != "host" && request.host_config.network_mode != "host")
        request.config.hostname = short_id(record.id);
    // As Docker shows them.
    StringList shown;
    for (const auto& [alias, id] : work->links)
        shown.push_back(fmt::format("/{}:/{}/{}", life.get_container(id)->record->name, record.name, alias));
    if (!work->links.empty()) request.host_config.links = std::move(shown);
    record.links = work->links;
    const StringList command = command_of(request.config);
    record.path = command.front();
    record.args.assign(command.begin() + 1, command.end());
    record.config = std::move(request.config);
    record.host_config = std::move(request.host_config);
    record.apparmor_profile = apparmor_profile_of(record.host_config, life.host);
    set_networks(work->rooms.networks, request.networking, record);
    const std::string directory = life.container_directory(record.id);
    record.hostname_path = directory + "/hostname";
    record.hosts_path = directory + "/hosts";
    record.resolv_conf_path = directory + "/resolv.conf";
    record.log_path = log_path(record.host_config.log_config, directory, record.id);
    // From here on each step makes some of it; what is not there yet is let go of without a word.
    life.own_itself(work->owned, record);
    co_return;
}

void make_folders(CreateWork& work) {
    const std::string live = work.life.live_directory(work.record.id);
    make_directories(work.life.container_directory(work.record.id), 0710);
    make_directories(live, 0700);
    // Whose they are, where this gruad dies before the record is stored.
    std::string names;
    for (const std::string& each : work.record.anonymous_volumes) names += each + "\n";
    if (!names.empty()) replace_file(live + "/new_volumes", names, 0600);
}

/// A variant for another platform is stored packed.
asio::awaitable<void> unpack(Work work) {
    std::vector<images::ImagePtr> all{work->image};
    for (const auto& each : work->mounted_images) all.push_back(each.image);
    for (const images::ImagePtr& image : all) {
        const auto is_missing = [work, image] {
            return std::ranges::any_of(image->diff_ids, [&](const oci::Digest& each) { return !work->rooms.layers.find(each); });
        };
        while (co_await offload(work->life.pool, is_missing)) {
            auto missing = [work, image](const std::stop_token&) {
                work->rooms.images.unpack(*image);
                return true;
            };
            co_await to_its_end(work->life.loop, work->rooms.transfers.call(work->life.loop, std::move(missing)));
        }
    }
}

/// Gives every planned mount its source.
void make_mounts(CreateWork& work) {
    for (const PlannedMount& mount : work.planned) {
        MountPoint point = mount.point;
        if (point.type == "bind") check_source(mount);
        if (point.type == "volume") {
            const bool known = !mount.anonymous && work.rooms.volumes.find(point.name);
            volumes::CreateOptions options;
            options.name = point.name;
            options.anonymous = mount.anonymous;
            options.labels = mount.labels;
            options.options = mount.volume_options;
            const auto volume = work.rooms.volumes.create(options);
            point.name = volume->name;
            point.driver = volume->driver;
            point.source = volume->mountpoint;
            if (!known) work.new_volumes.push_back(volume->name);
            if (mount.copy && !work.image->diff_ids.empty())
                work.to_fill.push_back({.volume = volume, .subpath = mount.detail.subpath, .from = point.destination});
        }
        if (mount.detail != MountDetail{}) work.record.mount_details.emplace(point.destination, mount.detail);
        work.record.mounts.push_back(std::move(point));
    }
}

asio::awaitable<void> make_volumes(Work work) {
    if (!work->record.anonymous_volumes.empty())
        work->owned.add(Held::volumes, {.on_pool =
                                            [&folders = work->life.ground.volumes, names = work->record.anonymous_volumes] {
                                                for (const std::string& name : names) folders.remove(name);
                                            },
                                        .on_loop = {}});
    co_await offload(work->life.pool, [work] { make_mounts(*work); });
}

/// Those that the image has something for.
void fill(CreateWork& work, const Fd& image_root) {
    for (const CreateWork::Filling& each : work.to_fill)
        while_doing("failed to populate volume",
                    [&] { work.rooms.volumes.populate(*each.volume, each.subpath, image_root.get(), each.from); });
}

/// As long as there are data in them: not on the pool, which starts wait for.
asio::awaitable<void> fill_volumes(Work work) {
    if (work->to_fill.empty()) co_return;
    const auto root = std::make_shared<Fd>();
    co_await offload(work->life.pool, [work, root] {
        *root = work->rooms.layers.mount_layers(work->image->diff_ids);
        const Root image = Root::at(Fd{::fcntl(root->get(), F_DUPFD_CLOEXEC, 0)});
        std::erase_if(work->to_fill, [&](const CreateWork::Filling& each) { return !image.find_at(each.from, O_PATH | O_DIRECTORY); });
    });
    if (work->to_fill.empty()) co_return;
    StringList names;
    for (const CreateWork::Filling& each : work->to_fill) names.push_back(each.volume->name);
    VolumeFolders& volumes = work->life.ground.volumes;
    if (volumes.has_mounts(names)) {
        work->owned.add(Held::mounts, work->life.mounts_owner(work->record.id));
        try {
            co_await volumes.hold_mounts(work->record.id, names);
        } catch (Error& error) {
            error.add_context("failed to populate volume");
            throw;
        }
    }
    auto copy = [work, root](const std::stop_token&) {
        fill(*work, *root);
        return true;
    };
    co_await to_its_end(work->life.loop, work->rooms.transfers.call(work->life.loop, std::move(copy)));
    for (const ReleaseFailure& each : co_await work->owned.release(work->life.pool, Held::mounts, Held::mounts)) throw Error(each.error);
}

void make_layer(CreateWork& work) {
    work.rooms.layers.prepare(work.record.id, work.image->diff_ids,
                              work.record.host_config.auto_remove ? layers::Durability::volatile_ : layers::Durability::normal,
                              root_size(work.record.host_config));
}

asio::awaitable<void> store_record(Work work) {
    Lifecycle& life = work->life;
    work->container = std::make_shared<Container>(life.loop, std::move(work->record));
    const RecordPtr record = work->container->record;
    if (record->host_config.auto_remove) {
        auto keep = [path = life.live_directory(record->id) + "/record.json", record] { replace_file(path, to_json(*record), 0600); };
        co_await offload(life.pool, std::move(keep));
    } else {
        life.save(*work->container);
        // While that is on its way. A record without a layer is that of a container whose removal was under way: after a power cut one
        // that was reported would go.
        co_await offload(life.pool, [work] { work->rooms.layers.sync_containers(); });
        co_await life.saver.flushed(record->id);
    }
}

/// It is there. What it owns is its own.
asio::awaitable<void> make_known(Work work) {
    Lifecycle& life = work->life;
    const ContainerPtr container = work->container;
    if (!container->record->anonymous_volumes.empty()) {
        auto forget = [path = life.live_directory(container->id()) + "/new_volumes"] { (void)::unlink(path.c_str()); };
        co_await offload(life.pool, std::move(forget));
    }
    work->owned.forget(Held::volumes);
    work->volume_leases.clear();  // The record says it now.
    work->mounted_images.clear();
    work->owned.forget(Held::name);
    container->owned.take(std::move(work->owned));
    life.add(container);
    for (const auto& name : work->new_volumes)
        life.events.publish({.type = "volume", .action = "create", .id = name, .attributes = {{"driver", "local"}}});
    life.emit(*container->record, "create");
}

constexpr std::array<Step<CreateWork>, 13> create_steps{{
    {.name = "create:checked", .on_loop = check},
    {.name = "create:size", .on_loop = check_root_size},
    {.name = "create:image", .on_loop = find_image},
    {.name = "create:leases", .on_loop = plan_volumes},
    {.name = "create:name", .on_loop = take_name},
    {.name = "create:record", .on_loop = fill_record},
    {.name = "create:folders", .on_pool = make_folders},
    {.name = "create:unpacked", .on_loop = unpack},
    {.name = "create:volumes", .on_loop = make_volumes},
    {.name = "create:filled", .on_loop = fill_volumes},
    {.name = "create:layer", .on_pool = make_layer},
    {.name = "create:stored", .on_loop = store_record},
    {.name = "create:known", .on_loop = make_known},
}};

}  // namespace

asio::awaitable<Created> Engine::Impl::create(CreateRequest request) {
    const auto work = std::make_shared<CreateWork>(shared_from_this(), rooms, std::move(request));
    std::exception_ptr failure;
    try {
        co_await run_steps<CreateWork>(pool, create_steps, work);
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) co_return Created{.id = work->container->id(), .warnings = std::move(work->warnings)};
    work->mounted_images.clear();
    log::info("create of {}: it failed at {}", work->request.name.empty() ? "a container" : work->request.name, work->at);
    work->volume_leases.clear();
    // What cannot be let go of belongs to nobody, and is swept when gruad starts.
    for (const ReleaseFailure& each : co_await work->owned.release(pool, first_of_run, Held::name))
        log::warn("after a failed create: its {}: {}", to_string(each.what), each.error.what());
    std::rethrow_exception(failure);
}

/// Where a gruad that comes after this one finds it.
asio::awaitable<void> Engine::Impl::save_to_end(ContainerPtr container) {
    if (container->record->host_config.auto_remove) {
        auto keep = [path = live_directory(container->id()) + "/record.json", text = to_json(*container->record)] {
            replace_file(path, text, 0600);
        };
        co_await offload(pool, std::move(keep));
    }
    co_await saver.flushed(container->id());
}

asio::awaitable<void> Engine::Impl::rename(std::string reference, std::string name) {
    if (name.empty()) fail(ErrorKind::invalid_argument, "Neither old nor new names may be empty");
    const auto container = get_container(reference);
    const Lane::Turn turn = co_await container->lane.take();
    if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
    const std::string old = container->record->name;
    const std::string reserved = while_doing("Error when allocating new name", [&] {
        if (checked_name(name) == old) return old;
        return reserve_name(name, container->id());
    });
    if (reserved == old) fail(ErrorKind::invalid_argument, "Renaming a container with the same name as its current name");
    NameClaim claim(names, reserved);
    const auto take = [&](const std::string& taken) {
        std::map<std::string, StringList> found_by;
        container->update([&](ContainerRecord& next) {
            next.name = taken;
            for (auto& [network, settings] : next.networks) {
                if (!settings.dns_names) continue;
                settings.dns_names = dns_names(next, settings);
                found_by[network] = *settings.dns_names;
            }
        });
        rooms.networks.rename(container->id(), taken, found_by);
        publish(*container);
        save(*container);
    };
    take(reserved);
    try {
        co_await save_to_end(container);
    } catch (...) {
        // Who is told that it failed finds it as it was.
        take(old);
        throw;
    }
    claim.keep();
    names.erase(old);
    emit(*container->record, "rename", {{"oldName", "/" + old}});
}

}  // namespace grua::engine
