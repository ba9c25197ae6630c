// The builder as a whole: connections of clients come in, images go to the store.
//
// Nothing of it is made before the first client comes: a gruad that builds nothing has nothing of it in memory.
#pragma once

#include "base/async.hpp"
#include "base/transfers.hpp"
#include "build/classic_build.hpp"
#include "build/session.hpp"
#include "engine/image_service.hpp"
#include "engine/input.hpp"
#include "engine/steps.hpp"
#include "grpc/transport.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace grua::store {
class Database;
}
namespace grua::content {
class ContentStore;
}
namespace grua::layers {
class LayerStore;
}
namespace grua::images {
class ImageStore;
}
namespace grua::registry {
class Client;
class SignaturePolicy;
}  // namespace grua::registry

namespace grua::build {

struct ClassicRequest;
struct PruneOptions;
struct UsageEntry;

/// All of it outlives the service.
struct Rooms {
    store::Database& database;
    content::ContentStore& content;
    layers::LayerStore& layers;
    images::ImageStore& images;
    const registry::Client& registry;
    const registry::SignaturePolicy& signatures;
    Transfers& transfers;
    engine::Steps steps;
    engine::BuiltImages built;
};

class BuildService {
public:
    struct Folders {
        std::string data;  ///< Contexts, cache mounts and what else is not layers.
        std::string live;  ///< On a tmpfs.
    };
    BuildService(asio::any_io_executor loop, asio::thread_pool& pool, Folders folders, Rooms rooms);
    BuildService(const BuildService&) = delete;
    BuildService& operator=(const BuildService&) = delete;
    ~BuildService();

    /// Serves a client's connection in the background: HTTP/2 with prior knowledge.
    void serve_calls(std::unique_ptr<grpc::Transport> transport);

    /// The same, the other way round: what a client serves to its builds.
    void serve_session(SessionHead head, std::unique_ptr<grpc::Transport> transport);

    /// POST /build: see classic_builds.hpp. `request`: one that check() has let pass.
    asio::awaitable<ClassicBuildPtr> begin_classic(ClassicRequest request, engine::Input body);
    asio::awaitable<void> upload_classic(std::string id, engine::Input body);
    asio::awaitable<void> cancel_classic(std::string id);

    /// What builds have left, and what goes of it: usage.hpp.
    asio::awaitable<std::vector<UsageEntry>> usage();
    struct Pruned {
        std::vector<std::string> ids;
        std::uint64_t bytes = 0;
    };
    asio::awaitable<Pruned> prune(PruneOptions options);

    /// Ends all connections, and with them all builds; comes back when they have ended.
    asio::awaitable<void> shutdown();

private:
    struct State;
    struct Parts;
    std::shared_ptr<State> state_;
};

}  // namespace grua::build
