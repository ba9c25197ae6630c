// What the options of volumes mount, for as long as somebody holds it: mounted at the volume's place with the first holder, unmounted with
// the last.
//
// Whether something is mounted is asked of the kernel each time, so a gruad that comes back, or somebody who unmounted it by hand,
// changes nothing of that. Who holds it is kept here, and told anew after a restart with is_held(). What mounts is a process that can be
// ended (linux/mount_process.hpp): no thread waits for a server, and a mount that takes too long is an error. Loop only.
#pragma once

#include "base/async.hpp"
#include "base/transfers.hpp"
#include "volumes/volumes.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace grua::linux {
class MountProcess;
}

namespace grua::volumes {

struct MountPlan;

struct MountPatience {
    std::chrono::milliseconds mount{60000};
    /// After it an unmount goes on by itself: what was written still comes to its server, where that answers.
    std::chrono::milliseconds unmount{5000};
};

class Mounts {
public:
    Mounts(asio::any_io_executor loop, asio::thread_pool& pool, Transfers& transfers, Volumes& volumes, MountPatience patience = {});
    ~Mounts();
    Mounts(const Mounts&) = delete;
    Mounts& operator=(const Mounts&) = delete;

    /// Whether any of these volumes has something to mount. Does not block.
    bool has_any(const std::vector<std::string>& names) const;

    /// All of these volumes that have something to mount have it when this returns. Whoever holds a volume already may ask again. Where it
    /// throws, some may be held: let_go() says the rest. Throws Error(system) in Docker's words, with volume and server.
    asio::awaitable<void> hold(std::string holder, std::vector<std::string> names);
    /// Those that nobody else holds are unmounted. Throws where one cannot be; it is held still.
    asio::awaitable<void> let_go(std::string holder);
    /// A detached mount of what `subpath` leads to in the volume, links followed inside it only. Throws Error(invalid_argument, "cannot
    /// access path …").
    asio::awaitable<Fd> part(std::string holder, std::string name, std::string subpath);
    /// A hold() or part() of this holder that waits ends with an error.
    void call_off(const std::string& holder);

    /// Of a container that was found running: nothing is mounted.
    void is_held(const std::string& holder, const std::vector<std::string>& names);
    /// What a gruad that was killed has left behind.
    asio::awaitable<void> unmount_unheld();

private:
    struct Place;
    using PlacePtr = std::shared_ptr<Place>;
    PlacePtr place_of(const std::string& name);
    asio::awaitable<void> mount(std::string holder, VolumePtr volume, std::shared_ptr<MountPlan> plan);
    asio::awaitable<void> unmount(VolumePtr volume);
    asio::awaitable<void> resolve(std::shared_ptr<MountPlan> plan);
    asio::awaitable<std::shared_ptr<linux::MountProcess>> begin(std::function<linux::MountProcess()> start);
    asio::awaitable<bool> answered(std::shared_ptr<linux::MountProcess> process, std::chrono::milliseconds patience, std::string holder);

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    Transfers& transfers_;
    Volumes& volumes_;
    const MountPatience patience_;
    std::map<std::string, PlacePtr> places_;                                    ///< By the volume's name.
    std::multimap<std::string, std::weak_ptr<std::function<void()>>> waiting_;  ///< How to end a wait, by holder.
    std::vector<std::shared_ptr<linux::MountProcess>> leaving_;                 ///< Have not ended yet.
};

}  // namespace grua::volumes
