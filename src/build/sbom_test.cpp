#include "build/sbom.hpp"

#include "build/draft.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

pb::Definition folder(const std::string& name) {
    Draft draft;
    pb::Op op;
    op.mutable_source()->set_identifier("local://" + name);
    return draft.define(draft.add(op, name));
}

Scanner some_scanner() {
    Scanner out{.name = oci::Reference::parse("docker.io/scan/it:1"),
                .digest = "sha256:" + std::string(64, 'a'),
                .config = {},
                .platform = oci::Platform::parse("linux/amd64"),
                .parameters = {{"DEPTH", "2"}}};
    out.config.config.entrypoint = {"/scan"};
    out.config.config.cmd = {"-v"};
    out.config.config.env = {"A=1"};
    return out;
}

TEST(Sbom, a_scanner_is_a_step_that_finds_what_it_looks_at_where_it_is_told) {
    const ScanTarget target{
        .platform = oci::Platform::parse("linux/arm64"), .core = folder("core"), .extras = {{"context", folder("more")}}};
    const Edge said = read_graph(scan(some_scanner(), target));
    ASSERT_TRUE(said.vertex);
    EXPECT_EQ(said.vertex->name, "[linux/arm64] generating sbom using docker.io/scan/it:1");
    const pb::ExecOp& exec = said.vertex->op.exec();
    EXPECT_THAT(exec.meta().args(), ElementsAre("/scan", "-v"));
    EXPECT_THAT(exec.meta().env(), ElementsAre("A=1", "BUILDKIT_SCAN_DESTINATION=/run/out/", "BUILDKIT_SCAN_SOURCE=/run/src/core/sbom",
                                               "BUILDKIT_SCAN_SOURCE_EXTRAS=/run/src/extras/", "BUILDKIT_SCAN_DEPTH=2"));
    EXPECT_EQ(exec.meta().cwd(), "/");
    std::map<std::string, const pb::Mount*> mounts;
    for (const pb::Mount& each : exec.mounts()) mounts[each.dest()] = &each;
    ASSERT_EQ(mounts.size(), 5U);
    const auto source = [&](const std::string& path) {
        return said.vertex->inputs.at(static_cast<std::size_t>(mounts.at(path)->input())).vertex->op.source().identifier();
    };
    EXPECT_EQ(source("/"), "docker-image://docker.io/scan/it:1");
    EXPECT_EQ(source("/run/src/core/sbom"), "local://core");
    EXPECT_EQ(source("/run/src/extras/sbom-context"), "local://more");
    EXPECT_TRUE(mounts.at("/run/src/core/sbom")->readonly());
    EXPECT_TRUE(mounts.at("/run/src/extras/sbom-context")->readonly());
    EXPECT_EQ(mounts.at("/tmp")->mounttype(), pb::MOUNT_TYPE_TMPFS);
    EXPECT_EQ(mounts.at("/run/out/")->input(), -1);
    EXPECT_EQ(mounts.at("/run/out/")->output(), said.index);
    EXPECT_FALSE(said.vertex->metadata.ignore_cache());
}

TEST(Sbom, what_is_built_without_a_cache_is_scanned_without_one) {
    const Edge said = read_graph(scan(some_scanner(), {.platform = {}, .core = folder("core"), .extras = {}, .ignores_cache = true}));
    EXPECT_TRUE(said.vertex->metadata.ignore_cache());
    EXPECT_THAT(said.vertex->op.exec().meta().env(), Not(Contains(testing::StartsWith("BUILDKIT_SCAN_SOURCE_EXTRAS"))));
}

TEST(Sbom, an_image_without_a_program_is_no_scanner) {
    Scanner scanner = some_scanner();
    scanner.config.config.entrypoint.reset();
    scanner.config.config.cmd.reset();
    try {
        (void)scan(scanner, {.platform = {}, .core = folder("core")});
        FAIL();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "scanner docker.io/scan/it:1 does not have cmd");
    }
}

TEST(Sbom, is_there_where_a_front_end_has_one) {
    wire::bridge::Result result;
    EXPECT_FALSE(has_sbom(result));
    wire::bridge::Attestation& one = *(*result.mutable_attestations())["linux/amd64"].add_attestation();
    one.set_intotopredicatetype("https://x");
    EXPECT_FALSE(has_sbom(result));
    one.set_intotopredicatetype("https://spdx.dev/Document");
    EXPECT_TRUE(has_sbom(result));
}

}  // namespace
}  // namespace grua::build
