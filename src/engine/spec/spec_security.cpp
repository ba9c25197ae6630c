// What a container may not do: capabilities, system calls, masked and read-only paths.
#include "base/text.hpp"
#include "engine/model/capability_set.hpp"
#include "engine/spec/seccomp_profile.hpp"
#include "engine/spec/spec.hpp"

#include <algorithm>

namespace grua::engine {

namespace {

/// As Go's strconv.ParseBool, which is what clients are used to.
std::optional<bool> go_bool(std::string_view text) {
    for (const auto yes : {"1", "t", "T", "true", "TRUE", "True"})
        if (text == yes) return true;
    for (const auto no : {"0", "f", "F", "false", "FALSE", "False"})
        if (text == no) return false;
    return std::nullopt;
}

}  // namespace

StringList default_masked_paths(const HostFacts& host) {
    // In Docker's order, which inspect shows.
    StringList out{"/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
                   "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                   "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap"};
    out.insert(out.end(), host.thermal_directories.begin(), host.thermal_directories.end());
    return out;
}

const StringList& default_readonly_paths() {
    static const StringList paths{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    return paths;
}

SecurityOptions parse_security_options(const HostConfig& config) {
    SecurityOptions out;
    for (const auto& option : config.security_opt) {
        if (option == "no-new-privileges" || option == "writable-cgroups") {
            (option == "no-new-privileges" ? out.no_new_privileges : out.writable_cgroups) = true;
            continue;
        }
        if (option == "disable") continue;  // Labels, as clients wrote it once.
        const auto at = option.find_first_of("=:");
        if (at == std::string::npos) fail(ErrorKind::invalid_argument, "invalid --security-opt 1: \"{}\"", option);
        const std::string_view key = std::string_view(option).substr(0, at);
        const std::string_view value = std::string_view(option).substr(at + 1);
        const auto bad = [&] { fail(ErrorKind::invalid_argument, "invalid --security-opt 2: \"{}\"", option); };
        const auto flag = [&] {
            const auto given = go_bool(value);
            if (!given) bad();
            return given.value_or(false);
        };
        if (key == "no-new-privileges") {
            out.no_new_privileges = flag();
        } else if (key == "writable-cgroups") {
            out.writable_cgroups = flag();
        } else if (key == "seccomp") {
            out.seccomp_unconfined = value == "unconfined";
            out.seccomp_profile = value == "unconfined" || value == "builtin" ? std::string_view() : value;
        } else if (key == "systempaths") {
            if (value != "unconfined") bad();
            out.system_paths_unconfined = true;
        } else if (key == "apparmor") {
            out.apparmor_profile = value;
        } else if (key == "label") {
            if (value != "disable") out.labels.emplace_back(value);
        } else {
            bad();
        }
    }
    return out;
}

std::string apparmor_profile_of(const HostConfig& config, const HostFacts& host) {
    std::string asked = parse_security_options(config).apparmor_profile;
    if (!asked.empty() || !host.apparmor) return asked;
    return config.privileged ? "unconfined" : host.default_profile;
}

void add_security(const SpecInput& input, oci::RuntimeSpec& spec) {
    const HostConfig& config = input.record.host_config;
    const SecurityOptions options = parse_security_options(config);

    const StringList capabilities = container_capabilities(config, input.host.capabilities);
    oci::Capabilities& sets = spec.process->capabilities.emplace();
    sets.bounding = capabilities;
    sets.effective = capabilities;
    sets.permitted = capabilities;  // Inheritable and ambient stay empty: CVE-2022-24769.
    spec.process->no_new_privileges = options.no_new_privileges || input.no_new_privileges;
    spec.process->apparmor_profile = input.record.apparmor_profile;

    const bool open_paths = config.privileged || options.system_paths_unconfined;
    if (config.masked_paths)
        spec.linux_->masked_paths = *config.masked_paths;
    else if (!open_paths)
        spec.linux_->masked_paths = default_masked_paths(input.host);
    if (config.readonly_paths)
        spec.linux_->readonly_paths = *config.readonly_paths;
    else if (!open_paths)
        spec.linux_->readonly_paths = default_readonly_paths();

    if (options.seccomp_unconfined || (config.privileged && options.seccomp_profile.empty())) return;
    const SeccompSubject subject{
        .machine = input.host.machine, .kernel = input.host.kernel, .capabilities = {capabilities.begin(), capabilities.end()}};
    spec.linux_->seccomp = options.seccomp_profile.empty() ? default_seccomp(subject) : custom_seccomp(options.seccomp_profile, subject);
}

}  // namespace grua::engine
