// Who is at the other end of a client's socket.
#pragma once

#include "engine/principal.hpp"

#include <string>

namespace grua::api {

/// Of a connected socket. What the kernel does not say is left out.
engine::PrincipalPtr principal_of(int socket, int family, std::string listener);

}  // namespace grua::api
