// The handlers that the table in routes.cpp names. Each parses all, calls the engine once, and writes.
#pragma once

#include "api/exchange.hpp"
#include "api/services.hpp"

namespace grua::api {

using Answer = asio::awaitable<void>;

Answer ping(const Services&, Exchange&);
Answer version(const Services&, Exchange&);
Answer info(const Services&, Exchange&);
Answer debug_vars(const Services&, Exchange&);
Answer events(const Services&, Exchange&);
Answer disk_usage(const Services&, Exchange&);

/// Connections that become HTTP/2: calls of the builder, and what a client serves to its builds.
Answer build_calls(const Services&, Exchange&);
Answer build_session(const Services&, Exchange&);
Answer build(const Services&, Exchange&);
Answer build_cancel(const Services&, Exchange&);
Answer build_prune(const Services&, Exchange&);

// This host is in no swarm and has no plugins; what would make it so is not built.
Answer not_a_swarm_manager(const Services&, Exchange&);
Answer not_in_a_swarm(const Services&, Exchange&);
Answer plugin_list(const Services&, Exchange&);
Answer no_such_plugin(const Services&, Exchange&);

Answer container_list(const Services&, Exchange&);
Answer container_create(const Services&, Exchange&);
Answer container_inspect(const Services&, Exchange&);
Answer container_top(const Services&, Exchange&);
Answer container_logs(const Services&, Exchange&);
Answer container_stats(const Services&, Exchange&);
Answer container_resize(const Services&, Exchange&);
Answer container_start(const Services&, Exchange&);
Answer container_stop(const Services&, Exchange&);
Answer container_restart(const Services&, Exchange&);
Answer container_kill(const Services&, Exchange&);
Answer container_update(const Services&, Exchange&);
Answer container_rename(const Services&, Exchange&);
Answer container_pause(const Services&, Exchange&);
Answer container_unpause(const Services&, Exchange&);
Answer container_attach(const Services&, Exchange&);
Answer container_attach_websocket(const Services&, Exchange&);
Answer container_wait(const Services&, Exchange&);
Answer container_remove(const Services&, Exchange&);
Answer container_prune(const Services&, Exchange&);

Answer container_archive_head(const Services&, Exchange&);
Answer container_archive_get(const Services&, Exchange&);
Answer container_archive_put(const Services&, Exchange&);
Answer container_export(const Services&, Exchange&);
Answer container_changes(const Services&, Exchange&);
Answer container_commit(const Services&, Exchange&);

Answer exec_create(const Services&, Exchange&);
Answer exec_start(const Services&, Exchange&);
Answer exec_resize(const Services&, Exchange&);
Answer exec_inspect(const Services&, Exchange&);

Answer image_list(const Services&, Exchange&);
Answer image_inspect(const Services&, Exchange&);
Answer image_history(const Services&, Exchange&);
Answer image_tag(const Services&, Exchange&);
Answer image_remove(const Services&, Exchange&);
Answer image_load(const Services&, Exchange&);
Answer image_create(const Services&, Exchange&);
Answer image_prune(const Services&, Exchange&);
Answer image_push(const Services&, Exchange&);
Answer image_save(const Services&, Exchange&);
Answer image_save_all(const Services&, Exchange&);
Answer image_search(const Services&, Exchange&);
Answer registry_login(const Services&, Exchange&);
Answer distribution_inspect(const Services&, Exchange&);

/// What of the API this gruad knows: the table of operations as JSON.
Answer known_operations(const Services&, Exchange&);

Answer collect_garbage(const Services&, Exchange&);
Answer check_store(const Services&, Exchange&);

Answer volume_list(const Services&, Exchange&);
Answer volume_create(const Services&, Exchange&);
Answer volume_inspect(const Services&, Exchange&);
Answer volume_update(const Services&, Exchange&);
Answer volume_remove(const Services&, Exchange&);
Answer volume_prune(const Services&, Exchange&);

Answer network_list(const Services&, Exchange&);
Answer network_inspect(const Services&, Exchange&);
Answer network_create(const Services&, Exchange&);
Answer network_update(const Services&, Exchange&);
Answer network_reach(const Services&, Exchange&);
Answer network_remove(const Services&, Exchange&);
Answer network_prune(const Services&, Exchange&);
Answer network_connect(const Services&, Exchange&);
Answer network_disconnect(const Services&, Exchange&);

}  // namespace grua::api
