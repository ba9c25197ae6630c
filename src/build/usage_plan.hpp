// What the cache of builds consists of, as `docker buildx du` shows it, and which of it goes when it is pruned. Pure.
//
// What others are made of stays as long as they do: a record goes before those it stands on. What is in use never goes.
#pragma once

#include "base/text.hpp"
#include "build/filter.hpp"
#include "build/wire/control.pb.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

/// One record. Types are BuildKit's: "regular", "source.local", "source.git.checkout", "exec.cachemount", "frontend", "internal".
struct UsageEntry {
    std::string id;
    std::string type = "regular";
    std::string description;
    std::vector<std::string> parents;  ///< IDs of those whose files are below its own.
    std::uint64_t bytes = 0;           ///< That it has and no other.
    Time created{};
    Time last_used{};
    std::int64_t uses = 0;
    bool is_mutable = false;
    bool in_use = false;     ///< By a build that runs, or by one that is in use.
    bool is_shared = false;  ///< Images have the same files.
};

/// An ID as others' are: 25 characters.
std::string usage_id(std::string_view of);

/// With what a filter may ask for: id, type, description, parents (joined by ";"), and what is so: inuse, mutable, immutable, shared,
/// private.
bool matches(const Filter& filter, const UsageEntry& entry);

wire::control::UsageRecord to_record(const UsageEntry& entry);

struct PruneOptions {
    std::vector<std::string> filters;
    bool all = false;                    ///< Also what front ends are made of, and what images share.
    std::chrono::nanoseconds unused{0};  ///< Only what was not used for so long.
    std::uint64_t reserved_space = 0;    ///< So many bytes stay in any case ...
    std::uint64_t max_used_space = 0;    ///< ... and no more than so many ...
    std::uint64_t min_free_space = 0;    ///< ... and as many as are missing on the disk go. 0: all goes that may.
};

/// Throws Error(invalid_argument) for what is negative.
PruneOptions read_prune_request(const wire::control::PruneRequest& request);

/// Docker's filters of POST /build/prune: each of id, parent, type, description, inuse, shared, private, with at most one value, and
/// `until` (or `unused-for`), which is a duration of Go's or a time. Throws Error(invalid_argument).
void read_docker_filters(const std::map<std::string, std::vector<std::string>, std::less<>>& filters, Time now, PruneOptions& out);

/// Which go, by their place in `entries`, in this order. `free`: bytes of the disk.
std::vector<std::size_t> plan_prune(const std::vector<UsageEntry>& entries, const PruneOptions& options, Time now, std::uint64_t free);

/// `in_use` of those that others in use stand on.
void mark_used_parents(std::vector<UsageEntry>& entries);

}  // namespace grua::build
