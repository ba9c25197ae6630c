// What becomes of a build's results: images in the store and in registries, archives and files to the client.
#pragma once

#include "build/attestations.hpp"
#include "build/control.hpp"
#include "build/exports.hpp"
#include "build/operations/operations.hpp"
#include "build/statements.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

/// What came of the graph of one platform.
struct MadeImage {
    oci::Platform platform;
    std::string name;    ///< Of the platform, as the front end says it; empty where there is one alone.
    TreePtr tree;        ///< Null for an empty one.
    std::string config;  ///< As the front end has made it; may be empty.
    pb::Definition definition;
    std::vector<GivenStatement> statements;  ///< That came with it.
};

struct CacheCandidate;

/// What the client is told of it.
using ExportAnswer = std::map<std::string, std::string>;

struct ExportExtras {
    std::optional<ProvenanceWish> provenance;  ///< What is to be said of the results, if anything is.
    /// Of which images tell in their configurations what they can (`--cache-to type=inline`); null where they do not.
    std::shared_ptr<const std::vector<CacheCandidate>> inline_cache;
};
asio::awaitable<ExportAnswer> run_exports(Workplace& place, BuildPtr build, std::vector<MadeImage> made, std::vector<Export> exports,
                                          ExportExtras extras, const Clock& clock);

}  // namespace grua::build
