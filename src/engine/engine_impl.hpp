// The engine's inside: one class, its parts in files by what they do. What containers live by is Lifecycle's; this is what stands on it.
#pragma once

#include "engine/engine.hpp"
#include "engine/files/file_view.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/waiter.hpp"
#include "engine/model/create_request.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/spec.hpp"
#include "engine/steps/step_run.hpp"
#include "engine/watch/log_streams.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "network/networks.hpp"
#include "volumes/volumes.hpp"

#include <map>
#include <optional>
#include <string>

namespace grua::engine {

/// The real ground; a base, since Lifecycle stands on it.
struct EngineGround {
    EngineGround(const asio::any_io_executor& loop, asio::thread_pool& pool, Options given, const Rooms& rooms);
    const Options completed;
    RoomGround real;
};

class Inside : private EngineGround, public Lifecycle {
public:
    Inside(asio::any_io_executor loop, asio::thread_pool& pool, Options options, Rooms rooms);

    std::shared_ptr<Inside> shared_impl() { return std::static_pointer_cast<Inside>(shared_from_this()); }

    asio::awaitable<void> recover();
    asio::awaitable<std::size_t> shutdown();
    asio::awaitable<void> has_started(std::string id) override;

    // looking (engine.cpp)
    std::vector<RecordPtr> list() const;
    /// Containers made from this image; on any thread.
    std::vector<RecordPtr> using_image(std::string_view image_id) const;

    // create.cpp
    asio::awaitable<Created> create(CreateRequest request);
    asio::awaitable<void> rename(std::string reference, std::string name);

    // update.cpp
    asio::awaitable<void> update(std::string reference, UpdateConfig update, StringList& warnings);

    // prune.cpp
    asio::awaitable<Pruned> prune(std::function<bool(const ContainerRecord&)> keep);

    // collect.cpp
    asio::awaitable<Collected> collect(images::GcMode mode);
    asio::awaitable<void> collect_containers(images::GcPolicy policy, images::GcMode mode, std::vector<images::Decision>& decisions,
                                             images::GcFacts& facts);
    asio::awaitable<bool> collect_container(ContainerPtr container, images::GcPolicy policy, images::Decision& decision);
    asio::awaitable<void> collect_in_turns();
    /// Images came in: a reason to look.
    void collect_soon();
    std::vector<images::ContainerUse> uses_of_image(std::string_view image_id) const;

    // streams.cpp
    RecordPtr check_attach(std::string_view reference, const AttachOptions& options) const;
    asio::awaitable<void> attach(std::string reference, AttachOptions options, Fd client, std::string early_input);
    asio::awaitable<std::shared_ptr<LogStream>> logs(std::string reference, LogOptions options);
    asio::awaitable<void> resize(std::string reference, std::uint32_t height, std::uint32_t width);

    // observe.cpp
    std::shared_ptr<Waiter> wait(std::string_view reference, WaitCondition condition);
    asio::awaitable<StatsSample> stats(std::string reference);
    asio::awaitable<Processes> top(std::string reference, std::string ps_args);
    asio::awaitable<Sizes> sizes(std::string reference);

    // exec_user.cpp
    asio::awaitable<std::string> create_exec(std::string reference, ExecConfig config);

    // reach.cpp
    asio::awaitable<std::vector<Reached>> reach(bool with_probe);

    // archive.cpp
    asio::awaitable<PathStat> stat_path(std::string reference, std::string path);
    asio::awaitable<std::shared_ptr<TarStream>> archive_path(std::string reference, std::string path);
    asio::awaitable<void> extract(std::string reference, ExtractRequest request, Fd input);
    asio::awaitable<std::shared_ptr<TarStream>> export_files(std::string reference);
    asio::awaitable<std::shared_ptr<TarStream>> open_tar(std::function<void(class TarOutput&)> work);
    ImageMounter image_mounter();
    asio::awaitable<void> with_volumes_mounted(RecordPtr record, std::function<void()> work);
    asio::awaitable<std::shared_ptr<FileView>> open_view(ContainerPtr container, layers::Access access);
    asio::awaitable<std::shared_ptr<FileView>> view_of(ContainerPtr container, std::string reference, layers::Access access,
                                                       std::optional<Lane::Turn>& held);

    // commit.cpp
    asio::awaitable<std::vector<FileChange>> changes(std::string reference);
    asio::awaitable<std::string> commit(std::string reference, CommitOptions options);

    asio::awaitable<std::string> commit_paused(RecordPtr record, images::CommitRequest request, bool pause);

    /// Runs `work` in a thread of its own and comes back to the loop when it has ended.
    asio::awaitable<void> in_own_thread(std::function<void()> work);
    /// The same for what gives something and takes as long as there are data: the pool is for milliseconds, and starts wait for it.
    template <typename Work>
    asio::awaitable<std::invoke_result_t<Work&>> at_length(Work work) {
        const auto out = std::make_shared<std::optional<std::invoke_result_t<Work&>>>();
        co_await in_own_thread([out, work = std::make_shared<Work>(std::move(work))] { out->emplace((*work)()); });
        co_return std::move(**out);
    }

    // volumes_use.cpp
    asio::awaitable<std::shared_ptr<const volumes::Volume>> create_volume(volumes::CreateOptions options);
    asio::awaitable<void> remove_volume(std::string name, bool force);
    asio::awaitable<Pruned> prune_volumes(std::function<bool(const volumes::Volume&)> keep);

    /// How many containers have each volume mounted, by its name.
    std::map<std::string, std::size_t> volume_uses() const;

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
    asio::awaitable<void> tell_linked(std::string id);
    /// "parent/alias". Throws Error(not_found) where there is no such link.
    asio::awaitable<void> remove_link(std::string reference);
    asio::awaitable<void> save_to_end(ContainerPtr container);
    asio::awaitable<void> rewrite_network_files(ContainerPtr container, bool with_resolver);
    asio::awaitable<void> hold_resolver(ContainerPtr container);
    void emit_network(const network::NetworkConfig& network, std::string action, const std::string& container_id = {});

    const Rooms rooms;
    LogStreams log_streams;
    StepRuns steps;

    images::GcPolicy gc_policy;
    Lane collecting;
    Condition collect_now;  ///< Also: the collector ended.
    bool images_changed = false;
    bool collector_ended = true;
};

}  // namespace grua::engine
