#include "engine/lifecycle/lifecycle.hpp"

#include "base/log.hpp"
#include "base/loop_watch.hpp"
#include "engine/model/create_request.hpp"

#include <algorithm>

namespace grua::engine {
namespace {

store::Database& migrated(store::Database& database) {
    Saver::migrate(database);
    return database;
}

}  // namespace

Lifecycle::Lifecycle(asio::any_io_executor loop_, asio::thread_pool& pool_, Options options_, HostFacts host_, store::Database& database,
                     Ground& ground_)
    : loop(loop_),
      pool(pool_),
      options(std::move(options_)),
      host(std::move(host_)),
      ground(ground_),
      events(loop_),
      event_log(options.data_root + "/events"),
      none_under_way(loop_),
      saver(loop_, pool_, migrated(database), options.data_root + "/containers") {}

ContainerPtr Lifecycle::find_container(std::string_view reference) const {
    if (const auto exact = containers.find(reference); exact != containers.end()) return exact->second;
    const std::string_view bare = reference.starts_with('/') ? reference.substr(1) : reference;
    if (const auto name = names.find(bare); name != names.end()) {
        const auto named = containers.find(name->second);
        if (named != containers.end()) return named->second;
    }
    if (reference.empty()) return nullptr;
    const auto first = containers.lower_bound(reference);
    if (first == containers.end() || !first->first.starts_with(reference)) return nullptr;
    const auto second = std::next(first);
    if (second != containers.end() && second->first.starts_with(reference))
        fail(ErrorKind::invalid_argument, "Multiple IDs found with provided prefix: {}", reference);
    return first->second;
}

ContainerPtr Lifecycle::get_container(std::string_view reference) const {
    auto found = find_container(reference);
    if (!found) fail(ErrorKind::not_found, "No such container: {}", reference);
    return found;
}

void Lifecycle::add(const ContainerPtr& container) {
    containers.insert_or_assign(container->id(), container);
    for (const auto& [alias, target] : container->record->links) linked_from[target].insert(container->id());
    publish(*container);
}

void Lifecycle::publish(Container& container) {
    {
        const MutexLock lock(snapshot_mutex);
        if (container.is_gone())
            snapshot.erase(container.id());
        else
            snapshot.insert_or_assign(container.id(), container.record);
    }
    container.changed.notify_all();
}

void Lifecycle::set_phase(Container& container, Phase phase) {
    container.phase = phase;
    container.changed.notify_all();
}

std::string Lifecycle::cgroup_path(const ContainerRecord& record) const {
    const std::string& asked = record.host_config.cgroup_parent;
    return clean_cgroup_parent(asked.empty() ? options.cgroup_parent : asked) + "/" + record.id;
}

void Lifecycle::emit(const ContainerRecord& record, std::string action, StringMap more) {
    Event event;
    event.type = "container";
    event.action = std::move(action);
    event.id = record.id;
    event.attributes = record.config.labels;
    event.attributes["image"] = record.config.image;
    event.attributes["name"] = record.name;
    for (auto& [key, value] : more) event.attributes.insert_or_assign(key, std::move(value));
    events.publish(std::move(event));
}

void Lifecycle::emit_joined(const ContainerRecord& record, bool begins) {
    for (const auto& [name, endpoint] : record.networks) {
        events.publish({.type = "network",
                        .action = begins ? "connect" : "disconnect",
                        .id = endpoint.network_id,
                        .attributes = {{"container", record.id}, {"name", name}, {"type", ground.sandboxes.driver_of(name)}}});
    }
    for (const MountPoint& mount : record.mounts) {
        if (mount.type != "volume") continue;
        Event event{.type = "volume", .action = begins ? "mount" : "unmount", .id = mount.name};
        event.attributes = {{"container", record.id}, {"driver", mount.driver}};
        if (begins) {
            event.attributes.emplace("destination", mount.destination);
            event.attributes.emplace("propagation", mount.propagation);
            event.attributes.emplace("read/write", mount.rw ? "true" : "false");
        }
        events.publish(std::move(event));
    }
}

void Lifecycle::save(const Container& container) {
    // What a newer gruad has written is not written over by what this one understood of it.
    if (container.phase != Phase::foreign) saver.save(container.record);
}

void Lifecycle::spawn(asio::awaitable<void> task, std::string doing) {
    // The engine lives until the task has ended, and so does the name.
    auto name = std::make_unique<TurnName>(loop, doing);
    const auto executor = name->executor();
    ++under_way;
    auto ended = [self = shared_from_this(), name = std::move(name), doing = std::move(doing)](const std::exception_ptr& failure) {
        if (--self->under_way == 0) self->none_under_way.notify_all();
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            log::error("{}: {}", doing, error.what());
        }
    };
    asio::co_spawn(executor, std::move(task), std::move(ended));
}

asio::awaitable<void> Lifecycle::has_started(std::string) { co_return; }

StringList Lifecycle::volume_users(const std::string& name) const {
    StringList out;
    for (const auto& [id, container] : containers)
        if (std::ranges::find(container->record->mounts, name, &MountPoint::name) != container->record->mounts.end()) out.push_back(id);
    return out;
}

}  // namespace grua::engine
