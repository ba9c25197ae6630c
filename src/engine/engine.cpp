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

}  // namespace

EngineGround::EngineGround(const asio::any_io_executor& loop, asio::thread_pool& pool, Options given, const Rooms& rooms)
    : completed(complete(std::move(given))), real(loop, pool, completed, rooms) {}

Engine::Impl::Impl(asio::any_io_executor loop_, asio::thread_pool& pool_, Options options_, Rooms rooms_)
    : EngineGround(loop_, pool_, std::move(options_), rooms_),
      Lifecycle(loop_, pool_, completed, host_facts(), rooms_.database, *real),
      rooms(rooms_),
      log_streams(loop_),
      gc_policy(completed.gc),
      collecting(loop_),
      collect_now(loop_) {}

asio::awaitable<void> Engine::Impl::recover() {
    co_await Lifecycle::recover();
    collector_ended = false;
    spawn(collect_in_turns(), "collect garbage");
}

asio::awaitable<void> Engine::Impl::shutdown() {
    closing = true;
    collect_now.notify_all();
    while (!collector_ended) co_await collect_now.wait();
    co_await Lifecycle::shutdown();
}

asio::awaitable<void> Engine::Impl::has_started(std::string id) { return tell_linked(std::move(id)); }

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
    const bool runs = is_running(state.status) || state.status == Status::restarting || container->phase == Phase::ending;
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
