// Named local volumes: a folder of data that outlives containers.
//
//   <directory>/<name>/_data        the data, as containers see it
//   <directory>/<name>/volume.json  driver, options, labels, when made; written durably before the volume is visible
//
// Invariants: a volume is there with both or not at all (it is made aside and renamed); data is deleted only by remove().
// Who uses a volume is the engine's knowledge and is told to remove(). Thread-safe; blocks, so it is used from the pool.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::volumes {

struct Volume {
    std::string name;
    std::string driver = "local";
    std::map<std::string, std::string> options;
    std::map<std::string, std::string> labels;
    std::string mountpoint;  ///< Host path of _data.
    Time created{};
    bool anonymous = false;
};

using VolumePtr = std::shared_ptr<const Volume>;

struct CreateOptions {
    std::string name;        ///< Empty: an anonymous one, 64 hex digits.
    bool anonymous = false;  ///< It is one although the caller chose the name.
    std::string driver;
    std::map<std::string, std::string> options;
    std::map<std::string, std::string> labels;
};

class Volumes {
public:
    /// Makes the folder, reads what is there, sweeps half-made volumes.
    explicit Volumes(std::string directory);

    /// The volume; the one that exists where there is one of this name (Docker's idempotent create).
    /// Throws Error(invalid_argument) for a bad name, Error(not_found) for an unknown driver, not_implemented for options.
    VolumePtr create(const CreateOptions& options);

    /// Null where there is none.
    VolumePtr find(std::string_view name) const;

    /// Throws Error(not_found, "get x: no such volume").
    VolumePtr get(std::string_view name) const;

    std::vector<VolumePtr> list() const;  ///< By name.

    /// `users`: IDs of the containers that use it. Throws Error(conflict, "remove x: volume is in use - [id]").
    void remove(std::string_view name, const std::vector<std::string>& users);

    /// Copies the folder `path` of an image into an empty volume, with owners, modes, times, links and xattrs; owner and mode of
    /// the folder itself too. Nothing where the image has no such folder or the volume has content.
    /// `image_root` is a mount that nobody writes to; all is done through rooted fds.
    void populate(const Volume& volume, int image_root, std::string_view path) const;

    std::uint64_t usage(const Volume& volume) const;  ///< Bytes of its files.

private:
    void load() GRUA_REQUIRES(mutex_);

    const std::string directory_;
    Mutex changing_;       // held while the disk works, so that looking never waits for it
    mutable Mutex mutex_;  // of the map only
    std::map<std::string, VolumePtr, std::less<>> volumes_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::volumes
