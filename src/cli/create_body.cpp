#include "cli/create.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <cstdlib>

namespace grua::cli {

namespace {

using namespace detail;

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

struct Streams {
    bool in = false;
    bool out = false;
    bool err = false;
};

Streams attached_streams(const Flags& flags) {
    Streams streams;
    const std::vector<std::string> named = flags.list("attach");
    for (const std::string& each : named) {
        const std::string name = to_lower(each);
        if (name == "stdin")
            streams.in = true;
        else if (name == "stdout")
            streams.out = true;
        else if (name == "stderr")
            streams.err = true;
        else
            throw UsageError(
                fmt::format("invalid argument \"{}\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR", each));
    }
    if (flags.on("interactive")) streams.in = true;
    if (named.empty()) streams.out = streams.err = true;
    return streams;
}

std::vector<std::string> variables(const Flags& flags) {
    std::vector<std::string> out;
    for (const std::string& file : flags.list("env-file")) {
        const std::vector<std::string> more = while_doing("--env-file", [&] { return read_variables(file, true); });
        out.insert(out.end(), more.begin(), more.end());
    }
    for (const std::string& each : flags.list("env")) {
        const std::size_t equals = each.find('=');
        if (equals == 0 || each.empty())
            throw UsageError(fmt::format("invalid argument \"{}\" for \"-e, --env\" flag: invalid environment variable: {}", each, each));
        const char* here = equals == std::string::npos ? std::getenv(each.c_str()) : nullptr;
        out.push_back(here ? each + "=" + here : each);
    }
    return out;
}

object labels(const Flags& flags) {
    std::vector<std::string> all;
    for (const std::string& file : flags.list("label-file")) {
        const std::vector<std::string> more = while_doing("--label-file", [&] { return read_variables(file, false); });
        all.insert(all.end(), more.begin(), more.end());
    }
    for (const std::string& each : flags.list("label")) {
        const std::string key(trim(each.substr(0, each.find('='))));
        if (key.empty())
            throw UsageError(fmt::format("invalid argument \"{}\" for \"-l, --label\" flag: invalid label '{}': empty name", each, each));
        all.push_back(each);
    }
    return pairs_to_map(all);
}

/// The profile's content goes to the daemon, not its file's name.
std::vector<std::string> security_options(const Flags& flags) {
    std::vector<std::string> out;
    for (const std::string& option : flags.list("security-opt")) {
        const std::size_t at = std::min(option.find('='), option.find(':'));
        const std::string key = option.substr(0, at);
        const std::string content = at == std::string::npos ? std::string() : option.substr(at + 1);
        if (content.empty() && key != "no-new-privileges") bad("invalid --security-opt: \"{}\"", option);
        if (key != "seccomp" || content == "unconfined" || content == "builtin") {
            out.push_back(option);
            continue;
        }
        std::string profile;
        try {
            profile = read_file(content, std::size_t{16} << 20U);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::not_found)
                bad("opening seccomp profile ({}) failed: open {}: no such file or directory", content, content);
            throw;
        }
        boost::system::error_code error;
        const boost::json::value parsed = boost::json::parse(profile, error);
        if (error) bad("compacting json for seccomp profile ({}) failed: {}", content, error.message());
        out.push_back("seccomp=" + boost::json::serialize(parsed));
    }
    return out;
}

/// The check that is asked for: one, or none.
value health_test(const Flags& flags) {
    value out;
    for (const auto& [flag, kind] :
         {std::pair{"health-cmd", "CMD-SHELL"}, {"health-http", "HTTP"}, {"health-tcp", "TCP"}, {"health-file", "FILE"}}) {
        if (flags.text(flag).empty()) continue;
        if (!out.is_null()) bad("--{} conflicts with another check of the container's health", flag);
        out = array{kind, value(flags.text(flag))};
    }
    return out;
}

value health(const Flags& flags) {
    constexpr std::array durations{"health-interval", "health-timeout", "health-start-period", "health-start-interval"};
    value test = health_test(flags);
    bool any = !test.is_null() || flags.integer("health-retries") != 0 || !flags.text("health-on-failure").empty();
    for (const char* each : durations) any = any || flags.nanoseconds(each) != 0;
    if (flags.on("no-healthcheck")) {
        if (any) bad("--no-healthcheck conflicts with --health-* options");
        return object{{"Test", array{"NONE"}}};
    }
    if (!any) return nullptr;
    object out;
    const auto positive = [&](const char* flag, const char* name, std::int64_t number) {
        if (number < 0) bad("--{} cannot be negative", flag);
        if (number != 0) out[name] = number;
    };
    if (!test.is_null()) out["Test"] = std::move(test);
    positive("health-interval", "Interval", flags.nanoseconds("health-interval"));
    positive("health-timeout", "Timeout", flags.nanoseconds("health-timeout"));
    positive("health-start-period", "StartPeriod", flags.nanoseconds("health-start-period"));
    positive("health-start-interval", "StartInterval", flags.nanoseconds("health-start-interval"));
    positive("health-retries", "Retries", flags.integer("health-retries"));
    if (!flags.text("health-on-failure").empty()) out["OnFailure"] = flags.text("health-on-failure");
    return out;
}

std::string namespace_mode(const Flags& flags, const char* flag, const char* what, bool may_be_container) {
    std::string mode = flags.text(flag);
    const bool container = may_be_container && mode.starts_with("container:") && mode.size() > 10;
    const bool is_private = std::string_view(flag) == "cgroupns" && mode == "private";
    if (!mode.empty() && mode != "host" && !container && !is_private) bad("--{}: invalid {} mode", flag, what);
    return mode;
}

array addresses(const Flags& flags) {
    array out;
    for (const std::string& each : flags.list("dns")) {
        std::array<unsigned char, 16> bytes{};
        const std::string address(trim(each));
        if (::inet_pton(AF_INET, address.c_str(), bytes.data()) != 1 && ::inet_pton(AF_INET6, address.c_str(), bytes.data()) != 1) {
            throw UsageError(
                fmt::format("invalid argument \"{}\" for \"--dns\" flag: IP address is not correctly formatted: {}", each, each));
        }
        out.emplace_back(address);
    }
    return out;
}

value extra_hosts(const Flags& flags) {
    std::vector<std::string> out;
    for (const std::string& each : flags.list("add-host")) {
        std::size_t at = each.find('=');
        if (at == std::string::npos) at = each.find(':');
        if (at == std::string::npos || at == 0 || at + 1 == each.size()) {
            throw UsageError(fmt::format("invalid argument \"{}\" for \"--add-host\" flag: bad format for add-host: \"{}\"", each, each));
        }
        std::string address = each.substr(at + 1);
        if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
        std::array<unsigned char, 16> bytes{};
        const bool valid = address == "host-gateway" || ::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1 ||
                           ::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1;
        if (!valid)
            throw UsageError(
                fmt::format("invalid argument \"{}\" for \"--add-host\" flag: invalid IP address in add-host: \"{}\"", each, address));
        out.push_back(each.substr(0, at) + ":" + address);
    }
    return list_or_null(out);
}

void check_sysctls(const Flags& flags) {
    constexpr std::array whole{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
                               "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"};
    for (const std::string& each : flags.list("sysctl")) {
        const std::string name = each.substr(0, each.find('='));
        const bool known = each.find('=') != std::string::npos &&
                           (std::ranges::find(whole, name) != whole.end() || name.starts_with("net.") || name.starts_with("fs.mqueue."));
        if (!known) throw UsageError(fmt::format("invalid argument \"{}\" for \"--sysctl\" flag: sysctl '{}' is not allowed", each, each));
    }
}

void check_device_rules(const Flags& flags) {
    for (const std::string& rule : flags.list("device-cgroup-rule")) {
        const std::vector<std::string> parts = split(rule, ' ');
        const auto number = [](const std::string& text) { return text == "*" || parse_uint(text).has_value(); };
        bool valid = parts.size() == 3 && (parts[0] == "a" || parts[0] == "b" || parts[0] == "c") && !parts[2].empty() &&
                     parts[2].size() <= 3 && parts[2].find_first_not_of("rwm") == std::string::npos;
        if (valid) {
            const std::vector<std::string> numbers = split(parts[1], ':');
            valid = numbers.size() == 2 && number(numbers[0]) && number(numbers[1]);
        }
        if (!valid)
            throw UsageError(
                fmt::format("invalid argument \"{}\" for \"--device-cgroup-rule\" flag: invalid device cgroup format '{}'", rule, rule));
    }
}

void refuse_windows_only(const Flags& flags) {
    for (const char* flag : {"cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"}) {
        if (flags.given(flag))
            bad("\"--{}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux", flag);
    }
    if (flags.on("use-api-socket")) fail(ErrorKind::not_implemented, "not implemented: --use-api-socket");
}

template <typename Parse>
array each_of(const std::vector<std::string>& texts, Parse parse) {
    array out;
    for (const std::string& each : texts) out.push_back(parse(each));
    return out;
}

/// The limits of a container, which `update` changes too.
void add_resources(object& host, const Flags& flags) {
    array devices;
    array requests;
    std::vector<std::string> cdi;
    for (const std::string& each : flags.list("device")) {
        if (is_cdi_name(each))
            cdi.push_back(each);
        else
            devices.push_back(parse_device(each));
    }
    for (const std::string& each : flags.list("gpus")) requests.push_back(parse_gpus(each));
    if (!cdi.empty())
        requests.push_back(
            object{{"Driver", "cdi"}, {"Count", 0}, {"DeviceIDs", to_array(cdi)}, {"Capabilities", nullptr}, {"Options", nullptr}});
    const std::int64_t swappiness = flags.integer("memory-swappiness");
    if (swappiness != -1 && (swappiness < 0 || swappiness > 100))
        bad("invalid value: {}. Valid memory swappiness range is 0-100", swappiness);
    check_device_rules(flags);

    host["CpuShares"] = flags.integer("cpu-shares");
    host["Memory"] = flags.bytes("memory");
    host["NanoCpus"] = 0;
    if (flags.given("cpus"))
        host["NanoCpus"] = static_cast<std::int64_t>(std::llround(std::strtod(flags.text("cpus").c_str(), nullptr) * 1e9));
    host["CgroupParent"] = flags.text("cgroup-parent");
    host["BlkioWeight"] = flags.unsigned_integer("blkio-weight");
    host["BlkioWeightDevice"] = each_of(flags.list("blkio-weight-device"), parse_weight_device);
    const auto throttles = [&](const char* flag, Rate rate) {
        return each_of(flags.list(flag), [rate](const std::string& text) { return parse_throttle(text, rate); });
    };
    host["BlkioDeviceReadBps"] = throttles("device-read-bps", Rate::bytes);
    host["BlkioDeviceWriteBps"] = throttles("device-write-bps", Rate::bytes);
    host["BlkioDeviceReadIOps"] = throttles("device-read-iops", Rate::operations);
    host["BlkioDeviceWriteIOps"] = throttles("device-write-iops", Rate::operations);
    host["CpuPeriod"] = flags.integer("cpu-period");
    host["CpuQuota"] = flags.integer("cpu-quota");
    host["CpuRealtimePeriod"] = flags.integer("cpu-rt-period");
    host["CpuRealtimeRuntime"] = flags.integer("cpu-rt-runtime");
    host["CpusetCpus"] = flags.text("cpuset-cpus");
    host["CpusetMems"] = flags.text("cpuset-mems");
    host["Devices"] = std::move(devices);
    host["DeviceCgroupRules"] = list_or_null(flags.list("device-cgroup-rule"));
    host["DeviceRequests"] = requests.empty() ? value(nullptr) : value(std::move(requests));
    host["MemoryReservation"] = flags.bytes("memory-reservation");
    host["MemorySwap"] = flags.bytes("memory-swap");
    host["MemorySwappiness"] = swappiness;
    host["OomKillDisable"] = flags.on("oom-kill-disable");
    host["PidsLimit"] = flags.integer("pids-limit");
    for (const auto& [flag, member] : network_limits)
        if (flags.given(flag)) host[member] = flags.text(flag);
    if (flags.given("network-allow")) host["NetworkAllow"] = to_array(flags.list("network-allow"));
    host["Ulimits"] = parse_ulimits(flags.list("ulimit"));
    host["CpuCount"] = 0;
    host["CpuPercent"] = 0;
    host["IOMaximumIOps"] = 0;
    host["IOMaximumBandwidth"] = 0;
}

object host_config(const Flags& flags, const Volumes& volumes, const Ports& ports, const NetworkChoice& network, ConsoleSize console) {
    std::vector<std::string> security = security_options(flags);
    const bool unconfined_paths = std::erase(security, "systempaths=unconfined") > 0;
    if (flags.text("log-driver") == "none" && flags.given("log-opt")) bad("invalid logging opts for driver none");
    check_sysctls(flags);
    object tmpfs;
    for (const std::string& each : flags.list("tmpfs")) {
        const std::size_t colon = each.find(':');
        tmpfs[each.substr(0, colon)] = colon == std::string::npos ? "" : each.substr(colon + 1);
    }
    for (const std::string& each : flags.list("storage-opt")) {
        if (each.find('=') == std::string::npos) bad("invalid storage option");
    }
    object host{
        {"Binds", volumes.binds.empty() ? value(nullptr) : value(volumes.binds)},
        {"ContainerIDFile", flags.text("cidfile")},
        {"LogConfig", object{{"Type", flags.text("log-driver")}, {"Config", pairs_to_map(flags.list("log-opt"))}}},
        {"NetworkMode", network.mode},
        {"PortBindings", ports.bindings},
        {"RestartPolicy", restart_policy(flags.text("restart"))},
        {"AutoRemove", flags.on("rm")},
        {"VolumeDriver", flags.text("volume-driver")},
        {"VolumesFrom", list_or_null(flags.list("volumes-from"))},
        {"ConsoleSize", array{console.rows, console.columns}},
        {"CapAdd", capabilities(flags.list("cap-add"))},
        {"CapDrop", capabilities(flags.list("cap-drop"))},
        {"CgroupnsMode", namespace_mode(flags, "cgroupns", "CGROUP", false)},
        {"Dns", addresses(flags)},
        {"DnsOptions", to_array(flags.list("dns-option"))},
        {"DnsSearch", to_array(flags.list("dns-search"))},
        {"ExtraHosts", extra_hosts(flags)},
        {"GroupAdd", list_or_null(flags.list("group-add"))},
        {"IpcMode", flags.text("ipc")},
        {"Cgroup", ""},
        {"Links", list_or_null(flags.list("link"))},
        {"OomScoreAdj", flags.integer("oom-score-adj")},
        {"PidMode", namespace_mode(flags, "pid", "PID", true)},
        {"Privileged", flags.on("privileged")},
        {"PublishAllPorts", flags.on("publish-all")},
        {"ReadonlyRootfs", flags.on("read-only")},
        {"SecurityOpt", flags.given("security-opt") ? value(to_array(security)) : value(nullptr)},
        {"UTSMode", namespace_mode(flags, "uts", "UTS", false)},
        {"UsernsMode", namespace_mode(flags, "userns", "USER", false)},
        {"ShmSize", flags.bytes("shm-size")},
        {"Isolation", flags.text("isolation")},
        {"MaskedPaths", unconfined_paths ? value(array()) : value(nullptr)},
        {"ReadonlyPaths", unconfined_paths ? value(array()) : value(nullptr)},
    };
    add_resources(host, flags);
    if (!tmpfs.empty()) host["Tmpfs"] = std::move(tmpfs);
    if (flags.given("storage-opt")) host["StorageOpt"] = pairs_to_map(flags.list("storage-opt"));
    if (flags.given("sysctl")) host["Sysctls"] = pairs_to_map(flags.list("sysctl"));
    if (flags.given("annotation")) host["Annotations"] = pairs_to_map(flags.list("annotation"));
    if (!flags.text("runtime").empty()) host["Runtime"] = flags.text("runtime");
    if (flags.given("mount")) host["Mounts"] = each_of(flags.list("mount"), parse_mount);
    if (flags.given("init")) host["Init"] = flags.on("init");
    if (flags.on("rm") && !flags.text("restart").empty() && flags.text("restart") != "no") {
        bad("conflicting options: cannot specify both --restart and --rm");
    }
    return host;
}

}  // namespace

CreateRequest build_create_request(const Flags& flags, std::span<const std::string> arguments, Detached detached, ConsoleSize console) {
    refuse_windows_only(flags);
    const std::string pull = flags.text("pull");
    if (!pull.empty() && pull != "always" && pull != "missing" && pull != "never") {
        bad("invalid pull option: '{}': must be one of \"always\", \"missing\" or \"never\"", pull);
    }
    Streams streams = attached_streams(flags);
    const bool open_stdin = flags.on("interactive");
    if (detached == Detached::yes) {
        if (flags.given("attach")) bad("conflicting options: cannot specify both --attach and --detach");
        streams = {};
    }
    const Volumes volumes = parse_volumes(flags.list("volume"));
    const Ports ports = parse_ports(flags.list("publish"), flags.list("expose"));
    const NetworkChoice network = parse_networks(flags);
    value entrypoint = nullptr;
    if (flags.given("entrypoint")) entrypoint = array{value(flags.text("entrypoint"))};

    CreateRequest out;
    out.body = object{
        {"Hostname", flags.text("hostname")},
        {"Domainname", flags.text("domainname")},
        {"User", flags.text("user")},
        {"AttachStdin", streams.in},
        {"AttachStdout", streams.out},
        {"AttachStderr", streams.err},
        {"Tty", flags.on("tty")},
        {"OpenStdin", open_stdin},
        {"StdinOnce", open_stdin && streams.in},
        {"Env", list_or_null(variables(flags))},
        {"Cmd", list_or_null(arguments.subspan(1))},
        {"Image", arguments[0]},
        {"Volumes", volumes.anonymous},
        {"WorkingDir", flags.text("workdir")},
        {"Entrypoint", entrypoint},
        {"OnBuild", nullptr},
        {"Labels", labels(flags)},
    };
    if (!ports.exposed.empty()) out.body["ExposedPorts"] = ports.exposed;
    if (!flags.text("stop-signal").empty()) out.body["StopSignal"] = flags.text("stop-signal");
    if (flags.given("stop-timeout")) out.body["StopTimeout"] = flags.integer("stop-timeout");
    if (value check = health(flags); !check.is_null()) out.body["Healthcheck"] = std::move(check);
    out.body["HostConfig"] = host_config(flags, volumes, ports, network, console);
    out.body["NetworkingConfig"] = object{{"EndpointsConfig", network.endpoints}};
    out.name = flags.text("name");
    out.platform = flags.text("platform");
    return out;
}

}  // namespace grua::cli
