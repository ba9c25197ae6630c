#include "build/materials.hpp"

#include "build/draft.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

const std::string digest_a = "sha256:" + std::string(64, 'a');
const std::string commit = std::string(40, 'c');

class MaterialsTest : public testing::Test {
protected:
    Draft::Output source(const std::string& identifier, const std::map<std::string, std::string>& attributes = {},
                         const std::string& pin = {}, const std::string& platform = {}) {
        pb::Op op;
        op.mutable_source()->set_identifier(identifier);
        for (const auto& [name, value] : attributes) (*op.mutable_source()->mutable_attrs())[name] = value;
        if (!platform.empty()) {
            const oci::Platform said = oci::Platform::parse(platform);
            op.mutable_platform()->set_os(said.os);
            op.mutable_platform()->set_architecture(said.architecture);
            op.mutable_platform()->set_variant(said.variant);
        }
        const Draft::Output out = draft.add(op, "");
        if (!pin.empty()) pins[out.digest] = pin;
        inputs.push_back(out);
        return out;
    }

    pb::ExecOp& program() { return *last.mutable_exec(); }

    Materials gather() {
        if (!last.has_exec()) last.mutable_merge();
        for (const Draft::Output& each : inputs) input_of(last, each);
        if (last.has_merge())
            for (int number = 0; number < last.inputs_size(); ++number) last.mutable_merge()->add_inputs()->set_input(number);
        if (last.has_exec()) {
            program().mutable_meta()->add_args("make");
            pb::Mount& root = *program().add_mounts();
            root.set_dest("/");
            root.set_input(inputs.empty() ? -1 : 0);
            root.set_output(0);
        }
        return materials_of(read_graph(draft.define(draft.add(last, ""))), pins);
    }

    Draft draft;
    pb::Op last;
    std::vector<Draft::Output> inputs;
    SourcePins pins;
};

TEST_F(MaterialsTest, are_the_sources_with_what_they_were) {
    source("docker-image://docker.io/library/a:1", {}, digest_a, "linux/arm/v7");
    source("docker-image://docker.io/library/b:1@" + digest_a);
    source("oci-layout://c@" + digest_a);
    source("https://me:secret@example.com/x.tar", {}, digest_a);
    source("git://example.com/x.git#main:folder", {{"git.fullurl", "https://me@example.com/x.git"}, {"git.authtokensecret", "TOKEN"}},
           commit);
    source("git://example.com/y.git", {{"git.mountsshsock", "default"}}, commit);
    source("local://context");
    const Materials found = gather();
    EXPECT_THAT(found.images, ElementsAre(Pair(ImageMaterial{"c@" + digest_a, "", true}, digest_a),
                                          Pair(ImageMaterial{"docker.io/library/a:1", "linux/arm/v7"}, digest_a),
                                          Pair(ImageMaterial{"docker.io/library/b:1@" + digest_a, ""}, digest_a)));
    EXPECT_THAT(found.files, ElementsAre(Pair("https://xxxxx:xxxxx@example.com/x.tar", digest_a)));
    EXPECT_THAT(found.repositories,
                ElementsAre(Pair("https://example.com/y.git", commit), Pair("https://xxxxx@example.com/x.git#main", commit)));
    EXPECT_THAT(found.folders, ElementsAre("context"));
    EXPECT_THAT(found.secrets, ElementsAre(Pair("TOKEN", true)));
    EXPECT_THAT(found.agents, ElementsAre(Pair("default", true)));
    EXPECT_TRUE(found.is_complete);
    EXPECT_FALSE(found.are_fixed());
    EXPECT_FALSE(found.uses_network);
}

TEST_F(MaterialsTest, are_fixed_where_all_of_them_are_known) {
    source("docker-image://docker.io/library/a:1");
    Materials found = gather();
    EXPECT_THAT(found.images, ElementsAre(Pair(ImageMaterial{"docker.io/library/a:1", ""}, "")));
    EXPECT_FALSE(found.are_fixed());
    Materials seen;
    seen.images[{"docker.io/library/a:1", ""}] = digest_a;
    found.merge(seen);
    EXPECT_THAT(found.images, ElementsAre(Pair(ImageMaterial{"docker.io/library/a:1", ""}, digest_a)));
    EXPECT_TRUE(found.are_fixed());
    EXPECT_TRUE(materials_of({}, {}).are_fixed());
    source("docker-image+blob://a");
    EXPECT_FALSE(gather().is_complete);
}

TEST_F(MaterialsTest, have_what_programs_need) {
    source("local://context");
    const auto secret = [&](const std::string& id, bool is_optional) {
        pb::Mount& mount = *program().add_mounts();
        mount.set_input(-1);
        mount.set_output(-1);
        mount.set_mounttype(pb::MOUNT_TYPE_SECRET);
        mount.mutable_secretopt()->set_id(id);
        mount.mutable_secretopt()->set_optional(is_optional);
    };
    secret("a", true);
    secret("b", true);
    secret("a", false);
    secret("a", true);
    pb::Mount& agent = *program().add_mounts();
    agent.set_input(-1);
    agent.set_output(-1);
    agent.set_mounttype(pb::MOUNT_TYPE_SSH);
    program().add_secretenv()->set_id("c");
    const Materials found = gather();
    EXPECT_THAT(found.secrets, ElementsAre(Pair("a", false), Pair("b", true), Pair("c", false)));
    EXPECT_THAT(found.agents, ElementsAre(Pair("default", false)));
    EXPECT_TRUE(found.uses_network);
}

TEST_F(MaterialsTest, a_program_without_a_network_has_used_none) {
    source("local://context");
    program().set_network(pb::NET_MODE_NONE);
    EXPECT_FALSE(gather().uses_network);
}

TEST(Materials, of_one_platform_are_without_the_images_of_the_others) {
    const std::vector<oci::Platform> both{oci::Platform::parse("linux/amd64"), oci::Platform::parse("linux/arm64")};
    Materials all;
    all.images = {{{"a:1", "linux/amd64"}, "1"}, {{"a:1", "linux/arm64"}, "2"}, {{"tool:1", "linux/amd64"}, "3"}, {{"b:1", ""}, "4"}};
    EXPECT_THAT(for_platform(all, both[1], both).images,
                ElementsAre(Pair(ImageMaterial{"a:1", "linux/arm64"}, "2"), Pair(ImageMaterial{"b:1", ""}, "4"),
                            Pair(ImageMaterial{"tool:1", "linux/amd64"}, "3")));
    EXPECT_EQ(for_platform(all, both[0], {}).images.size(), 4U);
}

TEST(Materials, an_image_is_named_once) {
    Materials all;
    all.images = {{{"docker.io/library/a:1", "linux/amd64"}, digest_a},
                  {{"docker.io/library/a:1@" + digest_a, "linux/amd64"}, digest_a},
                  {{"docker.io/library/a:2@" + digest_a, ""}, digest_a},
                  {{"docker.io/library/b@" + digest_a, ""}, digest_a},
                  {{"b", ""}, digest_a}};
    name_images_once(all);
    EXPECT_THAT(all.images,
                ElementsAre(Pair(ImageMaterial{"b", ""}, digest_a), Pair(ImageMaterial{"docker.io/library/a:1", "linux/amd64"}, digest_a),
                            Pair(ImageMaterial{"docker.io/library/a:2@" + digest_a, ""}, digest_a)));
}

TEST(Materials, are_put_together) {
    Materials all;
    all.add_secret("a", true);
    all.folders = {"context"};
    Materials other;
    other.add_secret("a", false);
    other.add_agent("", true);
    other.folders = {"dockerfile"};
    other.is_complete = false;
    all.merge(other);
    EXPECT_THAT(all.secrets, ElementsAre(Pair("a", false)));
    EXPECT_THAT(all.agents, ElementsAre(Pair("default", true)));
    EXPECT_THAT(all.folders, ElementsAre("context", "dockerfile"));
    EXPECT_FALSE(all.is_complete);
    EXPECT_FALSE(all.uses_network);
    EXPECT_THAT(all.images, IsEmpty());
}

TEST(Materials, urls_are_told_without_secrets) {
    EXPECT_EQ(without_secrets("https://example.com/a@b"), "https://example.com/a@b");
    EXPECT_EQ(without_secrets("https://u@h"), "https://xxxxx@h");
    EXPECT_EQ(without_secrets("https://u:p@h/x?y#z"), "https://xxxxx:xxxxx@h/x?y#z");
    EXPECT_EQ(without_secrets("https://:p@h"), "https://:xxxxx@h");
    EXPECT_EQ(without_secrets("https://u:p@ss@h"), "https://xxxxx:xxxxx@h");
    EXPECT_EQ(without_secrets("git@github.com:a/b"), "git@github.com:a/b");
    EXPECT_EQ(without_secrets(""), "");
}

}  // namespace
}  // namespace grua::build
