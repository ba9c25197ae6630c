// Commands that change a container, one request for each name.
#include "cli/create.hpp"
#include "cli/handlers.hpp"
#include "cli/table.hpp"
#include "cli/units.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"

#include <boost/json.hpp>

namespace grua::cli {

std::string container_path(const std::string& name, std::string_view rest) {
    const std::string_view plain = name.starts_with('/') ? std::string_view(name).substr(1) : std::string_view(name);
    if (trim(plain).empty()) fail(ErrorKind::invalid_argument, "invalid container name or ID: value is empty");
    return fmt::format("/containers/{}{}", percent_encode(plain), rest);
}

namespace {

int post_each(Context& context, const Parsed& given, const std::string& rest) {
    client::Client& daemon = context.daemon();
    return for_each_name(given.arguments, [&](const std::string& name) {
        daemon.post(container_path(name, rest));
        print(name + "\n");
    });
}

std::string stop_query(const Flags& flags) {
    client::Query query;
    const std::string timeout = flags.given("timeout") ? flags.text("timeout") : flags.text("time");
    query.add_if(!timeout.empty(), "t", timeout).add_if(!flags.text("signal").empty(), "signal", flags.text("signal"));
    return query.text();
}

}  // namespace

int stop_containers(Context& context, const Parsed& given) { return post_each(context, given, "/stop" + stop_query(given.flags)); }

int restart_containers(Context& context, const Parsed& given) { return post_each(context, given, "/restart" + stop_query(given.flags)); }

int kill_containers(Context& context, const Parsed& given) {
    client::Query query;
    query.add_if(!given.flags.text("signal").empty(), "signal", given.flags.text("signal"));
    return post_each(context, given, "/kill" + query.text());
}

int pause_containers(Context& context, const Parsed& given) { return post_each(context, given, "/pause"); }

int unpause_containers(Context& context, const Parsed& given) { return post_each(context, given, "/unpause"); }

int rename_container(Context& context, const Parsed& given) {
    if (trim(given.arguments[1]).empty()) fail(ErrorKind::invalid_argument, "Error: Neither old nor new names may be empty");
    client::Query query;
    query.add("name", given.arguments[1]);
    context.daemon().post(container_path(given.arguments[0], "/rename" + query.text()));
    return 0;
}

int remove_containers(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Query query;
    query.add_if(flags.on("volumes"), "v", "1").add_if(flags.on("link"), "link", "1").add_if(flags.on("force"), "force", "1");
    client::Client& daemon = context.daemon();
    return for_each_name(given.arguments, [&](const std::string& name) {
        try {
            daemon.remove(container_path(name, query.text()));
        } catch (const client::ApiError& error) {
            // What is not there is what -f asked for.
            if (error.status() != 404 || !flags.on("force")) throw;
            fmt::print(stderr, "{}\n", error_text(error));
            return;
        }
        print(name + "\n");
    });
}

int wait_containers(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    return for_each_name(given.arguments, [&](const std::string& name) {
        const Value answer = daemon.post(container_path(name, "/wait"));
        const std::string error = text_at(at(answer, "Error"), "Message");
        if (!error.empty()) fail(ErrorKind::system, "{}", error);
        print(fmt::format("{}\n", number_at(answer, "StatusCode")));
    });
}

int update_containers(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    boost::json::object body;
    const auto integer = [&](const char* flag, const char* member) {
        if (flags.given(flag)) body[member] = flags.integer(flag);
    };
    const auto bytes = [&](const char* flag, const char* member) {
        if (flags.given(flag)) body[member] = flags.bytes(flag);
    };
    const auto text = [&](const char* flag, const char* member) {
        if (flags.given(flag)) body[member] = flags.text(flag);
    };
    integer("blkio-weight", "BlkioWeight");
    integer("cpu-period", "CpuPeriod");
    integer("cpu-quota", "CpuQuota");
    integer("cpu-rt-period", "CpuRealtimePeriod");
    integer("cpu-rt-runtime", "CpuRealtimeRuntime");
    integer("cpu-shares", "CpuShares");
    integer("pids-limit", "PidsLimit");
    bytes("memory", "Memory");
    bytes("memory-reservation", "MemoryReservation");
    bytes("memory-swap", "MemorySwap");
    text("cpuset-cpus", "CpusetCpus");
    text("cpuset-mems", "CpusetMems");
    if (flags.given("cpus")) body["NanoCpus"] = parse_cpus(flags.text("cpus"));
    if (flags.given("restart")) body["RestartPolicy"] = detail::restart_policy(flags.text("restart"));
    text("publish-from", "PublishFrom");
    for (const auto& [flag, member] : detail::network_limits) text(flag, member);
    if (flags.given("network-allow")) body["NetworkAllow"] = detail::to_array(flags.list("network-allow"));
    for (const auto& [flag, member] : {std::pair{"publish-add", "PublishAdd"}, std::pair{"publish-rm", "PublishRemove"}})
        if (flags.given(flag)) body[member] = detail::parse_ports(flags.list(flag), {}).bindings;
    if (body.empty()) throw UsageError("you must provide one or more flags when using this command", 1);
    const Value document = body;
    client::Client& daemon = context.daemon();
    return for_each_name(given.arguments, [&](const std::string& name) {
        const Value answer = daemon.post(container_path(name, "/update"), &document);
        if (const auto* warnings = at(answer, "Warnings").if_array()) {
            for (const Value& warning : *warnings) fmt::print(stderr, "{}\n", std::string_view(warning.as_string()));
        }
        print(name + "\n");
    });
}

int top_container(Context& context, const Parsed& given) {
    client::Query query;
    const std::vector<std::string> options(given.arguments.begin() + 1, given.arguments.end());
    query.add_if(!options.empty(), "ps_args", join(options, " "));
    const Value answer = context.daemon().get(container_path(given.arguments[0], "/top" + query.text()));
    std::string text;
    const auto line = [&](const Value& cells) {
        std::vector<std::string> row;
        if (const auto* list = cells.if_array()) {
            for (const Value& cell : *list) row.push_back(print_value(cell));
        }
        text += join(row, "\t") + "\n";
    };
    line(at(answer, "Titles"));
    if (const auto* processes = at(answer, "Processes").if_array()) {
        for (const Value& process : *processes) line(process);
    }
    print(align_columns(text, 20));
    return 0;
}

}  // namespace grua::cli
