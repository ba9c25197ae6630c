// Kernel parameters of a container: only those that one of its own namespaces holds.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace grua::runtime {

/// "net.ipv4.ip_forward" or "net/ipv4/ip_forward" -> "net/ipv4/ip_forward", below /proc/sys. As in sysctl(8), the first
/// separator decides which one it is, and the other then stands for itself ("net.ipv4.conf.eno2/100.rp_filter").
/// Throws Error(invalid_argument) for a name with an empty or ".." part.
std::string sysctl_path(std::string_view name);

/// Throws Error(invalid_argument) for a parameter that belongs to a namespace which the container shares with its creator.
/// `own` are the CLONE_NEW* flags of the namespaces that are the container's own.
void check_sysctls(const std::map<std::string, std::string>& sysctls, std::uint64_t own);

}  // namespace grua::runtime
