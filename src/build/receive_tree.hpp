// A folder of somebody else comes to us by difference: they list what they have, and are asked for what is not here yet (fsutil's protocol,
// over the calls moby.filesync.v1.FileSync/DiffCopy, where we call, and FileSend/DiffCopy, where we are called).
#pragma once

#include "base/async.hpp"
#include "build/packet_call.hpp"
#include "build/tree_path.hpp"
#include "build/tree_writer.hpp"

#include <functional>
#include <optional>
#include <string>

namespace grua::build {

struct ReceiveOptions {
    std::string folder;     ///< Ours alone, and what is in it is what `before` says; or somebody's, of whom all else stays as it is.
    TreeIndex before = {};  ///< Nothing, where it is somebody's.
    Present present = Present::nothing;
    bool removes_others = false;                             ///< Of what is in somebody's folder and does not come.
    std::optional<Owner> owner = {};                         ///< Of all that comes, instead of those that it had.
    std::function<void(std::uint64_t bytes)> progress = {};  ///< Of what has come so far, in bytes of contents.
};

/// Gives what is in the folder then. After an Error nobody knows what is in it.
asio::awaitable<TreeIndex> receive_tree(PacketCall call, ReceiveOptions options, asio::thread_pool& pool, asio::any_io_executor loop);

}  // namespace grua::build
