// The context of a build that comes as the body of its request: a tar, packed or not, unpacked as it flows in into a folder that is this
// build's alone.
//
// What .dockerignore names is not looked for in it: who made the archive has left it out. Only that file and the Dockerfile go where it
// names them, as in dockerd.
#pragma once

#include "build/classic_request.hpp"
#include "build/context_store.hpp"
#include "engine/input.hpp"

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace grua::build {

struct ClassicContext {
    std::unique_ptr<Context> files;
    /// A folder with the Dockerfile alone, where that need not be in the context.
    std::unique_ptr<Context> dockerfile;
    std::string dockerfile_text;  ///< Of version 1.
};

/// Blocks until the body has come to its end. Throws Error: a body that breaks off or is no archive, and of version 1 a Dockerfile that is
/// not there.
ClassicContext receive_classic_context(ContextStore& store, const engine::Input& body, const ClassicRequest& request,
                                       const std::stop_token& stop);

/// A file of a folder that has come, links followed inside of it; nothing where there is none.
std::optional<std::string> read_context_file(const Context& context, const std::string& path);

}  // namespace grua::build
