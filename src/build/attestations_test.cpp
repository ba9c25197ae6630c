#include "build/attestations.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::HasSubstr;

ProvenanceWish provenance(std::string text) { return *parse_attestations({{"attest:provenance", std::move(text)}}).provenance; }

std::string refusal(const ClientOptions& options) {
    try {
        (void)parse_attestations(options);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(Attestations, none_are_wanted_where_none_are_named) {
    const AttestationWishes found = parse_attestations({{"target", "x"}, {"build-arg:BUILDKIT_ATTES", "1"}});
    EXPECT_FALSE(found.provenance);
    EXPECT_FALSE(found.sbom);
}

TEST(Attestations, provenance_has_its_attributes) {
    // What buildx asks for where nobody says anything.
    const ProvenanceWish usual = provenance("mode=min,inline-only=true");
    EXPECT_EQ(usual.mode, ProvenanceWish::Mode::min);
    EXPECT_EQ(usual.form, ProvenanceWish::Form::slsa_0_2);
    EXPECT_TRUE(usual.inline_only);
    EXPECT_FALSE(usual.is_reproducible);
    const ProvenanceWish plain = provenance("type=provenance");
    EXPECT_EQ(plain.mode, ProvenanceWish::Mode::max);
    EXPECT_FALSE(plain.inline_only);
    EXPECT_EQ(plain.filename, "provenance.json");
    const ProvenanceWish all =
        provenance("version=v1,mode=full,\"builder-id=https://x/a,b\",reproducible=1,filename=p.json,capture-usage=0");
    EXPECT_EQ(all.form, ProvenanceWish::Form::slsa_1);
    EXPECT_EQ(all.mode, ProvenanceWish::Mode::max);
    EXPECT_EQ(all.builder_id, "https://x/a,b");
    EXPECT_TRUE(all.is_reproducible);
    EXPECT_EQ(all.filename, "p.json");
}

TEST(Attestations, an_argument_of_the_builder_wants_them_as_well) {
    EXPECT_TRUE(parse_attestations({{"build-arg:BUILDKIT_ATTEST_PROVENANCE", ""}}).provenance);
    EXPECT_EQ(
        parse_attestations({{"build-arg:BUILDKIT_ATTEST_PROVENANCE", "mode=max"}, {"attest:provenance", "mode=min"}}).provenance->mode,
        ProvenanceWish::Mode::min);
}

TEST(Attestations, what_is_disabled_is_not_wanted) {
    EXPECT_FALSE(parse_attestations({{"attest:provenance", "type=provenance,disabled=true"}}).provenance);
    EXPECT_TRUE(parse_attestations({{"attest:provenance", "type=provenance,disabled=false"}}).provenance);
    EXPECT_EQ(refusal({{"attest:sbom", "disabled=true"}}), "");
}

TEST(Attestations, a_scanner_is_an_image_with_parameters) {
    const AttestationWishes found = parse_attestations({{"attest:sbom", "generator=scan/it,depth=2"}});
    EXPECT_EQ(found.sbom->generator.text(), "docker.io/scan/it:latest");
    EXPECT_EQ(found.sbom->parameters.at("depth"), "2");
    EXPECT_EQ(parse_attestations({{"attest:sbom", ""}}).sbom->generator.familiar(), "docker/buildkit-syft-scanner:stable-1");
}

TEST(Attestations, refuses_what_is_wrong) {
    EXPECT_EQ(refusal({{"attest:provenance", "mode=most"}}), "attest:provenance: invalid mode \"most\"");
    EXPECT_EQ(refusal({{"attest:provenance", "version=v2"}}), "attest:provenance: invalid provenance SLSA version: v2");
    EXPECT_EQ(refusal({{"attest:provenance", "version="}}), "attest:provenance: provenance SLSA version cannot be empty");
    EXPECT_EQ(refusal({{"attest:provenance", "reproducible=maybe"}}), "attest:provenance: failed to parse reproducible flag \"maybe\"");
    EXPECT_EQ(refusal({{"attest:provenance", "filename=../x"}}), "attest:provenance: filename: \"../x\" is no name of a file");
    EXPECT_EQ(refusal({{"attest:provenance", "mod=min"}}), "attest:provenance: unknown attribute \"mod\"");
    EXPECT_EQ(refusal({{"attest:provenance", "capture-usage=true"}}), "attest:provenance: not implemented: capture-usage");
    EXPECT_THAT(refusal({{"attest:provenance", "\"mode=min"}}), HasSubstr("attest:provenance: "));
    EXPECT_EQ(refusal({{"attest:taste", ""}}), "attest:taste: unknown attestation type \"taste\"");
    EXPECT_EQ(refusal({{"attest:sbom", "generator="}}), "attest:sbom: sbom generator cannot be empty");
    EXPECT_THAT(refusal({{"attest:sbom", "generator=A B"}}), HasSubstr("failed to parse sbom generator A B: invalid reference format"));
}

}  // namespace
}  // namespace grua::build
