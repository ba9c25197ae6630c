// Who is at the other end of a client's socket.
#pragma once

#include "engine/principal.hpp"

#include <string>

namespace grua::api {

/// Of a connected socket. What the kernel does not say is left out.
engine::Principal principal_of(int socket, std::string listener);

/// A client by TCP whose machine is gone says nothing, and one that has closed looks like one that only stops to send: the kernel asks.
void keep_alive(int socket);

}  // namespace grua::api
