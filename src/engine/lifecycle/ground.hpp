// What a container's life needs of the rooms below, as narrow as it needs it: tests have one that remembers what was asked.
// All of it blocks, but where it says that it does not.
#pragma once

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "engine/lifecycle/probes.hpp"
#include "engine/model/record.hpp"
#include "engine/networking/networking.hpp"
#include "engine/options.hpp"
#include "network/networks.hpp"
#include "tasks/task.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace grua::engine {

struct Rooms;

/// The layers that containers stand on.
class Roots {
public:
    virtual ~Roots() = default;
    using Hold = std::shared_ptr<const void>;
    virtual bool has(const std::string& id) = 0;
    virtual Hold hold(const std::string& id) = 0;  ///< They stay as they are while it lives.
    virtual Fd mount(const std::string& id) = 0;   ///< Detached.
    virtual void remove(const std::string& id) = 0;
    virtual std::vector<std::string> all() = 0;
    // Of an image that is mounted: its diff IDs, lowest first.
    virtual Fd mount_layers(const StringList& chain) = 0;  ///< Detached, read-only.
    virtual Hold hold_layers(const StringList& chain) = 0;
};

/// Network namespaces with what is in them.
class Sandboxes {
public:
    virtual ~Sandboxes() = default;
    virtual network::Sandbox attach(const network::SandboxRequest& request) = 0;
    virtual void release(const std::string& id) = 0;
    virtual void recover(std::vector<network::Attachment> live) = 0;
    virtual std::string id_of(const std::string& network) = 0;
    virtual std::string driver_of(const std::string& network) = 0;  ///< Empty where it is not there. Does not block.
    /// hosts, hostname and resolv.conf of one that is being started.
    virtual void write_files(const ContainerRecord& record, const std::string& hostname, const LinkedHosts& linked) = 0;
};

class VolumeFolders {
public:
    virtual ~VolumeFolders() = default;
    virtual void remove(const std::string& name) = 0;  ///< One that is not there is fine.

    // What the options of volumes mount, for a holder: volumes/mounts.hpp. None of these blocks.
    virtual bool has_mounts(const StringList& names) = 0;
    virtual asio::awaitable<void> hold_mounts(std::string holder, StringList names) = 0;
    virtual asio::awaitable<void> let_go_of_mounts(std::string holder) = 0;
    /// A detached mount of what `subpath` leads to in the volume, however long its server takes. Throws in Docker's words.
    virtual asio::awaitable<Fd> part(std::string holder, std::string volume, std::string subpath) = 0;
    virtual void call_off_mounts(const std::string& holder) = 0;
    virtual void found_mounts(const std::string& holder, const StringList& names) = 0;
    virtual asio::awaitable<void> unmount_unheld() = 0;
};

class ImageShelf {
public:
    virtual ~ImageShelf() = default;
    virtual bool has(const std::string& id) = 0;                      ///< Does not block.
    virtual void was_used(const std::string& id, Time last_use) = 0;  ///< Does not block.
    virtual void collect() = 0;                                       ///< Layers that no image needs.
};

struct Ground {
    tasks::Tasks& tasks;
    Roots& roots;
    Sandboxes& sandboxes;
    VolumeFolders& volumes;
    ImageShelf& images;
    Probes& probes;  ///< Waits on the loop, blocks nobody.
    Clock& clock;
    Timers& timers;
};

/// The real ones.
class RoomGround {
public:
    RoomGround(asio::any_io_executor loop, asio::thread_pool& pool, const Options& options, const Rooms& rooms);
    ~RoomGround();
    RoomGround(const RoomGround&) = delete;
    RoomGround& operator=(const RoomGround&) = delete;
    Ground& operator*() noexcept;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace grua::engine
