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
    options.log_program_path = find_program(options.log_program_path, "grua-log");
    options.init_path = find_program(options.init_path, "grua-init");
    make_directories(options.data_root + "/containers", 0710);
    make_directories(options.exec_root + "/containers", 0711);
    make_directories(options.exec_root + "/steps", 0700);
    make_directories(options.exec_root + "/seccomp", 0700);
    make_directories(options.exec_root + "/view", 0700);
    return options;
}

}  // namespace

EngineGround::EngineGround(const asio::any_io_executor& loop, asio::thread_pool& pool, Options given, const Rooms& rooms)
    : completed(complete(std::move(given))), real(loop, pool, completed, rooms) {}

Inside::Inside(asio::any_io_executor loop_, asio::thread_pool& pool_, Options options_, Rooms rooms_)
    : EngineGround(loop_, pool_, std::move(options_), rooms_),
      Lifecycle(loop_, pool_, completed, host_facts(), rooms_.database, *real),
      rooms(rooms_),
      log_streams(loop_),
      steps(*this),
      gc_policy(completed.gc),
      collecting(loop_),
      collect_now(loop_) {}

asio::awaitable<void> Engine::Impl::recover() {
    co_await Lifecycle::recover();
    collector_ended = false;
    spawn(collect_in_turns(), "collect garbage");
}

asio::awaitable<std::size_t> Engine::Impl::shutdown() {
    closing = true;
    collect_now.notify_all();
    while (!collector_ended) co_await collect_now.wait();
    const std::size_t left = co_await steps.shutdown();
    co_return left + co_await Lifecycle::shutdown();
}

asio::awaitable<void> Engine::Impl::has_started(std::string id) { return tell_linked(std::move(id)); }

// --- looking ---------------------------------------------------------------------------------------------------------

std::vector<RecordPtr> Inside::list() const {
    std::vector<RecordPtr> out;
    out.reserve(containers.size());
    for (const auto& [id, container] : containers) out.push_back(container->record);
    std::ranges::sort(out, std::ranges::greater{}, [](const RecordPtr& each) { return each->created; });
    return out;
}

std::vector<RecordPtr> Inside::using_image(std::string_view image_id) const {
    const MutexLock lock(snapshot_mutex);
    std::vector<RecordPtr> out;
    for (const auto& [id, record] : snapshot)
        if (record->image_id == image_id) out.push_back(record);
    return out;
}

std::shared_ptr<Waiter> Inside::wait(std::string_view reference, WaitCondition condition) {
    const auto container = get_container(reference);
    auto waiter = std::make_shared<WaiterState>(loop, condition);
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

// --- the way in ------------------------------------------------------------------------------------------------------

Engine::Engine(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms, std::shared_ptr<const Policy> policy)
    : impl_(std::make_shared<Inside>(std::move(loop), pool, std::move(options), rooms)), policy_(std::move(policy)) {}
Engine::~Engine() = default;

asio::awaitable<void> Engine::recover() { return impl_->recover(); }
asio::awaitable<void> Engine::stop_containers(std::chrono::seconds patience) { return impl_->stop_all(patience); }
asio::awaitable<std::size_t> Engine::shutdown() { return impl_->shutdown(); }
Steps Engine::steps() const { return Steps(impl_); }
BuiltImages Engine::built_images() const { return BuiltImages(impl_); }
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
            .system = System{door},
            .builds_gate = BuildGate{door}};
}

}  // namespace grua::engine
