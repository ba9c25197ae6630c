// The life of containers: start, exit, stop, remove, recover, exec. The engine's other wings stand on it; it stands on Ground.
//
// How a container starts is the list at the end of start.cpp, how it ends that of exit.cpp, how it is removed that of remove.cpp, how it is
// found again that of recover.cpp. What a step takes has an owner (owned.hpp); one function lets go of it, release().
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/mutex.hpp"
#include "engine/containers.hpp"
#include "engine/execs.hpp"
#include "engine/lifecycle/container.hpp"
#include "engine/lifecycle/ground.hpp"
#include "engine/lifecycle/saver.hpp"
#include "engine/model/health.hpp"
#include "engine/options.hpp"
#include "engine/spec/spec.hpp"
#include "engine/watch/event_log.hpp"
#include "engine/watch/events.hpp"

#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>

namespace grua::engine {

/// In the live folder of a container that is paused for a commit only: a gruad that finds it lets the container go on.
constexpr const char* pause_mark = "/paused-for-commit";

struct StartWork;
struct RecoverWork;
struct Leftover;

/// Who wants a start; the record says different things afterwards.
enum class StartReason : std::uint8_t {
    asked,     ///< By a client.
    restart,   ///< By a client, of one that may run.
    policy,    ///< By its restart policy, after an end.
    recovery,  ///< The same, when gruad came back.
};

class Lifecycle : public std::enable_shared_from_this<Lifecycle> {
public:
    Lifecycle(asio::any_io_executor loop, asio::thread_pool& pool, Options options, HostFacts host, store::Database& database,
              Ground& ground);
    virtual ~Lifecycle() = default;
    Lifecycle(const Lifecycle&) = delete;
    Lifecycle& operator=(const Lifecycle&) = delete;

    // looking (lifecycle.cpp)
    ContainerPtr find_container(std::string_view reference) const;
    ContainerPtr get_container(std::string_view reference) const;
    void add(const ContainerPtr& container);
    /// The record changed: readers on other threads see it, who waits for the container looks again.
    void publish(Container& container);
    void set_phase(Container& container, Phase phase);

    // create.cpp
    std::string reserve_name(const std::string& asked, const std::string& id);

    // start.cpp
    asio::awaitable<void> start(std::string reference);
    asio::awaitable<void> start_held(ContainerPtr container, StartReason reason);
    tasks::TaskEvents task_events(const ContainerPtr& container, std::shared_ptr<StartWork> work);

    // stop.cpp
    asio::awaitable<void> stop(std::string reference, StopOptions options);
    asio::awaitable<void> stop_held(ContainerPtr container, StopOptions options);
    asio::awaitable<void> restart(std::string reference, StopOptions options);
    asio::awaitable<void> stop_all(std::chrono::seconds patience);
    asio::awaitable<void> stop_for_the_end(ContainerPtr container);
    asio::awaitable<void> kill_for_the_end(ContainerPtr container);
    asio::awaitable<void> kill(std::string reference, std::string signal);
    asio::awaitable<void> pause(std::string reference);
    asio::awaitable<void> unpause(std::string reference);
    asio::awaitable<bool> end_without_monitor(ContainerPtr container);
    asio::awaitable<void> wait_for_removal(ContainerPtr container);
    asio::awaitable<bool> hears(ContainerPtr container, int signal);
    asio::awaitable<void> signal_once_heard(ContainerPtr container, int signal, Clock::Point deadline);
    asio::awaitable<bool> wait_for_exit(ContainerPtr container, Clock::Point deadline);

    // exit.cpp
    void on_started(const ContainerPtr& container, StartWork& work, pid_t pid, Time started_at);
    void on_exited(const ContainerPtr& container, const tasks::ExitReport& report);
    void on_link_closed(const ContainerPtr& container);
    asio::awaitable<void> look_after_monitor(ContainerPtr container);
    asio::awaitable<void> after_exit(ContainerPtr container);
    asio::awaitable<void> restart_later(ContainerPtr container, std::chrono::milliseconds delay);
    void resolve_waiters(Container& container, bool removed);

    // release.cpp: what is owned, and the one way it is let go of
    /// From `first` to `last`; false where something could not be let go of: it is said in the log, held still, and tried again.
    asio::awaitable<bool> release(ContainerPtr container, Held first, Held last);
    asio::awaitable<void> try_again(ContainerPtr container);
    Owner network_owner(const std::string& id);
    Owner cgroup_owner(const ContainerRecord& record);
    Owner monitor_owner(const ContainerPtr& container);
    Owner traces_owner(const ContainerRecord& record);
    Owner row_owner(const std::string& id);
    Owner mounts_owner(const std::string& holder);
    /// Of a container that is there: its layer, folders and row.
    void own_itself(Owned& owned, const ContainerRecord& record);

    // remove.cpp
    asio::awaitable<void> remove(std::string reference, RemoveOptions options);
    asio::awaitable<void> remove_held(ContainerPtr container, bool volumes);

    // exec_run.cpp
    /// What a further program in it gets of the container.
    oci::Process further_process(const ContainerRecord& record, const ExecConfig& config) const;
    /// Throws where it cannot be made; whom it runs as is not looked up here.
    ContainerPtr check_exec_create(std::string_view reference, const ExecConfig& config) const;
    std::string add_exec(Container& container, ExecConfig config);  ///< One that was checked.
    asio::awaitable<std::string> exec_create(std::string reference, ExecConfig config);
    ExecPtr exec_find(std::string_view id) const;
    ExecPtr check_exec(std::string_view id) const;
    asio::awaitable<void> exec_start(std::string id, ExecStart start, Fd client, std::string early_input);
    asio::awaitable<void> exec_resize(std::string id, std::uint32_t height, std::uint32_t width);
    void on_exec_exited(const ContainerPtr& container, const std::string& id, int code);
    void change_exec(const std::string& id, const std::function<void(ExecRecord&)>& how);
    void end_exec(const std::string& id, int code);
    void forget_execs(Container& container);

    // health_watch.cpp
    /// Of a container whose program has just started, or was found running: checks begin, where it has any.
    void begin_health(const ContainerPtr& container);
    asio::awaitable<void> watch_health(ContainerPtr container);
    asio::awaitable<void> act_on_failure(ContainerPtr container);
    asio::awaitable<HealthResult> check_health(ContainerPtr container, HealthCheck check, std::chrono::nanoseconds timeout);
    asio::awaitable<tasks::Captured> run_check(ContainerPtr container, StringList command, std::chrono::nanoseconds timeout);
    asio::awaitable<ProbeAnswer> ask_probe(ContainerPtr container, Probe probe, std::chrono::nanoseconds timeout);

    // recover.cpp
    asio::awaitable<void> recover();
    asio::awaitable<void> keep_events();
    /// How much of what was begun by itself has not ended: its frames still use what this engine stands on.
    asio::awaitable<std::size_t> shutdown();

    // who uses what
    StringList volume_users(const std::string& name) const;
    std::map<std::string, std::string> linked_containers(const HostConfig& host_config) const;
    struct Linked {
        std::string alias;
        std::string address;
        RecordPtr other;
    };
    std::vector<Linked> linked(const ContainerRecord& record) const;
    LinkedHosts linked_hosts(const ContainerRecord& record) const;
    StringList linked_environment(const ContainerRecord& record) const;
    void forget_link(const std::string& target, const std::string& from);

    // paths and small things (lifecycle.cpp)
    std::string container_directory(const std::string& id) const { return options.data_root + "/containers/" + id; }
    std::string live_directory(const std::string& id) const { return options.exec_root + "/containers/" + id; }
    std::string step_directory(const std::string& id) const { return options.exec_root + "/steps/" + id; }
    std::string cgroup_path(const ContainerRecord& record) const;
    void emit(const ContainerRecord& record, std::string action, StringMap more = {});
    /// Of the networks and volumes that a run has: it begins, or it has ended.
    void emit_joined(const ContainerRecord& record, bool begins);
    void save(const Container& container);
    void spawn(asio::awaitable<void> task, std::string doing);

    /// Others may have something to say when one has started.
    virtual asio::awaitable<void> has_started(std::string id);

    asio::any_io_executor loop;
    asio::thread_pool& pool;
    const Options options;
    const HostFacts host;
    Ground& ground;
    Events events;
    EventLog event_log;
    std::size_t under_way = 0;  ///< Of spawn().
    Condition none_under_way;
    Saver saver;

    std::map<std::string, ContainerPtr, std::less<>> containers;  ///< By ID.
    std::map<std::string, std::string, std::less<>> names;        ///< Name to ID; also of containers being made.
    std::map<std::string, std::set<std::string>> linked_from;     ///< Containers with links of the default bridge, by where these lead.
    std::unordered_map<std::string, ExecPtr> execs;
    std::deque<std::pair<Clock::Point, std::string>> finished_execs;  ///< The oldest first.
    bool closing = false;

    /// For readers on other threads.
    mutable Mutex snapshot_mutex;
    std::unordered_map<std::string, RecordPtr> snapshot GRUA_GUARDED_BY(snapshot_mutex);

private:
    asio::awaitable<void> start_failed(ContainerPtr container, std::shared_ptr<StartWork> work, std::exception_ptr thrown);
    friend struct RecoverWork;
    bool recover_container(const ContainerPtr& container, Leftover& found);
    asio::awaitable<void> start_recovered(std::shared_ptr<RecoverWork> work, ContainerPtr container);
    void expire_execs();
    void forget_oldest_waiting(Container& container);
};

}  // namespace grua::engine
