// containerd.services.content.v1.Content as BuildKit's clients use it of an engine: Info and Read of what the history of builds refers to -
// logs, provenance, errors, manifests and configurations - and of nothing else.
#pragma once

#include "build/history.hpp"
#include "grpc/server.hpp"

namespace grua::build {

/// `history` and `pool` outlive the services' calls.
void add_content_service(grpc::Services& services, asio::thread_pool& pool, History& history);

}  // namespace grua::build
