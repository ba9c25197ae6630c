#include "runtime/net_devices.hpp"

#include "base/error.hpp"
#include "linux/netlink.hpp"
#include "linux/netns.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <algorithm>
#include <vector>

namespace grua::runtime {
namespace {

bool can_be_a_name(std::string_view name) {
    const auto is_allowed = [](char c) { return c > ' ' && c != '/' && c != ':' && c != 127; };
    return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." && std::ranges::all_of(name, is_allowed);
}

std::vector<int> numbers_of_links(linux::Netlink& netlink) {
    std::vector<int> out;
    for (const linux::Link& each : netlink.links()) out.push_back(each.index);
    return out;
}

/// The one that was not there before: its number may be another one than on the host, and its name one that the kernel has chosen.
linux::Link arrived(linux::Netlink& netlink, const std::vector<int>& before) {
    for (const linux::Link& each : netlink.links())
        if (std::ranges::find(before, each.index) == before.end()) return each;
    fail(ErrorKind::system, "it is not in the container's network namespace");
}

void move_one(linux::Netlink& host, linux::Netlink& inside, const std::string& name, const oci::NetDevice& device, int netns) {
    const auto link = host.link(name);
    if (!link) fail(ErrorKind::not_found, "the host has no such interface");
    std::vector<linux::IpPrefix> addresses;
    for (const linux::LinkAddress& each : host.addresses())
        if (each.link == link->index && each.is_global) addresses.push_back(each.address);
    const std::vector<int> before = numbers_of_links(inside);
    linux::NetlinkBatch move;
    move.move_link(link->index, netns, device.name.empty() ? name : device.name);
    host.run(move);

    const linux::Link there = arrived(inside, before);
    linux::NetlinkBatch raise;
    for (const linux::IpPrefix& each : addresses) raise.add_address(there.index, each);
    raise.change_link(there.name, {.up = true});
    inside.run(raise);
}

}  // namespace

void check_net_devices(const NetDevices& devices) {
    for (const auto& [name, device] : devices) {
        if (!can_be_a_name(name)) fail(ErrorKind::invalid_argument, "linux.netDevices: invalid name {:?}", name);
        if (!device.name.empty() && !can_be_a_name(device.name))
            fail(ErrorKind::invalid_argument, "linux.netDevices: invalid name {:?} for {}", device.name, name);
    }
}

void move_net_devices(const NetDevices& devices, pid_t pid) {
    if (devices.empty()) return;
    const std::string path = fmt::format("/proc/{}/ns/net", pid);
    const Fd netns{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!netns) fail_errno("open {}", path);
    linux::Netlink host;
    linux::Netlink inside = [&] {
        const linux::NetnsVisit visit{netns.get()};
        return linux::Netlink{};
    }();
    for (const auto& [name, device] : devices)
        while_doing(fmt::format("network device {}", name), [&] { move_one(host, inside, name, device, netns.get()); });
}

}  // namespace grua::runtime
