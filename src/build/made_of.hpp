// What a build is made of, operation by operation, as its history keeps it (wire/made.proto): with it a client says why an operation of a
// later build was not taken from the cache.
#pragma once

#include "build/graph.hpp"
#include "build/tree_index.hpp"
#include "build/wire/control.pb.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

/// Files that an operation has read of an input, as they are there; no more than a bounded number.
struct ReadFiles {
    static constexpr std::size_t limit = 20'000;

    std::vector<TreeIndex::value_type> entries;
    bool is_cut = false;

    void add(const TreeIndex::value_type& entry);
};
using ReadFilesPtr = std::shared_ptr<const ReadFiles>;

struct MadeInput {
    std::string key;     ///< What it counted with.
    ReadFilesPtr files;  ///< Null where it counted as a whole.
};

/// What became of an operation within one build.
struct MadeStep {
    VertexPtr vertex;
    std::string pin;  ///< Of a source: see SourceKey.
    bool has_ended = false;
    bool was_cached = false;
    std::string definition_key;
    std::string contents_key;       ///< Empty where its inputs were not looked at.
    std::vector<MadeInput> inputs;  ///< Then of all of them; else none.
};

/// By the digests of their operations.
using MadeSteps = std::map<std::string, MadeStep, std::less<>>;

/// As the history keeps it; empty for a build that had no operations.
std::string write_made_of(const MadeSteps& steps);

/// The same for all builds of the same Dockerfile in the same folder of the same client, or of the same place elsewhere. `folder`: the
/// session's key of its folder, which may be empty.
std::string project_of(const wire::control::SolveRequest& request, const std::string& folder);

}  // namespace grua::build
