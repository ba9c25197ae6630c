#include "api/older_requests.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::api {
namespace {

struct Taken {
    wire::CreateBody body;
    engine::StringList warnings;
};

Taken take(int minor_number, std::string_view json) {
    Taken out{.body = json::parse<wire::CreateBody>(json), .warnings = {}};
    out.warnings = take_as_in({1, minor_number}, out.body);
    return out;
}

std::string refusal(int minor_number, std::string_view json) {
    try {
        take(minor_number, json);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

TEST(OlderRequests, what_a_version_did_not_know_is_not_there) {
    const std::string_view all = R"({"Healthcheck": {"StartInterval": 5}, "HostConfig": {"AutoRemove": true, "KernelMemoryTCP": 1,
        "ConsoleSize": [1, 2], "Annotations": {"a": "b"}},
        "NetworkingConfig": {"EndpointsConfig": {"n": {"GwPriority": 7, "MacAddress": "02:00:00:00:00:01"}}}})";
    const wire::CreateBody oldest = take(24, all).body;
    EXPECT_FALSE(oldest.host_config.auto_remove);
    EXPECT_EQ(oldest.host_config.kernel_memory_tcp, 0);
    EXPECT_EQ(oldest.host_config.ipc_mode, "shareable");
    EXPECT_TRUE(oldest.host_config.console_size.empty());
    EXPECT_TRUE(oldest.host_config.annotations.empty());
    EXPECT_EQ(oldest.healthcheck->start_interval, 0);
    EXPECT_EQ(oldest.networking_config.endpoints_config.at("n").gw_priority, 0);
    EXPECT_EQ(oldest.networking_config.endpoints_config.at("n").mac_address, "");
    EXPECT_EQ(take(51, all).body, json::parse<wire::CreateBody>(all));
    EXPECT_TRUE(take(25, all).body.host_config.auto_remove);
    EXPECT_EQ(take(40, all).body.host_config.ipc_mode, "");
    EXPECT_EQ(take(47, all).body.networking_config.endpoints_config.at("n").gw_priority, 0);
}

TEST(OlderRequests, options_of_another_mount_are_told_of) {
    const std::string_view wrong = R"({"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "VolumeOptions": {},
        "TmpfsOptions": {}, "BindOptions": {"CreateMountpoint": true, "NonRecursive": true}}]}})";
    const engine::Mount mount = take(39, wrong).body.host_config.mounts.front();
    EXPECT_FALSE(mount.bind_options->create_mountpoint || mount.bind_options->non_recursive);
    EXPECT_EQ(refusal(42, wrong), "VolumeOptions must not be specified on mount type \"bind\"");
    EXPECT_EQ(refusal(51, R"({"HostConfig": {"Mounts": [{"Type": "volume", "BindOptions": {}}]}})"),
              "BindOptions must not be specified on mount type \"volume\"");
    EXPECT_EQ(refusal(51, R"({"HostConfig": {"Mounts": [{"Type": "volume", "TmpfsOptions": {}}]}})"),
              "TmpfsOptions must not be specified on mount type \"volume\"");
}

TEST(OlderRequests, what_would_mislead_is_refused) {
    EXPECT_EQ(refusal(43, R"({"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}})"),
              "Container cannot be created with multiple network endpoints: a, b");
    EXPECT_EQ(refusal(44, R"({"HostConfig": {"Mounts": [{"Type": "volume", "VolumeOptions": {"Subpath": "x"}}]}})"),
              "VolumeOptions.Subpath needs API v1.45 or newer");
    EXPECT_EQ(refusal(47, R"({"HostConfig": {"Mounts": [{"Type": "image"}]}})"), "Mount type \"Image\" needs API v1.48 or newer");
    EXPECT_EQ(refusal(43, R"({"HostConfig": {"Mounts": [{"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": true}}]}})"),
              "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
    EXPECT_EQ(refusal(43, R"({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "host"}})"),
              "conflicting options: mac-address and the network mode");
    EXPECT_EQ(refusal(43, R"({"MacAddress": "02:00:00:00:00:01"})"), "accepted");
}

TEST(OlderRequests, what_is_old_is_warned_of) {
    EXPECT_EQ(
        take(44, R"({"MacAddress": "02:00:00:00:00:01"})").warnings,
        engine::StringList{"The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."});
    EXPECT_TRUE(refusal(44, R"({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "n"},
        "NetworkingConfig": {"EndpointsConfig": {"n": {"MacAddress": "02:00:00:00:00:02"}}}})")
                    .starts_with("the container-wide MAC address must match"));
    const std::string_view volume = R"({"HostConfig": {"VolumeDriver": "local", "Mounts": [{"Type": "volume", "Target": "/a"}]}})";
    EXPECT_EQ(take(47, volume).warnings.size(), 0U);
    EXPECT_EQ(take(48, volume).warnings.size(), 1U);
}

}  // namespace
}  // namespace grua::api
