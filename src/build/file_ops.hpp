// What a build does to files: one action of LLB on a tree, as BuildKit does it. Blocks: for a pool thread.
//
// Paths are resolved inside their tree, and errors name them as they are in it. A tree may be anybody's: whatever links, mounts or changes
// are in it, nothing leads out, and what it costs has bounds.
#pragma once

#include "build/copy_tree.hpp"
#include "build/owner.hpp"
#include "build/wire/graph.pb.h"
#include "linux/root.hpp"

#include <optional>
#include <stop_token>

namespace grua::build {

struct FileActionOptions {
    std::optional<Owner> owner;  ///< What find_owner() says.
    Sharing sharing = Sharing::copy;
    std::stop_token stop;
    FileProgress progress;  ///< May be empty.
};

/// Whom the action asks for; null where it asks for none.
const wire::graph::ChownOpt* owner_of(const wire::graph::FileAction& action);

/// `source` is a copy's, null for the others. Throws Error, "context canceled" where it was told to stop: what is done by then stays.
void apply_file_action(const wire::graph::FileAction& action, const Root& destination, const Root* source,
                       const FileActionOptions& options);

}  // namespace grua::build
