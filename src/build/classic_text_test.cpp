#include "build/classic_text.hpp"

#include "base/error.hpp"
#include "build/draft.hpp"

#include <gtest/gtest.h>
#include <boost/json/parse.hpp>

namespace grua::build {
namespace {

/// A build by hand: its graph has the operations that a test places, and its journal says what the test says.
class ClassicTextTest : public testing::Test {
protected:
    void plan(std::string_view source, const std::map<std::string, std::string>& labels = {},
              const std::vector<std::string>& arguments = {}, const std::string& target = {}) {
        dockerfile::BuildInputs inputs;
        inputs.target = target;
        text.take(plan_classic(source, inputs, arguments, labels));
        draft.set_source("Dockerfile", std::string(source), "Dockerfile");
    }
    /// An image of this line.
    std::string image(int line, const std::string& reference) {
        pb::Op op;
        op.mutable_source()->set_identifier("docker-image://" + reference);
        pb::OpMetadata about;
        (*about.mutable_description())["com.docker.dockerfile.v1.command"] = "FROM";
        return put(op, line, std::move(about));
    }
    /// A program of this line, on what was put last.
    std::string program(int line, const std::string& command) {
        pb::Op op;
        pb::Mount& root = *op.mutable_exec()->add_mounts();
        root.set_dest("/");
        root.set_input(input_of(op, last));
        op.mutable_exec()->mutable_meta()->add_args(command);
        return put(op, line, {});
    }
    void take_graph() { text.take(draft.define(last)); }

    void started(const std::string& digest) { event(digest).mutable_started()->set_seconds(1); }
    void completed(const std::string& digest, bool was_cached = false) {
        wire::control::Vertex& out = event(digest);
        out.mutable_started()->set_seconds(1);
        out.mutable_completed()->set_seconds(2);
        out.set_cached(was_cached);
    }
    void failed(const std::string& digest) {
        completed(digest);
        status.mutable_vertexes(status.vertexes_size() - 1)->set_error("exit code: 3");
    }
    void printed(const std::string& digest, const std::string& bytes, int stream = 1) {
        auto& out = *status.add_logs();
        out.set_vertex(digest);
        out.set_stream(stream);
        out.set_msg(bytes);
    }
    /// What is told of what has been said since.
    std::string told() {
        text.take(status);
        status.Clear();
        return streams(text.lines());
    }
    /// The texts of "stream", and other lines as they are.
    static std::string streams(const std::string& lines) {
        std::string out;
        std::size_t at = 0;
        while (at < lines.size()) {
            const std::size_t end = lines.find("\r\n", at);
            const std::string line = lines.substr(at, end - at);
            const auto value = boost::json::parse(line);
            const auto* stream = value.as_object().if_contains("stream");
            out += stream ? std::string(stream->as_string()) : line + "\n";
            at = end + 2;
        }
        return out;
    }

    Draft draft;
    Draft::Output last;
    wire::control::StatusResponse status;
    ClassicText text{
        [](const std::string& reference) { return reference.contains("busybox") ? "sha256:b00c" + std::string(60, '0') : std::string(); }};

private:
    std::string put(const pb::Op& op, int line, pb::OpMetadata about) {
        last = draft.add(op, "step", std::move(about));
        draft.place(last, line, line);
        return last.digest;
    }
    wire::control::Vertex& event(const std::string& digest) {
        wire::control::Vertex& out = *status.add_vertexes();
        out.set_digest(digest);
        return out;
    }
};

std::string short_of(const std::string& digest) { return digest.substr(7, 12); }

const std::string built = "sha256:0123456789abcdef";

TEST_F(ClassicTextTest, TellsStepsInTheirOrder) {
    plan("FROM busybox\nENV A=1\nRUN one\nRUN two\nCMD sh\n");
    EXPECT_EQ(streams(text.lines()), "Step 1/5 : FROM busybox\n");
    const std::string from = image(1, "docker.io/library/busybox:latest");
    const std::string one = program(3, "one");
    const std::string two = program(4, "two");
    take_graph();
    EXPECT_EQ(told(), "");
    completed(from);
    started(one);
    const std::string said = told();
    EXPECT_TRUE(said.starts_with(" ---> b00c00000000\nStep 2/5 : ENV A=1\n ---> ")) << said;
    EXPECT_TRUE(said.ends_with("\nStep 3/5 : RUN one\n")) << said;
    printed(one, "out\n");
    printed(one, "wrong\n", 2);
    EXPECT_EQ(told(), "out\n\033[91mwrong\n\033[0m");
    completed(one);
    EXPECT_EQ(told(), " ---> " + short_of(one) + "\nStep 4/5 : RUN two\n");
    completed(two);
    EXPECT_EQ(told().substr(0, 31), " ---> " + short_of(two) + "\nStep 5/5 : C");
    EXPECT_EQ(streams(text.finish({.image_id = built, .names = {"x:latest", "y:1"}})),
              " ---> 0123456789ab\n{\"aux\":{\"ID\":\"" + built +
                  "\"}}\nSuccessfully built 0123456789ab\nSuccessfully tagged x:latest\n"
                  "Successfully tagged y:1\n");
}

TEST_F(ClassicTextTest, WhatIsKnownSaysSo) {
    plan("FROM busybox\nENV A=1\nRUN one\nRUN two\nCMD sh\n");
    const std::string from = image(1, "docker.io/library/busybox:latest");
    const std::string one = program(3, "one");
    const std::string two = program(4, "two");
    take_graph();
    completed(from, true);
    completed(one, true);
    completed(two, true);
    std::string all = told() + streams(text.finish({.image_id = built, .names = {}}));
    int count = 0;
    for (std::size_t at = all.find("Using cache"); at != std::string::npos; at = all.find("Using cache", at + 1)) ++count;
    EXPECT_EQ(count, 4) << all;
    EXPECT_FALSE(all.contains("Successfully tagged"));
}

TEST_F(ClassicTextTest, AStepWithoutFilesIsAsThoseBesideIt) {
    plan("FROM busybox\nENV A=1\nRUN one\nENV B=1\nRUN two\n");
    const std::string from = image(1, "busybox");
    const std::string one = program(3, "one");
    const std::string two = program(5, "two");
    take_graph();
    completed(from, true);
    // Not yet: it may be known.
    EXPECT_TRUE(told().ends_with("Step 2/5 : ENV A=1\n"));
    completed(one, true);
    started(two);
    const std::string said = told();
    EXPECT_TRUE(said.starts_with(" ---> Using cache\n")) << said;
    EXPECT_TRUE(said.contains("Step 3/5 : RUN one\n ---> Using cache\n")) << said;
    EXPECT_TRUE(said.contains("Step 4/5 : ENV B=1\n ---> ")) << said;
    EXPECT_FALSE(said.contains("Step 4/5 : ENV B=1\n ---> Using cache")) << said;
    EXPECT_TRUE(said.ends_with("Step 5/5 : RUN two\n")) << said;
}

TEST_F(ClassicTextTest, WhatIsDoneAtTheSameTimeWaitsForItsTurn) {
    plan("FROM busybox AS one\nRUN one\nFROM busybox\nRUN two\nCOPY --from=one /a /b\n");
    const std::string from = image(1, "busybox");
    draft.place(last, 3, 3);
    const Draft::Output base = last;
    const std::string one = program(2, "one");
    last = base;
    const std::string two = program(4, "two");
    pb::Op both;
    both.mutable_file()->add_actions()->set_output(0);
    input_of(both, last);
    input_of(both, {.digest = one});
    last = draft.add(both, "COPY");
    draft.place(last, 5, 5);
    const std::string copy = last.digest;
    take_graph();
    completed(from);
    started(one);
    started(two);
    printed(two, "second\n");
    const std::string said = told();
    EXPECT_TRUE(said.ends_with("Step 2/5 : RUN one\n")) << said;
    completed(two);
    EXPECT_EQ(told(), "");
    printed(one, "first\n");
    completed(one);
    EXPECT_EQ(told(), "first\n ---> " + short_of(one) +
                          "\nStep 3/5 : FROM busybox\n ---> b00c00000000\nStep 4/5 : RUN two\nsecond\n ---> " + short_of(two) +
                          "\nStep 5/5 : COPY --from=one /a /b\n");
    completed(copy);
    EXPECT_EQ(told(), "");
    EXPECT_TRUE(streams(text.finish({.image_id = built, .names = {}, .tells_ids = false}))
                    .starts_with(" ---> 0123456789ab\nSuccessfully built 0123456789ab\n"));
}

TEST_F(ClassicTextTest, AFailureIsToldWithWhatItsStepHasPrinted) {
    plan("FROM busybox AS one\nRUN one\nFROM busybox\nRUN two\nCOPY --from=one /a /b\n");
    const std::string from = image(1, "busybox");
    draft.place(last, 3, 3);
    const Draft::Output base = last;
    const std::string one = program(2, "one");
    last = base;
    const std::string two = program(4, "two");
    pb::Op both;
    both.mutable_file()->add_actions()->set_output(0);
    input_of(both, last);
    input_of(both, {.digest = one});
    last = draft.add(both, "COPY");
    take_graph();
    completed(from);
    started(one);
    started(two);
    printed(two, "no such thing\n");
    failed(two);
    EXPECT_TRUE(told().ends_with("Step 2/5 : RUN one\n"));
    EXPECT_EQ(
        streams(text.fail("The command 'two' returned a non-zero code: 3", 3, two)),
        "Step 4/5 : RUN two\nno such thing\n"
        R"({"errorDetail":{"code":3,"message":"The command 'two' returned a non-zero code: 3"},"error":"The command 'two' returned a non-zero code: 3"})"
        "\n");
}

TEST_F(ClassicTextTest, AFailureBeforeThereIsAGraph) {
    plan("FROM busybox\n");
    EXPECT_EQ(streams(text.fail("no such image", {}, {})),
              "Step 1/1 : FROM busybox\n{\"errorDetail\":{\"message\":\"no such image\"},\"error\":\"no such image\"}\n");
}

TEST_F(ClassicTextTest, StagesThatAreNotNeededAreNoSteps) {
    plan("ARG V=latest\nFROM busybox:$V AS base\nFROM base AS other\nRUN other\nFROM base\nENV A=b\n");
    EXPECT_EQ(streams(text.lines()), "Step 1/4 : ARG V=latest\nStep 2/4 : FROM busybox:$V AS base\n");
    const std::string from = image(2, "busybox");
    take_graph();
    completed(from);
    const std::string said = told();
    EXPECT_TRUE(said.starts_with(" ---> b00c00000000\nStep 3/4 : FROM base\n ---> b00c00000000\nStep 4/4 : ENV A=b\n")) << said;
}

TEST_F(ClassicTextTest, ATargetIsTheLastStage) {
    plan("FROM busybox AS one\nFROM busybox AS two\n", {}, {}, "one");
    EXPECT_EQ(streams(text.lines()), "Step 1/1 : FROM busybox AS one\n");
    EXPECT_THROW(plan("FROM busybox AS one\n", {}, {}, "three"), Error);
}

TEST_F(ClassicTextTest, LabelsOfTheRequestAreSteps) {
    plan("FROM scratch\n", {{"b", "2"}, {"a", "1 2"}});
    take_graph();
    const std::string all = told() + streams(text.finish({.image_id = built, .names = {}}));
    EXPECT_TRUE(all.starts_with("Step 1/3 : FROM scratch\n ---> \nStep 2/3 : LABEL a=1 2\n ---> ")) << all;
    EXPECT_TRUE(all.contains("Step 3/3 : LABEL b=2\n ---> 0123456789ab\n")) << all;
}

TEST_F(ClassicTextTest, ArgumentsThatNobodyTakesAreToldAtTheEnd) {
    plan("ARG A\nFROM scratch\nARG B=1\n", {}, {"Z", "A", "B", "C", "http_proxy"});
    take_graph();
    static_cast<void>(told());
    EXPECT_TRUE(streams(text.finish({.image_id = built, .names = {}}))
                    .contains("[Warning] One or more build-args [C Z] were not consumed\nSuccessfully"));
}

TEST_F(ClassicTextTest, ACharacterIsNotToldInHalves) {
    plan("FROM scratch\nRUN one\n");
    const std::string one = program(2, "one");
    take_graph();
    started(one);
    printed(one, "a\xc3");
    EXPECT_TRUE(told().ends_with("RUN one\na"));
    printed(one, "\xa4\xe2\x82");
    EXPECT_EQ(told(), "ä");
    completed(one);
    // What nothing completes is told as what it is.
    EXPECT_TRUE(told().starts_with("\xef\xbf\xbd\xef\xbf\xbd")) << told();
}

TEST(ClassicLines, AreDockers) {
    EXPECT_EQ(stream_line("a\"\n\xff"), "{\"stream\":\"a\\\"\\n\xef\xbf\xbd\"}\r\n");
    EXPECT_EQ(aux_line("moby.image.id", "ID", "sha256:1"), "{\"id\":\"moby.image.id\",\"aux\":{\"ID\":\"sha256:1\"}}\r\n");
    EXPECT_EQ(aux_line("moby.buildkit.trace", "", "AA=="), "{\"id\":\"moby.buildkit.trace\",\"aux\":\"AA==\"}\r\n");
    EXPECT_EQ(error_line("x", {}), "{\"errorDetail\":{\"message\":\"x\"},\"error\":\"x\"}\r\n");
}

}  // namespace
}  // namespace grua::build
