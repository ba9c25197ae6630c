#include "build/made_of.hpp"

#include "build/wire/made.pb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace grua::build {
namespace {

using testing::HasSubstr;
using testing::Not;

VertexPtr vertex_of(const std::string& digest, pb::Op op, std::vector<Edge> inputs = {}) {
    const auto out = std::make_shared<Vertex>();
    out->digest = digest;
    out->name = "[1/2] " + digest;
    out->op = std::move(op);
    out->inputs = std::move(inputs);
    return out;
}

wire::made::MadeOf read(const MadeSteps& steps) {
    wire::made::MadeOf out;
    EXPECT_TRUE(out.ParseFromString(write_made_of(steps)));
    return out;
}

TEST(MadeOf, an_operation_is_kept_with_what_it_has_read) {
    const VertexPtr folder = vertex_of("folder", {});
    const VertexPtr copy = vertex_of("copy", {}, {{folder, 0}, {folder, 1}});
    const auto files = std::make_shared<ReadFiles>();
    files->add(
        {"a",
         {.mode = S_IFREG | 0644, .uid = 1, .gid = 2, .size = 3, .digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef"}});
    const MadeSteps steps{{"copy",
                           {.vertex = copy,
                            .pin = {},
                            .has_ended = true,
                            .was_cached = false,
                            .definition_key = "d",
                            .contents_key = "c",
                            .inputs = {{.key = "read", .files = files}, {.key = "whole", .files = nullptr}}}}};
    const wire::made::MadeOf made = read(steps);
    ASSERT_EQ(made.steps_size(), 1);
    const wire::made::Step& step = made.steps(0);
    EXPECT_EQ(step.name(), "[1/2] copy");
    EXPECT_FALSE(step.cached());
    EXPECT_EQ(step.definitionkey() + step.contentskey(), "dc");
    ASSERT_EQ(step.inputs_size(), 2);
    EXPECT_TRUE(step.inputs(0).bycontents());
    ASSERT_EQ(step.inputs(0).files_size(), 1);
    EXPECT_EQ(step.inputs(0).files(0).path(), "a");
    EXPECT_EQ(step.inputs(0).files(0).digest(), "0123456789abcdef0123456789abcdef");
    EXPECT_FALSE(step.inputs(1).bycontents());
    EXPECT_EQ(step.inputs(1).key(), "whole");
}

TEST(MadeOf, of_files_no_more_are_kept_than_a_bound) {
    ReadFiles files;
    for (std::size_t number = 0; number < ReadFiles::limit; ++number) files.add({std::to_string(number), {}});
    EXPECT_FALSE(files.is_cut);
    files.add({"more", {}});
    EXPECT_TRUE(files.is_cut);
    EXPECT_EQ(files.entries.size(), ReadFiles::limit);
}

TEST(MadeOf, passwords_are_not_kept_and_large_texts_only_by_their_digest) {
    pb::Op git;
    git.mutable_source()->set_identifier("git://host/x.git");
    (*git.mutable_source()->mutable_attrs())["git.fullurl"] = "https://me:hidden@host/x.git";
    (*git.mutable_source()->mutable_attrs())["local.session"] = "hidden too";
    pb::Op file;
    file.mutable_file()->add_actions()->mutable_mkfile()->set_data(std::string(5000, 'x'));
    const MadeSteps steps{{"git", {.vertex = vertex_of("git", git)}}, {"file", {.vertex = vertex_of("file", file)}}};
    const std::string text = write_made_of(steps);
    EXPECT_THAT(text, Not(HasSubstr("hidden")));
    EXPECT_THAT(text, HasSubstr("https://xxxxx:xxxxx@host/x.git"));
    EXPECT_THAT(text, Not(HasSubstr("xxxxxxxxxxxxxxxxxxxx")));
    EXPECT_EQ(write_made_of({}), "");
}

TEST(MadeOf, a_project_is_a_dockerfile_in_a_folder) {
    wire::control::SolveRequest request;
    (*request.mutable_frontendattrs())["filename"] = "Dockerfile";
    const std::string one = project_of(request, "folder");
    (*request.mutable_frontendattrs())["target"] = "test";
    EXPECT_EQ(project_of(request, "folder"), one);
    EXPECT_NE(project_of(request, "other"), one);
    (*request.mutable_frontendattrs())["filename"] = "other.Dockerfile";
    EXPECT_NE(project_of(request, "folder"), one);
    // Of a folder that nobody knows it is the image's name, of one elsewhere its address.
    (*request.add_exporters()->mutable_attrs())["name"] = "docker.io/library/a:1";
    const std::string named = project_of(request, "");
    (*request.mutable_frontendattrs())["context"] = "https://host/x.git";
    EXPECT_NE(project_of(request, ""), named);
}

}  // namespace
}  // namespace grua::build
