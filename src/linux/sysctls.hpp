// Kernel parameters of the calling thread's namespaces.
#pragma once

#include "base/fd.hpp"

#include <string>
#include <string_view>

namespace grua::linux {

/// Paths are below /proc/sys: "net/ipv6/conf/eth0/disable_ipv6". They are reached by a mount of proc that nobody else has: nothing can lie
/// over it (CVE-2025-52881), and its names are those of the caller's namespaces only. The host's own /proc keeps the names of all network
/// namespaces that were ever asked for in one chain, which a thousand containers make long. It costs 20 µs.
class Sysctls {
public:
    Sysctls();
    /// By a mount of proc that the caller has just made and nobody else has been let at.
    explicit Sysctls(Fd proc);

    bool has(const std::string& path) const;

    /// Throws Error: invalid_argument where this kernel has no such parameter.
    void write(const std::string& path, std::string_view value) const;

private:
    Fd proc_;
};

}  // namespace grua::linux
