#include "without_meaning.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace grua::gruad {
namespace {

using enum OptionKind;

constexpr std::string_view own_rules = "its rules are in nftables tables of its own";
constexpr std::string_view no_proxy = "the kernel forwards published ports";
constexpr std::string_view no_containerd = "there is no containerd, gruad starts containers itself";
constexpr std::string_view no_swarm = "there is no swarm";
constexpr std::string_view limits_of_registries = "limits of registries are in registries.toml";
constexpr std::string_view always = "it is always so";

constexpr auto table = std::to_array<WithoutMeaning>({
    {"allow-direct-routing", "allow-direct-routing", boolean, "false", always},
    {"", "builder", text, "", "there are no builds, and so no cache of them"},
    {"containerd", "containerd", text, "", no_containerd},
    {"containerd-namespace", "containerd-namespace", text, "", no_containerd},
    {"containerd-plugins-namespace", "containerd-plugin-namespace", text, "", no_containerd},
    {"cpu-rt-period", "cpu-rt-period", integer, "0", always},
    {"cpu-rt-runtime", "cpu-rt-runtime", integer, "0", always},
    {"cri-containerd", "cri-containerd", boolean, "", no_containerd},
    {"default-runtime", "default-runtime", text, "grua runc io.containerd.runc.v2", "it is always grua-runtime"},
    {"exec-opt", "exec-opts", list, "native.cgroupdriver=cgroupfs", always},
    {"experimental", "experimental", boolean, "", "nothing is experimental"},
    {"feature", "features", list, "", "dockerd's features are not gruad's"},
    {"firewall-backend", "firewall-backend", text, "nftables", always},
    {"ip-forward-no-drop", "ip-forward-no-drop", boolean, "", "the host's policy for forwarded packets is left as it is"},
    {"ip6tables", "ip6tables", boolean, "true", own_rules},
    {"iptables", "iptables", boolean, "true", own_rules},
    {"max-concurrent-downloads", "max-concurrent-downloads", integer, "", limits_of_registries},
    {"max-concurrent-uploads", "max-concurrent-uploads", integer, "", limits_of_registries},
    {"max-download-attempts", "max-download-attempts", integer, "", limits_of_registries},
    {"network-control-plane-mtu", "network-control-plane-mtu", integer, "", no_swarm},
    {"network-diagnostic-port", "network-diagnostic-port", integer, "0", always},
    {"node-generic-resource", "node-generic-resources", list, "", no_swarm},
    {"raw-logs", "raw-logs", boolean, "", "the log has no colours"},
    {"restart", "restart", boolean, "", "dockerd has no use for it either"},
    {"rootless", "rootless", boolean, "false", always},
    {"seccomp-profile", "seccomp-profile", text, "builtin", always},
    {"selinux-enabled", "selinux-enabled", boolean, "false", always},
    {"storage-driver", "storage-driver", text, "overlay2 overlayfs", always},
    {"swarm-default-advertise-addr", "swarm-default-advertise-addr", text, "", no_swarm},
    {"", "swarm-raft-election-tick", integer, "", no_swarm},
    {"", "swarm-raft-heartbeat-tick", integer, "", no_swarm},
    {"userland-proxy", "userland-proxy", boolean, "", no_proxy},
    {"userland-proxy-path", "userland-proxy-path", text, "", no_proxy},
});

std::string shown_name(const WithoutMeaning& option) { return std::string(option.name.empty() ? option.key : option.name); }

}  // namespace

std::span<const WithoutMeaning> without_meaning() { return table; }

const WithoutMeaning* find_flag_without_meaning(std::string_view name) {
    const auto found = std::ranges::find(table, name, &WithoutMeaning::name);
    return found == table.end() || name.empty() ? nullptr : &*found;
}

const WithoutMeaning* find_key_without_meaning(std::string_view key) {
    const auto found = std::ranges::find(table, key, &WithoutMeaning::key);
    return found == table.end() ? nullptr : &*found;
}

std::string note_on(const WithoutMeaning& option, std::string_view value) {
    const std::vector<std::string> fine = option.values.empty() ? std::vector<std::string>{} : split(option.values, ' ');
    if (!fine.empty() && std::ranges::find(fine, value) == fine.end())
        fail(ErrorKind::not_implemented, "not implemented: {}={}", shown_name(option), value);
    return fmt::format("{} has no meaning here: {}", shown_name(option), option.why);
}

std::string note_on(const WithoutMeaning& option, const json::Value& value) {
    if (const boost::json::array* all = value.if_array(); all && option.kind == list) {
        for (const json::Value& each : *all) note_on(option, each);
        return fmt::format("{} has no meaning here: {}", shown_name(option), option.why);
    }
    return note_on(option, value.is_string() ? std::string(value.get_string()) : boost::json::serialize(value));
}

}  // namespace grua::gruad
