// Blobs that the engine reads from folders of ours, or writes into them: containerd's service Content, of OCI layouts.
#pragma once

#include "grpc/server.hpp"
#include "oci/digest.hpp"

#include <map>
#include <set>
#include <string>

namespace grua::cli {

/// Loop only; outlives its calls.
class ContentService {
public:
    /// By the IDs by which the engine asks for them.
    ContentService(std::map<std::string, std::string> folders, asio::thread_pool& pool) : folders_(std::move(folders)), pool_(pool) {}

    void add_to(grpc::Services& services);

private:
    class Claim;
    const std::string& folder_of(const grpc::ServerCall& call) const;
    asio::awaitable<void> read(grpc::ServerCall& call);
    asio::awaitable<void> write(grpc::ServerCall& call);

    std::map<std::string, std::string> folders_;
    asio::thread_pool& pool_;
    std::map<std::string, std::int64_t> writing_;  ///< How far, by their references.
};

}  // namespace grua::cli
