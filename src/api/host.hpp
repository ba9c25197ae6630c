// What info and version tell of this machine; read from the kernel each time, nothing is cached.
#pragma once

#include "api/wire/system.hpp"

#include <cstdint>
#include <string>

namespace grua::api {

std::string kernel_version();
/// As Go names it, "amd64": what clients compare with.
std::string go_architecture();

/// Fills in what the machine is and can; blocks, so it is called on the pool.
void describe_host(wire::Info& info);

/// Bytes that this process holds on its heap, as its allocator counts them. Walks the free lists, so it is called on the pool.
std::uint64_t heap_in_use();

}  // namespace grua::api
