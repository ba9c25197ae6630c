#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/units.hpp"

#include "base/id.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <map>

namespace grua::cli {

namespace {

std::string strip_slash(std::string name) { return name.starts_with('/') ? name.substr(1) : name; }

std::string names_of(const Value& container, bool truncate) {
    std::string out;
    if (const auto* names = at(container, "Names").if_array()) {
        for (const Value& each : *names) {
            const std::string name = strip_slash(std::string(each.as_string()));
            // Names with a slash inside are those of links.
            if (truncate && name.find('/') == std::string::npos) return name;
            if (!truncate) out += (out.empty() ? "" : ",") + name;
        }
    }
    return out;
}

/// "0.0.0.0:80->80/tcp, 9000-9002/tcp": neighbours that map alike are one range.
std::string ports_of(const Value& container) {
    struct Port {
        std::string ip;
        std::int64_t inside = 0;
        std::int64_t outside = 0;
        std::string type;
    };
    std::vector<Port> ports;
    if (const auto* list = at(container, "Ports").if_array()) {
        for (const Value& each : *list)
            ports.push_back({text_at(each, "IP"), number_at(each, "PrivatePort"), number_at(each, "PublicPort"), text_at(each, "Type")});
    }
    std::ranges::sort(ports, [](const Port& a, const Port& b) {
        return std::tie(a.inside, a.ip, a.outside, a.type) < std::tie(b.inside, b.ip, b.outside, b.type);
    });

    const auto host = [](const std::string& ip) { return ip.find(':') == std::string::npos ? ip : "[" + ip + "]"; };
    std::vector<std::string> order;
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> groups;
    std::vector<std::string> parts;
    std::vector<std::string> mapped;
    const auto close = [&](const std::string& key) {
        const auto [first, last] = groups.at(key);
        const std::size_t slash = key.find('/');
        const std::string ip = slash == std::string::npos ? std::string() : key.substr(0, slash);
        const std::string type = slash == std::string::npos ? key : key.substr(slash + 1);
        const std::string range = first == last ? std::to_string(first) : fmt::format("{}-{}", first, last);
        parts.push_back(ip.empty() ? range + "/" + type : fmt::format("{}:{}->{}/{}", host(ip), range, range, type));
    };
    for (const Port& port : ports) {
        if (!port.ip.empty() && port.outside != port.inside) {
            mapped.push_back(fmt::format("{}:{}->{}/{}", host(port.ip), port.outside, port.inside, port.type));
            continue;
        }
        const std::string key = port.ip.empty() ? port.type : port.ip + "/" + port.type;
        const auto group = groups.find(key);
        if (group == groups.end()) {
            groups[key] = {port.inside, port.inside};
            order.push_back(key);
        } else if (port.inside == group->second.second + 1) {
            group->second.second = port.inside;
        } else if (port.inside > group->second.second) {
            close(key);
            group->second = {port.inside, port.inside};
        }
    }
    for (const std::string& key : order) close(key);
    parts.insert(parts.end(), mapped.begin(), mapped.end());
    return join(parts, ", ");
}

std::string image_of(const Value& container, bool truncate) {
    const std::string image = text_at(container, "Image");
    if (image.empty()) return "<no image>";
    if (!truncate) return image;
    const auto plain = [](std::string id) { return id.starts_with("sha256:") ? id.substr(7) : id; };
    const std::string id = plain(text_at(container, "ImageID")).substr(0, 12);
    if (!id.empty() && plain(image).substr(0, 12) == id) return id;
    return image.substr(0, image.find('@'));
}

std::string labels_of(const Value& document) {
    std::vector<std::string> out;
    if (const auto* labels = at(document, "Labels").if_object()) {
        for (const auto& [key, value] : *labels) out.push_back(std::string(key) + "=" + print_value(value));
    }
    std::ranges::sort(out);
    return join(out, ",");
}

std::string mounts_of(const Value& container, bool truncate) {
    std::vector<std::string> out;
    if (const auto* mounts = at(container, "Mounts").if_array()) {
        for (const Value& mount : *mounts) {
            const std::string name = text_at(mount, "Name").empty() ? text_at(mount, "Source") : text_at(mount, "Name");
            out.push_back(truncate ? ellipsis(name, 15) : name);
        }
    }
    return join(out, ",");
}

std::string size_of(const Value& container) {
    const auto size = [&](const char* member) { return static_cast<double>(number_at(container, member)); };
    std::string out = human_size(size("SizeRw"), 3);
    if (size("SizeRootFs") > 0) out += fmt::format(" (virtual {})", human_size(size("SizeRootFs"), 3));
    return out;
}

/// Go's strconv.Quote, as far as a command line needs it.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        switch (c) {
            case '"':
                out += "\\\"";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\t':
                out += "\\t";
                break;
            case '\r':
                out += "\\r";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20)
                    out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
                else
                    out += c;
        }
    }
    return out + "\"";
}

}  // namespace

Value container_row(const Value& container, bool truncate) {
    const std::string id = text_at(container, "Id");
    const std::string command = text_at(container, "Command");
    const std::int64_t created = number_at(container, "Created");
    std::int64_t local_volumes = 0;
    if (const auto* mounts = at(container, "Mounts").if_array()) {
        local_volumes = std::ranges::count_if(*mounts, [](const Value& mount) { return text_at(mount, "Driver") == "local"; });
    }
    std::vector<std::string> networks;
    if (const auto* attached = at(at(container, "NetworkSettings"), "Networks").if_object()) {
        for (const auto& [name, settings] : *attached) networks.emplace_back(name);
    }
    return boost::json::object{{"ID", truncate ? std::string(short_id(id)) : id},
                               {"Names", names_of(container, truncate)},
                               {"Image", image_of(container, truncate)},
                               {"Command", quoted(truncate ? ellipsis(command, 20) : command)},
                               {"CreatedAt", local_time(created)},
                               {"RunningFor", human_duration(now().time_since_epoch().count() / 1'000'000'000 - created) + " ago"},
                               {"Ports", ports_of(container)},
                               {"State", text_at(container, "State")},
                               {"Status", text_at(container, "Status")},
                               {"Size", size_of(container)},
                               {"Labels", labels_of(container)},
                               {"Mounts", mounts_of(container, truncate)},
                               {"LocalVolumes", std::to_string(local_volumes)},
                               {"Networks", join(networks, ",")},
                               {"Platform", nullptr}};
}

namespace {

constexpr std::array headings{Heading{"ID", "CONTAINER ID"},
                              Heading{"Names", "NAMES"},
                              Heading{"Image", "IMAGE"},
                              Heading{"Command", "COMMAND"},
                              Heading{"CreatedAt", "CREATED AT"},
                              Heading{"RunningFor", "CREATED"},
                              Heading{"Ports", "PORTS"},
                              Heading{"State", "STATE"},
                              Heading{"Status", "STATUS"},
                              Heading{"Size", "SIZE"},
                              Heading{"Labels", "LABELS"},
                              Heading{"Mounts", "MOUNTS"},
                              Heading{"LocalVolumes", "LOCAL VOLUMES"},
                              Heading{"Networks", "NETWORKS"},
                              Heading{"Platform", "PLATFORM"}};

}  // namespace

int list_containers(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::string format = flags.text("format");
    const bool quiet = flags.on("quiet");
    const std::int64_t last = flags.on("latest") ? 1 : flags.integer("last");
    const bool size = flags.on("size") || (!quiet && format_mentions(format, "Size"));
    const std::string filters = filters_argument(flags.list("filter"));
    client::Query query;
    query.add_if(flags.on("all"), "all", "1")
        .add_if(last > 0, "limit", std::to_string(last))
        .add_if(size, "size", "1")
        .add_if(!filters.empty(), "filters", filters);
    const Value answer = context.daemon().get("/containers/json" + query.text());

    const bool truncate = !flags.on("no-trunc");
    std::vector<Value> rows;
    for (const Value& container : answer.as_array()) rows.push_back(container_row(container, truncate));
    Listing listing{.default_table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
                    .headings = headings};
    if (flags.on("size")) listing.default_table += "\t{{.Size}}";
    listing.method = [&](std::size_t row, std::string_view name, std::span<const Value> arguments) -> std::optional<Value> {
        if (name != "Label" || arguments.size() != 1) return std::nullopt;
        return Value(text_at(at(answer.as_array()[row], "Labels"), print_value(arguments[0])));
    };
    if (format == "raw") {
        const std::string raw =
            "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{.State}}\nstatus: "
            "{{.Status}}\n"
            "names: {{.Names}}\nlabels: {{.Labels}}\nports: {{.Ports}}\n";
        print(render_rows(listing, quiet ? "container_id: {{.ID}}" : raw + (size ? "size: {{.Size}}\n" : ""), rows));
        return 0;
    }
    print(render_rows(listing, quiet && (format.empty() || format == "table") ? "{{.ID}}" : format, rows));
    return 0;
}

}  // namespace grua::cli
