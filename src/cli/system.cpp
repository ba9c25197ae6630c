#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"
#include "cli/units.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <ctime>

namespace grua::cli {

namespace {

constexpr std::string_view architecture =
#if defined(__x86_64__)
    "amd64";
#elif defined(__aarch64__)
    "arm64";
#else
    "unknown";
#endif

/// "Fri Jan  2 15:04:05 2026", as docker writes a build's time; what is no time is kept.
std::string ansi_time(const std::string& text) {
    const auto time = parse_time(text);
    if (!time) return text;
    const std::time_t seconds = time->time_since_epoch().count() / 1'000'000'000;
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, 64> out;
    return {out.data(), std::strftime(out.data(), out.size(), "%a %b %e %H:%M:%S %Y", &parts)};
}

boost::json::object client_version(client::Client* daemon, const std::string& context) {
    const std::string newest = fmt::format("1.{}", client::newest_minor);
    return {{"Version", GRUA_VERSION},     {"ApiVersion", daemon ? daemon->api_version() : newest},
            {"DefaultAPIVersion", newest}, {"Os", "linux"},
            {"Arch", architecture},        {"Context", context}};
}

std::string client_text(const Value& version) {
    const std::string api = text_at(version, "ApiVersion");
    const std::string newest = text_at(version, "DefaultAPIVersion");
    const std::string downgraded = api == newest ? "" : fmt::format(" (downgraded from {})", newest);
    return fmt::format("Client: grua\n Version:\t{}\n API version:\t{}{}\n OS/Arch:\t{}/{}\n Context:\t{}\n", text_at(version, "Version"),
                       api, downgraded, text_at(version, "Os"), text_at(version, "Arch"), text_at(version, "Context"));
}

std::string component_text(const Value& component) {
    const std::string name = text_at(component, "Name");
    const Value& details = at(component, "Details");
    std::string out = fmt::format(" {}:\n  Version:\t{}\n", name, text_at(component, "Version"));
    if (name == "Engine") {
        out += fmt::format("  API version:\t{} (minimum version {})\n", text_at(details, "ApiVersion"), text_at(details, "MinAPIVersion"));
        if (!text_at(details, "GoVersion").empty()) out += fmt::format("  Go version:\t{}\n", text_at(details, "GoVersion"));
        if (!text_at(details, "GitCommit").empty()) out += fmt::format("  Git commit:\t{}\n", text_at(details, "GitCommit"));
        if (!text_at(details, "BuildTime").empty()) out += fmt::format("  Built:\t{}\n", ansi_time(text_at(details, "BuildTime")));
        out += fmt::format("  OS/Arch:\t{}/{}\n  Experimental:\t{}\n", text_at(details, "Os"), text_at(details, "Arch"),
                           text_at(details, "Experimental"));
        return out;
    }
    if (const auto* object = details.if_object()) {
        std::vector<std::string> names;
        for (const auto& [key, value] : *object) names.emplace_back(key);
        std::ranges::sort(names);
        for (const std::string& key : names) out += fmt::format("  {}:\t{}\n", key, print_value(object->at(key)));
    }
    return out;
}

class Lines {
public:
    template <typename... Args>
    void add(fmt::format_string<Args...> format, Args&&... args) {
        out_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
    }
    void add_text(std::string_view label, const std::string& text) {
        if (!text.empty()) add("{} {}", label, text);
    }
    const std::string& text() const { return out_; }

private:
    std::string out_;
};

std::string names_joined(const Value& list) {
    std::vector<std::string> out;
    if (const auto* array = list.if_array()) {
        for (const Value& each : *array) out.push_back(print_value(each));
    }
    return join(out, " ");
}

/// "name=seccomp,profile=builtin" as two lines.
void add_security(Lines& lines, const Value& options) {
    const auto* list = options.if_array();
    if (!list || list->empty()) return;
    lines.add(" Security Options:");
    for (const Value& each : *list) {
        for (const std::string& field : split(print_value(each), ',')) {
            if (field.starts_with("name="))
                lines.add("  {}", field.substr(5));
            else if (field.starts_with("profile="))
                lines.add("   Profile: {}", field.substr(8));
            else if (field.find('=') == std::string::npos)
                lines.add("  {}", field);
        }
    }
}

std::string server_info(const Value& info) {
    Lines lines;
    const auto number = [&](const char* member) { return number_at(info, member); };
    const auto text = [&](std::string_view label, const char* member) { lines.add_text(label, text_at(info, member)); };
    const auto truth = [&](const char* member) { return bool_at(info, member) ? "true" : "false"; };
    lines.add("Server:");
    lines.add(" Containers: {}", number("Containers"));
    lines.add("  Running: {}", number("ContainersRunning"));
    lines.add("  Paused: {}", number("ContainersPaused"));
    lines.add("  Stopped: {}", number("ContainersStopped"));
    lines.add(" Images: {}", number("Images"));
    text(" Server Version:", "ServerVersion");
    text(" Storage Driver:", "Driver");
    if (const auto* pairs = at(info, "DriverStatus").if_array()) {
        for (const Value& pair : *pairs) {
            if (pair.is_array() && pair.get_array().size() == 2)
                lines.add("  {}: {}", print_value(pair.get_array()[0]), print_value(pair.get_array()[1]));
        }
    }
    text(" Logging Driver:", "LoggingDriver");
    text(" Cgroup Driver:", "CgroupDriver");
    text(" Cgroup Version:", "CgroupVersion");
    const Value& plugins = at(info, "Plugins");
    lines.add(" Plugins:");
    lines.add("  Volume: {}", names_joined(at(plugins, "Volume")));
    lines.add("  Network: {}", names_joined(at(plugins, "Network")));
    if (!names_joined(at(plugins, "Authorization")).empty()) lines.add("  Authorization: {}", names_joined(at(plugins, "Authorization")));
    lines.add("  Log: {}", names_joined(at(plugins, "Log")));
    lines.add_text(" Swarm:", text_at(at(info, "Swarm"), "LocalNodeState"));
    if (const auto* runtimes = at(info, "Runtimes").if_object(); runtimes && !runtimes->empty()) {
        std::vector<std::string> names;
        for (const auto& [name, runtime] : *runtimes) names.emplace_back(name);
        std::ranges::sort(names);
        lines.add(" Runtimes: {}", join(names, " "));
        lines.add(" Default Runtime: {}", text_at(info, "DefaultRuntime"));
    }
    text(" Init Binary:", "InitBinary");
    for (const auto& [label, member] :
         {std::pair{" containerd version:", "ContainerdCommit"}, {" runc version:", "RuncCommit"}, {" init version:", "InitCommit"}}) {
        lines.add_text(label, text_at(at(info, member), "ID"));
    }
    add_security(lines, at(info, "SecurityOptions"));
    text(" Kernel Version:", "KernelVersion");
    text(" Operating System:", "OperatingSystem");
    text(" OSType:", "OSType");
    text(" Architecture:", "Architecture");
    lines.add(" CPUs: {}", number("NCPU"));
    lines.add(" Total Memory: {}", binary_size(static_cast<double>(number("MemTotal"))));
    text(" Name:", "Name");
    text(" ID:", "ID");
    lines.add(" Docker Root Dir: {}", text_at(info, "DockerRootDir"));
    lines.add(" Debug Mode: {}", truth("Debug"));
    if (bool_at(info, "Debug")) {
        lines.add("  File Descriptors: {}", number("NFd"));
        lines.add("  Goroutines: {}", number("NGoroutines"));
        lines.add("  System Time: {}", text_at(info, "SystemTime"));
        lines.add("  EventsListeners: {}", number("NEventsListener"));
    }
    text(" HTTP Proxy:", "HttpProxy");
    text(" HTTPS Proxy:", "HttpsProxy");
    text(" No Proxy:", "NoProxy");
    if (const auto* labels = at(info, "Labels").if_array(); labels && !labels->empty()) {
        lines.add(" Labels:");
        for (const Value& label : *labels) lines.add("  {}", print_value(label));
    }
    lines.add(" Experimental: {}", truth("ExperimentalBuild"));
    lines.add(" Live Restore Enabled: {}", truth("LiveRestoreEnabled"));
    if (const std::string backend = text_at(at(info, "FirewallBackend"), "Driver"); !backend.empty())
        lines.add(" Firewall Backend: {}", backend);
    lines.add("");
    return lines.text();
}

}  // namespace

int show_version(Context& context, const Parsed& given) {
    client::Client* daemon = nullptr;
    std::string unreachable;
    try {
        daemon = &context.daemon();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::unavailable) throw;
        unreachable = error.what();
    }
    boost::json::object version{{"Client", client_version(daemon, context.choice().context())}, {"Server", nullptr}};
    if (daemon) version["Server"] = daemon->get("/version");
    const std::string format = given.flags.text("format");
    if (!format.empty()) {
        print(render_document(format, version) + "\n");
    } else {
        // Each block is aligned by itself, its values two columns behind the longest name.
        std::string text = align_columns(client_text(version["Client"]), 20, 1);
        if (daemon) {
            const Value& server = version["Server"];
            const std::string platform = text_at(at(server, "Platform"), "Name");
            std::string block = platform.empty() ? "\nServer:\n" : fmt::format("\nServer: {}\n", platform);
            if (const auto* components = at(server, "Components").if_array()) {
                for (const Value& component : *components) block += component_text(component);
            }
            text += align_columns(block, 20, 1);
        }
        print(text);
    }
    if (daemon) return 0;
    fmt::print(stderr, "{}\n", unreachable);
    return 1;
}

int show_info(Context& context, const Parsed& given) {
    const std::string format = given.flags.text("format");
    std::string unreachable;
    Value info;
    try {
        info = context.daemon().get("/info");
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::unavailable || dynamic_cast<const client::ApiError*>(&error)) throw;
        unreachable = error.what();
    }
    const boost::json::object client{{"Debug", context.debug()},
                                     {"Version", GRUA_VERSION},
                                     {"Context", context.choice().context()},
                                     {"Plugins", boost::json::array()},
                                     {"Warnings", nullptr}};
    if (!format.empty()) {
        if (info.is_object()) info.get_object()["ClientInfo"] = client;
        print(render_document(format, info) + "\n");
    } else {
        std::string text = fmt::format("Client: grua\n Version:    {}\n Context:    {}\n Debug Mode: {}\n\n", GRUA_VERSION,
                                       context.choice().context(), context.debug());
        text += info.is_null() ? "Server:\n" : server_info(info);
        print(text);
        if (const auto* warnings = at(info, "Warnings").if_array()) {
            for (const Value& warning : *warnings) fmt::print(stderr, "{}\n", print_value(warning));
        }
    }
    if (unreachable.empty()) return 0;
    fmt::print(stderr, "ERROR: {}\nerrors pretty printing info\n", unreachable);
    return 1;
}

}  // namespace grua::cli
