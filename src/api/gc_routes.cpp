// grua's own part of the API: what is collected and why, and whether the store is whole. Both answer one JSON object a line,
// the sums last.
#include "api/progress.hpp"
#include "api/routes.hpp"
#include "images/image_store.hpp"

namespace grua::api {

namespace {

using boost::json::object;

std::string json_line(const object& value) { return boost::json::serialize(value) + "\n"; }

object line_of(const images::Decision& each) {
    object out{{"kind", each.kind}, {"id", each.id}};
    if (!each.name.empty()) out["name"] = each.name;
    out["action"] = each.verdict == images::Decision::Verdict::keep ? "keep" : "remove";
    out["reason"] = each.reason;
    out["size"] = each.size;
    return out;
}

object line_of(const images::Finding& each) {
    return {{"kind", each.kind}, {"id", each.id}, {"problem", each.problem}, {"repaired", each.repaired}};
}

object line_of(const images::CheckSums& sums) {
    return {{"checked", sums.checked}, {"problems", sums.problems}, {"repaired", sums.repaired}, {"bytes", sums.bytes}};
}

}  // namespace

Answer collect_garbage(const Services& services, Exchange& exchange) {
    const auto mode = exchange.query().flag("dry-run") ? images::GcMode::dry_run : images::GcMode::real;
    const engine::Collected collected = co_await services.engine.collect(mode);
    std::string text;
    for (const images::Decision& each : collected.decisions) text += json_line(line_of(each));
    text += json_line({{"reclaimed", collected.reclaimed}, {"removed", collected.removed}, {"kept", collected.kept}});
    co_await exchange.send(200, std::move(text));
}

Answer check_store(const Services& services, Exchange& exchange) {
    images::CheckRequest request;
    if (exchange.query().flag("repair")) request.registry = &services.registry;
    request.access.credentials = registry::parse_auth_header(exchange.head().header("x-registry-auth"));
    auto work = [&store = services.engine.rooms().images, request](const Say& say, const std::stop_token& stop) mutable {
        request.access.stop = stop;
        const images::CheckSums sums =
            store.check(request, [&](const images::Finding& finding) { say->line(json_line(line_of(finding))); });
        say->line(json_line(line_of(sums)));
    };
    co_await stream(services.transfers, exchange, true, std::move(work));
}

}  // namespace grua::api
