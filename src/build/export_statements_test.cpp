#include "build/export_statements.hpp"

#include "build/draft.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <boost/json/parse.hpp>

namespace grua::build {
namespace {

using testing::StartsWith;

const std::string digest_a = "sha256:" + std::string(64, 'a');

TEST(ExportStatements, is_in_images_as_it_is_wanted) {
    ProvenanceWish usual;
    usual.inline_only = true;
    const ProvenanceWish asked;
    ImageForm image;
    image.inline_attestations = true;
    const ImageForm archive;
    EXPECT_TRUE(is_in_image(usual.inline_only, image, 1));
    EXPECT_FALSE(is_in_image(usual.inline_only, archive, 1));
    EXPECT_TRUE(is_in_image(usual.inline_only, archive, 2));
    EXPECT_TRUE(is_in_image(asked.inline_only, archive, 1));
    ImageForm docker = image;
    docker.oci_types = false;
    EXPECT_FALSE(is_in_image(usual.inline_only, docker, 1));
    EXPECT_TRUE(is_in_image(asked.inline_only, docker, 1));
}

std::string text_of(const boost::json::value& value) { return std::string(value.as_string()); }

pb::Definition some_definition() {
    Draft draft;
    pb::Op op;
    op.mutable_source()->set_identifier("local://context");
    return draft.define(draft.add(op, ""));
}

images::BuiltManifest manifest_for(const std::string& platform) {
    images::BuiltManifest out;
    out.platform = oci::Platform::parse(platform);
    out.config = fmt::format(R"({{"architecture":"{}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}})",
                             out.platform.architecture, digest_a);
    out.layers = {{.layer = oci::Digest::from(digest_a),
                   .diff_id = oci::Digest::from(digest_a),
                   .blob = {.media_type = "application/vnd.oci.image.layer.v1.tar+gzip", .digest = digest_a, .size = 7}}};
    return out;
}

TEST(ExportStatements, says_of_each_manifest_how_it_came_to_be) {
    images::BuiltImage image;
    image.oci_types = false;
    image.manifests = {manifest_for("linux/amd64"), manifest_for("linux/arm64")};
    ImageForm form;
    form.names = {oci::Reference::parse("it:1")};
    BuildRecord record;
    add_provenance(image, form, {}, record, {some_definition(), some_definition()});
    EXPECT_TRUE(image.oci_types);
    EXPECT_TRUE(image.is_index);
    ASSERT_EQ(image.attestations.size(), 2U);
    const images::Attestation& second = image.attestations[1];
    EXPECT_EQ(second.subject, 1U);
    EXPECT_TRUE(second.is_artifact);
    EXPECT_EQ(second.statements.at(0).predicate_type, "https://slsa.dev/provenance/v0.2");
    const auto statement = boost::json::parse(second.statements.at(0).text);
    const auto& subject = statement.at("subject").at(0);
    EXPECT_EQ(subject.at("name"), "pkg:docker/it@1?platform=linux%2Farm64");
    const std::string manifest = images::manifest_of(image.manifests[1], true).digest;
    EXPECT_EQ(text_of(subject.at("digest").at("sha256")), manifest.substr(7));
    const auto& layers = statement.at("predicate").at("metadata").at("https://mobyproject.org/buildkit@v1#metadata").at("layers");
    EXPECT_EQ(text_of(layers.at("step0:0").at(0).at(0).at("digest")), digest_a);
    // It is as the store takes it.
    EXPECT_EQ(images::documents_of(image).manifests.size(), 2U);
}

TEST(ExportStatements, is_beside_files) {
    TreeIndex files;
    files["a"] = {.mode = S_IFREG | 0644, .digest = digest_a};
    ProvenanceWish wish;
    wish.form = ProvenanceWish::Form::slsa_1;
    const std::string text =
        provenance_file(wish, {}, {.platform = oci::Platform::parse("linux/amd64"), .definition = some_definition(), .layers = {}}, files);
    EXPECT_THAT(text, StartsWith("{\n  \"_type\": \"https://in-toto.io/Statement/v0.1\",\n"));
    EXPECT_EQ(boost::json::parse(text).at("subject").at(0).at("name"), "a");
}

}  // namespace
}  // namespace grua::build
