#include "options.hpp"

#include "base/codec.hpp"
#include "base/files.hpp"
#include "base/options.hpp"
#include "base/text.hpp"
#include "base/units.hpp"
#include "engine/spec/log.hpp"
#include "linux/ip_address.hpp"
#include "monitor/log_options.hpp"
#include "without_meaning.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <variant>

namespace grua::gruad {

namespace {

using Text = std::string Options::*;
using List = std::vector<std::string> Options::*;
using Flag = bool Options::*;
using Choice = std::optional<bool> Options::*;  ///< Not said is a third.
using Number = std::int64_t Options::*;

struct Option {
    std::string_view name;
    char letter;           ///< 0: none.
    std::string_view key;  ///< In daemon.json; empty: not there.
    std::variant<Text, List, Flag, Choice, Number> member;
    std::string_view help;
};

const std::array table = {
    Option{"bip", 0, "bip", &Options::bip, "IPv4 address and prefix of the default bridge"},
    Option{"bip6", 0, "bip6", &Options::bip6, "IPv6 address and prefix of the default bridge"},
    Option{"bridge", 'b', "bridge", &Options::bridge, "Kernel name of the default bridge, or none"},
    Option{"cgroup-parent", 0, "cgroup-parent", &Options::cgroup_parent, "Parent cgroup of all containers"},
    Option{"config-file", 0, "", &Options::config_file, "Configuration file"},
    Option{"data-root", 0, "data-root", &Options::data_root, "Root folder of what lasts"},
    Option{"debug", 'D', "debug", &Options::debug, "Log what happens in detail"},
    Option{"default-address-pool", 0, "default-address-pools", &Options::default_address_pools,
           "Subnets for networks that ask for none: base=10.99.0.0/16,size=24"},
    Option{"default-gateway", 0, "default-gateway", &Options::default_gateway,
           "Where the default route of its containers leads, instead of the bridge"},
    Option{"default-gateway-v6", 0, "default-gateway-v6", &Options::default_gateway6, "The same for IPv6"},
    Option{"default-network-opt", 0, "default-network-opts", &Options::default_network_options,
           "Option of networks that do not say it: bridge=com.docker.network.driver.mtu=1400"},
    Option{"default-cgroupns-mode", 0, "default-cgroupns-mode", &Options::default_cgroupns_mode,
           "Cgroup namespace of containers that ask for none: host or private (default: private with cgroup v2)"},
    Option{"default-ipc-mode", 0, "default-ipc-mode", &Options::default_ipc_mode,
           "IPC namespace of containers that ask for none: private or shareable"},
    Option{"default-shm-size", 0, "default-shm-size", &Options::default_shm_size, "Size of /dev/shm"},
    Option{"default-stop-timeout", 0, "default-stop-timeout", &Options::default_stop_timeout,
           "Seconds from the stop signal to the kill of containers that say none"},
    Option{"default-ulimit", 0, "default-ulimits", &Options::default_ulimits, "Resource limits of containers that set none"},
    Option{"dns", 0, "dns", &Options::dns, "Name server of containers"},
    Option{"dns-opt", 0, "dns-opts", &Options::dns_options, "Resolver option of containers"},
    Option{"dns-search", 0, "dns-search", &Options::dns_search, "Search domain of containers"},
    Option{"exec-root", 0, "exec-root", &Options::exec_root, "Root folder of what goes with the host"},
    Option{"fixed-cidr", 0, "fixed-cidr", &Options::fixed_cidr, "IPv4 addresses for containers of the default bridge, as 10.99.0.128/25"},
    Option{"fixed-cidr-v6", 0, "fixed-cidr-v6", &Options::fixed_cidr6, "IPv6 addresses for containers of the default bridge"},
    Option{"group", 'G', "group", &Options::group, "Group of the unix socket"},
    Option{"help", 0, "", &Options::help, "Print this"},
    Option{"host", 'H', "hosts", &Options::hosts,
           "Address to listen on: unix:///path, tcp://address:port or fd:// (systemd's sockets); may be repeated"},
    Option{"host-gateway-ip", 0, "host-gateway-ips", &Options::host_gateways,
           "What host-gateway means in --add-host, one for IPv4 and one for IPv6 (default: the default bridge's address)"},
    Option{"host-dns", 0, "host-dns", &Options::host_dns,
           "Address, as 127.0.0.153:53, where programs of the host are told the names of containers"},
    Option{"http-proxy", 0, "http-proxy", &Options::http_proxy, "Proxy for registries over HTTP"},
    Option{"https-proxy", 0, "https-proxy", &Options::https_proxy, "Proxy for registries over HTTPS"},
    Option{"icc", 0, "icc", &Options::icc, "Containers of the default bridge reach each other"},
    Option{"init", 0, "init", &Options::init, "An init process in each container"},
    Option{"init-path", 0, "init-path", &Options::init_path, "Path of grua-init"},
    Option{"insecure-registry", 0, "insecure-registries", &Options::insecure_registries,
           "Registry (host:port or CIDR) without TLS or with a certificate that nobody signed"},
    Option{"ip", 0, "ip", &Options::ip, "Address on which ports are published that name none"},
    Option{"ip-forward", 0, "ip-forward", &Options::ip_forward, "Switch IP forwarding on"},
    Option{"ip-masq", 0, "ip-masq", &Options::ip_masq, "Masquerade what leaves the default bridge"},
    Option{"ipv6", 0, "ipv6", &Options::ipv6, "IPv6 on the default bridge"},
    Option{"label", 0, "labels", &Options::labels, "Label of this daemon, key=value"},
    Option{"layer-format", 0, "layer-format", &Options::layer_format,
           "How layers are stored that come: tree (folders) or erofs (a file each, which the kernel mounts)"},
    Option{"live-restore", 0, "live-restore", &Options::live_restore, "Containers go on when gruad ends"},
    Option{"log-driver", 0, "log-driver", &Options::log_driver,
           "Log driver of containers that ask for none: json-file, local, syslog, journald or none"},
    Option{"log-format", 0, "log-format", &Options::log_format, "text or json"},
    Option{"log-level", 'l', "log-level", &Options::log_level, "debug, info, warn or error"},
    Option{"log-opt", 0, "log-opts", &Options::log_options, "Option of the log driver, as max-size=10m, of containers that do not say it"},
    Option{"mtu", 0, "mtu", &Options::mtu, "MTU of the default bridge"},
    Option{"no-new-privileges", 0, "no-new-privileges", &Options::no_new_privileges, "no-new-privileges for all containers"},
    Option{"no-proxy", 0, "no-proxy", &Options::no_proxy, "Hosts that are reached without a proxy"},
    Option{"pidfile", 'p', "pidfile", &Options::pidfile, "File for this daemon's process ID"},
    Option{"publish-policy", 0, "publish-policy", &Options::publish_policy,
           "Who decides about connections to published ports: docker (nobody) or host-input (the host's input rules)"},
    Option{"rebuild", 0, "", &Options::rebuild, "Make a new grua.db from what the data root holds, for one that was lost, and end"},
    Option{"registry-mirror", 0, "registry-mirrors", &Options::registry_mirrors, "Mirror of Docker Hub; registries.toml has more"},
    Option{"shutdown-timeout", 0, "shutdown-timeout", &Options::shutdown_timeout, "Seconds that a shutdown may take"},
    Option{"tls", 0, "tls", &Options::tls, "TLS at tcp addresses, whose clients show a certificate; with --tlsverify=false they need none"},
    Option{"tlscacert", 0, "tlscacert", &Options::tlscacert,
           "Who signs the certificates of clients (default ca.pem in $DOCKER_CERT_PATH or ~/.docker)"},
    Option{"tlscert", 0, "tlscert", &Options::tlscert, "gruad's certificate (default cert.pem there)"},
    Option{"tlskey", 0, "tlskey", &Options::tlskey, "Its key (default key.pem there)"},
    Option{"tlsverify", 0, "tlsverify", &Options::tlsverify, "TLS, and clients show a certificate that --tlscacert signs"},
    Option{"validate", 0, "", &Options::validate, "Check the configuration and end"},
    Option{"version", 'v', "", &Options::version, "Print the version and end"},
};

/// dockerd's other flags.
constexpr auto unbuilt = std::to_array<std::string_view>({"add-runtime", "authorization-plugin", "bridge-accept-fwmark", "cdi-spec-dir",
                                                          "metrics-addr", "nri-opts", "storage-opt", "userns-remap"});

/// dockerd's other keys where they are not the flag's name.
constexpr auto unbuilt_keys =
    std::to_array<std::string_view>({"authorization-plugins", "cdi-spec-dirs", "resolv-conf", "runtimes", "storage-opts"});

[[noreturn]] void refuse(std::string text) { throw Error(ErrorKind::invalid_argument, std::move(text)); }

/// The command line's: first the table, then dockerd's other flags.
std::vector<OptionRule> rules() {
    std::vector<OptionRule> all;
    for (const Option& option : table) {
        const OptionKind kind = std::holds_alternative<List>(option.member)     ? OptionKind::list
                                : std::holds_alternative<Flag>(option.member)   ? OptionKind::boolean
                                : std::holds_alternative<Choice>(option.member) ? OptionKind::boolean
                                : std::holds_alternative<Number>(option.member) ? OptionKind::integer
                                                                                : OptionKind::text;
        all.push_back({option.name, option.letter, kind});
    }
    for (const WithoutMeaning& option : without_meaning())
        if (!option.name.empty()) all.push_back({.name = option.name, .kind = option.kind});
    for (const std::string_view name : unbuilt) all.push_back({.name = name, .kind = OptionKind::not_implemented});
    return all;
}

/// `value` is right for the option's kind.
void set(Options& options, const Option& option, const std::string& value) {
    if (const auto* text = std::get_if<Text>(&option.member)) {
        options.** text = value;
    } else if (const auto* list = std::get_if<List>(&option.member)) {
        (options.**list).push_back(value);
    } else if (const auto* flag = std::get_if<Flag>(&option.member)) {
        options.** flag = parse_bool(value).value_or(false);
    } else if (const auto* choice = std::get_if<Choice>(&option.member)) {
        options.** choice = parse_bool(value).value_or(false);
    } else {
        options.*std::get<Number>(option.member) = parse_int(value.starts_with('+') ? value.substr(1) : value).value_or(0);
    }
}

std::string shown(const Options& options, const Option& option) {
    if (const auto* text = std::get_if<Text>(&option.member)) return options.**text;
    if (const auto* list = std::get_if<List>(&option.member)) return "[" + join(options.**list, " ") + "]";
    if (const auto* flag = std::get_if<Flag>(&option.member)) return options.**flag ? "true" : "false";
    if (const auto* choice = std::get_if<Choice>(&option.member)) return (options.**choice).value_or(false) ? "true" : "false";
    return std::to_string(options.*std::get<Number>(option.member));
}

using Given = std::set<std::string_view>;

void set_from_file(Options& options, const Option& option, const json::Value& value) {
    const auto wrong = [&](std::string_view expected) { refuse(fmt::format("{}: expected {}", option.key, expected)); };
    if (const auto* text = std::get_if<Text>(&option.member)) {
        if (!value.is_string()) wrong("a string");
        options.** text = value.get_string();
    } else if (const auto* list = std::get_if<List>(&option.member)) {
        if (option.name == "default-ulimit" && value.is_object()) {
            // As dockerd keeps them: {"nofile": {"Name": "nofile", "Hard": 2048, "Soft": 1024}}.
            for (const auto& [name, one] : value.get_object()) {
                engine::Ulimit limit;
                json::detail::read(one, limit, std::string(option.key));
                (options.**list).push_back(fmt::format("{}={}:{}", std::string_view(name), limit.soft, limit.hard));
            }
            return;
        }
        if (option.name == "log-opt") {
            // As dockerd keeps them: {"max-size": "10m"}.
            if (!value.is_object()) wrong("an object");
            for (const auto& [name, one] : value.get_object()) {
                if (!one.is_string()) wrong("options that are strings");
                (options.**list).push_back(fmt::format("{}={}", std::string_view(name), std::string_view(one.get_string())));
            }
            return;
        }
        if (option.name == "default-network-opt" && value.is_object()) {
            // As dockerd keeps them: {"bridge": {"com.docker.network.driver.mtu": "1400"}}.
            for (const auto& [driver, settings] : value.get_object()) {
                if (!settings.is_object()) wrong("an object of options for each driver");
                for (const auto& [name, one] : settings.get_object()) {
                    if (!one.is_string()) wrong("options that are strings");
                    (options.**list)
                        .push_back(
                            fmt::format("{}={}={}", std::string_view(driver), std::string_view(name), std::string_view(one.get_string())));
                }
            }
            return;
        }
        if (!value.is_array()) wrong("an array");
        if (option.name == "default-address-pool") {
            // As dockerd keeps them: [{"base": "10.99.0.0/16", "size": 24}].
            for (const json::Value& one : value.get_array()) {
                const json::Value* base = one.is_object() ? one.get_object().if_contains("base") : nullptr;
                const json::Value* size = one.is_object() ? one.get_object().if_contains("size") : nullptr;
                if (!base || !base->is_string() || !size || !size->is_int64()) wrong("objects with a base and a size");
                (options.**list).push_back(fmt::format("base={},size={}", std::string_view(base->get_string()), size->get_int64()));
            }
            return;
        }
        for (const json::Value& one : value.get_array()) {
            if (!one.is_string()) wrong("an array of strings");
            (options.**list).emplace_back(one.get_string());
        }
    } else if (const auto* flag = std::get_if<Flag>(&option.member)) {
        if (!value.is_bool()) wrong("a boolean");
        options.** flag = value.get_bool();
    } else if (const auto* choice = std::get_if<Choice>(&option.member)) {
        if (!value.is_bool()) wrong("a boolean");
        options.** choice = value.get_bool();
    } else {
        if (!value.is_int64()) wrong("a number");
        options.*std::get<Number>(option.member) = value.get_int64();
    }
}

/// daemon.json's "gc".
images::GcPolicy gc_policy_of(const json::Value& value) {
    if (!value.is_object()) refuse("gc: expected an object");
    images::GcPolicy policy;
    const auto percent = [](std::string_view key, const json::Value& each) {
        if (!each.is_int64() || each.get_int64() < 0 || each.get_int64() > 100) refuse(fmt::format("gc.{}: expected a percentage", key));
        return static_cast<unsigned>(each.get_int64());
    };
    const auto text = [](std::string_view key, const json::Value& each) {
        if (!each.is_string()) refuse(fmt::format("gc.{}: expected a string", key));
        return std::string(each.get_string());
    };
    for (const auto& [key_text, each] : value.get_object()) {
        const std::string_view key{key_text};
        if (key == "enabled") {
            if (!each.is_bool()) refuse("gc.enabled: expected a boolean");
            policy.enabled = each.get_bool();
        } else if (key == "high") {
            policy.high = percent(key, each);
        } else if (key == "low") {
            policy.low = percent(key, each);
        } else if (key == "keep") {
            policy.keep = parse_duration(text(key, each));
        } else if (key == "containers") {
            policy.containers = parse_duration(text(key, each));
        } else if (key == "partials") {
            policy.partials = parse_duration(text(key, each));
        } else if (key == "pin") {
            policy.pin = text(key, each);
        } else if (key == "images") {
            using Images = images::GcPolicy::Images;
            const std::string which = text(key, each);
            if (which != "none" && which != "dangling" && which != "unused") {
                refuse(fmt::format("gc.images: \"{}\" is none of none, dangling, unused", which));
            }
            policy.images = which == "none" ? Images::none : which == "dangling" ? Images::dangling : Images::unused;
        } else {
            refuse(fmt::format("gc: unknown key \"{}\"", key));
        }
    }
    if (policy.low > policy.high) refuse(fmt::format("gc: low ({}) is above high ({})", policy.low, policy.high));
    return policy;
}

/// Keys that dockerd knows by an older name, too.
void take_other_names(boost::json::object& members) {
    const auto rename = [&](std::string_view old_name, std::string_view name, const auto& changed) {
        const json::Value* old_value = members.if_contains(old_name);
        if (!old_value) return;
        if (members.contains(name)) refuse(fmt::format("{} and {} are the same: give one of them", old_name, name));
        json::Value value = changed(*old_value);
        members.erase(old_name);
        members.emplace(name, std::move(value));
    };
    rename("host-gateway-ip", "host-gateway-ips", [](const json::Value& one) { return boost::json::array{one}; });
    rename("default-init", "init-path", [](const json::Value& path) { return path; });
}

void read_config_file(Options& options, const Given& given) {
    std::string text;
    try {
        text = read_file(options.config_file);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found && !given.contains("config-file")) return;
        throw;
    }
    if (trim(text).empty()) return;
    boost::system::error_code error;
    const json::Value value = boost::json::parse(text, error);
    if (error || !value.is_object()) refuse("not a JSON object");
    std::vector<std::string> unknown;
    std::vector<std::string> conflicts;
    boost::json::object members = value.get_object();
    // dockerd keeps its proxies in an object of their own.
    if (const json::Value* proxies = members.if_contains("proxies")) {
        if (!proxies->is_object()) refuse("proxies: expected an object");
        for (const auto& [name, proxy] : boost::json::object(proxies->get_object())) members.emplace(name, proxy);
        members.erase("proxies");
    }
    take_other_names(members);
    if (const json::Value* oldest = members.if_contains("min-api-version")) {
        if (!oldest->is_string()) refuse("min-api-version: expected a string");
        options.min_api_version = oldest->get_string();
        members.erase("min-api-version");
    }
    if (const json::Value* gc = members.if_contains("gc")) {
        options.gc = gc_policy_of(*gc);
        members.erase("gc");
    }
    for (const auto& [key_text, each] : members) {
        const std::string_view key{key_text};
        const auto found = std::ranges::find(table, key, &Option::key);
        if (found == table.end() || key.empty()) {
            if (const WithoutMeaning* taken = find_key_without_meaning(key)) {
                options.notes.push_back(note_on(*taken, each));
                continue;
            }
            const bool known =
                std::ranges::find(unbuilt, key) != unbuilt.end() || std::ranges::find(unbuilt_keys, key) != unbuilt_keys.end();
            if (known) throw Error(ErrorKind::not_implemented, fmt::format("not implemented: {}", key));
            unknown.emplace_back(key);
            continue;
        }
        if (given.contains(found->name)) {
            Options from_file;
            set_from_file(from_file, *found, each);
            conflicts.push_back(fmt::format("{}: (from flag: {}, from file: {})", key, shown(options, *found), shown(from_file, *found)));
            continue;
        }
        set_from_file(options, *found, each);
    }
    if (!unknown.empty()) refuse("the following directives don't match any configuration option: " + join(unknown, ", "));
    if (!conflicts.empty())
        refuse("the following directives are specified both as a flag and in the configuration file: " + join(conflicts, ", "));
}

void check_host_gateways(const std::vector<std::string>& addresses) {
    std::array<int, 2> count{};
    for (const std::string& each : addresses) {
        const auto address = linux::Ip::parse(each);
        if (!address) refuse(fmt::format("invalid host-gateway-ip: {}: no address", each));
        if (++count.at(address->is_v6() ? 1 : 0) > 1)
            refuse(fmt::format("only one {} host gateway IP address can be specified", address->is_v6() ? "IPv6" : "IPv4"));
    }
}

void check(const Options& options) {
    parse_level(options.log_level);
    if (options.log_format != "text" && options.log_format != "json") refuse(fmt::format("invalid log format: {}", options.log_format));
    parse_size(options.default_shm_size);
    for (const std::string& limit : options.default_ulimits) parse_ulimit(limit);
    for (const std::string& label : options.labels) {
        if (!label.contains('=')) refuse(fmt::format("bad attribute format: {}", label));
    }
    if (!options.default_cgroupns_mode.empty() && options.default_cgroupns_mode != "host" && options.default_cgroupns_mode != "private")
        refuse(fmt::format("invalid default cgroup namespace mode: {}", options.default_cgroupns_mode));
    if (options.default_ipc_mode != "private" && options.default_ipc_mode != "shareable")
        refuse(fmt::format("IPC can not be {}: {:?} is not private or shareable", options.default_ipc_mode, options.default_ipc_mode));
    if (options.default_stop_timeout < -1) refuse(fmt::format("invalid default stop timeout: {}", options.default_stop_timeout));
    monitor::check_log_driver(options.log_driver);
    const auto log_options = log_options_of(options);
    if (!log_options.empty())
        while_doing("failed to set log opts", [&] { engine::check_log_config({.type = options.log_driver, .config = log_options}); });
    if (options.log_driver == "none" && !log_options.empty()) refuse("invalid logging opts for driver none");
    check_host_gateways(options.host_gateways);
    parse_oldest_version(options.min_api_version);
    if (options.mtu < 0 || options.mtu > 65535) refuse(fmt::format("invalid MTU {}", options.mtu));
}

}  // namespace

Options parse_options(const std::vector<std::string>& arguments) {
    Options options;
    Given given;
    const CommandLine line = parse_command_line(rules(), arguments);
    if (!line.arguments.empty()) refuse(fmt::format("gruad takes no arguments: {}", line.arguments.front()));
    options.help = line.help;
    const std::vector<OptionRule> all = rules();
    for (const auto& [rule, value] : line.options) {
        if (const WithoutMeaning* taken = find_flag_without_meaning(all.at(rule).name)) {
            options.notes.push_back(note_on(*taken, value));
            continue;
        }
        const Option& option = table.at(rule);
        set(options, option, value);
        given.insert(option.name);
    }
    if (options.help || options.version) return options;
    while_doing(fmt::format("unable to configure the daemon with file {}", options.config_file), [&] { read_config_file(options, given); });
    check(options);
    return options;
}

std::string bridge_name(const Options& options) { return options.bridge == "none" ? default_bridge_name : options.bridge; }

std::string help_text() {
    std::string out = "Usage: gruad [OPTIONS]\n\nA container engine that serves the Docker Engine API.\n\nOptions:\n";
    for (const Option& option : table) {
        const std::string letter = option.letter != 0 ? fmt::format("-{}, ", option.letter) : "    ";
        const Options defaults;
        std::string preset = shown(defaults, option);
        const bool tell = !preset.empty() && preset != "[]" && preset != "false" && preset != "0";
        out += fmt::format("  {}--{:<20} {}{}\n", letter, option.name, option.help, tell ? fmt::format(" (default {})", preset) : "");
    }
    return out;
}

std::int64_t parse_size(const std::string& text) {
    const std::int64_t size = grua::parse_size(text);
    if (size < 0) refuse(fmt::format("invalid size: '{}'", text));
    return size;
}

std::chrono::seconds parse_duration(const std::string& text) {
    static constexpr std::string_view units = "smhd";
    static constexpr std::array<std::int64_t, 4> seconds{1, 60, 3600, 86400};
    const std::size_t unit = text.empty() ? std::string_view::npos : units.find(text.back());
    const auto number = unit == std::string_view::npos ? std::nullopt : parse_int(std::string_view(text).substr(0, text.size() - 1));
    if (!number || *number < 0 || *number > 1'000'000) {
        refuse(fmt::format("invalid duration \"{}\": a number with s, m, h or d is expected", text));
    }
    return std::chrono::seconds{*number * seconds.at(unit)};
}

std::map<std::string, std::string> log_options_of(const Options& options) {
    std::map<std::string, std::string> out;
    for (const std::string& each : options.log_options) {
        const std::size_t equals = each.find('=');
        if (equals == std::string::npos || equals == 0) refuse(fmt::format("invalid log option: {}", each));
        out.insert_or_assign(each.substr(0, equals), each.substr(equals + 1));
    }
    return out;
}

engine::Ulimit parse_ulimit(const std::string& text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) refuse(fmt::format("invalid ulimit argument: {}", text));
    const std::vector<std::string> values = split(std::string_view(text).substr(equals + 1), ':');
    const auto soft = parse_int(values[0]);
    const auto hard = values.size() > 1 ? parse_int(values[1]) : soft;
    if (!soft || !hard || values.size() > 2) refuse(fmt::format("invalid ulimit argument: {}", text));
    if (*hard != -1 && (*soft > *hard || *soft == -1)) {
        refuse(fmt::format("ulimit soft limit must be less than or equal to hard limit: {} > {}", *soft, *hard));
    }
    return {.name = text.substr(0, equals), .hard = *hard, .soft = *soft};
}

json::Version parse_oldest_version(const std::string& text) {
    if (text.empty()) return api::oldest_version;
    const std::vector<std::string> parts = split(text, '.');
    const auto minor = parts.size() == 2 && parts[0] == "1" ? parse_uint(parts[1]) : std::nullopt;
    const auto oldest = static_cast<std::uint64_t>(api::oldest_version.minor_number);
    const auto newest = static_cast<std::uint64_t>(api::newest_version.minor_number);
    if (!minor || *minor < oldest || *minor > newest)
        refuse(fmt::format("invalid min-api-version \"{}\": from 1.{} to 1.{}", text, oldest, newest));
    return {1, static_cast<int>(*minor)};
}

log::Level parse_level(const std::string& text) {
    if (text == "debug" || text == "trace") return log::Level::debug;
    if (text == "info") return log::Level::info;
    if (text == "warn" || text == "warning") return log::Level::warn;
    if (text == "error" || text == "fatal" || text == "panic") return log::Level::error;
    refuse(fmt::format("invalid logging level: {}", text));
}

}  // namespace grua::gruad
