#include "cli/create.hpp"
#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/units.hpp"

#include "base/encoding.hpp"
#include "base/id.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

constexpr std::array volume_headings{Heading{"Name", "VOLUME NAME"},
                                     Heading{"Driver", "DRIVER"},
                                     Heading{"Mountpoint", "MOUNTPOINT"},
                                     Heading{"Scope", "SCOPE"},
                                     Heading{"Labels", "LABELS"},
                                     Heading{"Links", "LINKS"},
                                     Heading{"Size", "SIZE"},
                                     Heading{"Availability", "AVAILABILITY"},
                                     Heading{"Group", "GROUP"},
                                     Heading{"Status", "STATUS"}};

constexpr std::array network_headings{Heading{"ID", "NETWORK ID"},     Heading{"Name", "NAME"},     Heading{"Driver", "DRIVER"},
                                      Heading{"Scope", "SCOPE"},       Heading{"IPv6", "IPV6"},     Heading{"IPv4", "IPV4"},
                                      Heading{"Internal", "INTERNAL"}, Heading{"Labels", "LABELS"}, Heading{"CreatedAt", "CREATED AT"}};

std::string joined_labels(const Value& document) {
    std::vector<std::string> out;
    if (const auto* labels = at(document, "Labels").if_object()) {
        for (const auto& [key, value] : *labels) out.push_back(std::string(key) + "=" + print_value(value));
    }
    std::ranges::sort(out);
    return join(out, ",");
}

/// As Go prints a time: "2026-01-02 15:04:05.6 +0000 UTC".
std::string go_time(const std::string& text) {
    const auto time = parse_time(text);
    if (!time) return text;
    std::string out = format_time(*time);
    out[out.find('T')] = ' ';
    out.pop_back();
    return out + " +0000 UTC";
}

Listing with_labels(Listing listing, const boost::json::array& documents) {
    listing.method = [&documents](std::size_t row, std::string_view name, std::span<const Value> arguments) -> std::optional<Value> {
        if (name != "Label" || arguments.size() != 1) return std::nullopt;
        return Value(text_at(at(documents[row], "Labels"), print_value(arguments[0])));
    };
    return listing;
}

}  // namespace

Value volume_row(const Value& volume) {
    const Value& usage = at(volume, "UsageData");
    return boost::json::object{{"Name", text_at(volume, "Name")},
                               {"Driver", text_at(volume, "Driver")},
                               {"Scope", text_at(volume, "Scope")},
                               {"Mountpoint", text_at(volume, "Mountpoint")},
                               {"Labels", joined_labels(volume)},
                               {"Links", usage.is_null() ? std::string("N/A") : std::to_string(number_at(usage, "RefCount"))},
                               {"Size", usage.is_null() ? std::string("N/A") : human_size(static_cast<double>(number_at(usage, "Size")))},
                               {"Availability", "N/A"},
                               {"Group", "N/A"},
                               {"Status", "N/A"}};
}

int list_volumes(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::string filters = filters_argument(flags.list("filter"));
    client::Query query;
    query.add_if(!filters.empty(), "filters", filters);
    const Value answer = context.daemon().get("/volumes" + query.text());
    boost::json::array volumes;
    if (const auto* list = at(answer, "Volumes").if_array()) volumes = *list;
    std::ranges::sort(volumes, {}, [](const Value& volume) { return text_at(volume, "Name"); });
    std::vector<Value> rows;
    for (const Value& volume : volumes) rows.push_back(volume_row(volume));
    const Listing listing = with_labels({.default_table = "{{.Driver}}\t{{.Name}}", .headings = volume_headings}, volumes);
    const std::string format = flags.text("format");
    print(render_rows(listing, flags.on("quiet") && (format.empty() || format == "table") ? "{{.Name}}" : format, rows));
    return 0;
}

int create_volume(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    std::string name = flags.text("name");
    if (!given.arguments.empty()) {
        if (!name.empty())
            fail(ErrorKind::invalid_argument,
                 "conflicting options: cannot specify a volume-name through both --name and as a positional arg");
        name = given.arguments[0];
    }
    const Value body = boost::json::object{{"Driver", flags.text("driver")},
                                           {"DriverOpts", detail::pairs_to_map(flags.list("opt"))},
                                           {"Labels", detail::pairs_to_map(flags.list("label"))},
                                           {"Name", name}};
    print(text_at(context.daemon().post("/volumes/create", &body), "Name") + "\n");
    return 0;
}

int remove_volumes(Context& context, const Parsed& given) {
    client::Client& daemon = context.daemon();
    const char* force = given.flags.on("force") ? "?force=1" : "";
    return for_each_name(given.arguments, [&](const std::string& name) {
        daemon.remove(fmt::format("/volumes/{}{}", percent_encode(name), force));
        print(name + "\n");
    });
}

int list_networks(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::string filters = filters_argument(flags.list("filter"));
    client::Query query;
    query.add_if(!filters.empty(), "filters", filters);
    Value answer = context.daemon().get("/networks" + query.text());
    boost::json::array& networks = answer.as_array();
    std::ranges::sort(networks, {}, [](const Value& network) { return text_at(network, "Name"); });
    std::vector<Value> rows;
    const auto truth = [](const Value& network, const char* member) { return bool_at(network, member) ? "true" : "false"; };
    for (const Value& network : networks) {
        const std::string id = text_at(network, "Id");
        rows.push_back(boost::json::object{{"ID", flags.on("no-trunc") ? id : std::string(short_id(id))},
                                           {"Name", text_at(network, "Name")},
                                           {"Driver", text_at(network, "Driver")},
                                           {"Scope", text_at(network, "Scope")},
                                           {"IPv4", at(network, "EnableIPv4").is_null() ? "true" : truth(network, "EnableIPv4")},
                                           {"IPv6", truth(network, "EnableIPv6")},
                                           {"Internal", truth(network, "Internal")},
                                           {"Labels", joined_labels(network)},
                                           {"CreatedAt", go_time(text_at(network, "Created"))}});
    }
    const Listing listing =
        with_labels({.default_table = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", .headings = network_headings}, networks);
    const std::string format = flags.text("format");
    print(render_rows(listing, flags.on("quiet") && (format.empty() || format == "table") ? "{{.ID}}" : format, rows));
    return 0;
}

}  // namespace grua::cli
