// Containers: create, start, exit, restart, remove, and everything that is asked about one while it lives.
//
// What is kept true:
// - The loop's thread owns all state; every member is called on it. What changes a container takes the container's Lane,
//   what reads one takes its record, a value that never changes: nothing that is stuck can stop `docker ps`.
// - A container's status is one enum, and what the engine is about with it another (Phase).
// - What a step made has an owner on the container's list, and one function lets go of it: see lifecycle/owned.hpp. recover() compares
//   records with the monitors that answer and sweeps what belongs to nobody.
// - A container lives by its monitor, not by this process.
//
// Who is served sees the services (containers.hpp, execs.hpp, files.hpp, watch.hpp, image_service.hpp, volume_service.hpp,
// network_service.hpp, system.hpp), which are had for a principal and ask the policy once for each request.
//
// Coroutines take their parameters by value. Errors are Error with Docker's texts; the engine knows no HTTP.
//
// To change …: what a container gets → spec/; validation and merging of a request → model/create_request*; how it is created, started,
// ended, removed or found again → the list of steps in lifecycle/create.cpp, start.cpp, exit.cpp, remove.cpp, recover.cpp; restart policy →
// model/restart_policy.hpp; how a step of a build is run → steps/step_run.cpp.
#pragma once

#include "base/async.hpp"
#include "base/transfers.hpp"
#include "engine/containers.hpp"
#include "engine/execs.hpp"
#include "engine/files.hpp"
#include "engine/image_service.hpp"
#include "engine/network_service.hpp"
#include "engine/options.hpp"
#include "engine/principal.hpp"
#include "engine/steps.hpp"
#include "engine/system.hpp"
#include "engine/volume_service.hpp"
#include "engine/watch.hpp"

#include <memory>

namespace grua::store {
class Database;
}
namespace grua::layers {
class LayerStore;
}
namespace grua::images {
class ImageStore;
}
namespace grua::volumes {
class Volumes;
}
namespace grua::network {
class Networks;
}
namespace grua::registry {
class Client;
class SignaturePolicy;
}  // namespace grua::registry

namespace grua::engine {

/// The rooms that the engine stands on; all must outlive it.
struct Rooms {
    store::Database& database;
    layers::LayerStore& layers;
    images::ImageStore& images;
    volumes::Volumes& volumes;
    network::Networks& networks;
    const registry::Client& registry;
    const registry::SignaturePolicy& signatures;
    Transfers& transfers;
};

/// The services as one principal has them; cheap to copy.
struct Services {
    Containers containers;
    Execs execs;
    Files files;
    Watch watch;
    ImageService images;
    VolumeService volumes;
    NetworkService networks;
    System system;
    BuildGate builds_gate;
};

class Engine {
public:
    using Impl = Inside;

    /// Without a policy everything is allowed.
    Engine(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms, std::shared_ptr<const Policy> policy = {});
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// Once, before all else: reads the records, finds the monitors, sweeps, starts what its restart policy says.
    asio::awaitable<void> recover();

    /// All that run, as their stop signals and times say, and not for longer than that; their restart policies start them again with the
    /// next engine.
    asio::awaitable<void> stop_containers(std::chrono::seconds patience);

    /// Ends subscriptions, waiters, steps of builds and background work. Containers go on running. Gives how much of that has not ended:
    /// nothing that it uses may be destroyed.
    asio::awaitable<std::size_t> shutdown();

    void set_gc_policy(const images::GcPolicy& policy);

    /// For the builder; no client's.
    Steps steps() const;
    BuiltImages built_images() const;

    /// The way in.
    Services services_for(PrincipalPtr who) const;

private:
    std::shared_ptr<Inside> impl_;
    std::shared_ptr<const Policy> policy_;
};

}  // namespace grua::engine
