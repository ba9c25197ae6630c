// Named local volumes: a folder of data that outlives containers.
//
//   <directory>/<name>/_data        the data, as containers see it
//   <directory>/<name>/volume.json  driver, options, labels, when made; written durably before the volume is visible
//   <directory>/.trash/             what has been removed, while a thread of its own deletes it
//
// Invariants: a volume is there with both or not at all (it is made aside and renamed); data is deleted only by remove(); a volume
// that somebody has a lease on is not removed. Which containers use a volume is the engine's knowledge and is told to remove(); what
// is about to become a use, as in a create, is a lease.
// Thread-safe; blocks, so it is used from the pool, but for looking, lease() and begin_removal().
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"
#include "store/trash.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
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

class Volumes;

/// While it lives a volume of this name is not removed. Not to outlive the volumes.
class Lease {
public:
    Lease(Lease&& other) noexcept : volumes_(std::exchange(other.volumes_, nullptr)), name_(std::move(other.name_)) {}
    Lease& operator=(Lease&& other) noexcept {
        std::swap(volumes_, other.volumes_);
        std::swap(name_, other.name_);
        return *this;
    }
    ~Lease();

    const std::string& name() const noexcept { return name_; }

private:
    friend class Volumes;
    Lease(Volumes& volumes, std::string name) noexcept : volumes_(&volumes), name_(std::move(name)) {}

    Volumes* volumes_;
    std::string name_;
};

/// A volume that is about to go: nobody gets a lease on it meanwhile. Destroyed unfinished it leaves the volume.
class Removal {
public:
    Removal(Removal&& other) noexcept : volumes_(std::exchange(other.volumes_, nullptr)), name_(std::move(other.name_)) {}
    Removal& operator=(Removal&&) = delete;
    ~Removal();

    /// Blocks on the disk. The volume is gone for everybody, now and after a crash, or this throws.
    void finish();

private:
    friend class Volumes;
    Removal(Volumes& volumes, std::string name) noexcept : volumes_(&volumes), name_(std::move(name)) {}

    Volumes* volumes_;
    std::string name_;
};

class Volumes {
public:
    /// Makes the folder, reads what is there, sweeps half-made volumes. What cannot be read or swept is left, and is in the log.
    explicit Volumes(std::string directory);

    /// The volume; the one that exists where there is one of this name (Docker's idempotent create).
    /// Throws Error(invalid_argument) for a bad name, Error(not_found) for an unknown driver.
    VolumePtr create(const CreateOptions& options);

    /// Null where there is none.
    VolumePtr find(std::string_view name) const;

    /// Throws Error(not_found, "get x: no such volume").
    VolumePtr get(std::string_view name) const;

    std::vector<VolumePtr> list() const;  ///< By name.

    /// For a use that is not in any record yet; the volume need not be there yet either. Whoever lists users first, and takes the lease
    /// then, on the thread that also calls begin_removal(), leaves no gap. Does not block.
    /// Throws Error(conflict, "volume x is being removed").
    Lease lease(std::string name);

    /// `users`: IDs of the containers that use it. Does not block. Throws Error(conflict, "remove x: volume is in use - [id]"), or
    /// "… volume is in use" where it is leased, or "… is already in progress"; not_found as get().
    Removal begin_removal(std::string_view name, const std::vector<std::string>& users);

    /// Both halves of it at once.
    void remove(std::string_view name, const std::vector<std::string>& users);

    /// Until what has been removed is deleted, or cannot be.
    void wait_for_purge() { trash_.wait(); }

    /// Copies the folder `path` of an image into an empty volume, with owners, modes, times, links and xattrs; owner and mode of
    /// the folder itself too. Nothing where the image has no such folder or the volume has content.
    /// `image_root` is a mount that nobody writes to; all is done through rooted fds.
    /// `subpath`: a folder in the volume in its place; nothing where that is not there.
    void populate(const Volume& volume, const std::string& subpath, int image_root, std::string_view path) const;

    std::uint64_t usage(const Volume& volume) const;  ///< Bytes of its files.

private:
    friend class Lease;
    friend class Removal;
    void load() GRUA_REQUIRES(mutex_);
    void take_away(const std::string& name);

    const std::string directory_;
    store::Trash trash_;
    Mutex changing_;       // held while the disk works, so that looking never waits for it
    mutable Mutex mutex_;  // of what follows; never held for long
    std::map<std::string, VolumePtr, std::less<>> volumes_ GRUA_GUARDED_BY(mutex_);
    std::map<std::string, int, std::less<>> leases_ GRUA_GUARDED_BY(mutex_);
    std::set<std::string, std::less<>> removing_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::volumes
