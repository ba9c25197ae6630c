#include "api/routes.hpp"

#include "api/router.hpp"
#include "api/wire/container.hpp"
#include "api/wire/network.hpp"
#include "api/wire/volume.hpp"
#include "engine/network_service.hpp"

#include <array>

namespace grua::api {

namespace {

template <json::WireStruct T>
constexpr Body body = &json::fields_of<T>;

// clang-format off
constexpr auto table = std::to_array<Route>({
    Route{"GET", "/containers/json", container_list}.reads("all limit size filters")
        .filtered_by("ancestor before exited expose health id is-task isolation label name network publish since status volume"),
    Route{"POST", "/containers/create", container_create}.reads("name platform@41").with_body(body<wire::CreateBody>),
    Route{"POST", "/containers/prune", container_prune, 25}.reads("filters").filtered_by("label label! until"),
    Route{"GET", "/images/json", image_list}.reads("filters filter shared-size@42 manifests@47")
        .filtered_by("before dangling label label! reference since until"),
    Route{"POST", "/build", build}
        .reads("dockerfile t extrahosts remote q nocache cachefrom pull rm forcerm memory memswap cpushares cpusetcpus cpusetmems cpuperiod "
               "cpuquota buildargs shmsize ulimits squash labels networkmode platform@32 target outputs@40 version session buildid isolation "
               "cgroupparent securityopt"),
    Route{"POST", "/build/cancel", build_cancel, 31}.reads("id"),
    Route{"POST", "/build/prune", build_prune, 31}.reads("all filters keep-storage reserved-space@48 max-used-space@48 min-free-space@48")
        .filtered_by("description id inuse label label! parent private shared type until unused-for"),
    Route{"POST", "/images/create", image_create}.reads("fromImage fromSrc repo tag message changes platform@32"),
    Route{"GET", "/images/search", image_search}.reads("term limit filters").filtered_by("is-automated is-official stars"),
    Route{"POST", "/images/prune", image_prune, 25}.reads("filters").filtered_by("dangling label label! until"),
    {"POST", "/auth", registry_login},
    {"GET", "/info", info},
    {"GET", "/version", version},
    {"GET", "/_ping", ping},
    {"HEAD", "/_ping", ping},
    Route{"POST", "/commit", container_commit}.reads("container repo tag author comment changes pause").with_body(body<engine::ContainerConfig>),
    Route{"GET", "/events", events}.reads("since until filters")
        .filtered_by("config container daemon event id image label network node plugin scope secret service type volume"),
    Route{"GET", "/system/df", disk_usage, 25}.reads("type@42"),
    Route{"GET", "/images/get", image_save_all}.reads("names platform@48"),
    Route{"POST", "/images/load", image_load}.reads("quiet platform@48"),
    Route{"GET", "/volumes", volume_list}.reads("filters").filtered_by("dangling driver label name"),
    Route{"POST", "/volumes/create", volume_create}.with_body(body<wire::VolumeCreate>),
    Route{"POST", "/volumes/prune", volume_prune, 25}.reads("filters").filtered_by("all label label!"),
    Route{"GET", "/networks", network_list}.reads("filters").filtered_by("dangling driver id label name scope type"),
    Route{"GET", "/networks/", network_list}.reads("filters").filtered_by("dangling driver id label name scope type"),
    Route{"POST", "/networks/create", network_create}.with_body(body<engine::NetworkConfig>),
    Route{"POST", "/networks/prune", network_prune, 25}.reads("filters").filtered_by("label label! until"),
    Route{"GET", "/plugins", plugin_list}.reads("filters").filtered_by("capability enabled"),
    {"GET", "/plugins/privileges"},
    {"POST", "/plugins/pull"},
    {"POST", "/plugins/create"},
    {"GET", "/nodes", not_a_swarm_manager},
    {"GET", "/swarm", not_a_swarm_manager},
    {"POST", "/swarm/init"},
    {"POST", "/swarm/join"},
    {"POST", "/swarm/leave", not_in_a_swarm},
    {"POST", "/swarm/update", not_a_swarm_manager},
    {"GET", "/swarm/unlockkey", not_a_swarm_manager},
    {"POST", "/swarm/unlock", not_in_a_swarm},
    {"GET", "/services", not_a_swarm_manager},
    {"POST", "/services/create", not_a_swarm_manager},
    {"GET", "/tasks", not_a_swarm_manager},
    {"GET", "/secrets", not_a_swarm_manager},
    {"POST", "/secrets/create", not_a_swarm_manager},
    {"GET", "/configs", not_a_swarm_manager},
    {"POST", "/configs/create", not_a_swarm_manager},
    {"POST", "/session", build_session, 31},
    {"POST", "/grpc", build_calls, 31},
    Route{"GET", "/containers/{id}/json", container_inspect}.reads("size"),
    Route{"GET", "/containers/{id}/top", container_top}.reads("ps_args"),
    Route{"GET", "/containers/{id}/logs", container_logs}.reads("stdout stderr since until tail follow timestamps details"),
    {"GET", "/containers/{id}/changes", container_changes},
    {"GET", "/containers/{id}/export", container_export},
    Route{"GET", "/containers/{id}/stats", container_stats}.reads("stream one-shot@41"),
    Route{"POST", "/containers/{id}/resize", container_resize}.reads("h w"),
    Route{"POST", "/containers/{id}/start", container_start}.reads("checkpoint"),
    Route{"POST", "/containers/{id}/stop", container_stop}.reads("t signal@42"),
    Route{"POST", "/containers/{id}/restart", container_restart}.reads("t signal@42"),
    Route{"POST", "/containers/{id}/kill", container_kill}.reads("signal"),
    Route{"POST", "/containers/{id}/update", container_update}.with_body(body<engine::UpdateConfig>),
    Route{"POST", "/containers/{id}/rename", container_rename}.reads("name"),
    {"POST", "/containers/{id}/pause", container_pause},
    {"POST", "/containers/{id}/unpause", container_unpause},
    Route{"POST", "/containers/{id}/attach", container_attach}.reads("detachKeys logs stream stdin stdout stderr"),
    Route{"GET", "/containers/{id}/attach/ws", container_attach_websocket}.reads("detachKeys logs stream stdin@42 stdout@42 stderr@42"),
    Route{"POST", "/containers/{id}/wait", container_wait}.reads("condition@30"),
    Route{"DELETE", "/containers/{id*}", container_remove}.reads("v force link"),
    Route{"HEAD", "/containers/{id}/archive", container_archive_head}.reads("path"),
    Route{"GET", "/containers/{id}/archive", container_archive_get}.reads("path"),
    Route{"PUT", "/containers/{id}/archive", container_archive_put}.reads("path noOverwriteDirNonDir copyUIDGID"),
    Route{"GET", "/images/{name*}/json", image_inspect}.reads("manifests@48 platform@49"),
    {"GET", "/images/{name*}/attestations"},
    Route{"GET", "/images/{name*}/history", image_history}.reads("platform@48"),
    Route{"POST", "/images/{name*}/push", image_push}.reads("tag platform@46"),
    Route{"POST", "/images/{name*}/tag", image_tag}.reads("repo tag"),
    Route{"DELETE", "/images/{name*}", image_remove}.reads("force noprune platforms@50"),
    Route{"GET", "/images/{name*}/get", image_save}.reads("platform@48"),
    Route{"POST", "/containers/{id}/exec", exec_create}.with_body(body<engine::ExecConfig>),
    Route{"POST", "/exec/{id}/start", exec_start}.with_body(body<wire::ExecStartBody>),
    Route{"POST", "/exec/{id}/resize", exec_resize}.reads("h w"),
    {"GET", "/exec/{id}/json", exec_inspect},
    {"GET", "/volumes/{name}", volume_inspect},
    {"PUT", "/volumes/{name}", volume_update, 42},
    Route{"DELETE", "/volumes/{name}", volume_remove}.reads("force"),
    Route{"GET", "/networks/{id}", network_inspect}.reads("scope"),
    {"DELETE", "/networks/{id}", network_remove},
    Route{"POST", "/networks/{id}/connect", network_connect}.with_body(body<wire::NetworkConnect>),
    Route{"POST", "/networks/{id}/disconnect", network_disconnect}.with_body(body<wire::NetworkDisconnect>),
    {"GET", "/plugins/{name*}/json", no_such_plugin},
    {"DELETE", "/plugins/{name*}", no_such_plugin},
    {"POST", "/plugins/{name*}/enable", no_such_plugin},
    {"POST", "/plugins/{name*}/disable", no_such_plugin},
    {"POST", "/plugins/{name*}/upgrade", no_such_plugin},
    {"POST", "/plugins/{name*}/push", no_such_plugin},
    {"POST", "/plugins/{name*}/set", no_such_plugin},
    {"GET", "/nodes/{id}", not_a_swarm_manager},
    {"DELETE", "/nodes/{id}", not_a_swarm_manager},
    {"POST", "/nodes/{id}/update", not_a_swarm_manager},
    {"GET", "/services/{id}", not_a_swarm_manager},
    {"DELETE", "/services/{id}", not_a_swarm_manager},
    {"POST", "/services/{id}/update", not_a_swarm_manager},
    {"GET", "/services/{id}/logs", not_a_swarm_manager},
    {"GET", "/tasks/{id}", not_a_swarm_manager},
    {"GET", "/tasks/{id}/logs", not_a_swarm_manager},
    {"GET", "/secrets/{id}", not_a_swarm_manager},
    {"DELETE", "/secrets/{id}", not_a_swarm_manager},
    {"POST", "/secrets/{id}/update", not_a_swarm_manager},
    {"GET", "/configs/{id}", not_a_swarm_manager},
    {"DELETE", "/configs/{id}", not_a_swarm_manager},
    {"POST", "/configs/{id}/update", not_a_swarm_manager},
    {"GET", "/distribution/{name*}/json", distribution_inspect, 30},
    {"GET", "/debug/vars", debug_vars},
    // grua's own
    {"GET", "/grua/api", known_operations},
    Route{"POST", "/grua/gc", collect_garbage}.reads("dry-run"),
    Route{"POST", "/grua/check", check_store}.reads("repair"),
    Route{"GET", "/grua/reach", network_reach}.reads("probe"),
    Route{"POST", "/grua/networks/{id}/update", network_update}.with_body(body<wire::NetworkUpdate>),
});
// clang-format on

}  // namespace

std::span<const Route> routes() { return table; }

}  // namespace grua::api
