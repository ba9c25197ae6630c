#include "build/classic_request.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "build/classic_solve.hpp"
#include "build/draft.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

std::string refusal(const ClassicRequest& request) {
    try {
        check(request);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

std::map<std::string, std::string> attributes(const ClassicRequest& request) {
    const auto out = solve_request_of(request, "g");
    return {out.frontendattrs().begin(), out.frontendattrs().end()};
}

TEST(ClassicRequest, IsCheckedBeforeItsContextComes) {
    EXPECT_EQ(refusal({}), "accepted");
    EXPECT_EQ(refusal({.remote = "https://example.test/x.tar"}), "accepted");
    EXPECT_EQ(refusal({.remote = "git@example.test:x"}), "accepted");
    EXPECT_EQ(refusal({.remote = "some/folder"}), "remoteURL (some/folder) could not be recognized as URL");
    EXPECT_EQ(refusal({.remote = "client-session", .session = "s"}),
              "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead");
    EXPECT_EQ(refusal({.version = ClassicVersion::trace, .remote = "client-session", .session = "s"}), "accepted");
    EXPECT_EQ(refusal({.version = ClassicVersion::trace, .remote = "client-session"}), "remote=client-session needs a session");
    EXPECT_EQ(refusal({.version = ClassicVersion::trace, .remote = "upload-request", .id = "i"}), "accepted");
    EXPECT_EQ(refusal({.version = ClassicVersion::trace, .remote = "upload-request"}), "remote=upload-request needs a buildid");
    EXPECT_EQ(refusal({.names = {"X"}}), "invalid reference format: repository name (library/X) must be lowercase");
    EXPECT_EQ(refusal({.names = {"x@sha256:" + std::string(64, '0')}}), "build tag cannot contain a digest");
    EXPECT_EQ(refusal({.extra_hosts = {"a:192.0.2.1", "b"}}), "invalid host b");
    EXPECT_EQ(refusal({.extra_hosts = {"a:1,b=2"}}), "invalid host a:1,b=2");
    EXPECT_EQ(refusal({.network_mode = "bridge"}), "accepted");
    EXPECT_EQ(refusal({.network_mode = "container:x"}), "not implemented: networkmode container:x");
    EXPECT_EQ(refusal({.version = ClassicVersion::trace, .network_mode = "bridge"}), "network mode \"bridge\" not supported by buildkit");
    EXPECT_EQ(refusal({.shm_size = -1}), "SHM size can not be less than 0");
    EXPECT_EQ(refusal({.ulimits = {{.name = "a=b", .hard = 1, .soft = 1}}}), "error reading ulimit settings: invalid ulimit type: a=b");
    EXPECT_EQ(refusal({.version = ClassicVersion::trace, .outputs = {{}, {}}}), "multiple outputs not supported");
    EXPECT_EQ(refusal({.outputs = {{}}}), "outputs are of version=2 (BuildKit)");
    ClassicRequest limited;
    limited.limits.cpu_shares = -1;
    EXPECT_EQ(refusal(limited), "cpushares: -1 is less than 0");
}

TEST(ClassicRequest, NamesAreThereOnce) {
    const auto names = names_of({.names = {"x", "", "x:latest", "host:5000/y:1", "docker.io/library/x"}});
    ASSERT_EQ(names.size(), 2U);
    EXPECT_EQ(names[0].text(), "docker.io/library/x:latest");
    EXPECT_EQ(names[1].text(), "host:5000/y:1");
}

TEST(ClassicRequest, BecomesARequestOfBuildKits) {
    ClassicRequest request{.version = ClassicVersion::trace,
                           .dockerfile = "d/Dockerfile",
                           .names = {"x"},
                           .extra_hosts = {"a:192.0.2.1", "six:2001:db8::1"},
                           .no_cache = true,
                           .pull = true,
                           .cache_from = {"y"},
                           .arguments = {{"A", "1"}, {"B", std::nullopt}, {"BUILDKIT_INLINE_CACHE", "1"}},
                           .labels = {{"l", "v"}},
                           .network_mode = "host",
                           .platform = "linux/arm64",
                           .target = "t",
                           .cgroup_parent = "/c",
                           .shm_size = 4096,
                           .ulimits = {{.name = "nofile", .hard = 20, .soft = 10}}};
    const std::map<std::string, std::string> wanted{{"add-hosts", "a=192.0.2.1,six=2001:db8::1"},
                                                    {"build-arg:A", "1"},
                                                    {"build-arg:BUILDKIT_INLINE_CACHE", "1"},
                                                    {"cgroup-parent", "/c"},
                                                    {"filename", "d/Dockerfile"},
                                                    {"force-network-mode", "host"},
                                                    {"image-resolve-mode", "pull"},
                                                    {"label:l", "v"},
                                                    {"local-sessionid:context", "g"},
                                                    {"local-sessionid:dockerfile", "g"},
                                                    {"no-cache", ""},
                                                    {"platform", "linux/arm64"},
                                                    {"shm-size", "4096"},
                                                    {"target", "t"},
                                                    {"ulimit", "nofile=10:20"}};
    EXPECT_EQ(attributes(request), wanted);
    const auto out = solve_request_of(request, "g");
    EXPECT_EQ(out.frontend(), "dockerfile.v0");
    EXPECT_EQ(out.session(), "g");
    EXPECT_FALSE(out.ref().empty());
    ASSERT_EQ(out.entitlements_size(), 1);
    EXPECT_EQ(out.entitlements(0), "network.host");
    ASSERT_EQ(out.exporters_size(), 1);
    EXPECT_EQ(out.exporters(0).type(), "moby");
    EXPECT_EQ(out.exporters(0).attrs().at("name"), "docker.io/library/x:latest");
    ASSERT_EQ(out.cache().imports_size(), 1);
    EXPECT_EQ(out.cache().imports(0).attrs().at("ref"), "y");
    ASSERT_EQ(out.cache().exports_size(), 1);
    EXPECT_EQ(out.cache().exports(0).type(), "inline");
}

TEST(ClassicRequest, SaysWhereItsFilesAre) {
    using Map = std::map<std::string, std::string>;
    // Version 1 has found its Dockerfile when this is asked.
    EXPECT_EQ(attributes({.dockerfile = "x"}),
              (Map{{"image-resolve-mode", "default"}, {"local-sessionid:context", "g"}, {"local-sessionid:dockerfile", "g"}}));
    EXPECT_EQ(attributes({.dockerfile = "x", .remote = "https://example.test/a.git"}),
              (Map{{"context", "https://example.test/a.git"}, {"filename", "x"}, {"image-resolve-mode", "default"}}));
    const ClassicRequest session{.version = ClassicVersion::trace, .remote = "client-session", .session = "s"};
    EXPECT_EQ(attributes(session), (Map{{"image-resolve-mode", "default"}}));
    EXPECT_EQ(solve_request_of(session, "g").session(), "s");
    const ClassicRequest upload{.version = ClassicVersion::trace, .remote = "upload-request", .id = "i"};
    EXPECT_EQ(attributes(upload).at("local-sessionid:context"), "g");
    EXPECT_EQ(solve_request_of({.cache_from = {"y"}}, "g").cache().imports_size(), 0);
    const ClassicRequest nothing{.version = ClassicVersion::trace, .outputs = {{.type = "cacheonly", .attributes = {}}}};
    EXPECT_EQ(solve_request_of(nothing, "g").exporters_size(), 0);
    const ClassicRequest packed{
        .version = ClassicVersion::trace, .names = {"x"}, .outputs = {{.type = "moby", .attributes = {{"compression", "zstd"}}}}};
    EXPECT_EQ(solve_request_of(packed, "g").exporters(0).attrs_size(), 2);
}

TEST(ClassicRequest, CredentialsAreByHosts) {
    const auto read = [](std::string_view text) { return read_registry_config(base64url_encode(text)); };
    const auto found = read(R"({"https://index.docker.io/v1/": {"username": "a", "password": "b"}, "reg.test:5000": {"auth": "Yzpk"},
                                "https://other.test/v2/": {"identitytoken": "t"}, "broken.test": 5})");
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found.at("docker.io").username, "a");
    EXPECT_EQ(found.at("reg.test:5000").password, "d");
    EXPECT_EQ(found.at("other.test").identity_token, "t");
    for (const std::string_view text : {"", "{}", "[1]", "{", "null"}) EXPECT_TRUE(read(text).empty()) << text;
    EXPECT_TRUE(read_registry_config("!").empty());
}

TEST(ClassicRequest, LimitsAreOfProgramsAlone) {
    Draft draft;
    pb::Op source;
    source.mutable_source()->set_identifier("docker-image://x");
    Draft::Output last = draft.add(source, "FROM x");
    pb::Op program;
    program.mutable_exec()->mutable_meta()->add_args("y");
    pb::Mount& root = *program.mutable_exec()->add_mounts();
    root.set_dest("/");
    root.set_input(input_of(program, last));
    const std::string before = last.digest;
    last = draft.add(program, "RUN y");
    pb::Definition graph = draft.define(last);
    limit(graph, {});
    EXPECT_FALSE(graph.metadata().at(last.digest).has_linux_resources());
    engine::Resources limits;
    limits.memory = 1 << 25;
    limits.cpuset_cpus = "0";
    limit(graph, limits);
    const Edge edge = read_graph(graph);
    EXPECT_EQ(edge.vertex->digest, last.digest);
    EXPECT_EQ(edge.vertex->metadata.linux_resources().memory(), 1 << 25);
    EXPECT_EQ(edge.vertex->metadata.linux_resources().cpusetcpus(), "0");
    EXPECT_EQ(edge.vertex->name, "RUN y");
    EXPECT_FALSE(graph.metadata().at(before).has_linux_resources());
}

}  // namespace
}  // namespace grua::build
