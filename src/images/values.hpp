// What the images room is asked with and what it answers, where that is a small value: for those who need the answers without
// the store.
#pragma once

#include "base/text.hpp"
#include "oci/digest.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace grua::images {

/// A container that was created from an image.
struct ContainerUse {
    std::string container_id;
    bool running = false;
    std::string manifest;  ///< Of the variant that it was made from; may be empty.
};
/// Asked by remove() and prune(); must be callable on the pool.
using UsedBy = std::function<std::vector<ContainerUse>(const std::string& image_id)>;

struct RemoveOptions {
    bool force = false;
    bool prune_parents = true;  ///< false: Docker's noprune
};

/// One line of remove()'s answer, in Docker's order; `untagged` or `deleted` is set.
struct Removed {
    std::string untagged;  ///< "redis:7"
    std::string deleted;   ///< "sha256:…", the image or a layer (by its chain ID)
    std::string image_id;  ///< Of which image; empty for a layer, which is no event.
};

/// A step of a transfer, in Docker's words; those without `total` are lines, the others bars.
struct Progress {
    std::string id;      ///< The first 12 digits of a layer's digest, or a tag.
    std::string status;  ///< "Downloading"
    std::uint64_t current = 0;
    std::uint64_t total = 0;
};
using OnProgress = std::function<void(const Progress&)>;

struct PushResult {
    oci::Digest digest;
    std::uint64_t size = 0;
};

struct LoadedImage {
    std::string id;
    std::vector<std::string> names;  ///< Familiar: print "Loaded image: <name>" each; "Loaded image ID: <id>" where empty.
    std::vector<std::pair<std::string, std::string>> moved;  ///< Names that were another image's before, with its ID.
};

/// A line of `docker history`, the newest first.
struct HistoryLine {
    std::string id;  ///< The image's for the first line, "<missing>" for the others.
    Time created{};
    std::string created_by;
    std::vector<std::string> tags;  ///< first line only
    std::uint64_t size = 0;
    std::string comment;
};

/// What a check of the store found; see check.hpp.
struct Finding {
    std::string kind;     ///< "blob", "layer", "image", "reference"
    std::string id;       ///< A digest, a container's ID, a name.
    std::string problem;  ///< With why it could not be repaired.
    bool repaired = false;
};

struct CheckSums {
    std::uint64_t checked = 0;  ///< Blobs, layers, images and references.
    std::uint64_t problems = 0;
    std::uint64_t repaired = 0;
    std::uint64_t bytes = 0;  ///< That were read of blobs.
};

}  // namespace grua::images
