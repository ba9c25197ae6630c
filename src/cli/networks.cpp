// Networks: create, rm, connect, disconnect; a container's published ports.
#include "cli/create.hpp"
#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "linux/ip_address.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <set>

namespace grua::cli {

namespace {

using boost::json::array;
using boost::json::object;

/// The subnet that contains the address.
std::size_t subnet_of(const array& config, const std::string& text, const char* what) {
    const auto address = linux::Ip::parse(text.substr(0, text.find('/')));
    for (std::size_t i = 0; address && i < config.size(); ++i) {
        const auto subnet = linux::IpPrefix::parse(text_at(config[i], "Subnet"));
        if (subnet && subnet->contains(*address)) return i;
    }
    fail(ErrorKind::invalid_argument, "no matching subnet for {} {}", what, text);
}

array ipam_config(const Flags& flags) {
    array out;
    for (const std::string& each : flags.list("subnet")) out.push_back(object{{"Subnet", each}});
    const auto place = [&](const char* flag, const char* member, const char* what) {
        for (const std::string& each : flags.list(flag)) {
            object& entry = out[subnet_of(out, each, what)].as_object();
            if (entry.contains(member))
                fail(ErrorKind::invalid_argument, "cannot configure multiple {}s ({}) on the same subnet", what, each);
            entry[member] = each;
        }
    };
    place("ip-range", "IPRange", "range");
    place("gateway", "Gateway", "gateway");
    for (const std::string& each : flags.list("aux-address")) {
        const auto equals = each.find('=');
        if (equals == std::string::npos) fail(ErrorKind::invalid_argument, "aux-address {}: give name=address", each);
        const std::string address = each.substr(equals + 1);
        object& entry = out[subnet_of(out, address, "aux-address")].as_object();
        if (!entry.contains("AuxiliaryAddresses")) entry["AuxiliaryAddresses"] = object{};
        entry["AuxiliaryAddresses"].as_object()[each.substr(0, equals)] = address;
    }
    return out;
}

/// What both create and update take, as the network's options have it.
object limit_options(const Flags& flags) {
    object out;
    for (const auto& [flag, option] : {std::pair{"net-rate-in", "grua.network.rate_in"}, std::pair{"net-rate-out", "grua.network.rate_out"},
                                       std::pair{"net-burst", "grua.network.burst"}}) {
        if (!flags.given(flag)) continue;
        const std::string text = flags.text(flag);
        out[option] = text == "none" ? "" : text;
    }
    if (flags.given("network-allow")) {
        const std::string text = join(flags.list("network-allow"), " ");
        out["grua.network.allow"] = text == "default" ? "" : text;
    }
    return out;
}

/// Of a way that was tried: "80/tcp yes, 81/tcp no (!)".
std::string probed_text(const Value& way) {
    const auto* probed = at(way, "Probed").if_array();
    if (!probed) return "-";
    std::vector<std::string> out;
    for (const Value& each : *probed) {
        const bool open = at(each, "Open").as_bool();
        out.push_back(text_at(each, "Port") + (open ? " yes" : " no") + (open == at(each, "Expected").as_bool() ? "" : " (!)"));
    }
    return join(out, ", ");
}

}  // namespace

int create_network(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    object body{{"Name", given.arguments[0]},
                {"Driver", flags.text("driver")},
                {"Scope", flags.text("scope")},
                {"Internal", flags.on("internal")},
                {"Attachable", flags.on("attachable")},
                {"ConfigOnly", flags.on("config-only")},
                {"Options", detail::pairs_to_map(flags.list("opt"))},
                {"Labels", detail::pairs_to_map(flags.list("label"))}};
    for (auto& [name, value] : limit_options(flags)) body["Options"].as_object()[name] = value;
    if (flags.given("ipv4")) body["EnableIPv4"] = flags.on("ipv4");
    if (flags.given("ipv6")) body["EnableIPv6"] = flags.on("ipv6");
    if (const std::string from = flags.text("config-from"); !from.empty()) body["ConfigFrom"] = object{{"Network", from}};
    body["IPAM"] = object{
        {"Driver", flags.text("ipam-driver")}, {"Options", detail::pairs_to_map(flags.list("ipam-opt"))}, {"Config", ipam_config(flags)}};
    const Value document = std::move(body);
    print(text_at(context.daemon().post("/networks/create", &document), "Id") + "\n");
    return 0;
}

int update_network(Context& context, const Parsed& given) {
    object options = limit_options(given.flags);
    if (options.empty()) throw UsageError("you must provide one or more flags when using this command", 1);
    const Value body = object{{"Options", std::move(options)}};
    context.daemon().post(fmt::format("/grua/networks/{}/update", percent_encode(given.arguments[0])), &body);
    print(given.arguments[0] + "\n");
    return 0;
}

int reach_network(Context& context, const Parsed& given) {
    const bool probe = given.flags.on("probe");
    const bool all = given.flags.on("all");
    const std::string format = given.flags.text("format");
    if (!format.empty() && format != "json") throw UsageError("network reach: --format " + format + ": json is there", 1);
    client::Client& daemon = context.daemon();
    std::set<std::string> wanted;
    for (const std::string& each : given.arguments)
        wanted.insert(text_at(daemon.get(fmt::format("/containers/{}/json", percent_encode(each))), "Name").substr(1));
    const Value ways = daemon.get(probe ? "/grua/reach?probe=1" : "/grua/reach");
    std::string text = probe ? "FROM\tTO\tBY\tADDRESS\tPORTS\tPROBED\n" : "FROM\tTO\tBY\tADDRESS\tPORTS\n";
    array shown;
    for (const Value& each : ways.as_array()) {
        const std::string from = text_at(each, "From");
        const std::string to = text_at(each, "To");
        if (!wanted.empty() && !wanted.contains(from) && !wanted.contains(to)) continue;
        const std::string by = text_at(each, "By");
        const std::string probed = probe ? probed_text(each) : "";
        // One that is open although no rule says so is always worth a line.
        if (by.empty() && !all && !probed.contains("(!)")) continue;
        std::vector<std::string> ports;
        for (const Value& port : at(each, "Ports").as_array()) ports.emplace_back(port.as_string());
        text += fmt::format("{}\t{}\t{}\t{}\t{}{}\n", from, to, by.empty() ? "-" : by, text_at(each, "Address"),
                            ports.empty() ? "none" : join(ports, ", "), probe ? "\t" + probed : "");
        shown.push_back(each);
    }
    print(format == "json" ? boost::json::serialize(shown) + "\n" : align_columns(text, 20));
    return 0;
}

int remove_networks(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    const bool force = given.flags.on("force");
    return for_each_name(given.arguments, [&](const std::string& name) {
        try {
            daemon.remove("/networks/" + percent_encode(name));
            print(name + "\n");
        } catch (const Error& error) {
            if (!force || error.kind() != ErrorKind::not_found) throw;
        }
    });
}

int connect_network(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    object settings{{"Aliases", detail::to_array(flags.list("alias"))},
                    {"Links", detail::to_array(flags.list("link"))},
                    {"DriverOpts", detail::pairs_to_map(flags.list("driver-opt"))},
                    {"GwPriority", flags.integer("gw-priority")}};
    object ipam;
    if (const std::string ip = flags.text("ip"); !ip.empty()) ipam["IPv4Address"] = ip;
    if (const std::string ip = flags.text("ip6"); !ip.empty()) ipam["IPv6Address"] = ip;
    if (flags.given("link-local-ip")) ipam["LinkLocalIPs"] = detail::to_array(flags.list("link-local-ip"));
    if (!ipam.empty()) settings["IPAMConfig"] = std::move(ipam);
    const Value body = object{{"Container", given.arguments[1]}, {"EndpointConfig", std::move(settings)}};
    context.daemon().post(fmt::format("/networks/{}/connect", percent_encode(given.arguments[0])), &body);
    return 0;
}

int disconnect_network(Context& context, const Parsed& given) {
    const Value body = object{{"Container", given.arguments[1]}, {"Force", given.flags.on("force")}};
    context.daemon().post(fmt::format("/networks/{}/disconnect", percent_encode(given.arguments[0])), &body);
    return 0;
}

int show_ports(Context& context, const Parsed& given) {
    const std::string& name = given.arguments[0];
    const Value container = context.daemon().get(fmt::format("/containers/{}/json", percent_encode(name)));
    std::string wanted = given.arguments.size() > 1 ? given.arguments[1] : "";
    if (!wanted.empty() && !wanted.contains('/')) wanted += "/tcp";
    std::vector<std::string> lines;
    bool found = false;
    if (const auto* ports = at(at(container, "NetworkSettings"), "Ports").if_object()) {
        for (const auto& [port, bindings] : *ports) {
            if ((!wanted.empty() && port != wanted) || !bindings.is_array()) continue;
            found = true;
            for (const Value& each : bindings.get_array()) {
                const std::string ip = text_at(each, "HostIp");
                const std::string address =
                    fmt::format(fmt::runtime(ip.contains(':') ? "[{}]:{}" : "{}:{}"), ip, text_at(each, "HostPort"));
                lines.push_back(wanted.empty() ? fmt::format("{} -> {}", std::string_view(port), address) : address);
            }
        }
    }
    if (!wanted.empty() && !found) fail(ErrorKind::not_found, "no public port '{}' published for {}", wanted, name);
    std::ranges::sort(lines);
    for (const std::string& each : lines) print(each + "\n");
    return 0;
}

}  // namespace grua::cli
