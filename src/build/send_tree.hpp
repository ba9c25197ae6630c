// A tree of ours goes to somebody else by difference: all that is in it is listed, and whoever has not got a file asks for it (fsutil's
// protocol, the other half of receive_tree.hpp). So a build's result comes to its client, and a client's folder to the engine.
#pragma once

#include "base/async.hpp"
#include "build/packet_call.hpp"
#include "build/tree_walk.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace grua::build {

struct SendOptions {
    std::vector<TreePart> parts;  ///< In the order of their names; one where it has none.
    TreeView view = {};
    std::function<void(std::uint64_t bytes)> progress = {};  ///< Of what has been sent so far; on the loop.
};

/// Until the receiver has all that it wants. The call outlives it. A file that changes while it is read, and a receiver that asks for what
/// there is not, are Errors, which the receiver is told as well.
asio::awaitable<void> send_tree(PacketCall call, SendOptions options, asio::thread_pool& pool);

}  // namespace grua::build
