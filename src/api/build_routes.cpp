// Clients of the builder: connections that change their protocol, and builds whose answer is a stream of lines.
#include "api/build_query.hpp"
#include "api/filters.hpp"
#include "api/routes.hpp"
#include "build/usage_plan.hpp"

#include <boost/asio/this_coro.hpp>

namespace grua::api {
namespace {

void check_upgrade(const Exchange& exchange) {
    if (exchange.head().header("upgrade") != "h2c") fail(ErrorKind::invalid_argument, "no upgrade to h2c was asked for");
}

asio::awaitable<std::unique_ptr<grpc::Transport>> take_connection(Exchange& exchange) {
    const auto loop = co_await asio::this_coro::executor;
    Hijacked client = co_await exchange.hijack("application/grpc");
    co_return grpc::over_socket(loop, std::move(client.socket), std::move(client.early_input));
}

std::uint64_t bytes_of(const Exchange& exchange, std::string_view name) {
    const std::int64_t out = exchange.query().number(name).value_or(0);
    if (out < 0) fail(ErrorKind::invalid_argument, "{}: {} is less than 0", name, out);
    return static_cast<std::uint64_t>(out);
}

}  // namespace

Answer build_calls(const Services& services, Exchange& exchange) {
    check_upgrade(exchange);
    services.builds_gate.ask_for_builds();
    services.builds.serve_calls(co_await take_connection(exchange));
}

Answer build_session(const Services& services, Exchange& exchange) {
    check_upgrade(exchange);
    services.builds_gate.ask_for_builds();
    build::SessionHead head = build::read_session_head(exchange.head().headers);
    services.builds.serve_session(std::move(head), co_await take_connection(exchange));
}

Answer build(const Services& services, Exchange& exchange) {
    services.builds_gate.ask_for_builds();
    build::ClassicRequest request = build_request_of(exchange.query(), exchange.head().header("x-registry-config"), exchange.version);
    if (request.is_upload()) {
        co_await services.builds.upload_classic(request.id, exchange.body_pipe());
        co_return co_await exchange.send(200, {});
    }
    engine::Input body = request.has_body() ? exchange.body_pipe() : engine::Input{};
    const build::ClassicBuildPtr running = co_await services.builds.begin_classic(std::move(request), std::move(body));
    exchange.cancel_when_client_leaves();
    while (const std::optional<std::string> lines = co_await running->next()) {
        if (!exchange.begun()) co_await exchange.begin(200, "application/json");
        co_await exchange.write(*lines);
    }
    co_await exchange.end();
}

Answer build_cancel(const Services& services, Exchange& exchange) {
    services.builds_gate.ask_for_builds();
    const std::string id(exchange.query().get("id"));
    if (id.empty()) fail(ErrorKind::invalid_argument, "build ID not provided");
    co_await services.builds.cancel_classic(id);
    co_await exchange.send(200, {});
}

Answer build_prune(const Services& services, Exchange& exchange) {
    services.builds_gate.ask_for_builds();
    auto filters = filters_of(exchange).all();
    build::PruneOptions options;
    options.all = exchange.query().flag("all");
    const auto kept = bytes_of(exchange, "keep-storage");  // as it was called before
    options.reserved_space = bytes_of(exchange, "reserved-space");
    if (options.reserved_space == 0) options.reserved_space = kept;
    options.max_used_space = bytes_of(exchange, "max-used-space");
    options.min_free_space = bytes_of(exchange, "min-free-space");
    // Nothing of it has labels. `docker system prune` says here what it says of containers.
    const bool is_of_labels = filters.erase("label") > 0;
    filters.erase("label!");
    build::read_docker_filters(filters, now(), options);
    build::BuildService::Pruned pruned;
    if (!is_of_labels) pruned = co_await services.builds.prune(std::move(options));
    services.system.tell_build_prune(pruned.bytes);
    const boost::json::object out{{"CachesDeleted", null_if_empty(pruned.ids, exchange.version)}, {"SpaceReclaimed", pruned.bytes}};
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

}  // namespace grua::api
