// What operations of a graph do: the Worker of the real rooms.
//
//     source   images from the store or a registry, folders of the client, files and repositories from elsewhere
//     file     copies and the like on a tree, in a thread of its own
//     exec     a program in a tree: a step of the engine, with what it mounts
//     merge    layers of several trees on each other
//     diff     what one tree has more than another: its further layers, or a layer that is made of the two
//     build    what a graph gives that is in a file
//
// A tree that comes out is layers (tree.hpp): what an operation wrote is the last of them, by a rename.
#pragma once

#include "base/transfers.hpp"
#include "build/cache_mounts.hpp"
#include "build/context_store.hpp"
#include "build/git_source.hpp"
#include "build/http_source.hpp"
#include "build/operations/image_resolver.hpp"
#include "build/operations/scratch.hpp"
#include "build/session.hpp"
#include "build/solver.hpp"
#include "build/tree.hpp"
#include "build/wanted_vertices.hpp"
#include "engine/image_service.hpp"
#include "engine/steps.hpp"
#include "images/cached_layers.hpp"
#include "images/image_store.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

/// All of it outlives the operations.
struct Workplace {
    asio::any_io_executor loop;
    asio::thread_pool& pool;
    Transfers& transfers;
    layers::LayerStore& layers;
    images::ImageStore& images;
    content::ContentStore& content;
    images::CachedLayers& cached_layers;
    const registry::Client& registry;
    ImageResolver& resolver;
    HttpSource& http;
    GitSource& git;
    Sessions& sessions;
    ContextStore& contexts;
    CacheMounts& cache_mounts;
    engine::Steps steps;
    engine::BuiltImages built;
    std::string live_directory;  ///< On a tmpfs: what goes with the machine.
    WantedVertices wanted = {};  ///< On the loop.
};

/// A folder of the client's that a build takes.
struct LocalSource {
    std::string name;     ///< "context", "dockerfile", or what --build-context says.
    std::string session;  ///< Of the client that has it.
    std::vector<std::string> include;
    std::vector<std::string> exclude;
    std::vector<std::string> follow;  ///< Only these, and what they lead to.
    std::string key;                  ///< What tells it from others of the same client.
};
/// `progress`: bytes that have come. What was given with a request (given_sessions.hpp) is given whole: who made it has left out what is to
/// be left out.
asio::awaitable<std::shared_ptr<const Context>> fetch_local(Workplace& place, LocalSource source,
                                                            std::function<void(std::uint64_t bytes)> progress);

class Operations final : public Worker {
public:
    explicit Operations(Workplace place) : place_(std::move(place)) {}

    asio::awaitable<SourceKey> look_up(VertexPtr source, std::string session, Audience* audience) override;
    asio::awaitable<std::string> digest_of(ResultPtr input, std::vector<Selection> selections, ReadFiles* read) override;
    asio::awaitable<Results> run(Work work) override;

    Workplace& place() noexcept { return place_; }

    /// What solves graphs that operations have made; before the first of them.
    void set_solve(std::function<asio::awaitable<ResultPtr>(Wish)> solve) { solve_ = std::move(solve); }

private:
    asio::awaitable<Results> do_it(Work work);
    asio::awaitable<Results> run_source(Work work);
    asio::awaitable<Results> run_image(Work work);
    asio::awaitable<Results> run_download(Work work);
    asio::awaitable<Results> run_files(Work work);
    asio::awaitable<Results> run_exec(Work work);
    asio::awaitable<Results> run_merge(Work work);
    asio::awaitable<Results> run_diff(Work work);
    asio::awaitable<Results> run_build(Work work);
    asio::awaitable<Results> run_layout(Work work);

    Workplace place_;
    std::function<asio::awaitable<ResultPtr>(Wish)> solve_;
};

namespace detail {

/// Of a tree that is no layers it makes a layer. Blocks.
std::vector<oci::Digest> layers_of(Workplace& place, const TreePtr& tree, const std::stop_token& stop);

/// In a thread of its own; its end is waited for, whoever has no interest any more: what it holds is not let go of before.
template <typename Function>
auto at_length(Workplace& place, Function work) {
    return to_its_end(place.loop, place.transfers.call(place.loop, std::move(work)));
}

}  // namespace detail
}  // namespace grua::build
