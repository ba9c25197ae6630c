// A client's folder comes to us by difference: it lists what it has, and is asked for what is not here yet (fsutil's protocol, over the
// call moby.filesync.v1.FileSync/DiffCopy).
#pragma once

#include "base/async.hpp"
#include "build/tree_index.hpp"
#include "grpc/client.hpp"

#include <functional>
#include <string>

namespace grua::build {

struct ReceiveOptions {
    std::string folder;  ///< Ours alone; what is in it is what `before` says.
    TreeIndex before = {};
    std::function<void(std::uint64_t bytes)> progress = {};  ///< Of what has come so far, in bytes of contents.
};

/// Gives what is in the folder then. After an Error nobody knows what is in it.
asio::awaitable<TreeIndex> receive_tree(grpc::ClientCall& call, ReceiveOptions options, asio::thread_pool& pool,
                                        asio::any_io_executor loop);

}  // namespace grua::build
