// What a container, or a build's step, has taken from the kernel, the disk and the engine's tables, each with the way it is let go of.
//
// A step that takes something puts an owner here. Success hands all of it to the container; failure, exit, removal and recovery
// let go through release(): each is tried though another fails, and what could not be let go of stays and is tried again.
#pragma once

#include "base/async.hpp"
#include "base/error.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

namespace grua::engine {

/// In the order in which they are let go of.
enum class Held : std::uint8_t {
    // A run's.
    processes,  ///< Of a build's step, which ends with who wants it: they are killed, and waited for.
    network,    ///< Addresses, links, published ports. Of a container first: others may wait for them.
    cgroup,     ///< With whatever still runs in it.
    monitor,    ///< The link to it; the monitor ends with that.
    traces,     ///< In the live folder: that it was started, and how it ended.
    points,     ///< Of a build's step: what was made in its tree of files only to mount something there.
    mounts,     ///< Of its volumes, where their options mount something.
    images,     ///< Layers of images that it has mounted.
    layers,     ///< They are neither repaired nor collected while it stands on them.
    // The container's.
    volumes,   ///< That were made for it, or are to go with it.
    writable,  ///< Its layer.
    folder,    ///< In the data root: log, hosts, resolv.conf.
    row,       ///< In the store.
    live,      ///< Its folder in the exec root.
    lease,     ///< On what others must not remove meanwhile: volumes.
    name,
};
const char* to_string(Held what) noexcept;

inline constexpr Held first_of_run = Held::processes;
inline constexpr Held last_of_run = Held::layers;

/// One of the two. Both may throw.
struct Owner {
    std::function<void()> on_pool;
    std::function<asio::awaitable<void>()> on_loop;
};

struct ReleaseFailure {
    Held what;
    Error error;
};

/// Loop only.
class Owned {
public:
    /// In the place of one of the same kind.
    void add(Held what, Owner owner) { owners_.insert_or_assign(what, std::move(owner)); }
    bool has(Held what) const { return owners_.contains(what); }
    bool has_between(Held first, Held last) const;
    /// The one is no longer to be let go of here.
    void forget(Held what) { owners_.erase(what); }
    /// Takes over what `other` has.
    void take(Owned&& other);

    /// Lets go of what is held from `first` to `last`. What could not be let go of is held still, and said.
    asio::awaitable<std::vector<ReleaseFailure>> release(asio::thread_pool& pool, Held first, Held last);

private:
    std::map<Held, Owner> owners_;
};

}  // namespace grua::engine
