#include "build/graph_json.hpp"

#include <gtest/gtest.h>
#include <boost/json/serialize.hpp>

namespace grua::build {
namespace {

std::string text_of(const auto& message) { return boost::json::serialize(to_json(message)); }

TEST(GraphJson, has_a_program) {
    pb::Op op;
    op.add_inputs()->set_digest("sha256:a");
    pb::ExecOp& exec = *op.mutable_exec();
    exec.mutable_meta()->add_args("echo");
    exec.mutable_meta()->add_args("<hi>");
    exec.mutable_meta()->set_cwd("/");
    pb::Mount& root = *exec.add_mounts();
    root.set_dest("/");
    root.set_readonly(true);
    pb::Mount& secret = *exec.add_mounts();
    secret.set_input(-1);
    secret.set_output(-1);
    secret.set_mounttype(pb::MOUNT_TYPE_SECRET);
    secret.mutable_secretopt()->set_id("key");
    secret.mutable_secretopt()->set_mode(0400);
    exec.set_network(pb::NET_MODE_NONE);
    op.mutable_platform()->set_os("linux");
    op.mutable_constraints();
    EXPECT_EQ(text_of(op),
              R"({"inputs":[{"digest":"sha256:a"}],"Op":{"exec":{"meta":{"args":["echo","<hi>"],"cwd":"/"},"mounts":[{"dest":"/",)"
              R"("readonly":true},{"input":-1,"output":-1,"mountType":1,"secretOpt":{"ID":"key","mode":256}}],"network":2}},)"
              R"("platform":{"OS":"linux"},"constraints":{}})");
}

TEST(GraphJson, has_a_source) {
    pb::Op op;
    op.mutable_source()->set_identifier("local://context");
    (*op.mutable_source()->mutable_attrs())["b"] = "2";
    (*op.mutable_source()->mutable_attrs())["a"] = "1";
    EXPECT_EQ(text_of(op), R"({"Op":{"source":{"identifier":"local://context","attrs":{"a":"1","b":"2"}}}})");
}

TEST(GraphJson, has_files) {
    pb::Op op;
    pb::FileAction& copy = *op.mutable_file()->add_actions();
    copy.set_output(2);
    copy.mutable_copy()->set_src("/a");
    copy.mutable_copy()->mutable_owner()->mutable_user()->mutable_byname()->set_name("me");
    copy.mutable_copy()->mutable_owner()->mutable_group()->set_byid(0);
    pb::FileAction& make = *op.mutable_file()->add_actions();
    make.set_input(1);
    make.mutable_mkfile()->set_data(std::string("\0\xFF", 2));
    EXPECT_EQ(text_of(op),
              R"({"Op":{"file":{"actions":[{"input":0,"secondaryInput":0,"output":2,"Action":{"copy":{"src":"/a","owner":{"user":{"User":)"
              R"({"byName":{"name":"me"}}},"group":{"User":{}}}}}},{"input":1,"secondaryInput":0,"output":0,"Action":{"mkfile":)"
              R"({"data":"AP8="}}}]}}})");
}

TEST(GraphJson, has_what_puts_trees_together) {
    pb::Op merge;
    merge.mutable_merge()->add_inputs();
    merge.mutable_merge()->add_inputs()->set_input(1);
    EXPECT_EQ(text_of(merge), R"({"Op":{"merge":{"inputs":[{},{"input":1}]}}})");
    pb::Op diff;
    diff.mutable_diff()->mutable_lower();
    diff.mutable_diff()->mutable_upper()->set_input(1);
    EXPECT_EQ(text_of(diff), R"({"Op":{"diff":{"lower":{},"upper":{"input":1}}}})");
    EXPECT_EQ(text_of(pb::Op()), R"({"Op":{}})");
    pb::Op build;
    build.mutable_build()->mutable_def();
    EXPECT_EQ(text_of(build), R"({"Op":{"build":{"def":{}}}})");
}

TEST(GraphJson, has_places_in_files) {
    pb::SourceInfo file;
    file.set_filename("Dockerfile");
    file.set_data("FROM a");
    pb::Definition& definition = *file.mutable_definition();
    definition.add_def("x");
    (*definition.mutable_metadata())["sha256:1"].set_ignore_cache(true);
    pb::Locations& places = (*definition.mutable_source()->mutable_locations())["sha256:1"];
    pb::Range& range = *places.add_locations()->add_ranges();
    range.mutable_start()->set_line(3);
    range.mutable_end()->set_line(4);
    EXPECT_EQ(text_of(file),
              R"({"filename":"Dockerfile","data":"RlJPTSBh","definition":{"def":["eA=="],"metadata":{"sha256:1":{"ignore_cache":true}},)"
              R"("Source":{"locations":{"sha256:1":{"locations":[{"ranges":[{"start":{"line":3},"end":{"line":4}}]}]}}}}})");
    EXPECT_EQ(boost::json::serialize(location_json({range})), R"({"ranges":[{"start":{"line":3},"end":{"line":4}}]})");
}

TEST(GraphJson, what_is_no_text_is_made_one) {
    pb::Op op;
    op.mutable_source()->set_identifier("a\xFF");
    EXPECT_EQ(text_of(op), "{\"Op\":{\"source\":{\"identifier\":\"a\xEF\xBF\xBD\"}}}");
}

}  // namespace
}  // namespace grua::build
