#pragma once

#include "base/async.hpp"
#include "build/graph.hpp"

#include <utility>

namespace grua::build {

inline constexpr int large_graph = 1000;  ///< Of so many operations it takes longer to be read than the loop may be held.

/// What `work` makes of the graph, which it is given as an Edge: of a large one on the pool. Throws what read_graph() throws.
template <typename Work>
asio::awaitable<std::invoke_result_t<Work&, Edge>> with_graph(asio::thread_pool& pool, const pb::Definition& definition, Work work) {
    auto all = [&] { return work(read_graph(definition)); };
    if (definition.def_size() < large_graph) co_return all();
    co_return co_await offload(pool, all);
}

}  // namespace grua::build
