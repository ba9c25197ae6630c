// Which capabilities a container gets: Docker's fourteen, changed by --cap-add and --cap-drop. Pure.
#pragma once

#include "engine/model/documents.hpp"

namespace grua::engine {

/// "net_admin" and "CAP_NET_ADMIN" are one; "ALL" stays. Throws Error(invalid_argument, `unknown capability: "CAP_X"`).
StringList normalize_capabilities(const StringList& names);

/// In order of number; `all` is what this kernel knows.
StringList container_capabilities(const HostConfig& config, const StringList& all);

}  // namespace grua::engine
