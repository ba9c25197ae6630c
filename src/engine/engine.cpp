#include "engine/engine_impl.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/loop_watch.hpp"
#include "volumes/volumes.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/asio/detached.hpp>
#include <climits>

namespace grua::engine {
namespace {

/// Beside this program, then where packages put it.
std::string find_program(const std::string& given, const char* name) {
    if (!given.empty()) return given;
    std::array<char, PATH_MAX> self{};
    const ssize_t length = ::readlink("/proc/self/exe", self.data(), self.size() - 1);
    if (length > 0) {
        const std::string path(self.data(), static_cast<std::size_t>(length));
        const std::string beside = path.substr(0, path.rfind('/') + 1) + name;
        if (::access(beside.c_str(), X_OK) == 0) return beside;
    }
    for (const char* folder : {"/usr/libexec/grua/", "/usr/local/bin/", "/usr/bin/"}) {
        const std::string path = std::string(folder) + name;
        if (::access(path.c_str(), X_OK) == 0) return path;
    }
    return {};
}

Options complete(Options options) {
    options.runtime_path = find_program(options.runtime_path, "grua-runtime");
    options.init_path = find_program(options.init_path, "grua-init");
    make_directories(options.data_root + "/containers", 0710);
    make_directories(options.exec_root + "/containers", 0711);
    make_directories(options.exec_root + "/seccomp", 0700);
    make_directories(options.exec_root + "/view", 0700);
    return options;
}

store::Database& migrated(store::Database& database) {
    Saver::migrate(database);
    return database;
}

}  // namespace

Inside::Inside(asio::any_io_executor loop_, asio::thread_pool& pool_, Options options_, Rooms rooms_)
    : loop(loop_),
      pool(pool_),
      options(complete(std::move(options_))),
      rooms(rooms_),
      host(host_facts()),
      cgroups(linux::CgroupMounts::detect()),
      events(loop_),
      saver(loop_, pool_, migrated(rooms_.database)),
      launcher(options.runtime_path),
      log_streams(loop_),
      gc_policy(options.gc),
      collecting(loop_),
      collect_now(loop_) {}

ContainerPtr Engine::Impl::find_container(std::string_view reference) const {
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

ContainerPtr Engine::Impl::get_container(std::string_view reference) const {
    auto found = find_container(reference);
    if (!found) fail(ErrorKind::not_found, "No such container: {}", reference);
    return found;
}

void Engine::Impl::add(const ContainerPtr& container) {
    containers.insert_or_assign(container->id(), container);
    for (const auto& [alias, target] : container->record->links) linked_from[target].insert(container->id());
    publish(*container);
}

void Engine::Impl::publish(Container& container) {
    {
        const std::lock_guard lock(snapshot_mutex);
        if (container.gone)
            snapshot.erase(container.id());
        else
            snapshot.insert_or_assign(container.id(), container.record);
    }
    container.changed.notify_all();
}

std::string Engine::Impl::cgroup_path(const ContainerRecord& record) const {
    std::string parent = record.host_config.cgroup_parent.empty() ? options.cgroup_parent : record.host_config.cgroup_parent;
    if (!parent.starts_with('/')) parent.insert(0, "/");
    while (parent.size() > 1 && parent.ends_with('/')) parent.pop_back();
    return (parent == "/" ? "" : parent) + "/" + record.id;
}

void Engine::Impl::emit(const ContainerRecord& record, std::string action, StringMap more) {
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

void Engine::Impl::spawn(asio::awaitable<void> task, std::string doing) {
    // The engine lives until the task has ended, and so does the name.
    auto name = std::make_unique<TurnName>(loop, doing);
    const auto executor = name->executor();
    auto ended = [self = shared_from_this(), name = std::move(name), doing = std::move(doing)](const std::exception_ptr& failure) {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            log::error("{}: {}", doing, error.what());
        }
    };
    asio::co_spawn(executor, std::move(task), std::move(ended));
}

// --- looking ---------------------------------------------------------------------------------------------------------

std::vector<RecordPtr> Inside::list() const {
    std::vector<RecordPtr> out;
    out.reserve(containers.size());
    for (const auto& [id, container] : containers) out.push_back(container->record);
    std::ranges::sort(out, std::ranges::greater{}, [](const RecordPtr& each) { return each->created; });
    return out;
}

std::vector<RecordPtr> Inside::using_image(std::string_view image_id) const {
    const std::lock_guard lock(snapshot_mutex);
    std::vector<RecordPtr> out;
    for (const auto& [id, record] : snapshot)
        if (record->image_id == image_id) out.push_back(record);
    return out;
}

std::shared_ptr<Waiter> Inside::wait(std::string_view reference, WaitCondition condition) {
    const auto container = get_container(reference);
    auto waiter = std::make_shared<WaiterState>(loop, condition);
    const State& state = container->record->state;
    const bool runs = is_running(state.status) || state.status == Status::restarting || container->holds_network;
    if (condition == WaitCondition::not_running && !runs)
        waiter->resolve({.exit_code = state.exit_code, .error = state.error});
    else {
        // Those whose clients have left.
        std::erase_if(container->waiters, [](const auto& each) { return each.expired(); });
        container->waiters.push_back(waiter);
    }
    return waiter;
}

// --- the way in ------------------------------------------------------------------------------------------------------

Engine::Engine(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms, std::shared_ptr<const Policy> policy)
    : impl_(std::make_shared<Inside>(std::move(loop), pool, std::move(options), rooms)), policy_(std::move(policy)) {}
Engine::~Engine() = default;

asio::awaitable<void> Engine::recover() { return impl_->recover(); }
asio::awaitable<void> Engine::shutdown() { return impl_->shutdown(); }
void Engine::set_gc_policy(const images::GcPolicy& policy) { impl_->gc_policy = policy; }

Services Engine::services_for(PrincipalPtr who) const {
    const auto door = std::make_shared<const Door>(impl_, policy_, std::move(who));
    return {.containers = Containers{door},
            .execs = Execs{door},
            .files = Files{door},
            .watch = Watch{door},
            .images = ImageService{door},
            .volumes = VolumeService{door},
            .networks = NetworkService{door},
            .system = System{door}};
}

}  // namespace grua::engine
