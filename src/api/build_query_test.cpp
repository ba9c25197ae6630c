#include "api/build_query.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::api {
namespace {

build::ClassicRequest read(std::string_view query, int minor_number = 51, std::string_view registry_config = {}) {
    return build_request_of(Query::parse(query), registry_config, {1, minor_number});
}

std::string refusal(std::string_view query) {
    try {
        static_cast<void>(read(query));
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

TEST(BuildQuery, IsReadAsDockerReadsIt) {
    const auto out = read(
        "dockerfile=d%2FD&t=a&t=b:1&extrahosts=x:192.0.2.1&q=1&nocache=true&pull=yes&rm=0&forcerm=1&memory=8388608&memswap=-1&cpushares=2"
        "&cpusetcpus=0&cpusetmems=0&cpuperiod=1000&cpuquota=2000&shmsize=4096&target=t&networkmode=none&platform=linux/amd64&cgroupparent=c"
        "&session=s&buildid=i&version=2"
        "&buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&labels=%7B%22l%22%3A%22v%22%7D&cachefrom=%5B%22y%22%5D"
        "&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Soft%22%3A1%2C%22Hard%22%3A2%7D%5D"
        "&outputs=%5B%7B%22Type%22%3A%22moby%22%2C%22Attrs%22%3A%7B%22a%22%3A%22b%22%7D%7D%5D",
        51, base64url_encode(R"({"reg.test": {"username": "u", "password": "p"}})"));
    EXPECT_EQ(out.version, build::ClassicVersion::trace);
    EXPECT_EQ(out.dockerfile, "d/D");
    EXPECT_EQ(out.names, (std::vector<std::string>{"a", "b:1"}));
    EXPECT_EQ(out.extra_hosts, std::vector<std::string>{"x:192.0.2.1"});
    EXPECT_TRUE(out.is_quiet && out.no_cache && out.pull && out.tells_ids);
    EXPECT_EQ(out.limits.memory, 8388608);
    EXPECT_EQ(out.limits.memory_swap, -1);
    EXPECT_EQ(out.limits.cpu_shares, 2);
    EXPECT_EQ(out.limits.cpu_period, 1000);
    EXPECT_EQ(out.limits.cpu_quota, 2000);
    EXPECT_EQ(out.limits.cpuset_cpus, "0");
    EXPECT_EQ(out.limits.cpuset_mems, "0");
    EXPECT_EQ(out.shm_size, 4096);
    EXPECT_EQ(out.target, "t");
    EXPECT_EQ(out.network_mode, "none");
    EXPECT_EQ(out.platform, "linux/amd64");
    EXPECT_EQ(out.cgroup_parent, "c");
    EXPECT_EQ(out.session, "s");
    EXPECT_EQ(out.id, "i");
    ASSERT_EQ(out.arguments.size(), 2U);
    EXPECT_EQ(out.arguments.at("A"), "1");
    EXPECT_EQ(out.arguments.at("B"), std::nullopt);
    EXPECT_EQ(out.labels.at("l"), "v");
    EXPECT_EQ(out.cache_from, std::vector<std::string>{"y"});
    ASSERT_EQ(out.ulimits.size(), 1U);
    EXPECT_EQ(out.ulimits[0].hard, 2);
    ASSERT_EQ(out.outputs.size(), 1U);
    EXPECT_EQ(out.outputs[0].attributes.at("a"), "b");
    EXPECT_EQ(out.credentials.at("reg.test").username, "u");
}

TEST(BuildQuery, NothingIsVersionOneOfTheBody) {
    const auto out = read("");
    EXPECT_EQ(out.version, build::ClassicVersion::lines);
    EXPECT_TRUE(out.has_body());
    EXPECT_FALSE(out.is_quiet || out.no_cache || out.pull);
    EXPECT_FALSE(read("", 29).tells_ids);
}

TEST(BuildQuery, WhatIsWrongIsSaidInDockersWords) {
    EXPECT_EQ(refusal("version=3"), "invalid version \"3\"");
    EXPECT_EQ(refusal("securityopt=x"), "security options are not supported on linux");
    EXPECT_EQ(refusal("isolation=hyperv"), "unsupported isolation: \"hyperv\"");
    EXPECT_EQ(refusal("isolation=Default"), "accepted");
    EXPECT_EQ(refusal("squash=1"), "not implemented: squash");
    EXPECT_EQ(refusal("shmsize=x"), "shmsize: \"x\" is not a number");
    EXPECT_EQ(refusal("memory=x"), "memory: \"x\" is not a number");
    EXPECT_EQ(refusal("buildargs=5"), "error reading build args: body: expected an object, got int64");
    EXPECT_EQ(refusal("buildargs=%7B%22A%22%3A1%7D"), "error reading build args: A: expected a string, got int64");
    EXPECT_TRUE(refusal("buildargs=%7B").starts_with("error reading build args: invalid JSON"));
    EXPECT_TRUE(refusal("labels=x").starts_with("error reading labels: "));
    EXPECT_TRUE(refusal("ulimits=x").starts_with("error reading ulimit settings: "));
    EXPECT_TRUE(refusal("cachefrom=x").starts_with("error reading cache-from: "));
    EXPECT_TRUE(refusal("outputs=x").starts_with("invalid outputs specified: "));
    EXPECT_TRUE(refusal("t=:::").starts_with("invalid reference format"));
    EXPECT_NE(refusal("platform=a/b/c/d"), "accepted");
    EXPECT_EQ(refusal("remote=x"), "remoteURL (x) could not be recognized as URL");
}

}  // namespace
}  // namespace grua::api
