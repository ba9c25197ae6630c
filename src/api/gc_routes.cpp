// grua's own part of the API: what is collected and why, and whether the store is whole. Both answer one JSON object a line,
// the sums last.
#include "api/progress.hpp"
#include "api/routes.hpp"

namespace grua::api {

namespace {

using boost::json::object;

std::string json_line(const object& value) { return boost::json::serialize(value) + "\n"; }

object line_of(const engine::Decision& each) {
    object out{{"kind", each.kind}, {"id", each.id}};
    if (!each.name.empty()) out["name"] = each.name;
    out["action"] = each.verdict == engine::Decision::Verdict::keep ? "keep" : "remove";
    out["reason"] = each.reason;
    out["size"] = each.size;
    return out;
}

object line_of(const engine::Finding& each) {
    return {{"kind", each.kind}, {"id", each.id}, {"problem", each.problem}, {"repaired", each.repaired}};
}

object line_of(const engine::CheckSums& sums) {
    return {{"checked", sums.checked}, {"problems", sums.problems}, {"repaired", sums.repaired}, {"bytes", sums.bytes}};
}

}  // namespace

Answer collect_garbage(const Services& services, Exchange& exchange) {
    const auto mode = exchange.query().flag("dry-run") ? engine::GcMode::dry_run : engine::GcMode::real;
    const engine::Collected collected = co_await services.system.collect(mode);
    std::string text;
    for (const engine::Decision& each : collected.decisions) text += json_line(line_of(each));
    text += json_line({{"reclaimed", collected.reclaimed}, {"removed", collected.removed}, {"kept", collected.kept}});
    co_await exchange.send(200, std::move(text));
}

Answer check_store(const Services& services, Exchange& exchange) {
    engine::Credentials credentials = engine::credentials_of_header(exchange.head().header("x-registry-auth"));
    auto work = [check = services.system.check(exchange.query().flag("repair"), std::move(credentials))](const Say& say,
                                                                                                         const std::stop_token& stop) {
        const auto found = [&](const engine::Finding& finding) { say->line(json_line(line_of(finding))); };
        say->line(json_line(line_of(check(found, stop))));
    };
    co_await stream(services.transfers, exchange, true, std::move(work));
}

}  // namespace grua::api
