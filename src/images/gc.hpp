// Which images go when the disk fills, and what else nobody needs: the policy, and what it decides.
//
// Never removed: what a container, a tag (unless the policy says so), another image or a transfer uses, and what is pinned. A run
// is a plan that is made first and then carried out, each step only where what it was decided upon still holds; a dry run is
// the plan alone.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace grua::images {

/// daemon.json's "gc".
struct GcPolicy {
    enum class Images { none, dangling, unused };

    bool enabled = true;                             ///< Runs by itself; asked for it always runs.
    unsigned high = 85;                              ///< Percent of the file system, from which on images are removed ...
    unsigned low = 75;                               ///< ... until it would be no more than that.
    std::chrono::seconds keep{24 * 3600};            ///< An image stays for so long after its last use.
    Images images = Images::dangling;                ///< `unused`: those with names, too.
    std::optional<std::chrono::seconds> containers;  ///< Stopped for longer than that; none where empty.
    std::chrono::seconds partials{7 * 24 * 3600};    ///< Broken downloads that nobody went on with for so long.
    std::string pin = "grua.pin";                    ///< The label of images and containers that stay.

    bool operator==(const GcPolicy&) const = default;
};

/// "true" and anything else but "false" and "0" pins.
bool is_pinned(const std::map<std::string, std::string>& labels, const std::string& pin);

/// The file system of a path, as df(1) counts: what is reserved for root is neither used nor free.
struct Disk {
    std::uint64_t used = 0;
    std::uint64_t total = 0;

    bool is_above(unsigned percent, std::uint64_t freed = 0) const noexcept {
        return static_cast<double>(used - std::min(used, freed)) * 100 > static_cast<double>(percent) * static_cast<double>(total);
    }
};
Disk disk_of(const std::string& path);

/// One line of the explanation.
struct Decision {
    enum class Verdict { keep, remove };

    std::string kind;  ///< "image", "layer", "blob", "partial", "container"
    std::string id;
    std::string name;
    Verdict verdict = Verdict::keep;
    std::string reason;
    std::uint64_t size = 0;  ///< Bytes that its removal gives back.
};

enum class GcMode { dry_run, real };

/// What the store cannot know by itself.
struct GcFacts {
    Disk disk;
    std::uint64_t freed = 0;        ///< Bytes that were decided upon before.
    std::set<std::string> leaving;  ///< Containers that go in the same run.
};

/// "3 hours": one unit, rounded down.
std::string rough_time(std::chrono::seconds time);

}  // namespace grua::images
