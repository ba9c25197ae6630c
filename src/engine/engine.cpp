#include "engine/engine_impl.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
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

Engine::Impl::Impl(asio::any_io_executor loop_, asio::thread_pool& pool_, Options options_, Rooms rooms_)
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
    // The engine lives until the task has ended.
    asio::co_spawn(loop, std::move(task), [self = shared_from_this(), doing = std::move(doing)](const std::exception_ptr& failure) {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            log::error("{}: {}", doing, error.what());
        }
    });
}

// --- the door --------------------------------------------------------------------------------------------------------

Engine::Engine(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms)
    : impl_(std::make_shared<Impl>(std::move(loop), pool, std::move(options), rooms)) {}
Engine::~Engine() = default;

asio::awaitable<void> Engine::recover() { return impl_->recover(); }
asio::awaitable<void> Engine::shutdown() { return impl_->shutdown(); }
const Options& Engine::options() const noexcept { return impl_->options; }
const Rooms& Engine::rooms() const noexcept { return impl_->rooms; }
Events& Engine::events() noexcept { return impl_->events; }

std::vector<RecordPtr> Engine::list() const {
    std::vector<RecordPtr> out;
    out.reserve(impl_->containers.size());
    for (const auto& [id, container] : impl_->containers) out.push_back(container->record);
    std::ranges::sort(out, std::ranges::greater{}, [](const RecordPtr& each) { return each->created; });
    return out;
}

RecordPtr Engine::find(std::string_view reference) const { return impl_->get_container(reference)->record; }

RecordPtr Engine::find_if(std::string_view reference) const {
    const auto found = impl_->find_container(reference);
    return found ? found->record : nullptr;
}

std::vector<RecordPtr> Engine::using_image(std::string_view image_id) const {
    const std::lock_guard lock(impl_->snapshot_mutex);
    std::vector<RecordPtr> out;
    for (const auto& [id, record] : impl_->snapshot)
        if (record->image_id == image_id) out.push_back(record);
    return out;
}

std::vector<RecordPtr> Engine::standing_on(std::string_view diff_id) const {
    const std::lock_guard lock(impl_->snapshot_mutex);
    std::vector<RecordPtr> out;
    for (const auto& [id, record] : impl_->snapshot)
        if (std::ranges::find(record->chain, diff_id) != record->chain.end()) out.push_back(record);
    return out;
}

std::vector<RecordPtr> Engine::using_volume(std::string_view name) const {
    const std::lock_guard lock(impl_->snapshot_mutex);
    std::vector<RecordPtr> out;
    for (const auto& [id, record] : impl_->snapshot)
        if (std::ranges::find(record->mounts, name, &MountPoint::name) != record->mounts.end()) out.push_back(record);
    return out;
}

asio::awaitable<Created> Engine::create(CreateRequest request) { return impl_->create(std::move(request)); }
asio::awaitable<void> Engine::start(std::string reference) { return impl_->start(std::move(reference)); }
asio::awaitable<void> Engine::stop(std::string reference, StopOptions options) {
    return impl_->stop(std::move(reference), std::move(options));
}
asio::awaitable<void> Engine::restart(std::string reference, StopOptions options) {
    return impl_->restart(std::move(reference), std::move(options));
}
asio::awaitable<void> Engine::kill(std::string reference, std::string signal) {
    return impl_->kill(std::move(reference), std::move(signal));
}
asio::awaitable<void> Engine::pause(std::string reference) { return impl_->pause(std::move(reference)); }
asio::awaitable<void> Engine::unpause(std::string reference) { return impl_->unpause(std::move(reference)); }
asio::awaitable<void> Engine::rename(std::string reference, std::string name) {
    return impl_->rename(std::move(reference), std::move(name));
}
asio::awaitable<void> Engine::remove(std::string reference, RemoveOptions options) { return impl_->remove(std::move(reference), options); }
asio::awaitable<void> Engine::resize(std::string reference, std::uint32_t height, std::uint32_t width) {
    return impl_->resize(std::move(reference), height, width);
}
asio::awaitable<StringList> Engine::update(std::string reference, UpdateConfig update) {
    StringList warnings;
    co_await impl_->update(std::move(reference), std::move(update), warnings);
    co_return warnings;
}
asio::awaitable<Collected> Engine::collect(images::GcMode mode) { return impl_->collect(mode); }
void Engine::images_changed() {
    impl_->images_changed = true;
    impl_->collect_now.notify_all();
}
void Engine::set_gc_policy(const images::GcPolicy& policy) { impl_->gc_policy = policy; }

asio::awaitable<Pruned> Engine::prune(std::function<bool(const ContainerRecord&)> keep) { return impl_->prune(std::move(keep)); }

std::shared_ptr<Waiter> Engine::wait(std::string_view reference, WaitCondition condition) {
    const auto container = impl_->get_container(reference);
    auto waiter = std::make_shared<WaiterState>(impl_->loop, condition);
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

RecordPtr Engine::check_attach(std::string_view reference, const AttachOptions& options) const {
    return impl_->check_attach(reference, options);
}
asio::awaitable<void> Engine::attach(std::string reference, AttachOptions options, Fd client, std::string early_input) {
    return impl_->attach(std::move(reference), std::move(options), std::move(client), std::move(early_input));
}
asio::awaitable<std::shared_ptr<LogStream>> Engine::logs(std::string reference, LogOptions options) {
    return impl_->logs(std::move(reference), options);
}
asio::awaitable<StatsSample> Engine::stats(std::string reference) { return impl_->stats(std::move(reference)); }
asio::awaitable<Processes> Engine::top(std::string reference, std::string ps_args) {
    return impl_->top(std::move(reference), std::move(ps_args));
}
asio::awaitable<Sizes> Engine::sizes(std::string reference) { return impl_->sizes(std::move(reference)); }
asio::awaitable<PathStat> Engine::stat_path(std::string reference, std::string path) {
    return impl_->stat_path(std::move(reference), std::move(path));
}
asio::awaitable<std::shared_ptr<TarStream>> Engine::archive_path(std::string reference, std::string path) {
    return impl_->archive_path(std::move(reference), std::move(path));
}
asio::awaitable<void> Engine::extract(std::string reference, ExtractRequest request, Fd input) {
    return impl_->extract(std::move(reference), std::move(request), std::move(input));
}
asio::awaitable<std::shared_ptr<TarStream>> Engine::export_files(std::string reference) {
    return impl_->export_files(std::move(reference));
}
asio::awaitable<std::vector<FileChange>> Engine::changes(std::string reference) { return impl_->changes(std::move(reference)); }
asio::awaitable<std::string> Engine::commit(std::string reference, CommitOptions options) {
    return impl_->commit(std::move(reference), std::move(options));
}
asio::awaitable<std::string> Engine::exec_create(std::string reference, ExecConfig config) {
    return impl_->exec_create(std::move(reference), std::move(config));
}
ExecPtr Engine::exec_find(std::string_view id) const { return impl_->exec_find(id); }
ExecPtr Engine::check_exec(std::string_view id) const { return impl_->check_exec(id); }
asio::awaitable<void> Engine::exec_start(std::string id, ExecStart start, Fd client, std::string early_input) {
    return impl_->exec_start(std::move(id), std::move(start), std::move(client), std::move(early_input));
}
asio::awaitable<void> Engine::exec_resize(std::string id, std::uint32_t height, std::uint32_t width) {
    return impl_->exec_resize(std::move(id), height, width);
}
asio::awaitable<std::shared_ptr<const volumes::Volume>> Engine::create_volume(volumes::CreateOptions options) {
    return impl_->create_volume(std::move(options));
}
asio::awaitable<void> Engine::remove_volume(std::string name, bool force) { return impl_->remove_volume(std::move(name), force); }
asio::awaitable<Pruned> Engine::prune_volumes(std::function<bool(const volumes::Volume&)> keep) {
    return impl_->prune_volumes(std::move(keep));
}
asio::awaitable<network::Network> Engine::create_network(network::NetworkConfig request) {
    return impl_->create_network(std::move(request));
}
asio::awaitable<network::Network> Engine::update_network(std::string reference, StringMap options) {
    return impl_->update_network(std::move(reference), std::move(options));
}
asio::awaitable<std::vector<Reached>> Engine::reach(bool with_probe) { return impl_->reach(with_probe); }
asio::awaitable<void> Engine::remove_network(std::string reference) { return impl_->remove_network(std::move(reference)); }
asio::awaitable<Pruned> Engine::prune_networks(std::function<bool(const network::Network&)> keep) {
    return impl_->prune_networks(std::move(keep));
}
asio::awaitable<void> Engine::connect_network(std::string reference, std::string network, EndpointSettings settings) {
    return impl_->connect_network(std::move(reference), std::move(network), std::move(settings));
}
asio::awaitable<void> Engine::disconnect_network(std::string reference, std::string network, bool force) {
    return impl_->disconnect_network(std::move(reference), std::move(network), force);
}

}  // namespace grua::engine
