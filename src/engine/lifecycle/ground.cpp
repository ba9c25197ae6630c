#include "engine/lifecycle/ground.hpp"

#include "engine/engine.hpp"
#include "engine/networking/network_files.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "volumes/mounts.hpp"
#include "volumes/volumes.hpp"

namespace grua::engine {
namespace {

class LayerRoots final : public Roots {
public:
    explicit LayerRoots(layers::LayerStore& layers) : layers_(layers) {}
    bool has(const std::string& id) override { return layers_.has_container(id); }
    Hold hold(const std::string& id) override { return layers_.hold_container(id); }
    Fd mount(const std::string& id) override { return layers_.mount(id, layers::Access::read_write); }
    void remove(const std::string& id) override { layers_.remove(id); }
    std::vector<std::string> all() override { return layers_.containers(); }
    Fd mount_layers(const StringList& chain) override { return layers_.mount_layers(digests(chain)); }
    Hold hold_layers(const StringList& chain) override {
        auto all = std::make_shared<std::vector<Hold>>();
        for (const oci::Digest& each : digests(chain)) {
            all->push_back(layers_.hold(each));
            if (!all->back()) fail(ErrorKind::unavailable, "layer {} of an image that is mounted is gone", each.text());
        }
        return all;
    }

private:
    static std::vector<oci::Digest> digests(const StringList& chain) {
        std::vector<oci::Digest> out;
        for (const std::string& each : chain) {
            auto digest = oci::Digest::parse(each);
            if (!digest) fail(ErrorKind::invalid_argument, "{:?} is no digest of a layer", each);
            out.push_back(*std::move(digest));
        }
        return out;
    }

    layers::LayerStore& layers_;
};

class NetworkSandboxes final : public Sandboxes {
public:
    NetworkSandboxes(const Options& options, network::Networks& networks) : options_(options), networks_(networks) {}
    network::Sandbox attach(const network::SandboxRequest& request) override { return networks_.attach(request); }
    void release(const std::string& id) override { networks_.release(id); }
    void recover(std::vector<network::Attachment> live) override { networks_.recover(std::move(live)); }
    std::string id_of(const std::string& network) override { return networks_.find_config(network).id; }
    std::string driver_of(const std::string& network) override {
        try {
            return networks_.find_config(network).driver;
        } catch (const Error&) {
            return {};
        }
    }
    void write_files(const ContainerRecord& record, const std::string& hostname, const LinkedHosts& linked) override {
        write_network_files(options_, networks_, record, hostname, linked);
    }

private:
    const Options& options_;
    network::Networks& networks_;
};

class StoredVolumes final : public VolumeFolders {
public:
    StoredVolumes(const asio::any_io_executor& loop, asio::thread_pool& pool, const Rooms& rooms)
        : volumes_(rooms.volumes), mounts_(loop, pool, rooms.transfers, rooms.volumes) {}
    void remove(const std::string& name) override {
        try {
            volumes_.remove(name, {});
        } catch (const Error& error) {
            // Somebody makes a container with it: it is that one's then.
            if (error.kind() != ErrorKind::not_found && error.kind() != ErrorKind::conflict) throw;
        }
    }
    bool has_mounts(const StringList& names) override { return mounts_.has_any(names); }
    asio::awaitable<void> hold_mounts(std::string holder, StringList names) override {
        return mounts_.hold(std::move(holder), std::move(names));
    }
    asio::awaitable<void> let_go_of_mounts(std::string holder) override { return mounts_.let_go(std::move(holder)); }
    asio::awaitable<Fd> part(std::string holder, std::string volume, std::string subpath) override {
        return mounts_.part(std::move(holder), std::move(volume), std::move(subpath));
    }
    void call_off_mounts(const std::string& holder) override { mounts_.call_off(holder); }
    void found_mounts(const std::string& holder, const StringList& names) override { mounts_.is_held(holder, names); }
    asio::awaitable<void> unmount_unheld() override { return mounts_.unmount_unheld(); }

private:
    volumes::Volumes& volumes_;
    volumes::Mounts mounts_;
};

class StoredImages final : public ImageShelf {
public:
    explicit StoredImages(images::ImageStore& images) : images_(images) {}
    // Of a container whose record is lost the image is not known either.
    bool has(const std::string& id) override { return !id.empty() && images_.find(id) != nullptr; }
    void was_used(const std::string& id, Time last_use) override {
        if (!id.empty()) images_.touch(id, last_use);
    }
    void collect() override { images_.collect(); }

private:
    images::ImageStore& images_;
};

}  // namespace

struct RoomGround::State {
    State(const asio::any_io_executor& loop, asio::thread_pool& pool, const Options& options, const Rooms& rooms)
        : timers(loop),
          tasks(tasks::make_tasks(loop, pool, timers, options.runtime_path, options.exec_root + "/seccomp")),
          roots(rooms.layers),
          sandboxes(options, rooms.networks),
          volumes(loop, pool, rooms),
          images(rooms.images),
          probes(loop, timers, rooms.transfers),
          ground{*tasks, roots, sandboxes, volumes, images, probes, clock, timers} {}

    SystemClock clock;
    LoopTimers timers;
    std::unique_ptr<tasks::Tasks> tasks;
    LayerRoots roots;
    NetworkSandboxes sandboxes;
    StoredVolumes volumes;
    StoredImages images;
    NamespaceProbes probes;
    Ground ground;
};

RoomGround::RoomGround(asio::any_io_executor loop, asio::thread_pool& pool, const Options& options, const Rooms& rooms)
    : state_(std::make_unique<State>(loop, pool, options, rooms)) {}
RoomGround::~RoomGround() = default;
Ground& RoomGround::operator*() noexcept { return state_->ground; }

}  // namespace grua::engine
