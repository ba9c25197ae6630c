// What a build gives its client goes by the call moby.filesync.v1.FileSend/DiffCopy: bytes for a file of theirs, or a tree of files.
#pragma once

#include "base/async.hpp"
#include "build/session.hpp"
#include "grpc/client.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace grua::build {

/// What is being done, how many bytes of it are, and whether that is all. On the loop.
using ExportProgress = std::function<void(const std::string& what, std::int64_t bytes, bool is_done)>;

/// Tells of one step, not more often than anybody can read.
class ExportStep {
public:
    ExportStep(ExportProgress tell, std::string what);
    void at(std::uint64_t bytes);
    void done();

private:
    ExportProgress tell_;
    std::string what_;
    std::uint64_t bytes_ = 0;
    std::chrono::steady_clock::time_point told_;
};

/// The call for an exporter, by its place in the request. `about`: what the client is told of the result, "containerimage.digest" and so
/// on.
grpc::CallOptions file_send_options(int exporter, const std::map<std::string, std::string>& about = {});
inline constexpr const char* file_send_method = "/moby.filesync.v1.FileSend/DiffCopy";

/// Bytes as `next` makes them, on the pool, one piece after the other; empty at the end. A client that has the file already wants none of
/// them, which is no Error.
asio::awaitable<void> send_bytes(const Session& session, grpc::CallOptions options, std::function<std::string()> next, ExportStep& step,
                                 asio::thread_pool& pool);

}  // namespace grua::build
