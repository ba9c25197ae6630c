#include "build/failure.hpp"

#include "build/draft.hpp"
#include "build/wire/common.pb.h"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

/// "type value" of each detail, one a line.
std::string details_of(const grpc::CallError& error) {
    wire::common::Status status;
    EXPECT_TRUE(status.ParseFromString(error.status().details));
    EXPECT_EQ(status.message(), error.what());
    std::string out;
    for (const auto& each : status.details()) {
        const std::string& type = each.type_url();
        out += type.substr(type.rfind('/') + 1) + " " + each.value() + "\n";
    }
    return out;
}

// What BuildKit's clients take for a detail is JSON, whatever its message is on the wire.

TEST(Failure, has_its_place) {
    pb::SourceInfo file;
    file.set_filename("Dockerfile");
    file.set_data("FOO");
    const auto error = failure_at("unknown instruction", {.file = file, .ranges = {lines(1, 2)}});
    EXPECT_EQ(error.status().code, grpc::Code::unknown);
    EXPECT_EQ(details_of(error),
              "errdefs.Source+json {\"info\":{\"filename\":\"Dockerfile\",\"data\":\"Rk9P\"},\"ranges\":[{\"start\":{\"line\":1},\"end\":"
              "{\"line\":2}}]}\n");
    EXPECT_EQ(details_of(failure_at("nowhere", {})), "");
}

TEST(Failure, of_an_operation_has_its_name_and_its_place) {
    Draft draft;
    draft.set_source("Dockerfile", "RUN x", "Dockerfile");
    pb::Op op;
    op.mutable_source()->set_identifier("local://context");
    const Draft::Output output = draft.add(op, "it");
    draft.place(output, 1, 1);
    EXPECT_EQ(details_of(failure_of("it failed", draft.define(output), output.digest)),
              "errdefs.Vertex+json {\"digest\":\"" + output.digest +
                  "\"}\nerrdefs.Source+json {\"info\":{\"filename\":\"Dockerfile\",\"data\":\"UlVOIHg=\",\"language\":\"Dockerfile\"},"
                  "\"ranges\":[{\"start\":{\"line\":1},\"end\":{\"line\":1}}]}\n");
}

TEST(Failure, of_a_request_has_its_name) {
    const auto error = failure_of_request("frontend.nothing");
    EXPECT_STREQ(error.what(), "unsupported request frontend.nothing");
    EXPECT_EQ(details_of(error), "errdefs.Subrequest+json {\"name\":\"frontend.nothing\"}\n");
}

}  // namespace
}  // namespace grua::build
