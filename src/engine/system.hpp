// The engine as a whole: what it has, what that takes of the disk, what nobody needs, and whether its store is whole.
#pragma once

#include "base/async.hpp"
#include "engine/image_service.hpp"
#include "engine/volume_service.hpp"
#include "images/gc.hpp"

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace grua::engine {

using images::CheckSums;
using images::Decision;
using images::Finding;
using images::GcMode;

struct Summary {
    std::size_t containers = 0;
    std::size_t running = 0;
    std::size_t paused = 0;
    std::size_t stopped = 0;
    std::size_t images = 0;
    std::string data_root;
    std::string log_driver;
    std::vector<std::string> log_drivers;  ///< That there are.
    bool live_restore = true;
};

struct Sizes {
    std::uint64_t rw = 0;       ///< SizeRw
    std::uint64_t root_fs = 0;  ///< SizeRootFs: with the image
};

struct DiskUsage {
    struct OfImage {
        ImagePtr image;
        std::int64_t shared = 0;
        std::size_t containers = 0;
    };
    struct OfContainer {
        RecordPtr container;
        Sizes sizes;
    };
    struct OfVolume {
        VolumePtr volume;
        std::size_t users = 0;
        std::uint64_t size = 0;
    };
    std::uint64_t layers = 0;  ///< Of all images, each once.
    std::vector<OfImage> images;
    std::vector<OfContainer> containers;
    std::vector<OfVolume> volumes;
};

struct DiskUsageOf {
    bool images = true;
    bool containers = true;
    bool volumes = true;
};

/// What a collection did or, dry, would do.
struct Collected {
    std::vector<Decision> decisions;
    std::uint64_t reclaimed = 0;
    std::uint64_t removed = 0;
    std::uint64_t kept = 0;
};

/// Reads everything in the thread that calls it, which is one of its own; `found` is called there.
using Check = std::function<CheckSums(const std::function<void(const Finding&)>& found, const std::stop_token& stop)>;

class System : public Service {
public:
    using Service::Service;

    Summary summary() const;
    /// Measures on the pool, one thing after the other.
    asio::awaitable<DiskUsage> disk_usage(DiskUsageOf what) const;
    /// Of containers that are listed with their sizes; nothing of one that has gone meanwhile.
    asio::awaitable<std::vector<DiskUsage::OfContainer>> sizes(std::vector<RecordPtr> containers) const;

    /// As an event: the builder's caches are not the engine's.
    void tell_build_prune(std::uint64_t reclaimed) const;

    /// Runs by itself as well: by a timer, and after images came in where the disk is full.
    asio::awaitable<Collected> collect(GcMode mode) const;
    /// `repair`: what is broken is fetched again.
    Check check(bool repair, Credentials credentials) const;
};

}  // namespace grua::engine
