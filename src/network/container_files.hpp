// The text of a container's /etc/hosts, /etc/hostname and /etc/resolv.conf. Values in, text out; the engine writes and mounts them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::network {

struct HostsOptions {
    std::string hostname;
    std::string domainname;
    std::vector<std::string> addresses;    ///< The container's own, none for network none; each is given the hostname.
    std::vector<std::string> extra_hosts;  ///< "name:address", "name=address"; address may be host-gateway.
    std::vector<std::pair<std::string, std::string>>
        linked;                              ///< Address and names of the containers that a link of the default bridge leads to.
    std::vector<std::string> host_gateways;  ///< What host-gateway stands for.
    std::string host_text;                   ///< Host network: the host's own file, taken as it is where there are no extra hosts.
};

/// Throws Error(invalid_argument) for a bad one.
void check_extra_host(const std::string& text);

/// Throws as check_extra_host().
std::string hosts_text(const HostsOptions& options);

std::string hostname_text(std::string_view hostname);

struct ResolvOptions {
    std::vector<std::string> nameservers;  ///< --dns; replace the host's.
    std::vector<std::string> search;       ///< --dns-search; replace the host's; a single "." means none.
    std::vector<std::string> options;      ///< --dns-opt; replace the host's.
    bool keep_loopback = false;            ///< Host network: the host's file as it is, its loopback resolver included.
    bool embedded = false;                 ///< The container asks the embedded resolver, which asks the nameservers.
    bool ipv6 = false;                     ///< The network has IPv6: its nameservers are of use.
};

/// The container's resolv.conf made from the host's `host_text`: servers on loopback are left out, because in a container
/// they would be the container itself. Where none is left, Docker's public ones are named, and the file says so.
std::string resolv_conf_text(std::string_view host_text, const ResolvOptions& options);

inline constexpr const char* resolv_conf_path = "/etc/resolv.conf";
inline constexpr const char* resolved_conf_path = "/run/systemd/resolve/resolv.conf";  ///< What systemd-resolved itself asks.

/// The addresses that a resolv.conf names.
std::vector<std::string> nameservers(std::string_view text);

/// The host's resolv.conf, or what systemd-resolved reads where that only names its stub 127.0.0.53. Empty where there is none.
std::string host_resolv_conf();

}  // namespace grua::network
