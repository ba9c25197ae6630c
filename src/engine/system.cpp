#include "engine/system.hpp"

#include "engine/engine_impl.hpp"
#include "monitor/log_options.hpp"

namespace grua::engine {

namespace {

/// Nothing of a container that has gone meanwhile.
asio::awaitable<std::vector<DiskUsage::OfContainer>> measure(Inside& engine, std::vector<RecordPtr> containers) {
    std::vector<DiskUsage::OfContainer> out;
    for (RecordPtr& record : containers) {
        if (!engine.find_container(record->id)) continue;
        const Sizes sizes = co_await engine.sizes(record->id);
        out.push_back({.container = std::move(record), .sizes = sizes});
    }
    co_return out;
}

}  // namespace

Summary System::summary() const {
    const Inside& engine = ask(Operation::info);
    Summary out{.containers = engine.containers.size(),
                .images = engine.rooms.images.list().size(),
                .data_root = engine.options.data_root,
                .log_driver = engine.options.log_driver,
                .log_drivers = monitor::log_drivers(),
                .live_restore = engine.options.live_restore};
    for (const auto& [id, container] : engine.containers) {
        const Status status = container->record->state.status;
        ++(status == Status::paused ? out.paused : status == Status::running ? out.running : out.stopped);
    }
    return out;
}

asio::awaitable<DiskUsage> System::disk_usage(DiskUsageOf what) const {
    Inside& engine = ask(Operation::disk_usage);
    DiskUsage out;
    if (what.images) {
        const std::vector<ImagePtr> images = engine.rooms.images.list();
        auto compare = [&store = engine.rooms.images, images] { return std::pair{store.shared_sizes(images), store.disk_usage()}; };
        const auto [shared, layers] = co_await offload(engine.pool, std::move(compare));
        out.layers = layers;
        for (const ImagePtr& image : images) {
            out.images.push_back({.image = image, .shared = shared.at(image->id), .containers = engine.using_image(image->id).size()});
        }
    }
    if (what.containers) out.containers = co_await measure(engine, engine.list());
    if (what.volumes) {
        const std::map<std::string, std::size_t> users = engine.volume_uses();
        for (VolumePtr& volume : engine.rooms.volumes.list()) {
            // What it mounts may be anywhere, and not answer.
            if (!volume->options.empty()) continue;
            auto add_up = [&room = engine.rooms.volumes, volume] { return room.usage(*volume); };
            const std::uint64_t size = co_await offload(engine.pool, std::move(add_up));
            const auto found = users.find(volume->name);
            out.volumes.push_back({.volume = std::move(volume), .users = found == users.end() ? 0 : found->second, .size = size});
        }
    }
    co_return out;
}

asio::awaitable<std::vector<DiskUsage::OfContainer>> System::sizes(std::vector<RecordPtr> containers) const {
    return measure(ask(Operation::disk_usage), std::move(containers));
}

void System::tell_build_prune(std::uint64_t reclaimed) const {
    ask(Operation::image_build)
        .events.publish({.type = "builder", .action = "prune", .id = "", .attributes = {{"reclaimed", std::to_string(reclaimed)}}});
}

asio::awaitable<Collected> System::collect(GcMode mode) const { return ask(Operation::store_collect).collect(mode); }

Check System::check(bool repair, Credentials credentials) const {
    const Inside& engine = ask(Operation::store_check);
    images::CheckRequest request;
    if (repair) request.registry = &engine.rooms.registry;
    request.access.credentials = std::move(credentials);
    return [&store = engine.rooms.images, request](const std::function<void(const Finding&)>& found, const std::stop_token& stop) {
        images::CheckRequest stoppable = request;
        stoppable.access.stop = stop;
        return store.check(stoppable, found);
    };
}

}  // namespace grua::engine
