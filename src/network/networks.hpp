// Networks of containers: the default bridge (Docker's "bridge"), "host" and "none"; addresses, sandboxes, firewall.
//
// A sandbox is a network namespace with an eth0 in it. It is held by descriptors only - gruad's until the container runs,
// the container's processes afterwards - so it cannot outlive both, and its veth pair dies with it. What the kernel does
// slowly is done ahead of need (a pool of ready sandboxes) or after nobody waits for it (deferred, batched deletion).
//
// What is kept true:
// - an address is given out at most once, and again only after its sandbox is known to be gone or is being deleted;
// - every link of ours carries its owner in its alias, "grua:<bridge>:<container ID>", so the sweep at recover() is exact;
// - all rules are in one nftables table of ours, "inet grua_<bridge>", replaced in one transaction; nobody else's traffic
//   or table is touched, so several daemons with different bridges stand beside each other;
// - a container's interfaces have no IPv6 where its network has none (CVE-2024-32473) and accept no router
//   advertisements (CVE-2020-13401).
//
// All calls are synchronous and may come from any thread.
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::network {

struct Options {
    std::string bridge = "grua0";     ///< Kernel name of the default bridge; an existing bridge is adopted.
    std::string bip;                  ///< Gateway address and prefix, "172.26.0.1/16". Empty: the first default pool that is free here.
    unsigned mtu = 0;                 ///< Of the bridge and of its containers. 0: that of the default route's link, at most 1500.
    bool ip_forward = true;           ///< Switch net.ipv4.ip_forward on where it is off.
    bool ip_masq = true;              ///< Masquerade what leaves the subnet.
    bool icc = true;                  ///< Containers of the bridge reach each other.
    std::string data_directory;       ///< networks.json in it keeps the networks' IDs and the chosen subnet. Made where missing.
    std::size_t ready_sandboxes = 4;  ///< Kept ready when idle; 0 makes each when it is asked for.
    std::size_t most_ready_sandboxes = 16;  ///< The pool grows to this while starts find it empty.
};

/// A container's connection to a network, as Docker's EndpointSettings show it. Empty texts for host and none.
struct Endpoint {
    std::string endpoint_id;
    std::string network_id;
    std::string ip;  ///< "172.17.0.2"
    unsigned prefix_length = 0;
    std::string gateway;  ///< "172.17.0.1"
    std::string mac;      ///< "02:42:ac:11:00:02"
};

struct AttachOptions {
    std::string mac;  ///< Empty: made from the address, 02:42:….
    std::string ip;   ///< Empty: the next free one.
};

struct Sandbox {
    Fd netns;  ///< Of the network namespace: lo and eth0 are up, addresses and routes are set.
    Endpoint endpoint;
};

/// What a container that runs holds, from the engine's records.
struct Attachment {
    std::string container_id;
    Endpoint endpoint;
};

/// Docker's Network, for list and inspect.
struct Network {
    struct Subnet {
        std::string subnet;   ///< "172.17.0.0/16"
        std::string gateway;  ///< "172.17.0.1"
    };
    std::string name;
    std::string id;
    Time created;
    std::string scope = "local";
    std::string driver;  ///< bridge, host, null
    bool enable_ipv4 = true;
    bool enable_ipv6 = false;
    std::string ipam_driver = "default";
    std::vector<Subnet> subnets;
    bool internal = false;
    bool attachable = false;
    bool ingress = false;
    std::map<std::string, std::string> options;  ///< com.docker.network.bridge.…
    std::map<std::string, std::string> labels;
    std::map<std::string, Endpoint> containers;  ///< By container ID; those of host and none are known to the engine only.
};

class Networks {
public:
    /// Makes or adopts the bridge, writes the rules and starts to fill the pool. Network namespaces are seen from the
    /// calling thread's: what it is in is "the host". Throws Error.
    explicit Networks(Options options);
    /// Ends the pool. Running containers keep their connection; bridge and rules stay for the next gruad.
    ~Networks();
    Networks(const Networks&) = delete;
    Networks& operator=(const Networks&) = delete;

    /// Once, before the first attach: takes over the addresses of the containers that still run and removes the links
    /// of those that do not.
    void recover(const std::vector<Attachment>& live);

    /// A sandbox on the default bridge. Throws Error: invalid_argument for a bad address, forbidden (as Docker) where it
    /// is taken, conflict where the container is attached already, unavailable where no address is left.
    Sandbox attach(const std::string& container_id, const AttachOptions& options = {});

    /// Ends a container's connection; nothing where it has none. Returns at once: a link that is still there later,
    /// because somebody holds its namespace, is removed behind.
    void release(const std::string& container_id);

    /// The connection that attach() or recover() gave.
    std::optional<Endpoint> endpoint(const std::string& container_id) const;

    /// bridge, host, none.
    std::vector<Network> list() const;
    /// By name, ID or unique prefix of the ID. Throws Error(not_found) "network x not found", conflict where a prefix is ambiguous.
    Network find(std::string_view reference) const;

    /// The bridge's own address: what `host-gateway` means in extra hosts.
    std::string gateway() const;

    /// Takes the bridge and the rules away. For tests and for uninstalling; refused where containers are attached.
    void remove_all();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace grua::network
