// Containers: create, start, exit, restart, remove, and everything that is asked about one while it lives.
//
// What is kept true:
// - The loop's thread owns all state; every member is called on it. What changes a container takes the container's Lane,
//   what reads one takes its record, a value that never changes: nothing that is stuck can stop `docker ps`.
// - A container's status is one enum.
// - What a step made is owned by an object until the record says that it is there; recover() compares records with the
//   monitors that answer and sweeps what belongs to nobody.
// - A container lives by its monitor, not by this process.
//
// Coroutines take their parameters by value. Errors are Error with Docker's texts; the engine knows no HTTP.
//
// To change …: what a container gets → spec*.cpp; validation and merging of a request → create*.cpp; the order of a start →
// start.cpp; restart policy → restart_policy.hpp; recovery → recover.cpp.
#pragma once

#include "base/async.hpp"
#include "base/fd.hpp"
#include "base/transfers.hpp"
#include "engine/model/documents.hpp"
#include "engine/model/exec.hpp"
#include "engine/model/record.hpp"
#include "engine/options.hpp"
#include "engine/watch/events.hpp"
#include "engine/watch/stats.hpp"
#include "images/gc.hpp"
#include "network/networks.hpp"
#include "tasks/monitor_link.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::store {
class Database;
}
namespace grua::layers {
class LayerStore;
}
namespace grua::images {
class ImageStore;
}
namespace grua::volumes {
class Volumes;
struct Volume;
struct CreateOptions;
}  // namespace grua::volumes

namespace grua::engine {

/// A way from one to another, by names, and what trying it said.
struct Reached : network::Reach {
    struct Probe {
        std::string port;  ///< "80/tcp"
        bool open = false;
        bool expected = false;  ///< By the rules.
    };
    std::vector<Probe> probed;
};

/// The rooms that the engine stands on; all must outlive it.
struct Rooms {
    store::Database& database;
    layers::LayerStore& layers;
    images::ImageStore& images;
    volumes::Volumes& volumes;
    network::Networks& networks;
    Transfers& transfers;
};

struct CreateRequest {
    std::string name;  ///< Empty: a random one.
    std::string platform;
    ContainerConfig config;
    HostConfig host_config;
    NetworkingConfig networking;
};

struct Created {
    std::string id;
    StringList warnings;
};

struct StopOptions {
    std::optional<std::int64_t> timeout;  ///< Seconds; -1 for ever; nothing: the container's own, else 10.
    std::string signal;                   ///< Empty: the container's own, else SIGTERM.
};

struct RemoveOptions {
    bool force = false;
    bool volumes = false;  ///< Its anonymous volumes too.
};

enum class WaitCondition { not_running, next_exit, removed };

struct WaitResult {
    int exit_code = 0;
    std::string error;  ///< Empty where there is none.
};

/// Registered at once, so that nothing is missed between the registration and result().
class Waiter {
public:
    virtual ~Waiter() = default;
    virtual asio::awaitable<WaitResult> result() = 0;
};

using tasks::AttachOptions;

struct LogOptions {
    bool use_stdout = false;
    bool use_stderr = false;
    std::optional<Time> since;
    std::optional<Time> until;
    std::int64_t tail = -1;  ///< Lines; -1: all.
    bool follow = false;
};

struct LogLine {
    Time time{};
    bool is_stderr = false;
    std::string text;  ///< With its newline, where it has one.
    StringMap attributes;
};

class LogStream {
public:
    virtual ~LogStream() = default;
    /// A batch; empty at the end.
    virtual asio::awaitable<std::vector<LogLine>> next() = 0;
};

struct ExecStart {
    bool detach = false;
    std::optional<std::pair<std::uint32_t, std::uint32_t>> console_size;  ///< {height, width}
    std::string detach_keys;
};

struct Processes {
    StringList titles;
    std::vector<StringList> processes;
};

struct Sizes {
    std::uint64_t rw = 0;       ///< SizeRw
    std::uint64_t root_fs = 0;  ///< SizeRootFs: with the image
};

/// What stands at a path of a container.
struct PathStat {
    std::string name;
    std::int64_t size = 0;
    std::uint32_t mode = 0;  ///< As Go's os.FileMode has it: type bits at the top.
    Time modified{};
    std::string link_target;  ///< Of a symbolic link: where it leads in the container.
};

/// A tar that is being made while it is read.
class TarStream {
public:
    virtual ~TarStream() = default;
    virtual const PathStat& stat() const = 0;
    virtual Fd take() = 0;  ///< The reading end of a pipe. Closed early it ends the work.
    /// After the pipe's end: throws the Error that the end was, where the tar is not whole.
    virtual asio::awaitable<void> finished() = 0;
};

struct ExtractRequest {
    std::string path;            ///< An existing folder.
    bool keep_kinds = false;     ///< No folder is replaced by a file, nor the other way round.
    bool owner_is_user = false;  ///< Everything belongs to the user that the container runs as.
    /// Where the tar's stream ends without the tar's own end; throws where it should have gone on. May be empty.
    std::function<void()> check_end = {};
};

struct FileChange {
    std::string path;
    int kind = 0;  ///< Docker's: 0 modified, 1 added, 2 deleted.
};

struct CommitOptions {
    std::string reference;  ///< Of the image; may be empty.
    std::string author;
    std::string comment;
    StringList changes;                     ///< Lines of a Dockerfile.
    std::optional<ContainerConfig> config;  ///< The container's own where it is not given.
    bool pause = true;
};

struct Pruned {
    StringList deleted;
    std::uint64_t reclaimed = 0;
};

/// What a collection did or, dry, would do.
struct Collected {
    std::vector<images::Decision> decisions;
    std::uint64_t reclaimed = 0;
    std::uint64_t removed = 0;
    std::uint64_t kept = 0;
};

class Engine {
public:
    Engine(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    /// Once, before all else: reads the records, finds the monitors, sweeps, starts what its restart policy says.
    asio::awaitable<void> recover();

    /// Ends subscriptions, waiters and background work. Containers go on running.
    asio::awaitable<void> shutdown();

    const Options& options() const noexcept;
    const Rooms& rooms() const noexcept;
    Events& events() noexcept;

    // --- looking: no lane, no waiting --------------------------------------------------------------------------

    /// All of them, the newest first; filtering is the caller's.
    std::vector<RecordPtr> list() const;

    /// By full ID, name (with or without "/"), or unique prefix of the ID. Throws Error(not_found, "No such container: x").
    RecordPtr find(std::string_view reference) const;

    /// As find, but null.
    RecordPtr find_if(std::string_view reference) const;

    /// Containers made from this image; callable on any thread (images::UsedBy wants that).
    std::vector<RecordPtr> using_image(std::string_view image_id) const;
    /// Containers whose image has this layer; callable on any thread.
    std::vector<RecordPtr> standing_on(std::string_view diff_id) const;
    std::vector<RecordPtr> using_volume(std::string_view name) const;

    // --- changing ----------------------------------------------------------------------------------------------

    asio::awaitable<Created> create(CreateRequest request);
    /// Throws Error(not_modified) where it runs already.
    asio::awaitable<void> start(std::string reference);
    /// Throws Error(not_modified) where it does not run.
    asio::awaitable<void> stop(std::string reference, StopOptions options);
    asio::awaitable<void> restart(std::string reference, StopOptions options);
    /// `signal`: a name with or without SIG, or a number; empty: SIGKILL.
    asio::awaitable<void> kill(std::string reference, std::string signal);
    asio::awaitable<void> pause(std::string reference);
    asio::awaitable<void> unpause(std::string reference);
    asio::awaitable<void> rename(std::string reference, std::string name);
    asio::awaitable<void> remove(std::string reference, RemoveOptions options);
    asio::awaitable<void> resize(std::string reference, std::uint32_t height, std::uint32_t width);
    /// Returns warnings.
    asio::awaitable<StringList> update(std::string reference, UpdateConfig update);
    /// Stopped containers that `keep` does not keep.
    asio::awaitable<Pruned> prune(std::function<bool(const ContainerRecord&)> keep);

    // --- garbage: images/gc.hpp has the policy ------------------------------------------------------------------

    /// Runs by itself as well: by a timer, and after images_changed() where the disk is full.
    asio::awaitable<Collected> collect(images::GcMode mode);
    /// Images came in.
    void images_changed();
    void set_gc_policy(const images::GcPolicy& policy);

    // --- waiting, streams --------------------------------------------------------------------------------------

    std::shared_ptr<Waiter> wait(std::string_view reference, WaitCondition condition);

    /// What attach() would refuse, before the connection is hijacked. Returns the record (its config.tty says raw or multiplexed).
    RecordPtr check_attach(std::string_view reference, const AttachOptions& options) const;

    /// Gives the client's socket away: to the monitor at once, or with the start of a container that does not run yet. Nothing
    /// may be buffered for it any more. Bytes that the client sent already and were read go into `early_input`.
    /// Output is framed as Docker's stream format unless the container has a terminal.
    asio::awaitable<void> attach(std::string reference, AttachOptions options, Fd client, std::string early_input = {});

    asio::awaitable<std::shared_ptr<LogStream>> logs(std::string reference, LogOptions options);

    /// A sample. Of a container that does not run: running is false.
    asio::awaitable<StatsSample> stats(std::string reference);

    /// `ps_args` as Docker's: "-ef" where empty. Only /proc is read, no program of the container's or the host's runs.
    asio::awaitable<Processes> top(std::string reference, std::string ps_args);

    asio::awaitable<Sizes> sizes(std::string reference);

    // --- files: of running, paused and stopped containers, as the container sees them --------------------------

    asio::awaitable<PathStat> stat_path(std::string reference, std::string path);
    /// What is at `path` as a tar whose entries begin with its name.
    asio::awaitable<std::shared_ptr<TarStream>> archive_path(std::string reference, std::string path);
    /// A tar (plain, gzip or zstd) from `input` into a folder of the container.
    asio::awaitable<void> extract(std::string reference, ExtractRequest request, Fd input);
    /// The root file system without what is mounted in it.
    asio::awaitable<std::shared_ptr<TarStream>> export_files(std::string reference);
    /// Against the image.
    asio::awaitable<std::vector<FileChange>> changes(std::string reference);
    /// Makes an image of the container; returns its ID.
    asio::awaitable<std::string> commit(std::string reference, CommitOptions options);

    // --- exec --------------------------------------------------------------------------------------------------

    asio::awaitable<std::string> exec_create(std::string reference, ExecConfig config);

    /// Throws Error(not_found, "No such exec instance: x").
    ExecPtr exec_find(std::string_view id) const;

    /// What exec_start would refuse at once (unknown, already run, container stopped or paused), before the hijack.
    ExecPtr check_exec(std::string_view id) const;

    /// With a client: its socket is given to the monitor, and a failure to execute is written to it, as Docker does, not thrown;
    /// the exit code is then 126 or 127. Detached: returns when the program runs, throws where it cannot.
    asio::awaitable<void> exec_start(std::string id, ExecStart start, Fd client, std::string early_input = {});
    asio::awaitable<void> exec_resize(std::string id, std::uint32_t height, std::uint32_t width);

    // --- volumes: with the engine's knowledge of who uses them, and events ------------------------------------

    asio::awaitable<std::shared_ptr<const volumes::Volume>> create_volume(volumes::CreateOptions options);
    /// `force`: an unknown volume is no error.
    asio::awaitable<void> remove_volume(std::string name, bool force);
    asio::awaitable<Pruned> prune_volumes(std::function<bool(const volumes::Volume&)> keep);

    asio::awaitable<network::Network> create_network(network::NetworkConfig request);
    asio::awaitable<network::Network> update_network(std::string reference, StringMap options);
    asio::awaitable<void> remove_network(std::string reference);
    /// Those that no container is on, or would be on if it were started.
    asio::awaitable<Pruned> prune_networks(std::function<bool(const network::Network&)> keep);
    /// While the container runs it takes effect at once, else at its start.
    asio::awaitable<void> connect_network(std::string reference, std::string network, EndpointSettings settings);
    asio::awaitable<void> disconnect_network(std::string reference, std::string network, bool force);

    /// Every way between the containers that run, the host and the outside, by their names; with a probe also what trying says.
    asio::awaitable<std::vector<Reached>> reach(bool with_probe);

private:
    class Impl;
    std::shared_ptr<Impl> impl_;
};

}  // namespace grua::engine
