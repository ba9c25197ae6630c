#include "cli/build/options.hpp"

#include "base/error.hpp"
#include "cli/build/reproducible.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <array>
#include <cstdlib>

namespace grua::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

BuildOptions parse(const std::vector<std::string>& words) {
    const std::array tables{build_flags()};
    const Parsed parsed = parse_flags(tables, words, Interspersed::yes);
    return read_build_options(parsed.flags, parsed.arguments.at(0));
}

template <typename Body>
std::string refusal(Body body) {
    try {
        body();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "";
}
std::string refusal_of(const std::vector<std::string>& words) {
    return refusal([&] { parse(words); });
}

class BuildOptionsTest : public testing::Test {
protected:
    BuildOptionsTest() {
        for (const char* each : {"DOCKER_DEFAULT_PLATFORM", "SOURCE_DATE_EPOCH", "BUILDKIT_PROGRESS", "SSH_AUTH_SOCK"}) ::unsetenv(each);
    }
};

TEST_F(BuildOptionsTest, NothingSaidIsAnImageThatIsKept) {
    const BuildOptions out = parse({"."});
    EXPECT_EQ(out.context, ".");
    EXPECT_THAT(out.outputs, IsEmpty());
    EXPECT_FALSE(out.has_output);
    EXPECT_EQ(out.network, "default");
    EXPECT_FALSE(out.call);
}

TEST_F(BuildOptionsTest, Outputs) {
    const auto first = [](const std::vector<std::string>& words) { return parse(words).outputs.at(0); };
    EXPECT_EQ(first({"-o", "out", "."}).type, "local");
    EXPECT_EQ(first({"-o", "out", "."}).destination, "out");
    EXPECT_TRUE(first({"-o", "out", "."}).is_folder());
    EXPECT_EQ(first({"-o", "-", "."}).type, "tar");
    EXPECT_EQ(first({"-o", "type=tar,dest=a.tar", "."}).destination, "a.tar");
    EXPECT_EQ(first({"-o", "type=oci", "."}).destination, "-");
    EXPECT_TRUE(first({"-o", "type=oci,tar=false,dest=out", "."}).is_folder());
    EXPECT_EQ(first({"-o", "type=docker", "."}).type, "moby");
    EXPECT_EQ(first({"-o", "type=docker,dest=a.tar", "."}).type, "docker");
    EXPECT_THAT(first({"-o", "type=registry", "-t", "a", "."}).attributes, ElementsAre(Pair("push", "true")));
    EXPECT_THAT(first({"-o", "\"type=image\",compression=zstd", "."}).attributes, ElementsAre(Pair("compression", "zstd")));
    EXPECT_THAT(first({"--push", "-t", "a", "."}).attributes, ElementsAre(Pair("push", "true")));
    const BuildOptions none = parse({"-o", "type=cacheonly", "."});
    EXPECT_THAT(none.outputs, IsEmpty());
    EXPECT_TRUE(none.has_output);
    const BuildOptions both = parse({"-o", "out", "--load", "-t", "a", "."});
    ASSERT_THAT(both.outputs, SizeIs(2));
    EXPECT_EQ(both.outputs[1].type, "moby");
    EXPECT_THAT(parse({"--push", "--load", "-t", "a", "."}).outputs, SizeIs(1));

    EXPECT_THAT(refusal_of({"-o", "type=local", "."}), HasSubstr("dest is required for local exporter"));
    EXPECT_THAT(refusal_of({"-o", "type=local,dest=-", "."}), HasSubstr("dest cannot be stdout for local exporter"));
    EXPECT_THAT(refusal_of({"-o", "type=nosuch", "."}), HasSubstr("exporter \"nosuch\" could not be found"));
    EXPECT_THAT(refusal_of({"-o", "type=tar", "-o", "type=oci", "."}), HasSubstr("multiple outputs configured to write to stdout"));
    EXPECT_THAT(refusal_of({"--push", "."}), HasSubstr("tag is needed when pushing to registry"));
    EXPECT_THAT(refusal_of({"-o", "out", "--iidfile", "x", "."}), HasSubstr("incompatible with image ID file"));
}

TEST_F(BuildOptionsTest, WhatGoesIntoTheBuild) {
    ::setenv("FROM_HERE", "yes", 1);
    const BuildOptions out = parse({"--build-arg",
                                    "A=1=2",
                                    "--build-arg",
                                    "FROM_HERE",
                                    "--build-arg",
                                    "NOT_SET_ANYWHERE",
                                    "--label",
                                    "l",
                                    "--label",
                                    "m=n",
                                    "--platform",
                                    "linux/arm64/v8,linux/x86_64",
                                    "--add-host",
                                    "a:10.0.0.1,b=[::1]",
                                    "--ulimit",
                                    "nofile=10:20",
                                    "--shm-size",
                                    "1m",
                                    "--network",
                                    "none",
                                    "--no-cache-filter",
                                    "x",
                                    "--allow",
                                    "network.host,security.insecure",
                                    "--build-context",
                                    "c=../d",
                                    "."});
    EXPECT_THAT(out.arguments, ElementsAre(Pair("A", "1=2"), Pair("FROM_HERE", "yes")));
    EXPECT_THAT(out.labels, ElementsAre(Pair("l", ""), Pair("m", "n")));
    EXPECT_THAT(out.platforms, ElementsAre("linux/arm64", "linux/amd64"));
    EXPECT_THAT(out.hosts, ElementsAre(Pair("a", "10.0.0.1"), Pair("b", "::1")));
    EXPECT_THAT(out.ulimits, ElementsAre("nofile=10:20"));
    EXPECT_EQ(out.shm_size, 1 << 20);
    EXPECT_EQ(out.network, "none");
    EXPECT_THAT(out.entitlements, ElementsAre("network.host", "security.insecure"));
    EXPECT_THAT(out.contexts, ElementsAre(Pair("c", "../d")));
    ::setenv("DOCKER_DEFAULT_PLATFORM", "linux/riscv64", 1);
    ::setenv("SOURCE_DATE_EPOCH", "7", 1);
    EXPECT_THAT(parse({"."}).platforms, ElementsAre("linux/riscv64"));
    EXPECT_EQ(parse({"."}).arguments.at("SOURCE_DATE_EPOCH"), "7");
    EXPECT_THAT(refusal_of({"--network", "x", "."}), HasSubstr("network mode \"x\" not supported"));
    EXPECT_THAT(refusal_of({"--add-host", "x", "."}), HasSubstr("invalid host x"));
    EXPECT_THAT(refusal_of({"--build-arg", "=x", "."}), HasSubstr("empty key"));
    EXPECT_THAT(refusal_of({"-t", "A", "."}), HasSubstr("invalid tag \"A\""));
    EXPECT_THAT(refusal_of({"--builder", "other", "."}), HasSubstr("not implemented: --builder"));
    EXPECT_THAT(refusal_of({"-f", "-", "-"}), HasSubstr("can't use stdin for both"));
}

TEST_F(BuildOptionsTest, WhyAndReproducible) {
    EXPECT_FALSE(parse({"."}).why);
    // The word behind it is not its value.
    const BuildOptions all = parse({"--why", "."});
    EXPECT_EQ(all.why, "");
    EXPECT_EQ(all.context, ".");
    EXPECT_EQ(parse({"--why=RUN make", "."}).why, "RUN make");
    EXPECT_THAT(refusal_of({"--why", "--check", "."}), HasSubstr("--why and --check cannot be given together"));
    EXPECT_FALSE(parse({"--reproducible=false", "."}).is_reproducible);
    EXPECT_TRUE(parse({"--reproducible=check", "."}).is_checked);
    EXPECT_THAT(refusal_of({"--reproducible=maybe", "."}), HasSubstr("invalid --reproducible=maybe"));
    EXPECT_THAT(refusal_of({"--reproducible=check", "-"}), HasSubstr("which needs a context that can be read twice"));
    BuildOptions plain = parse({"--reproducible", "."});
    EXPECT_TRUE(plain.is_reproducible && !plain.is_checked);
    plain.context = "/nowhere";
    make_reproducible(plain);
    EXPECT_EQ(plain.arguments.at("SOURCE_DATE_EPOCH"), "0");
    EXPECT_THAT(plain.outputs.at(0).attributes, ElementsAre(Pair("rewrite-timestamp", "true")));
    EXPECT_EQ(plain.attestations.at("provenance"), std::nullopt);
    // What was said stays.
    BuildOptions said =
        parse({"--reproducible", "--build-arg", "SOURCE_DATE_EPOCH=5", "-o", "type=image,rewrite-timestamp=false", "-o", "out", "."});
    make_reproducible(said);
    EXPECT_EQ(said.arguments.at("SOURCE_DATE_EPOCH"), "5");
    EXPECT_THAT(said.outputs.at(0).attributes, ElementsAre(Pair("rewrite-timestamp", "false")));
    EXPECT_THAT(said.outputs.at(1).attributes, IsEmpty());
}

TEST_F(BuildOptionsTest, SecretsAndAgents) {
    const BuildSecret file = detail::parse_secret("id=a,src=b");
    EXPECT_EQ(file.id + ":" + file.path, "a:b");
    EXPECT_EQ(detail::parse_secret("id=a,env=B").variable, "B");
    EXPECT_EQ(detail::parse_secret("type=env,id=a,src=B").variable, "B");
    ::setenv("SECRET_OF_TEST", "x", 1);
    EXPECT_EQ(detail::parse_secret("id=SECRET_OF_TEST").variable, "SECRET_OF_TEST");
    EXPECT_EQ(detail::parse_secret("id=no_such_variable").path, "no_such_variable");
    EXPECT_THAT(refusal([] { detail::parse_secret("src=b"); }), HasSubstr("secret missing ID"));
    EXPECT_THAT(refusal([] { detail::parse_secret("id"); }), HasSubstr("must be a key=value pair"));
    EXPECT_THAT(refusal([] { detail::parse_secret("type=x,id=a"); }), HasSubstr("unsupported secret type"));
    EXPECT_THAT(refusal([] { detail::parse_secret("id=a,x=y"); }), HasSubstr("unexpected key 'x'"));

    EXPECT_EQ(detail::parse_agent("default=/s").socket, "/s");
    EXPECT_TRUE(detail::parse_agent("x=/s,raw=true").is_raw);
    EXPECT_THAT(refusal([] { detail::parse_agent("default"); }), HasSubstr("SSH_AUTH_SOCK"));
    ::setenv("SSH_AUTH_SOCK", "/agent", 1);
    EXPECT_EQ(detail::parse_agent("default").socket, "/agent");
    EXPECT_THAT(refusal([] { detail::parse_agent("x=a,b"); }), HasSubstr("not implemented"));
    EXPECT_THAT(refusal_of({"--ssh", "default", "--ssh", "default=/x", "."}), HasSubstr("duplicate agent ID"));
}

TEST_F(BuildOptionsTest, CachesAndAttestations) {
    const BuildOptions out = parse({"--cache-from", "a,b", "--cache-from", "type=local,src=c", "--cache-to", "type=inline", "--build-arg",
                                    "BUILDKIT_INLINE_CACHE=1", "--provenance", "mode=max", "--sbom=false", "."});
    ASSERT_THAT(out.cache_from, SizeIs(3));
    EXPECT_EQ(out.cache_from[1].attributes.at("ref"), "b");
    EXPECT_EQ(out.cache_from[2].type, "local");
    EXPECT_THAT(out.cache_to, SizeIs(2));
    EXPECT_EQ(out.attestations.at("provenance"), "type=provenance,mode=max");
    EXPECT_EQ(out.attestations.at("sbom"), std::nullopt);
    EXPECT_EQ(parse({"--provenance=true", "."}).attestations.at("provenance"), "type=provenance,disabled=false");
    EXPECT_THAT(refusal_of({"--cache-to", "dest=x", "."}), HasSubstr("type required for"));
    EXPECT_THAT(refusal_of({"--attest", "type=sbom", "--sbom", "true", "."}), HasSubstr("duplicate attestation field sbom"));
    EXPECT_THAT(refusal_of({"--attest", "mode=max", "."}), HasSubstr("attestation type not specified"));
}

TEST_F(BuildOptionsTest, Annotations) {
    EXPECT_THAT(
        detail::parse_annotations({"a=b", "index,manifest[linux/amd64]:c=d=e"}),
        ElementsAre(Pair("annotation-index.c", "d=e"), Pair("annotation-manifest[linux/amd64].c", "d=e"), Pair("annotation.a", "b")));
    EXPECT_THAT(refusal([] { detail::parse_annotations({"a"}); }), HasSubstr("expected key=value"));
    EXPECT_THAT(refusal([] { detail::parse_annotations({"x:a=b"}); }), HasSubstr("unknown annotation type"));
}

TEST_F(BuildOptionsTest, WhatIsShown) {
    EXPECT_EQ(parse({"--progress", "rawjson", "."}).progress, BuildProgress::rawjson);
    EXPECT_EQ(parse({"-q", "."}).progress, BuildProgress::quiet);
    EXPECT_THAT(refusal_of({"-q", "--progress", "plain", "."}), HasSubstr("cannot be used together"));
    EXPECT_THAT(refusal_of({"--progress", "x", "."}), HasSubstr("invalid progress mode x"));
    ::setenv("BUILDKIT_PROGRESS", "plain", 1);
    EXPECT_EQ(parse({"."}).progress, BuildProgress::plain);
    EXPECT_EQ(parse({"--check", "."}).call->name, "lint");
    EXPECT_EQ(parse({"--call", "targets,format=json", "."}).call->name, "targets");
    EXPECT_TRUE(parse({"--call", "targets,format=json", "."}).call->is_json);
    EXPECT_TRUE(parse({"--call", "check,ignorestatus=true", "."}).call->ignores_status);
    EXPECT_THAT(refusal_of({"--call", "targets,x=y", "."}), HasSubstr("invalid print value"));
}

}  // namespace
}  // namespace grua::cli
