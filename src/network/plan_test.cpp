#include "network/plan.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <algorithm>
#include <functional>

namespace grua::network {
namespace {

using linux::Ip;
using linux::IpPrefix;

constexpr const char* id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

IpPrefix prefix(const char* text) { return *IpPrefix::parse(text); }

/// A host with a route to 172.18.0.0/24, a network on 172.18.1.0/24 with a bridge of its own name, and a configuration-only network.
Surroundings around() {
    Surroundings out{.by_host = {prefix("172.18.0.0/24")}, .networks = {}, .pools = {}, .network_options = {}, .mtu = 1400};
    NetworkConfig first{.name = "first", .id = "aa", .driver = "bridge"};
    out.networks.push_back({first, "br-first", {prefix("172.18.1.0/24"), prefix("fd00:99:1::/64")}});
    NetworkConfig config{.name = "template", .id = "bb", .driver = "null"};
    config.config_only = true;
    config.enable_ipv4 = true;
    config.ipam = {.driver = "default", .options = {}, .config = {{.subnet = "10.99.30.0/24", .gateway = "10.99.30.7"}}};
    config.labels = {{"from", "template"}, {"both", "template"}};
    out.networks.push_back({config, "", {}});
    return out;
}

NetworkConfig named(const std::string& name) { return {.name = name}; }

NetworkConfig with(const std::function<void(NetworkConfig&)>& change) {
    NetworkConfig out = named("n");
    change(out);
    return out;
}

NetworkConfig on(const std::vector<IpamConfig>& subnets, bool ipv6 = false) {
    return with([&](NetworkConfig& config) {
        config.ipam.config = subnets;
        if (ipv6) config.enable_ipv6 = true;
    });
}

TEST(Plan, WhatIsRefused) {
    struct Case {
        NetworkConfig request;
        ErrorKind kind;
        const char* text;
    };
    using enum ErrorKind;
    const auto option = [](const char* name, const char* value) {
        return with([&](NetworkConfig& config) { config.options[name] = value; });
    };
    const auto driver = [](const char* name) { return with([&](NetworkConfig& config) { config.driver = name; }); };
    const auto from_template = [](const std::function<void(NetworkConfig&)>& change) {
        return with([&](NetworkConfig& config) {
            config.config_from.network = "template";
            change(config);
        });
    };
    const Case cases[] = {
        {named(" "), invalid_argument, "name is empty"},
        {named(std::string(256, 'n')), invalid_argument, "longer than 255"},
        {named("host"), forbidden, "predefined host network"},
        {named("first"), conflict, "network with name first already exists"},
        {driver("host"), forbidden, "only one instance of \"host\""},
        {driver("null"), forbidden, "only one instance of \"null\""},
        {driver("overlay"), not_implemented, "overlay"},
        {driver("weave"), not_found, "plugin \"weave\" not found"},
        {with([](NetworkConfig& config) { config.scope = "swarm"; }), forbidden, "swarm"},
        {with([](NetworkConfig& config) { config.ingress = true; }), forbidden, "Ingress"},
        {with([](NetworkConfig& config) { config.ipam.driver = "dhcp"; }), not_found, "plugin \"dhcp\" not found"},
        {option("com.docker.network.enable_ipv6", "perhaps"), invalid_argument, "com.docker.network.enable_ipv6"},
        {option("com.docker.network.enable_ipv4", "false"), invalid_argument, "IPv4 or IPv6 must be enabled"},
        {option("com.docker.network.driver.mtu", "12"), invalid_argument, "invalid MTU number: 12"},
        {option("com.docker.network.bridge.name", "br-first"), forbidden, "networks have same bridge name"},
        {option("com.docker.network.bridge.name", "much-too-long-a-name"), invalid_argument, "bridge name"},
        {on({{.subnet = "10.99.1.1/24"}}), invalid_argument, "it should be 10.99.1.0/24"},
        {on({{.gateway = "10.99.1.1"}}), invalid_argument, "without a subnet"},
        {on({{.subnet = "172.18.1.128/25"}}), forbidden, "Pool overlaps"},
        {on({{.subnet = "10.99.1.0/24"}, {.subnet = "10.99.1.128/25"}}), forbidden, "Pool overlaps"},
        {on({{.subnet = "fd00:99:1::/64"}}, true), forbidden, "Pool overlaps"},
        {on({{.subnet = "10.99.1.0/24", .gateway = "10.99.1.9", .auxiliary_addresses = {{"a", "10.99.1.9"}}}}), forbidden,
         "failed to allocate gateway (10.99.1.9): Address already in use"},
        {on({{.subnet = "10.99.1.0/24", .auxiliary_addresses = {{"a", "10.99.1.9"}, {"b", "10.99.1.9"}}}}), forbidden,
         "auxiliary address b 10.99.1.9"},
        {from_template([](NetworkConfig& config) { config.config_from.network = "first"; }), not_found,
         "configuration network \"first\" does not exist"},
        {from_template([](NetworkConfig& config) { config.options["parent"] = "eth0"; }), forbidden, "network driver options"},
        {from_template([](NetworkConfig& config) { config.internal = true; }), forbidden, "internal"},
        {from_template([](NetworkConfig& config) { config.ipam.config = {{.subnet = "10.99.2.0/24"}}; }), forbidden,
         "user-specified configurations"},
    };
    for (const Case& each : cases) {
        try {
            static_cast<void>(plan_network(each.request, around(), id, "now"));
            ADD_FAILURE() << "taken: expected " << each.text;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), each.kind) << error.what();
            EXPECT_NE(std::string_view(error.what()).find(each.text), std::string_view::npos) << error.what();
        }
    }
}

TEST(Plan, WhatIsChosen) {
    struct Case {
        const char* name;
        NetworkConfig request;
        std::vector<std::string> subnets;
        std::vector<std::string> gateways;
        unsigned mtu;
    };
    const auto child = [](const char* driver, const char* option, const char* value) {
        return with([&](NetworkConfig& config) {
            config.driver = driver;
            config.options[option] = value;
        });
    };
    const Case cases[] = {
        // 172.18.0.0 is the host's, 172.18.1.0 another network's.
        {"the first free subnet", named("n"), {"172.18.2.0/24"}, {"172.18.2.1/24"}, 1400},
        {"the host may be met where it is asked for", on({{.subnet = "172.18.0.0/24"}}), {"172.18.0.0/24"}, {"172.18.0.1/24"}, 1400},
        {"a gateway of its own", on({{.subnet = "10.99.1.0/24", .gateway = "10.99.1.254"}}), {"10.99.1.0/24"}, {"10.99.1.254/24"}, 1400},
        {"IPv4 first, in whichever order they come",
         on({{.subnet = "fd00:99:2::/64"}, {.subnet = "10.99.1.0/24"}}, true),
         {"10.99.1.0/24", "fd00:99:2::/64"},
         {"10.99.1.1/24", "fd00:99:2::1/64"},
         1400},
        {"IPv6 is left out where it is not on",
         on({{.subnet = "fd00:99:2::/64"}, {.subnet = "10.99.1.0/24"}}),
         {"10.99.1.0/24", "fd00:99:2::/64"},
         {"10.99.1.1/24"},
         1400},
        {"an MTU of its own", child("bridge", "com.docker.network.driver.mtu", "1300"), {"172.18.2.0/24"}, {"172.18.2.1/24"}, 1300},
        {"a child has its parent's MTU", child("macvlan", "parent", "eth9"), {"172.18.2.0/24"}, {"172.18.2.1/24"}, 0},
        {"layer 3 has no gateway", child("ipvlan", "ipvlan_mode", "l3"), {"172.18.2.0/24"}, {}, 0},
        {"a template",
         with([](NetworkConfig& config) {
             config.config_from.network = "template";
             config.labels = {{"both", "own"}};
         }),
         {"10.99.30.0/24"},
         {"10.99.30.7/24"},
         1400},
    };
    for (const Case& each : cases) {
        SCOPED_TRACE(each.name);
        const NetworkPlan plan = plan_network(each.request, around(), id, "now");
        std::vector<std::string> subnets;
        std::vector<std::string> gateways;
        for (const IpamConfig& one : plan.config.ipam.config) subnets.push_back(one.subnet);
        for (const IpPrefix& one : plan.gateways) gateways.push_back(one.text());
        EXPECT_EQ(subnets, each.subnets);
        EXPECT_EQ(gateways, each.gateways);
        EXPECT_EQ(plan.mtu, each.mtu);
        EXPECT_EQ(plan.config.id, id);
        EXPECT_EQ(plan.config.created, "now");
        EXPECT_EQ(plan.config.scope, "local");
        EXPECT_EQ(plan.config.ipam.driver, "default");
        EXPECT_EQ(plan.elements.empty(), !plan.is_bridge());
        if (plan.is_bridge()) EXPECT_EQ(plan.bridge.link, "br-0123456789ab");
    }
}

TEST(Plan, ATemplateGivesItsLabelsToWhoHasNone) {
    NetworkConfig request = named("n");
    request.config_from.network = "template";
    request.labels = {{"both", "own"}};
    const NetworkPlan plan = plan_network(request, around(), id, "now");
    EXPECT_EQ(plan.config.labels, (StringMap{{"from", "template"}, {"both", "own"}}));
}

TEST(Plan, DefaultsOfTheDriverAreForWhoSaysNothing) {
    Surroundings some = around();
    some.network_options["bridge"] = {{"com.docker.network.driver.mtu", "1350"}, {"com.docker.network.bridge.enable_icc", "false"}};
    NetworkConfig request = named("n");
    request.options["com.docker.network.driver.mtu"] = "1250";
    const NetworkPlan plan = plan_network(request, some, id, "now");
    EXPECT_EQ(plan.mtu, 1250U);
    EXPECT_FALSE(plan.bridge.icc);
    request.driver = "macvlan";
    EXPECT_FALSE(plan_network(request, some, id, "now").config.options.contains("com.docker.network.bridge.enable_icc"));
}

TEST(Plan, ConfiguredPoolsAreUsedUntilTheyAreFull) {
    Surroundings some = around();
    some.pools = {{.base = prefix("10.99.64.0/23"), .size = 24}};
    for (const char* expected : {"10.99.64.0/24", "10.99.65.0/24"}) {
        const NetworkPlan plan = plan_network(named(expected), some, id, "now");
        EXPECT_EQ(plan.config.ipam.config.at(0).subnet, expected);
        some.networks.push_back({plan.config, "", {plan.pools4.at(0).subnet()}});
    }
    EXPECT_THROW(static_cast<void>(plan_network(named("third"), some, id, "now")), Error);
}

TEST(Plan, AUniqueLocalSubnetWhereIPv6IsAskedForWithoutOne) {
    NetworkConfig request = named("n");
    request.enable_ipv6 = true;
    const NetworkPlan plan = plan_network(request, around(), id, "now");
    ASSERT_EQ(plan.pools6.size(), 1U);
    EXPECT_TRUE(prefix("fd00::/8").contains(plan.pools6[0].subnet().address));
    EXPECT_EQ(plan.pools6[0].subnet().length, 64U);
    EXPECT_EQ(plan.gateway(Ip::Family::v6)->address, first_address(plan.pools6[0].subnet()).address);
}

TEST(Plan, ATemplateItselfTakesNothing) {
    NetworkConfig request = on({{.subnet = "172.18.1.0/24"}});
    request.config_only = true;
    const NetworkPlan plan = plan_network(request, around(), id, "now");
    EXPECT_EQ(plan.config.driver, "null");
    EXPECT_TRUE(plan.pools4.empty());
    EXPECT_TRUE(plan.elements.empty());
}

TEST(Plan, GatewaysAndAuxiliaryAddressesAreGivenToNobody) {
    NetworkPlan plan = plan_network(on({{.subnet = "10.99.1.0/29", .auxiliary_addresses = {{"a", "10.99.1.2"}, {router4, "10.99.1.3"}}}}),
                                    around(), id, "now");
    ASSERT_EQ(plan.routers.size(), 1U);
    EXPECT_EQ(plan.routers[0].text(), "10.99.1.3");
    std::vector<std::string> given;
    while (const auto address = plan.pools4.at(0).allocate()) given.push_back(address->text());
    EXPECT_EQ(given, (std::vector<std::string>{"10.99.1.4", "10.99.1.5", "10.99.1.6"}));
}

}  // namespace
}  // namespace grua::network
