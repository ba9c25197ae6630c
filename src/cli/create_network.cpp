#include "cli/create.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::cli::detail {

namespace {

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

struct Attachment {
    std::string target;
    std::vector<std::string> aliases;
    std::vector<std::string> links;
    std::vector<std::string> link_local;
    std::string ip;
    std::string ip6;
    std::string mac;
    object driver_options;
    std::int64_t gateway_priority = 0;
};

bool is_user_defined(const std::string& name) {
    return name != "default" && name != "bridge" && name != "host" && name != "none" && !name.starts_with("container:");
}

void check_address(const std::string& text, int family) {
    std::array<unsigned char, 16> bytes{};
    const bool v4 = ::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1;
    const bool v6 = ::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1;
    const bool right = family == AF_INET ? v4 : (family == AF_INET6 ? v6 : v4 || v6);
    if (!right) bad("ParseAddr(\"{}\"): unable to parse IP", text);
}

/// Six pairs of hex digits, separated by colons or dashes; written back in lower case with colons.
std::string check_mac(const std::string& text) {
    std::string mac = to_lower(trim(text));
    std::ranges::replace(mac, '-', ':');
    const std::vector<std::string> parts = split(mac, ':');
    const auto pair = [](const std::string& part) {
        return part.size() == 2 && part.find_first_not_of("0123456789abcdef") == std::string::npos;
    };
    if (parts.size() != 6 || !std::ranges::all_of(parts, pair)) bad("{} is not a valid mac address", text);
    return mac;
}

/// name=mynet,alias=x,ip=… or just a name.
Attachment parse(const std::string& text) {
    Attachment out;
    const std::size_t equals = text.find('=');
    const bool long_form = equals != std::string::npos && equals > 0 && equals + 1 < text.size() &&
                           std::isalnum(static_cast<unsigned char>(text[equals - 1])) != 0;
    if (!long_form) {
        out.target = text;
        return out;
    }
    for (const std::string& field : split_csv(text)) {
        const std::size_t at = field.find('=');
        if (at == std::string::npos || at == 0) bad("invalid field {}", field);
        const std::string key(trim(to_lower(field.substr(0, at))));
        const std::string content(trim(to_lower(field.substr(at + 1))));
        if (key == "name")
            out.target = content;
        else if (key == "alias")
            out.aliases.push_back(content);
        else if (key == "ip")
            check_address(out.ip = content, AF_INET);
        else if (key == "ip6")
            check_address(out.ip6 = content, AF_INET6);
        else if (key == "mac-address")
            out.mac = content;
        else if (key == "link-local-ip") {
            check_address(content, AF_UNSPEC);
            out.link_local.push_back(content);
        } else if (key == "driver-opt") {
            const std::size_t split_at = content.find('=');
            if (split_at == std::string::npos || split_at == 0) bad("invalid key value pair format in driver options");
            out.driver_options[content.substr(0, split_at)] = content.substr(split_at + 1);
        } else if (key == "gw-priority") {
            const auto number = parse_int(content);
            if (!number) bad("invalid gw-priority ({}): invalid syntax", content);
            out.gateway_priority = *number;
        } else {
            bad("invalid field key {}", key);
        }
    }
    if (out.target.empty()) bad("network name/id is not specified");
    return out;
}

/// --ip, --network-alias and so on belong to the first network.
void add_plain_flags(Attachment& first, const Flags& flags) {
    const auto both = [](bool conflict, const char* flag, const char* what) {
        if (conflict) bad("conflicting options: cannot specify both {} and per-network {}", flag, what);
    };
    both(!first.aliases.empty() && flags.given("network-alias"), "--network-alias", "alias");
    both(!first.ip.empty() && flags.given("ip"), "--ip", "IPv4 address");
    both(!first.ip6.empty() && flags.given("ip6"), "--ip6", "IPv6 address");
    both(!first.mac.empty() && flags.given("mac-address"), "--mac-address", "MAC address");
    both(!first.link_local.empty() && flags.given("link-local-ip"), "--link-local-ip", "link-local IP addresses");
    if (flags.given("network-alias")) first.aliases = flags.list("network-alias");
    if (is_user_defined(first.target) && flags.given("link")) first.links = flags.list("link");
    if (flags.given("ip")) check_address(first.ip = flags.text("ip"), AF_INET);
    if (flags.given("ip6")) check_address(first.ip6 = flags.text("ip6"), AF_INET6);
    if (flags.given("mac-address")) first.mac = flags.text("mac-address");
    if (flags.given("link-local-ip")) first.link_local = flags.list("link-local-ip");
    for (const std::string& address : first.link_local) check_address(address, AF_UNSPEC);
}

object endpoint(const Attachment& from) {
    if (!is_user_defined(from.target)) {
        if (!from.aliases.empty()) bad("network-scoped aliases are only supported for user-defined networks");
        if (!from.links.empty()) bad("links are only supported for user-defined networks");
    }
    value ipam = nullptr;
    if (!from.ip.empty() || !from.ip6.empty() || !from.link_local.empty()) {
        object config;
        if (!from.ip.empty()) config["IPv4Address"] = from.ip;
        if (!from.ip6.empty()) config["IPv6Address"] = from.ip6;
        if (!from.link_local.empty()) config["LinkLocalIPs"] = to_array(from.link_local);
        ipam = std::move(config);
    }
    return {{"IPAMConfig", ipam},
            {"Links", list_or_null(from.links)},
            {"Aliases", list_or_null(from.aliases)},
            {"MacAddress", from.mac.empty() ? std::string() : check_mac(from.mac)},
            {"DriverOpts", from.driver_options.empty() ? value(nullptr) : value(from.driver_options)},
            {"GwPriority", from.gateway_priority},
            {"NetworkID", ""},
            {"EndpointID", ""},
            {"Gateway", ""},
            {"IPAddress", ""},
            {"IPPrefixLen", 0},
            {"IPv6Gateway", ""},
            {"GlobalIPv6Address", ""},
            {"GlobalIPv6PrefixLen", 0},
            {"DNSNames", nullptr}};
}

bool has_settings(const Attachment& from) {
    return !from.aliases.empty() || !from.links.empty() || !from.link_local.empty() || !from.ip.empty() || !from.ip6.empty() ||
           !from.mac.empty() || !from.driver_options.empty() || from.gateway_priority != 0;
}

}  // namespace

NetworkChoice parse_networks(const Flags& flags) {
    std::vector<Attachment> attachments;
    for (const std::string& text : flags.list("network")) attachments.push_back(parse(text));
    NetworkChoice out;
    out.mode = attachments.empty() ? "default" : attachments[0].target;
    const bool none_named = attachments.empty();
    if (none_named) attachments.emplace_back().target = "default";
    add_plain_flags(attachments[0], flags);
    bool user_defined = false;
    bool other = false;
    for (const Attachment& each : attachments) {
        (is_user_defined(each.target) ? user_defined : other) = true;
        if (trim(each.target).empty()) bad("no name set for network");
        if (out.endpoints.contains(each.target)) bad("network \"{}\" is specified multiple times", each.target);
        // A single network without settings of its own needs no endpoint: its mode says it all.
        object settings = endpoint(each);
        if (!none_named && attachments.size() == 1 && !has_settings(each)) continue;
        out.endpoints[each.target] = std::move(settings);
    }
    if (user_defined && other) bad("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
    return out;
}

}  // namespace grua::cli::detail
