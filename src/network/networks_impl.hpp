// The inside of Networks, in one place for networks.cpp (the networks), endpoints.cpp (the containers on them) and
// watch.cpp (recovery, and what is done behind).
#pragma once

#include "base/mutex.hpp"
#include "network/networks.hpp"

#include "linux/netlink.hpp"
#include "network/address_pool.hpp"
#include "network/bridge.hpp"
#include "network/firewall.hpp"
#include "network/plan.hpp"
#include "network/resolver.hpp"
#include "network/sandbox_pool.hpp"

#include <chrono>
#include <functional>
#include <set>
#include <stop_token>
#include <thread>

namespace grua::network {

using Clock = std::chrono::steady_clock;

/// A container on a network. `link` is empty while attach() is at work, where the driver has none on the host, and where
/// it was not found at recovery.
struct Joined {
    Endpoint endpoint;
    std::string link;
    Elements elements;
    std::vector<std::string> names;
    StringMap links;
    std::vector<linux::Ip> link_local;
    std::uint16_t share = 0;  ///< Of the network's rate, where that is limited.
};

std::vector<linux::Ip> addresses_of(const Joined& joined);

/// Whether all containers of the network are meant.
bool is_network(const AllowedPeer& peer, const NetworkConfig& network);

/// The order of a container's endpoints: by priority, those that lead out by both families, then by the networks' names. The
/// first has the default route and the published ports, and its names are asked first.
bool comes_first(const Endpoint& one, const Endpoint& other);

/// Who a container is to the resolver.
struct Identity {
    std::string name;
    std::vector<std::string> nameservers;
    std::optional<PublishPolicy> publish_policy;
    std::map<std::string, PublishPolicy> port_policies;
    StringMap labels;
    RateLimits limits;
    std::optional<Policy> policy;
    std::vector<std::pair<std::uint8_t, std::uint16_t>> exposed;
    std::vector<std::string> links;
    std::shared_ptr<Fd> netns;  ///< Its network namespace while it has one.
    bool is_served = false;
    bool had_udp = false;  ///< Ports that it has or gave away: flows lead to it until it ends.

    bool has_rules() const { return policy.has_value() || !links.empty(); }  ///< That follow who comes and goes.
};
Identity identity_of(const SandboxRequest& request);
std::shared_ptr<Fd> duplicate(const Fd& from);

/// A network as it is in the kernel.
struct Net : NetworkPlan {
    Net() = default;
    explicit Net(NetworkPlan plan) : NetworkPlan(std::move(plan)) {}

    int index = 0;                         ///< Of the bridge, or of the parent.
    bool ours = true;                      ///< The bridge was made here.
    std::map<std::string, Joined> joined;  ///< By container ID.
    std::set<std::uint16_t> shares;        ///< Of its rate, that are taken.

    /// What the firewall has of a container on it.
    Elements elements_of(const Joined& joined) const;
    std::uint16_t take_share();  ///< 0 where its rate has no limit.
};

/// The link by which what comes in by the host's end of a container's is led, where that is limited. Empty where that is no veth.
std::string ifb_of_link(const std::string& link);
std::string ifb_of_network(const std::string& network_id);

/// A container's part of its network's rate.
struct SharedRate {
    std::string network_id;
    int index = 0;  ///< Of the bridge.
    RateLimits limits;
    std::uint16_t share = 0;
};

bool has_udp(const std::vector<PublishedPort>& ports);

/// What takes a firewall from one state to another.
struct RuleChange {
    Elements removed, added;
};
RuleChange change_between(Elements before, Elements after);

/// What policies and links let through. A pair is a target and a source, containers' IDs; without a source it is what needs none.
class PairRules {
public:
    using Pairs = std::map<std::pair<std::string, std::string>, std::set<linux::NftElement>>;

    bool empty() const noexcept { return pairs_.empty(); }
    /// `now` is all that there is of the pairs that a container is one of.
    void renew(const std::string& container_id, Pairs now);
    /// What the firewall is to be told since it was told last.
    RuleChange take_change();

private:
    void replace(const Pairs::key_type& pair, std::set<linux::NftElement> now);

    Pairs pairs_;
    std::set<std::pair<std::string, std::string>> by_source_;  ///< The same pairs, turned round.
    std::map<linux::NftElement, unsigned> counts_;             ///< How many pairs need each.
    std::map<linux::NftElement, bool> had_;                    ///< Whether those that were touched were there.
};

/// The ports of a container.
struct Published {
    std::vector<PublishedPort> ports;
    std::string network_id;                          ///< Of the network that they lead to.
    Elements elements;                               ///< What the firewall has of them.
    std::map<PublishedPort, Proxy::Target> proxied;  ///< Those that the firewall cannot lead there.
};

/// A connection that ended: its addresses are not free before its link is known to be gone.
struct Dying {
    std::string network_id;
    std::string link;
    std::vector<linux::Ip> addresses;
    Elements elements;
    std::uint16_t share = 0;
    Clock::time_point due;
};

struct Networks::State {
    State(Options given, store::Database& database);
    ~State();

    // networks.cpp
    void load() GRUA_NOT_ANALYSED;  // nobody else is there yet
    Surroundings surroundings(const Present& present);
    void make(Net& net, const Present& present);
    void take_away(std::string_view reference) GRUA_REQUIRES(admin);
    void make_link(Net& net, const Present& present);
    NetworkConfig default_bridge(const std::vector<linux::IpPrefix>& used, const Present& present);
    std::vector<linux::IpPrefix> used_prefixes(const std::vector<linux::IpPrefix>& by_host) const GRUA_REQUIRES(mutex);
    void save(const NetworkConfig& config);
    Net& find_net(std::string_view reference) GRUA_REQUIRES(mutex);
    Network described(const Net& net) const GRUA_REQUIRES(mutex);
    unsigned default_mtu();
    std::string alias_of(const Net& net) const;

    // endpoints.cpp
    struct Work;
    Sandbox attach(const SandboxRequest& request);
    Endpoint connect(const std::string& container_id, int netns, const EndpointRequest& request);
    void disconnect(const std::string& container_id, int netns, std::string_view network);
    void release(const std::string& container_id);
    Work reserve(const std::string& container_id, const EndpointRequest& request, const std::set<std::string>& interfaces)
        GRUA_REQUIRES(mutex);
    RateLimits note_link(Work& work, const std::string& container_id);
    void wire(Work& work, const std::string& container_id, int netns, linux::Netlink& inside, const ReadySandbox* ready);
    void set_routes(const std::vector<Endpoint>& endpoints, linux::Netlink& inside);
    void note_works(const std::string& container_id, const std::vector<Work>& works) GRUA_REQUIRES(mutex);
    void undo(const std::string& container_id, const std::vector<Work>& works);
    void reserve_or_reap(const std::string& container_id, std::vector<Work>& works, const std::function<void()>& reserve_all);
    void end_joined(const std::string& container_id, Net& net, Clock::duration delay) GRUA_REQUIRES(mutex);

    // publish.cpp
    bool is_guarded(const std::string& container_id, const PublishedPort& port) const GRUA_REQUIRES(mutex);
    void prepare_guard();
    Net* port_network(const std::string& container_id, Published& of_container) GRUA_REQUIRES(mutex);
    Elements port_rules(const std::string& container_id, Published& of_container) GRUA_REQUIRES(mutex);
    RuleChange change_of_ports(const std::string& container_id);
    std::vector<PublishedPort> publish(const std::string& container_id, const std::vector<PortRequest>& requests);
    std::vector<PublishedPort> ports_of(const std::string& container_id) const;
    void forget_udp(const std::vector<PublishedPort>& ports, const std::vector<linux::Ip>& ended = {});
    std::vector<linux::Ip> host_addresses(const PortRequest& request, const BridgeSettings& settings, const Endpoint& endpoint) const;

    // limits.cpp
    void check_limitable(const std::string& container_id, const Net& net) const GRUA_REQUIRES(mutex);
    void check_limitable(const std::string& container_id) const GRUA_REQUIRES(mutex);
    void limit_endpoint(const std::string& link, const std::string& alias, const RateLimits& before, const RateLimits& after);
    void limit_network(const std::string& network_id);
    void change_share(const SharedRate& of, bool is_there) GRUA_REQUIRES(netlink_mutex);

    // allow.cpp
    const Policy* policy_of(const Net& net, const std::string& container_id) const GRUA_REQUIRES(mutex);
    bool is_peer(const AllowedPeer& peer, const std::string& container_id) const GRUA_REQUIRES(mutex);
    struct Place;
    std::vector<Place> places_of(const std::string& container_id) const GRUA_REQUIRES(mutex);
    void add_as_target(const std::string& target, const std::vector<Place>& places, PairRules::Pairs& out) const GRUA_REQUIRES(mutex);
    void add_as_source(const std::string& source, const std::vector<Place>& places, PairRules::Pairs& out) const GRUA_REQUIRES(mutex);
    void add_links(const std::string& container_id, const std::vector<Place>& places, PairRules::Pairs& out) const GRUA_REQUIRES(mutex);
    void note_policy(const std::string& id, bool has_one) GRUA_REQUIRES(mutex);
    void change_rules(RuleChange change, std::string_view doing, const std::vector<std::string>& containers);
    void refresh_policies(const std::vector<std::string>& containers);
    void refresh_policies();
    void refresh_policies_about(const NetworkConfig& network);

    // reach.cpp
    bool is_linked(const Net& net, const std::string& source, const std::string& target) const GRUA_REQUIRES(mutex);
    std::optional<Reach> reach_between(const Net& from, const std::string& source, const Net& net, const std::string& target,
                                       const std::string& address) const GRUA_REQUIRES(mutex);
    std::vector<Reach> reach_published(const std::string& target) const GRUA_REQUIRES(mutex);

    // names.cpp
    void update_names(const std::string& container_id, int netns, ResolverSockets sockets = {});

    // watch.cpp
    void recover(std::vector<Attachment> live);
    void watch(const std::stop_token& stop);
    void end_watch();
    void look_at_host(const linux::NetlinkWatch::Changes& changes);
    void follow_mtu();
    void check_routes();
    void reap(Clock::time_point until);
    int until_next_work();

    Options options;
    store::Database& database;
    std::string alias_prefix;

    // In this order where several are held: admin, policy_mutex, reap_mutex, then one of the others.
    Mutex admin;  ///< One network is made, changed or removed at a time.
    Mutex policy_mutex;
    Mutex reap_mutex;
    Mutex netlink_mutex;
    linux::Netlink netlink GRUA_GUARDED_BY(netlink_mutex);

    mutable Mutex mutex;
    std::map<std::string, Net> nets GRUA_GUARDED_BY(mutex);             ///< By ID.
    std::map<std::string, Published> published GRUA_GUARDED_BY(mutex);  ///< By container ID.
    std::map<std::string, Identity> identities GRUA_GUARDED_BY(mutex);  ///< By container ID.
    std::set<std::string> with_policy GRUA_GUARDED_BY(mutex);           ///< IDs of the containers and networks that have one, or links.
    PairRules policy_rules GRUA_GUARDED_BY(mutex);
    std::vector<Dying> dying GRUA_GUARDED_BY(mutex);

    HostPorts host_ports;
    std::once_flag guard_prepared;
    linux::NetlinkWatch host_watch;
    Uplink uplink;                                             ///< Of the watcher.
    std::optional<Clock::time_point> look_due;                 ///< Of the watcher: the host has changed, and may change on.
    std::set<std::pair<std::string, std::string>> collisions;  ///< Of the watcher: networks and prefixes of the host that meet.
    Firewall firewall;
    Resolver resolver;
    Fd wake;
    std::unique_ptr<SandboxPool> sandboxes;
    std::jthread watcher;
};

}  // namespace grua::network
