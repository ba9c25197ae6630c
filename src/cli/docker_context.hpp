// Docker's contexts: names for daemons, made by `docker context create` and kept below $DOCKER_CONFIG/contexts.
#pragma once

#include <string>

namespace grua::cli {

/// The daemon's address in context `name`; empty for "default", which is the address that is taken without a context. Throws
/// Error(not_found) where there is no such context, Error(not_implemented) where it needs TLS.
std::string docker_context_host(const std::string& name);

}  // namespace grua::cli
