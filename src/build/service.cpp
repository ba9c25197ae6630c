#include "build/service.hpp"

#include "base/log.hpp"
#include "base/mapped_pages.hpp"
#include "build/bridge_containers.hpp"
#include "build/bridge_reads.hpp"
#include "build/cache_mounts.hpp"
#include "build/cache_store.hpp"
#include "build/classic_builds.hpp"
#include "build/content_service.hpp"
#include "build/control.hpp"
#include "build/history.hpp"
#include "build/image_builder.hpp"
#include "build/usage.hpp"
#include "engine/also_collected.hpp"

#include <malloc.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <set>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

/// After the last client: one build often follows another.
constexpr auto time_to_rest = 5s;

/// A connection that can be ended from outside.
class Ended final : public grpc::Transport {
public:
    Ended(std::unique_ptr<grpc::Transport> inner, std::set<grpc::Transport*>& all) : inner_(std::move(inner)), all_(all) {
        all_.insert(this);
    }
    Ended(const Ended&) = delete;
    Ended& operator=(const Ended&) = delete;
    ~Ended() override { all_.erase(this); }

    asio::awaitable<std::size_t> read(std::span<char> out) override { return inner_->read(out); }
    asio::awaitable<bool> write(std::string_view bytes) override { return inner_->write(bytes); }
    void close() override { inner_->close(); }

private:
    std::unique_ptr<grpc::Transport> inner_;
    std::set<grpc::Transport*>& all_;
};

wire::worker::WorkerRecord describe() {
    wire::worker::WorkerRecord out;
    out.set_id("grua");
    auto& labels = *out.mutable_labels();
    // By its presence clients know that caches are exported, and images of several platforms, archives and attestations made.
    labels["org.mobyproject.buildkit.worker.snapshotter"] = "overlayfs";
    labels["org.mobyproject.buildkit.worker.executor"] = "grua";
    labels["org.mobyproject.buildkit.worker.network"] = "host";
    const oci::Platform host = oci::Platform::host();
    auto& platform = *out.add_platforms();
    platform.set_architecture(host.architecture);
    platform.set_os(host.os);
    platform.set_variant(host.variant);
    auto& version = *out.mutable_buildkitversion();
    version.set_package("github.com/moby/buildkit");
    version.set_version("v0.26.2");
    version.set_revision("grua " GRUA_VERSION);
    return out;
}

}  // namespace

/// What builds are made with.
struct BuildService::Parts {
    /// Blocks: their folders are looked at, and what a gruad that was killed has left half done goes.
    Parts(const asio::any_io_executor& loop, asio::thread_pool& pool, const Folders& folders, const Rooms& rooms)
        : timers(loop),
          sessions(loop, clock, timers),
          contexts(folders.data + "/contexts"),
          cache_mounts(loop, pool, clock, folders.data + "/mounts"),
          cached_layers(rooms.database),
          cache(
              loop, pool, clock, timers, rooms.database, rooms.layers, steps_of(rooms.layers),
              [&layers = rooms.layers](std::string key, const std::vector<oci::Digest>& chain) -> ResultPtr {
                  return std::make_shared<LayerTree>(std::move(key), layers, chain);
              },
              [&images = rooms.images](const std::set<std::string>& leaving) {
                  std::set<oci::Digest> out;
                  for (const images::ImagePtr& each : images.list())
                      if (!leaving.contains(each->id)) out.insert(each->all_diff_ids.begin(), each->all_diff_ids.end());
                  return out;
              },
              {.kept =
                   [this] {
                       std::vector<oci::Digest> out;
                       for (const images::CachedLayer& each : cached_layers.all()) out.push_back(each.diff_id);
                       return out;
                   },
               .keep = [this](const std::vector<images::CachedLayer>& layers) { cached_layers.keep(layers); },
               .let_go = [this](const std::vector<oci::Digest>& layers) { cached_layers.let_go(layers); },
               .collect = [&images = rooms.images] { images.collect(); }}),
          resolver(loop, rooms.images, rooms.registry, rooms.signatures, rooms.transfers, sessions),
          http({.directory = folders.data + "/http"}, loop, sessions, rooms.transfers, pool),
          git({.directory = folders.data + "/git", .agent_directory = folders.live + "/agents"}, loop, sessions, rooms.transfers),
          operations({.loop = loop,
                      .pool = pool,
                      .transfers = rooms.transfers,
                      .layers = rooms.layers,
                      .images = rooms.images,
                      .content = rooms.content,
                      .cached_layers = cached_layers,
                      .registry = rooms.registry,
                      .resolver = resolver,
                      .http = http,
                      .git = git,
                      .sessions = sessions,
                      .contexts = contexts,
                      .cache_mounts = cache_mounts,
                      .steps = rooms.steps,
                      .built = rooms.built,
                      .live_directory = folders.live}),
          builder(operations, cache, clock, describe()),
          history(loop, pool, clock, rooms.database, rooms.content, folders.data + "/history"),
          control(loop, clock, timers, sessions, builder, &history),
          classic({.loop = loop,
                   .pool = pool,
                   .transfers = rooms.transfers,
                   .clock = clock,
                   .timers = timers,
                   .contexts = contexts,
                   .sessions = sessions,
                   .control = control,
                   .image_id =
                       [&images = rooms.images](const std::string& reference) {
                           const images::ImagePtr image = images.find(reference);
                           return image ? image->id : std::string();
                       }}),
          usage(loop, pool, clock,
                {.results = cache,
                 .contexts = contexts,
                 .mounts = cache_mounts,
                 .downloads = http.cache(),
                 .repositories = git.cache(),
                 .history = history},
                folders.data) {
        control.add_to(services);
        history.add_to(services);
        usage.add_to(services);
        add_content_service(services, pool, history);
        add_bridge_reads(services, control.callers(), builder, operations.place());
        add_bridge_containers(services, control.callers(), builder, operations);
        git.sweep();
        std::error_code error;
        std::filesystem::remove_all(folders.live, error);
        if (error) log::warn("{}: {}", folders.live, error.message());
    }

    static std::vector<oci::Digest> steps_of(const layers::LayerStore& layers) {
        std::vector<oci::Digest> out;
        for (const auto& each : layers.steps()) out.push_back(each.id);
        return out;
    }

    SystemClock clock;
    LoopTimers timers;
    Sessions sessions;
    ContextStore contexts;
    CacheMounts cache_mounts;
    images::CachedLayers cached_layers;
    CacheStore cache;
    ImageResolver resolver;
    HttpSource http;
    GitSource git;
    Operations operations;
    ImageBuilder builder;
    History history;
    Control control;
    ClassicBuilds classic;
    Usage usage;
    grpc::Services services;
};

struct BuildService::State final : engine::CollectedRoom, std::enable_shared_from_this<BuildService::State> {
    State(asio::any_io_executor on, asio::thread_pool& its_pool, Folders its_folders, Rooms its_rooms)
        : loop(std::move(on)),
          pool(its_pool),
          folders(std::move(its_folders)),
          rooms(std::move(its_rooms)),
          making(loop),
          timers(loop),
          changed(loop) {}

    asio::any_io_executor loop;
    asio::thread_pool& pool;
    Folders folders;
    Rooms rooms;
    Lane making;
    std::unique_ptr<Parts> parts;
    std::set<grpc::Transport*> connections;
    bool has_ended = false;
    SystemClock clock;
    LoopTimers timers;
    std::unique_ptr<Alarm> resting;
    std::size_t busy = 0;
    Condition changed;

    asio::awaitable<Parts*> ready() {
        const Lane::Turn turn = co_await making.take();
        if (!parts) {
            auto make = [this] { return std::make_unique<Parts>(loop, pool, folders, rooms); };
            parts = co_await offload(pool, std::move(make));
        }
        co_return parts.get();
    }

    /// shutdown() waits for those that are counted.
    struct Busy {
        explicit Busy(std::shared_ptr<State> its_state) : state(std::move(its_state)) { ++state->busy; }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;
        ~Busy() {
            --state->busy;
            state->changed.notify_all();
        }
        std::shared_ptr<State> state;
    };

    /// Where nothing was ever built nothing is made.
    asio::awaitable<bool> has_built() {
        if (parts) co_return true;
        auto look = [path = folders.data] {
            std::error_code error;
            return std::filesystem::exists(path, error);
        };
        co_return co_await offload(pool, std::move(look));
    }

    asio::awaitable<std::vector<images::Decision>> collect(engine::CollectionFacts facts) override {
        const Busy counted(shared_from_this());
        if (has_ended || !co_await has_built()) co_return std::vector<images::Decision>{};
        Parts* all = co_await ready();
        co_return co_await all->usage.collect(std::move(facts));
    }
    asio::awaitable<void> recover() override {
        const Busy counted(shared_from_this());
        if (has_ended || !co_await has_built()) co_return;
        Parts* all = co_await ready();
        co_await all->cache_mounts.sweep();
        co_await all->cache.sweep();
        co_await all->history.collect();
    }

    asio::awaitable<void> serve_calls(std::unique_ptr<grpc::Transport> transport) {
        const Parts* all = co_await ready();
        co_await all->services.serve(loop, std::move(transport));
    }
    asio::awaitable<void> serve_session(SessionHead head, std::unique_ptr<grpc::Transport> transport) {
        Parts* all = co_await ready();
        const std::string id = head.id;
        co_await all->sessions.serve(std::move(head), std::move(transport));
        // What its client has uploaded is nobody's any more.
        all->http.forget(id);
    }

    void begin(asio::awaitable<void> task, const char* what) {
        ++busy;
        resting.reset();
        asio::co_spawn(loop, std::move(task), [self = shared_from_this(), what](const std::exception_ptr& failure) {
            if (--self->busy == 0) self->rest_soon();
            self->changed.notify_all();
            try {
                if (failure) std::rethrow_exception(failure);
            } catch (const std::exception& error) {
                log::info("{}: {}", what, error.what());
            }
        });
    }

    /// What the allocator keeps of a large build, and the program's text that only builds run, are given back.
    void rest_soon() {
        if (has_ended) return;
        resting = timers.at(clock.steady() + time_to_rest, [this] {
            asio::post(pool, [] {
                ::malloc_trim(0);
                let_go_of_mapped_pages();
            });
        });
    }

    std::unique_ptr<grpc::Transport> registered(std::unique_ptr<grpc::Transport> transport) {
        if (has_ended) transport->close();
        return std::make_unique<Ended>(std::move(transport), connections);
    }
};

BuildService::BuildService(asio::any_io_executor loop, asio::thread_pool& pool, Folders folders, Rooms rooms)
    : state_(std::make_shared<State>(loop, pool, std::move(folders), std::move(rooms))) {
    engine::AlsoCollected::of(loop).add(state_);
}
BuildService::~BuildService() = default;

void BuildService::serve_calls(std::unique_ptr<grpc::Transport> transport) {
    state_->begin(state_->serve_calls(state_->registered(std::move(transport))), "a build client");
}

void BuildService::serve_session(SessionHead head, std::unique_ptr<grpc::Transport> transport) {
    state_->begin(state_->serve_session(std::move(head), state_->registered(std::move(transport))), "a build client's session");
}

asio::awaitable<ClassicBuildPtr> BuildService::begin_classic(ClassicRequest request, engine::Input body) {
    const auto all = state_;
    Parts* parts = co_await all->ready();
    if (all->has_ended) fail(ErrorKind::unavailable, "gruad is about to end");
    co_return parts->classic.begin(std::move(request), std::move(body));
}

asio::awaitable<void> BuildService::upload_classic(std::string id, engine::Input body) {
    Parts* parts = co_await state_->ready();
    co_await parts->classic.upload(std::move(id), std::move(body));
}

asio::awaitable<void> BuildService::cancel_classic(std::string id) {
    Parts* parts = co_await state_->ready();
    parts->classic.cancel(id);
}

asio::awaitable<std::vector<UsageEntry>> BuildService::usage() {
    Parts* parts = co_await state_->ready();
    co_return co_await parts->usage.list();
}

asio::awaitable<BuildService::Pruned> BuildService::prune(PruneOptions options) {
    Parts* parts = co_await state_->ready();
    Usage::Pruned pruned = co_await parts->usage.prune(std::move(options));
    co_return Pruned{.ids = std::move(pruned.ids), .bytes = pruned.bytes};
}

asio::awaitable<void> BuildService::shutdown() {
    const auto all = state_;
    all->has_ended = true;
    all->resting.reset();
    if (all->parts) co_await all->parts->classic.shutdown();
    for (grpc::Transport* each : std::set(all->connections)) each->close();
    while (all->busy > 0) co_await all->changed.wait();
    if (!all->parts) co_return;
    try {
        co_await all->parts->cache.flush();
        co_await all->parts->cache_mounts.settle();
        co_await all->parts->history.flushed();
    } catch (const Error& error) {
        log::warn("builds: {}", error.what());
    }
}

}  // namespace grua::build
