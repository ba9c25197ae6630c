#include "network/networks.hpp"

#include "base/error.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "linux/netlink.hpp"
#include "linux/nftables.hpp"
#include "network/address_pool.hpp"
#include "network/bridge.hpp"
#include "network/catalog.hpp"
#include "network/rules.hpp"
#include "network/sandbox_pool.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <algorithm>
#include <chrono>
#include <mutex>
#include <stop_token>
#include <thread>

namespace grua::network {

using linux::Ipv4;
using linux::Ipv4Prefix;
using linux::Mac;

namespace {

using Clock = std::chrono::steady_clock;

// A namespace is taken apart by the kernel about 40 ms after its last process; this long nobody is asked about it.
constexpr auto reap_delay = std::chrono::seconds(1);
constexpr auto reap_retry = std::chrono::seconds(5);
constexpr std::uint32_t doomed_group = 0x67727561;  // Links of this group are deleted in one request.

Ipv4Prefix parse_bip(const std::string& text) {
    const auto bip = Ipv4Prefix::parse(text);
    if (!bip) fail(ErrorKind::invalid_argument, "invalid CIDR address: {}", text);
    if (AddressPool(*bip).reserve(bip->address) != AddressPool::Reserved::yes) {
        fail(ErrorKind::invalid_argument, "--bip {}: it is the address of the network, not of a host in it", text);
    }
    return *bip;
}

/// A container's connection. `link` is empty while attach() is at work and where the link was not found at recovery.
struct Held {
    Endpoint endpoint;
    std::string link;
};

/// A connection that ended: its address is not free before its link is known to be gone.
struct Dying {
    std::string link;
    std::string ip;
    Clock::time_point due;
};

}  // namespace

struct Networks::State {
    explicit State(Options given);
    ~State();

    Sandbox attach(const std::string& container_id, const AttachOptions& wanted);
    void release(const std::string& container_id);
    void recover(const std::vector<Attachment>& live);
    void connect(ReadySandbox& sandbox, const std::string& container_id, const Endpoint& endpoint);
    Ipv4 allocate(const std::string& wanted);
    void forget(const std::string& container_id, const std::string& ip);
    void write_rules() const;
    void watch(const std::stop_token& stop);
    void end_watch();
    void reap(Clock::time_point until);
    int until_next_reap();
    std::vector<Network> networks() const;

    Options options;
    std::optional<Ipv4Prefix> bip;
    std::string alias_prefix;

    // In this order where two are held: reap_mutex, then one of the others.
    std::mutex reap_mutex;
    std::mutex netlink_mutex;
    linux::Netlink netlink;
    Catalog catalog;
    Bridge bridge;

    mutable std::mutex mutex;
    AddressPool addresses;
    std::map<std::string, Held> attached;
    std::vector<Dying> dying;

    Ruleset rules;
    linux::NftablesWatch rules_watch;
    Fd wake;
    SandboxPool pool;
    std::jthread watcher;

private:
    Bridge make_bridge();
};

Bridge Networks::State::make_bridge() {
    check_bridge_name(options.bridge);
    const Bridge made = ensure_bridge(netlink, {.name = options.bridge, .bip = bip, .remembered = catalog.gateway, .mtu = options.mtu});
    catalog.gateway = made.gateway;
    save_catalog(options.data_directory, catalog);
    return made;
}

Networks::State::State(Options given)
    : options(std::move(given)),
      bip(options.bip.empty() ? std::nullopt : std::optional(parse_bip(options.bip))),
      alias_prefix(owner_alias(options.bridge) + ":"),
      catalog(load_catalog(options.data_directory)),
      bridge(while_doing("default bridge", [&] { return make_bridge(); })),
      addresses(bridge.gateway),
      rules(ruleset({.bridge = options.bridge, .subnet = bridge.gateway.subnet(), .masquerade = options.ip_masq, .icc = options.icc})),
      rules_watch(table_name(options.bridge)),
      wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      pool({.ready = options.ready_sandboxes, .most = options.most_ready_sandboxes, .mtu = bridge.mtu}) {
    if (!wake) fail_errno("eventfd");
    addresses.reserve(bridge.gateway.address);
    if (options.ip_forward) ensure_forwarding();
    write_rules();
    watcher = std::jthread([this](const std::stop_token& stop) {
        ::pthread_setname_np(::pthread_self(), "network-watch");
        watch(stop);
    });
}

Networks::State::~State() { end_watch(); }

void Networks::State::end_watch() {
    if (!watcher.joinable()) return;
    watcher.request_stop();
    ::eventfd_write(wake.get(), 1);
    watcher.join();
}

void Networks::State::write_rules() const { linux::apply_ruleset(rules.text, "write the rules of bridge " + options.bridge); }

Ipv4 Networks::State::allocate(const std::string& wanted) {
    if (wanted.empty()) {
        if (const auto address = addresses.allocate()) return *address;
        fail(ErrorKind::unavailable, "no available IPv4 addresses on this network's address pools: bridge ({})", catalog.bridge_id);
    }
    const auto address = Ipv4::parse(wanted);
    if (!address) fail(ErrorKind::invalid_argument, "invalid IPv4 address: {}", wanted);
    switch (addresses.reserve(*address)) {
        case AddressPool::Reserved::yes:
            return *address;
        case AddressPool::Reserved::taken:
            fail(ErrorKind::forbidden, "Address already in use");
        case AddressPool::Reserved::outside:
            break;
    }
    fail(ErrorKind::invalid_argument, "invalid address {}: it does not belong to subnet {} of network bridge", wanted,
         addresses.subnet().text());
}

void Networks::State::forget(const std::string& container_id, const std::string& ip) {
    const std::lock_guard lock(mutex);
    attached.erase(container_id);
    if (const auto address = Ipv4::parse(ip)) addresses.release(*address);
}

/// The host's end becomes a port first, so that the container's first packet finds its way.
void Networks::State::connect(ReadySandbox& sandbox, const std::string& container_id, const Endpoint& endpoint) {
    const std::string alias = alias_prefix + container_id;
    linux::NetlinkBatch outside;
    outside.change_link(sandbox.link, {.master = bridge.index, .alias = alias});
    if (!options.icc) outside.change_link(sandbox.link, {.isolated = true});
    {
        const std::lock_guard lock(netlink_mutex);
        netlink.run(outside);
    }
    linux::NetlinkBatch inside;
    inside.change_link("eth0", {.mac = Mac::parse(endpoint.mac)});
    inside.add_address(sandbox.eth0, {*Ipv4::parse(endpoint.ip), endpoint.prefix_length});
    inside.add_default_route(bridge.gateway.address, sandbox.eth0);
    sandbox.inside.run(inside);
}

Sandbox Networks::State::attach(const std::string& container_id, const AttachOptions& wanted) {
    const auto mac = Mac::parse(wanted.mac);
    if (!wanted.mac.empty() && !mac) fail(ErrorKind::invalid_argument, "invalid MAC address: {}", wanted.mac);

    Endpoint endpoint;
    for (bool reaped = false; endpoint.ip.empty();) {
        std::unique_lock lock(mutex);
        if (attached.contains(container_id)) {
            fail(ErrorKind::conflict, "endpoint with name {} already exists in network bridge", container_id);
        }
        if (addresses.free() == 0 && !reaped) {
            lock.unlock();
            reap(Clock::time_point::max());
            reaped = true;
            continue;
        }
        const Ipv4 address = allocate(wanted.ip);
        endpoint = {.endpoint_id = random_id(),
                    .network_id = catalog.bridge_id,
                    .ip = address.text(),
                    .prefix_length = bridge.gateway.length,
                    .gateway = bridge.gateway.address.text(),
                    .mac = (mac ? *mac : Mac::from_ip(address)).text()};
        attached[container_id] = {endpoint, ""};
    }
    try {
        ReadySandbox sandbox = pool.take();
        connect(sandbox, container_id, endpoint);
        const std::lock_guard lock(mutex);
        attached[container_id].link = sandbox.link;
        return {std::move(sandbox.netns), endpoint};
    } catch (...) {
        forget(container_id, endpoint.ip);
        throw;
    }
}

void Networks::State::release(const std::string& container_id) {
    const std::lock_guard lock(mutex);
    const auto found = attached.find(container_id);
    if (found == attached.end()) return;
    dying.push_back({found->second.link, found->second.endpoint.ip, Clock::now() + reap_delay});
    attached.erase(found);
    if (dying.size() == 1) ::eventfd_write(wake.get(), 1);
}

void Networks::State::recover(const std::vector<Attachment>& live) {
    std::map<std::string, std::string> links;  // By container.
    std::vector<linux::Link> present;
    {
        const std::lock_guard lock(netlink_mutex);
        present = netlink.links();
    }
    for (const linux::Link& link : present) {
        if (link.kind == "veth" && link.alias.starts_with(alias_prefix)) links[link.alias.substr(alias_prefix.size())] = link.name;
    }
    const std::lock_guard lock(mutex);
    for (const Attachment& each : live) {
        const auto link = links.extract(each.container_id);
        const auto address = Ipv4::parse(each.endpoint.ip);
        if (!address || addresses.reserve(*address) != AddressPool::Reserved::yes) {
            log::warn("container {} runs with address \"{}\", which is not free in {}", each.container_id, each.endpoint.ip,
                      addresses.subnet().text());
        }
        if (link.empty()) log::warn("container {} has no link on bridge {}", each.container_id, options.bridge);
        attached[each.container_id] = {each.endpoint, link.empty() ? "" : link.mapped()};
    }
    for (const auto& [container_id, link] : links) {
        if (attached.contains(container_id)) continue;
        log::info("link {} belongs to no running container: {}", link, container_id);
        dying.push_back({link, "", Clock::now()});
    }
    ::eventfd_write(wake.get(), 1);
}

/// Links that are due and still there are deleted together; then their addresses are free.
void Networks::State::reap(Clock::time_point until) {
    const std::lock_guard one_at_a_time(reap_mutex);
    std::vector<Dying> due;
    {
        const std::lock_guard lock(mutex);
        const auto first_due = std::partition(dying.begin(), dying.end(), [&](const Dying& each) { return each.due > until; });
        due.assign(std::make_move_iterator(first_due), std::make_move_iterator(dying.end()));
        dying.erase(first_due, dying.end());
    }
    if (due.empty()) return;
    try {
        const std::lock_guard lock(netlink_mutex);
        std::vector<std::string> present;
        for (linux::Link& link : netlink.links()) present.push_back(std::move(link.name));
        std::ranges::sort(present);
        linux::NetlinkBatch doom;
        for (const Dying& each : due) {
            if (std::ranges::binary_search(present, each.link)) doom.change_link(each.link, {.group = doomed_group});
        }
        if (!doom.empty()) {
            // One that went meanwhile fails with ENODEV, and an empty group with it: then nothing is left to delete.
            linux::NetlinkBatch remove;
            remove.delete_group(doomed_group);
            for (const auto* batch : {&doom, &remove}) {
                try {
                    netlink.run(*batch);
                } catch (const Error& error) {
                    if (error.os_error() != ENODEV) throw;
                }
            }
        }
    } catch (const Error& error) {
        log::error("remove the links of ended containers: {}", error.what());
        const std::lock_guard lock(mutex);
        for (Dying& each : due) {
            each.due = Clock::now() + reap_retry;
            dying.push_back(std::move(each));
        }
        return;
    }
    const std::lock_guard lock(mutex);
    for (const Dying& each : due) {
        if (const auto address = Ipv4::parse(each.ip)) addresses.release(*address);
    }
}

int Networks::State::until_next_reap() {
    const std::lock_guard lock(mutex);
    if (dying.empty()) return -1;
    const auto next = std::ranges::min(dying, {}, &Dying::due).due;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    return static_cast<int>(std::max<std::int64_t>(left, 0));
}

void Networks::State::watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        pollfd fds[] = {{.fd = wake.get(), .events = POLLIN}, {.fd = rules_watch.fd(), .events = POLLIN}};
        if (::poll(fds, 2, until_next_reap()) < 0 && errno != EINTR) {
            log::error("network: poll: errno {}", errno);
            return;
        }
        if (stop.stop_requested()) return;
        eventfd_t woken = 0;
        if (fds[0].revents != 0) ::eventfd_read(wake.get(), &woken);
        try {
            if (fds[1].revents != 0 && rules_watch.deleted() && linux::rule_count(table_name(options.bridge)) != rules.rules) {
                log::warn("somebody removed the rules of bridge {}: writing them again", options.bridge);
                write_rules();
            }
        } catch (const Error& error) {
            log::error("network: {}", error.what());
        }
        reap(Clock::now());
    }
}

std::vector<Network> Networks::State::networks() const {
    const auto text = [](bool value) { return std::string(value ? "true" : "false"); };
    Network made{.name = "bridge", .id = catalog.bridge_id, .created = catalog.created, .driver = "bridge"};
    made.subnets = {{bridge.gateway.subnet().text(), bridge.gateway.address.text()}};
    made.options = {{"com.docker.network.bridge.default_bridge", "true"},
                    {"com.docker.network.bridge.enable_icc", text(options.icc)},
                    {"com.docker.network.bridge.enable_ip_masquerade", text(options.ip_masq)},
                    {"com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"},
                    {"com.docker.network.bridge.name", options.bridge},
                    {"com.docker.network.driver.mtu", fmt::format("{}", bridge.mtu)}};
    {
        const std::lock_guard lock(mutex);
        for (const auto& [container_id, held] : attached) made.containers[container_id] = held.endpoint;
    }
    return {std::move(made),
            {.name = "host", .id = catalog.host_id, .created = catalog.created, .driver = "host"},
            {.name = "none", .id = catalog.none_id, .created = catalog.created, .driver = "null"}};
}

Networks::Networks(Options options) : state_(std::make_unique<State>(std::move(options))) {}
Networks::~Networks() = default;

void Networks::recover(const std::vector<Attachment>& live) { state_->recover(live); }

Sandbox Networks::attach(const std::string& container_id, const AttachOptions& options) {
    return while_doing("failed to set up container networking", [&] { return state_->attach(container_id, options); });
}

void Networks::release(const std::string& container_id) { state_->release(container_id); }

std::optional<Endpoint> Networks::endpoint(const std::string& container_id) const {
    const std::lock_guard lock(state_->mutex);
    const auto found = state_->attached.find(container_id);
    return found == state_->attached.end() ? std::nullopt : std::optional(found->second.endpoint);
}

std::vector<Network> Networks::list() const { return state_->networks(); }

Network Networks::find(std::string_view reference) const {
    std::vector<Network> all = state_->networks();
    for (Network& each : all) {
        if (each.name == reference || each.id == reference) return std::move(each);
    }
    std::erase_if(all, [&](const Network& each) { return reference.empty() || !each.id.starts_with(reference); });
    if (all.empty()) fail(ErrorKind::not_found, "network {} not found", reference);
    if (all.size() > 1) fail(ErrorKind::conflict, "network {} is ambiguous ({} matches found on name/ID prefix)", reference, all.size());
    return std::move(all.front());
}

std::string Networks::gateway() const { return state_->bridge.gateway.address.text(); }

void Networks::remove_all() {
    State& state = *state_;
    {
        const std::lock_guard lock(state.mutex);
        if (!state.attached.empty()) fail(ErrorKind::conflict, "network bridge has active endpoints");
    }
    state.reap(Clock::time_point::max());
    // The watcher must not put back what is taken away here.
    state.end_watch();
    const std::string table = table_name(state.options.bridge);
    linux::apply_ruleset(fmt::format("table inet {0}\ndelete table inet {0}\n", table),
                         "remove the rules of bridge " + state.options.bridge);
    if (!state.bridge.ours) return;
    linux::NetlinkBatch remove;
    remove.delete_link(state.options.bridge);
    const std::lock_guard lock(state.netlink_mutex);
    state.netlink.run(remove);
}

}  // namespace grua::network
