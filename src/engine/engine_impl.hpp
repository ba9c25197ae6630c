// The engine's inside: one class, its parts in files by what they do.
#pragma once

#include "engine/engine.hpp"
#include "engine/files/file_view.hpp"
#include "engine/lifecycle/container.hpp"
#include "engine/lifecycle/saver.hpp"
#include "engine/model/create_request.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/spec.hpp"
#include "engine/watch/log_streams.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "linux/cgroup.hpp"
#include "network/networks.hpp"
#include "tasks/launcher.hpp"

#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>

namespace grua::engine {

/// In the live folder of a container that is paused for a commit only: a gruad that finds it lets the container go on.
constexpr const char* pause_mark = "/paused-for-commit";

/// What became of a container while no gruad was there.
struct Recovered {
    std::optional<tasks::FoundMonitor> monitor;  ///< It runs.
    std::optional<tasks::ExitReport> exited;
    bool start_asked = false;
    bool paused = false;
};

/// Of a container that is being started: hosts, hostname, resolv.conf.
void write_network_files(const Options& options, const network::Networks& networks, const ContainerRecord& record,
                         const std::string& hostname, const LinkedHosts& linked);

class Engine::Impl : public std::enable_shared_from_this<Engine::Impl> {
public:
    Impl(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms);

    // looking (engine.cpp)
    ContainerPtr find_container(std::string_view reference) const;
    ContainerPtr get_container(std::string_view reference) const;
    void add(const ContainerPtr& container);
    /// The record changed: readers on other threads see it, who waits for the container looks again.
    void publish(Container& container);

    // create.cpp
    asio::awaitable<Created> create(CreateRequest request);
    std::string reserve_name(const std::string& asked, const std::string& id);
    asio::awaitable<void> rename(std::string reference, std::string name);

    // start.cpp
    asio::awaitable<void> start(std::string reference);
    asio::awaitable<void> start_held(ContainerPtr container);
    tasks::MonitorEvents monitor_events(const ContainerPtr& container);

    // stop.cpp
    asio::awaitable<void> stop(std::string reference, StopOptions options);
    asio::awaitable<void> stop_held(ContainerPtr container, StopOptions options);
    asio::awaitable<void> restart(std::string reference, StopOptions options);
    asio::awaitable<void> kill(std::string reference, std::string signal);
    asio::awaitable<void> pause(std::string reference);
    asio::awaitable<void> unpause(std::string reference);
    asio::awaitable<void> update(std::string reference, UpdateConfig update, StringList& warnings);
    void send_signal(Container& container, int signal);
    asio::awaitable<bool> wait_for_exit(ContainerPtr container, Condition::Clock::time_point deadline);

    // exit.cpp
    void on_started(const ContainerPtr& container, pid_t pid, Time started_at, Fd pidfd);
    void on_exited(const ContainerPtr& container, const tasks::ExitReport& report);
    void on_link_closed(const ContainerPtr& container);
    asio::awaitable<void> after_exit(ContainerPtr container);
    asio::awaitable<void> restart_later(ContainerPtr container, std::chrono::milliseconds delay);
    void resolve_waiters(Container& container, bool removed);

    // remove.cpp
    asio::awaitable<void> remove(std::string reference, RemoveOptions options);
    asio::awaitable<void> remove_held(ContainerPtr container, bool volumes);
    asio::awaitable<Pruned> prune(std::function<bool(const ContainerRecord&)> keep);

    // collect.cpp
    asio::awaitable<Collected> collect(images::GcMode mode);
    asio::awaitable<void> collect_containers(images::GcPolicy policy, images::GcMode mode, std::vector<images::Decision>& decisions,
                                             images::GcFacts& facts);
    asio::awaitable<bool> collect_container(ContainerPtr container, images::GcPolicy policy, images::Decision& decision);
    asio::awaitable<void> collect_in_turns();
    std::vector<images::ContainerUse> uses_of_image(std::string_view image_id) const;

    // streams.cpp
    RecordPtr check_attach(std::string_view reference, const AttachOptions& options) const;
    asio::awaitable<void> attach(std::string reference, AttachOptions options, Fd client, std::string early_input);
    asio::awaitable<std::shared_ptr<LogStream>> logs(std::string reference, LogOptions options);
    asio::awaitable<void> resize(std::string reference, std::uint32_t height, std::uint32_t width);

    // exec_run.cpp
    asio::awaitable<std::string> exec_create(std::string reference, ExecConfig config);
    ExecPtr exec_find(std::string_view id) const;
    ExecPtr check_exec(std::string_view id) const;
    asio::awaitable<void> exec_start(std::string id, ExecStart start, Fd client, std::string early_input);
    asio::awaitable<void> exec_resize(std::string id, std::uint32_t height, std::uint32_t width);
    void on_exec_exited(const ContainerPtr& container, const std::string& id, int code);
    void forget_execs(Container& container);

    // observe.cpp
    asio::awaitable<StatsSample> stats(std::string reference);
    asio::awaitable<Processes> top(std::string reference, std::string ps_args);
    asio::awaitable<Sizes> sizes(std::string reference);

    // reach.cpp
    asio::awaitable<std::vector<Reached>> reach(bool with_probe);

    // archive.cpp
    asio::awaitable<PathStat> stat_path(std::string reference, std::string path);
    asio::awaitable<std::shared_ptr<TarStream>> archive_path(std::string reference, std::string path);
    asio::awaitable<void> extract(std::string reference, ExtractRequest request, Fd input);
    asio::awaitable<std::shared_ptr<TarStream>> export_files(std::string reference);
    asio::awaitable<std::shared_ptr<TarStream>> open_tar(std::function<void(class TarOutput&)> work);
    asio::awaitable<std::shared_ptr<FileView>> open_view(ContainerPtr container, layers::Access access);
    asio::awaitable<std::shared_ptr<FileView>> view_of(ContainerPtr container, std::string reference, layers::Access access,
                                                       std::optional<Lane::Turn>& held);

    // commit.cpp
    asio::awaitable<std::vector<FileChange>> changes(std::string reference);
    asio::awaitable<std::string> commit(std::string reference, CommitOptions options);

    asio::awaitable<std::string> commit_paused(RecordPtr record, images::CommitRequest request, bool pause);

    /// Runs `work` in a thread of its own and comes back to the loop when it has ended.
    asio::awaitable<void> in_own_thread(std::function<void()> work);

    // volumes_use.cpp
    asio::awaitable<std::shared_ptr<const volumes::Volume>> create_volume(volumes::CreateOptions options);
    asio::awaitable<void> remove_volume(std::string name, bool force);
    asio::awaitable<Pruned> prune_volumes(std::function<bool(const volumes::Volume&)> keep);

    StringList volume_users(const std::string& name) const;

    // network_use.cpp
    asio::awaitable<network::Network> create_network(network::NetworkConfig request);
    asio::awaitable<network::Network> update_network(std::string reference, StringMap options);
    asio::awaitable<void> remove_network(std::string reference);
    asio::awaitable<Pruned> prune_networks(std::function<bool(const network::Network&)> keep);
    asio::awaitable<void> connect_network(std::string reference, std::string network, EndpointSettings settings);
    asio::awaitable<void> disconnect_network(std::string reference, std::string network, bool force);
    asio::awaitable<void> change_ports(ContainerPtr container, Ports added, Ports removed);
    asio::awaitable<void> take_ports(ContainerPtr container, std::string from);
    asio::awaitable<void> save_networking(ContainerPtr container);
    std::map<std::string, std::string> linked_containers(const HostConfig& host_config) const;
    LinkedHosts linked_hosts(const ContainerRecord& record) const;
    asio::awaitable<void> tell_linked(std::string id);
    asio::awaitable<void> rewrite_network_files(ContainerPtr container, bool with_resolver);
    void emit_network(const network::NetworkConfig& network, std::string action, const std::string& container_id = {});

    // recover.cpp
    asio::awaitable<void> recover();
    asio::awaitable<void> shutdown();
    void recover_container(const ContainerPtr& container, Recovered found, std::vector<ContainerPtr>& to_start);
    asio::awaitable<void> forget_traces(std::vector<std::string> ids);

    // paths and small things (engine.cpp)
    std::string container_directory(const std::string& id) const { return options.data_root + "/containers/" + id; }
    std::string live_directory(const std::string& id) const { return options.exec_root + "/containers/" + id; }
    std::string cgroup_path(const ContainerRecord& record) const;
    void emit(const ContainerRecord& record, std::string action, StringMap more = {});
    void save(const Container& container) { saver.save(*container.record); }
    void spawn(asio::awaitable<void> task, std::string doing);

    asio::any_io_executor loop;
    asio::thread_pool& pool;
    const Options options;
    const Rooms rooms;
    const HostFacts host;
    const linux::CgroupMounts cgroups;
    Events events;
    Saver saver;
    tasks::Launcher launcher;
    LogStreams log_streams;

    std::map<std::string, ContainerPtr, std::less<>> containers;  ///< By ID.
    std::map<std::string, std::string, std::less<>> names;        ///< Name to ID; also of containers being made.
    std::map<std::string, std::set<std::string>> linked_from;     ///< Containers with links of the default bridge, by where these lead.
    std::unordered_map<std::string, ExecPtr> execs;
    std::deque<std::pair<Condition::Clock::time_point, std::string>> finished_execs;  ///< The oldest first.
    bool closing = false;

    images::GcPolicy gc_policy;
    Lane collecting;
    Condition collect_now;  ///< Also: the collector ended.
    bool images_changed = false;
    bool collector_ended = true;

    /// For readers on other threads.
    mutable std::mutex snapshot_mutex;
    std::unordered_map<std::string, RecordPtr> snapshot;
};

}  // namespace grua::engine
