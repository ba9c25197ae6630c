#include "engine/model/create_request.hpp"
#include "engine/model/health.hpp"
#include "engine/model/request_texts.hpp"

#include <gmock/gmock.h>
#include <limits>

namespace grua::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

HostFacts test_host() {
    return {.machine = "x86_64", .kernel = {6, 1}, .cgroup_v2 = true, .swap_limit = true, .cpus = 4, .capabilities = {"CAP_CHOWN"}};
}

template <typename Body>
std::string message_of(Body body) {
    try {
        body();
    } catch (const Error& error) {
        EXPECT_TRUE(error.kind() == ErrorKind::invalid_argument || error.kind() == ErrorKind::not_implemented) << error.what();
        return error.what();
    }
    return "";
}

/// As create does it, from the wire on.
std::string refusal(std::string_view config, std::string_view host_config = "{}", std::string_view networking = "{}") {
    return message_of([&] {
        auto asked = json::parse<ContainerConfig>(config);
        auto host = json::parse<HostConfig>(host_config);
        check_texts(asked, host, json::parse<NetworkingConfig>(networking));
        check_request(asked, host, test_host());
        if (!asked.cmd) asked.cmd = StringList{"sh"};
        plan_mounts(asked, host, {});
    });
}

// A16
TEST(Request, ControlCharactersAreRefusedByTheFieldsName) {
    const std::string bad = "\"a\\nb\"";
    for (const char* field : {"Hostname", "Domainname", "User", "Image", "MacAddress", "StopSignal"})
        EXPECT_EQ(refusal(fmt::format("{{\"{}\":{}}}", field, bad)), fmt::format("{}: it has a control character", field));
    for (const char* field :
         {"Dns", "DnsSearch", "DnsOptions", "ExtraHosts", "GroupAdd", "Links", "VolumesFrom", "CapAdd", "DeviceCgroupRules"})
        EXPECT_EQ(refusal("{}", fmt::format("{{\"{}\":[{}]}}", field, bad)),
                  fmt::format("HostConfig.{}[0]: it has a control character", field));
    for (const char* field :
         {"NetworkMode", "CgroupParent", "PidMode", "IpcMode", "CpusetCpus", "Runtime", "ContainerIDFile", "VolumeDriver"})
        EXPECT_EQ(refusal("{}", fmt::format("{{\"{}\":{}}}", field, bad)), fmt::format("HostConfig.{}: it has a control character", field));
    EXPECT_EQ(refusal("{}", R"({"Sysctls":{"net.x":"1\n2"}})"), "HostConfig.Sysctls[net.x]: it has a control character");
    EXPECT_EQ(refusal("{}", R"({"Sysctls":{"net\nx":"1"}})"), "HostConfig.Sysctls[net x]: it has a control character");
    EXPECT_EQ(refusal("{}", R"({"PortBindings":{"80/tcp":[{"HostIp":"\u007f"}]}})"),
              "HostConfig.PortBindings[80/tcp][0].HostIp: it has a control character");
    EXPECT_EQ(refusal("{}", "{}", R"({"EndpointsConfig":{"n":{"Aliases":["ok","a\tb"]}}})"),
              "NetworkingConfig.EndpointsConfig[n].Aliases[1]: it has a control character");
}

TEST(Request, WhatAProgramIsGivenMayHaveAnythingButNul) {
    EXPECT_EQ(refusal(R"({"Env":["A=1\n2"],"Cmd":["sh","-c","a\nb"],"Labels":{"l\n":"\t"},"WorkingDir":"/a\nb"})"), "");
    EXPECT_EQ(refusal(R"({"Env":["A=\u0000"]})"), "Env[0]: it has a NUL character");
    EXPECT_EQ(refusal(R"({"Cmd":["\u0000"]})"), "Cmd[0]: it has a NUL character");
    EXPECT_EQ(refusal(R"({"Labels":{"a\u0000":"b"}})"), "Labels[a ]: it has a NUL character");
    EXPECT_EQ(refusal("{}", R"({"Binds":["/a\u0000:/b"]})"), "HostConfig.Binds[0]: it has a NUL character");
    EXPECT_EQ(refusal("{}", R"({"Mounts":[{"Type":"tmpfs","Target":"/a\u0000"}]})"), "HostConfig.Mounts[0].Target: it has a NUL character");
    ExecConfig exec;
    exec.cmd = {"a\nb"};
    EXPECT_EQ(message_of([&] { check_texts(exec); }), "");
    exec.user = "root\n";
    EXPECT_EQ(message_of([&] { check_texts(exec); }), "User: it has a control character");
}

// G10
TEST(Request, OneWordMayStandForAListAndNullForNothing) {
    const auto config = json::parse<ContainerConfig>(R"({"Cmd":"true","Entrypoint":"sh","Shell":"bash","Volumes":{"/a":null}})");
    EXPECT_EQ(config.cmd, StringList{"true"});
    EXPECT_EQ(config.entrypoint, StringList{"sh"});
    EXPECT_EQ(config.shell, StringList{"bash"});
    const auto host = json::parse<HostConfig>(R"({"CapAdd":"NET_ADMIN","CapDrop":null,"PortBindings":{"80/tcp":null},"Mounts":null})");
    EXPECT_EQ(host.cap_add, StringList{"NET_ADMIN"});
    EXPECT_TRUE(host.port_bindings.at("80/tcp").empty());
    EXPECT_EQ(refusal(R"({"ExposedPorts":{"80/tcp":null},"Healthcheck":null,"Labels":null})", R"({"RestartPolicy":null,"LogConfig":null})"),
              "");
}

TEST(Request, AWrongTypeIsToldByItsPlace) {
    EXPECT_EQ(refusal(R"({"Tty":"yes"})"), "Tty: expected a boolean, got string");
    EXPECT_EQ(refusal(R"({"Env":{"A":"1"}})"), "Env: expected an array, got object");
    EXPECT_EQ(refusal(R"({"StopTimeout":1.5})"), "StopTimeout: expected an integer, got double");
    EXPECT_EQ(refusal("{}", R"({"Memory":9223372036854775808})"), "Memory: 9223372036854775808 is out of range");
    EXPECT_EQ(refusal("{}", R"({"BlkioWeight":-1})"), "BlkioWeight: -1 is out of range");
    EXPECT_EQ(refusal("{}", R"({"Mounts":[{"TmpfsOptions":{"Mode":-1}}]})"), "Mounts[0].TmpfsOptions.Mode: -1 is out of range");
    EXPECT_EQ(refusal("{}", R"({"Binds":[1]})"), "Binds[0]: expected a string, got int64");
    std::string deep = "{}";
    for (int depth = 0; depth < 100; ++depth) deep = "[" + deep + "]";
    EXPECT_THAT(refusal("{\"Env\":" + deep + "}"), HasSubstr("body: not valid JSON"));
}

// G14
TEST(Request, ContradictionsAreRefusedInDockersWords) {
    const std::string joined = R"({"NetworkMode":"container:x")";
    EXPECT_EQ(refusal(R"({"Hostname":"h"})", joined + "}"), "conflicting options: hostname and the network mode");
    EXPECT_EQ(refusal("{}", joined + R"(,"Dns":["192.0.2.1"]})"), "conflicting options: dns and the network mode");
    EXPECT_EQ(refusal("{}", joined + R"(,"ExtraHosts":["a:192.0.2.1"]})"),
              "conflicting options: custom host-to-IP mapping and the network mode");
    EXPECT_EQ(refusal("{}", joined + R"(,"PortBindings":{"80/tcp":[{}]}})"),
              "conflicting options: port publishing and the container type network mode");
    EXPECT_EQ(refusal("{}", joined + R"(,"PublishAllPorts":true})"),
              "conflicting options: port publishing and the container type network mode");
    EXPECT_EQ(refusal(R"({"ExposedPorts":{"80/tcp":{}}})", joined + "}"),
              "conflicting options: port exposing and the container type network mode");
    EXPECT_THAT(refusal("{}", joined + R"(,"Links":["a:b"]})"), HasSubstr("container type network can't be used with links"));
    EXPECT_THAT(refusal("{}", R"({"NetworkMode":"host","Links":["a:b"]})"), HasSubstr("host type networking can't be used with links"));
    EXPECT_EQ(refusal(R"({"Hostname":"h"})", R"({"UTSMode":"host"})"), "conflicting options: hostname and the UTS mode");
    EXPECT_EQ(refusal("{}", R"({"NetworkMode":"container:"})"), "invalid network mode: invalid container format container:<name|id>");
    EXPECT_EQ(refusal("{}", joined + "}"), "");
}

// G15
TEST(Request, ValuesThatNobodyCouldUseAreRefusedNow) {
    EXPECT_EQ(refusal("{}", R"({"ExtraHosts":["x"]})"), "bad format for add-host: \"x\"");
    EXPECT_EQ(refusal("{}", R"({"ExtraHosts":["x:y"]})"), "invalid IP address in add-host: \"y\"");
    EXPECT_EQ(refusal("{}", R"({"ExtraHosts":["x:192.0.2.1","x=::1","g:host-gateway","v:[::1]"]})"), "");
    EXPECT_EQ(refusal(R"({"MacAddress":"zz"})"), "invalid MAC address: zz");
    EXPECT_EQ(refusal("{}", R"({"Isolation":"bogus"})"), "invalid isolation (bogus): linux only supports 'default'");
    EXPECT_EQ(refusal("{}", R"({"Mounts":[{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"Propagation":"bogus"}}]})"),
              "invalid mount config for type \"bind\": invalid propagation mode: bogus");
    EXPECT_THAT(refusal("{}", R"({"Mounts":[{"Type":"volume","Target":"/b","VolumeOptions":{"DriverConfig":{"Name":"bogus"}}}]})"),
                HasSubstr("plugin \"bogus\" not found"));
    // A driver that no volume asks for is nobody's trouble.
    EXPECT_EQ(refusal("{}", R"({"VolumeDriver":"bogus","Binds":["/tmp:/x"]})"), "");
    for (const char* binds : {"v:/x", "/x"})
        EXPECT_THAT(refusal("{}", fmt::format(R"({{"VolumeDriver":"bogus","Binds":["{}"]}})", binds)),
                    HasSubstr("plugin \"bogus\" not found"));
    EXPECT_THAT(refusal(R"({"Volumes":{"/x":{}}})", R"({"VolumeDriver":"bogus"})"), HasSubstr("plugin \"bogus\" not found"));
    EXPECT_THAT(refusal("{}", R"({"Mounts":[{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"SizeBytes":-1}}]})"), HasSubstr("SizeBytes"));
    EXPECT_EQ(refusal("{}", R"({"Ulimits":[{"Name":"bogus","Soft":1,"Hard":1}]})"), "invalid ulimit type: bogus");
    EXPECT_THAT(refusal("{}", R"({"Ulimits":[{"Name":"nofile","Soft":2,"Hard":1}]})"), HasSubstr("soft limit must be less than or equal"));
    EXPECT_THAT(refusal("{}", R"({"Ulimits":[{"Name":"nofile","Soft":-5,"Hard":-5}]})"), HasSubstr("invalid ulimit nofile: -5"));
    EXPECT_EQ(refusal("{}", R"({"Ulimits":[{"Name":"nofile","Soft":-1,"Hard":-1},{"Name":"core","Soft":0,"Hard":-1}]})"), "");
    EXPECT_THAT(refusal("{}", R"({"SecurityOpt":["seccomp={"]})"),
                HasSubstr("HostConfig.SecurityOpt: seccomp: Decoding seccomp profile failed"));
    EXPECT_EQ(refusal("{}", R"({"BlkioDeviceReadBps":[{"Path":"sda","Rate":1}]})"), "invalid device path: \"sda\"");
    EXPECT_THAT(refusal(fmt::format("{{\"Domainname\":\"{}\"}}", std::string(65, 'd'))), HasSubstr("is too long (maximum 64 bytes)"));
    EXPECT_EQ(refusal("{}", R"({"MemorySwap":-2})"), "MemorySwap: -2 is less than -1");
    EXPECT_EQ(refusal("{}", R"({"CpuShares":-1})"), "CpuShares: -1 is less than 0");
    EXPECT_EQ(refusal("{}", R"({"CpuShares":262145})"), "CpuShares: 262145 is more than 262144");
    EXPECT_EQ(refusal("{}", R"({"PidsLimit":4194305})"), "PidsLimit: 4194305 is more than 4194304");
}

// F, G16: `memory * 2` overflowed.
TEST(Request, LimitsNearTheLargestNumberAreNoLimits) {
    const auto swap_of = [](std::int64_t memory, std::int64_t swap) {
        ContainerConfig config;
        HostConfig host;
        host.memory = memory;
        host.memory_swap = swap;
        check_request(config, host, test_host());
        return host.memory_swap;
    };
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(swap_of(most, 0), -1);
    EXPECT_EQ(swap_of(most / 2, 0), most - 1);
    EXPECT_EQ(swap_of(most / 2 + 1, 0), -1);
    EXPECT_EQ(swap_of(std::int64_t{1} << 30, most), most);
    EXPECT_EQ(swap_of(std::int64_t{1} << 30, 0), std::int64_t{2} << 30);
}

// D7, G13
TEST(Environment, IsKeptAsAskedAndTheLastOfANameWins) {
    EXPECT_THAT(inherit_env({"B=3", "FOO", "B=4"}, {"A=1", "B=2", "FOO=x", "C=5"}), ElementsAre("B=3", "FOO", "B=4", "A=1", "C=5"));
    EXPECT_THAT(merge_env({"PATH=/bin", "HOME=/"}, {"B=3", "FOO", "B=4", "PATH=/sbin", "HOME"}), ElementsAre("PATH=/sbin", "B=4"));
}

// D8
TEST(Health, OfAnImageIsKept) {
    oci::ImageRunConfig image;
    image.healthcheck.emplace();
    image.healthcheck->test = {"CMD-SHELL", "true"};
    ContainerConfig config;
    config.cmd = StringList{"sh"};
    merge_image(config, image);
    EXPECT_EQ(health_command(config), (StringList{"/bin/sh", "-c", "true"}));
    EXPECT_EQ(config.healthcheck->test, (StringList{"CMD-SHELL", "true"}));
    ContainerConfig off;
    off.cmd = StringList{"sh"};
    off.healthcheck.emplace();
    off.healthcheck->test = {"NONE"};
    merge_image(off, image);
    EXPECT_TRUE(health_command(off).empty());
}

// A10
TEST(Exec, TakesTheDaemonsNoNewPrivileges) {
    ContainerRecord record;
    const HostFacts host = test_host();
    ExecConfig exec;
    exec.cmd = {"sh"};
    const auto process = [&](bool of_daemon) {
        return exec_process(
            {.record = record, .host = host, .cgroup_path = {}, .init_path = {}, .hostname = {}, .no_new_privileges = of_daemon}, exec);
    };
    EXPECT_TRUE(process(true).no_new_privileges);
    EXPECT_FALSE(process(false).no_new_privileges);
    record.host_config.security_opt = {"no-new-privileges"};
    EXPECT_TRUE(process(false).no_new_privileges);
}

}  // namespace
}  // namespace grua::engine
