#include "build/dockerfile/stage_graph.hpp"

#include <gtest/gtest.h>
#include <algorithm>

namespace grua::build::dockerfile {
namespace {

struct Refused {
    std::string text;
    LineRange lines;
};

template <typename Body>
Refused refusal(Body&& body) {
    try {
        body();
    } catch (const SourceError& error) {
        return {error.what(), error.lines()};
    }
    return {};
}

BuildInputs inputs(std::map<std::string, std::string, std::less<>> arguments = {}) {
    return {.arguments = std::move(arguments),
            .build_platform = {.architecture = "amd64", .os = "linux"},
            .target_platform = {.architecture = "arm64", .os = "linux"}};
}

StageGraph graph(const Dockerfile& file, std::map<std::string, std::string, std::less<>> arguments = {}) {
    Expander expander({.escape = file.escape});
    return make_graph(file, inputs(std::move(arguments)), expander);
}

TEST(Stages, are_cut_at_each_from) {
    const Dockerfile file = read_dockerfile("ARG A=1\nARG B\nFROM a\nRUN b\nARG C\nFROM c AS d\n");
    EXPECT_EQ(file.arguments.size(), 2U);
    ASSERT_EQ(file.stages.size(), 2U);
    EXPECT_EQ(file.stages[0].instructions.size(), 2U);
    EXPECT_EQ(file.stages[1].from().name, "d");
}

TEST(Stages, errors_are_buildkits) {
    struct Row {
        std::string_view source;
        std::string_view text;
        LineRange lines;
    };
    for (const Row& row : {
             Row{"", "the Dockerfile cannot be empty", {}},
             Row{"RUN a", "no build stage in current context", {1, 1}},
             Row{"ARG a", "dockerfile contains no stages to build", {}},
             Row{"FROM a\n\nRUNN \\\n b", "dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)", {3, 4}},
         }) {
        const Refused refused = refusal([&] { static_cast<void>(read_dockerfile(row.source)); });
        EXPECT_EQ(refused.text, row.text) << row.source;
        EXPECT_EQ(refused.lines, row.lines) << row.source;
    }
}

TEST(StageGraph, knows_bases_and_sources) {
    const Dockerfile file = read_dockerfile(
        "ARG V=3\nARG P=$BUILDPLATFORM\nFROM --platform=$P alpine:$V AS Base\nFROM base\nCOPY --from=0 a b\nCOPY --from=BASE a b\n"
        "RUN --mount=from=base,target=/x --mount=from=busybox,target=/y c\nFROM scratch AS alpine\nFROM alpine");
    const StageGraph out = graph(file);
    EXPECT_EQ(out.stages()[0].base, "alpine:3");
    EXPECT_FALSE(out.stages()[0].base_stage) << "a stage is not named before it is there";
    EXPECT_EQ(out.stages()[0].platform->text(), "linux/amd64");
    EXPECT_EQ(out.stages()[1].name, "stage-1");
    EXPECT_EQ(out.stages()[1].base_stage, 0U);
    ASSERT_EQ(out.stages()[1].sources.size(), 4U);
    EXPECT_EQ(out.stages()[1].sources[0].stage, 0U);
    EXPECT_EQ(out.stages()[1].sources[1].stage, 0U);
    EXPECT_EQ(out.stages()[1].sources[2].instruction, 2U);
    EXPECT_EQ(out.stages()[1].sources[3].stage, std::nullopt);
    EXPECT_EQ(out.stages()[3].base_stage, 2U);
    EXPECT_EQ(graph(file, {{"V", "edge"}}).stages()[0].base, "alpine:edge");
}

TEST(StageGraph, knows_what_a_target_needs) {
    const Dockerfile file = read_dockerfile("FROM a AS x\nFROM a AS y\nFROM x AS z\nCOPY --from=y a b\nFROM scratch AS last");
    const StageGraph out = graph(file);
    EXPECT_EQ(out.target(""), 3U);
    EXPECT_EQ(out.target("Z"), 2U);
    EXPECT_EQ(out.needed_for(2), (std::vector<bool>{true, true, true, false}));
    EXPECT_EQ(out.needed_for(3), (std::vector<bool>{false, false, false, true}));
    try {
        static_cast<void>(out.target("lst"));
        ADD_FAILURE();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "target stage \"lst\" could not be found (did you mean last?)");
    }
}

TEST(StageGraph, refuses) {
    struct Row {
        std::string_view source;
        std::string_view text;
        LineRange lines;
    };
    for (const Row& row : {
             Row{"FROM $X", "base name ($X) should not be blank", {1, 1}},
             Row{"FROM ${X", "failed to process \"${X\": syntax error: missing '}'", {1, 1}},
             Row{"ARG A=${\nFROM b", "failed to process \"${\": syntax error: missing '}'", {1, 1}},
             Row{"FROM --platform=$BULIDPLATFORM a",
                 "empty platform value from expression $BULIDPLATFORM (did you mean BUILDPLATFORM?)",
                 {1, 1}},
             Row{"FROM a\nCOPY --from=$x a b",
                 "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
                 {2, 2}},
             Row{"FROM a\nCOPY --from=7 a b", "invalid stage index 7", {2, 2}},
             Row{"FROM a AS x\nCOPY --from=x a b", "circular dependency detected on stage: x", {2, 2}},
             Row{"FROM a AS x\nCOPY --from=y a b\nFROM a AS y\nRUN --mount=from=x c", "circular dependency detected on stage: x", {4, 4}},
         }) {
        const Refused refused = refusal([&] {
            const Dockerfile file = read_dockerfile(row.source);
            static_cast<void>(graph(file));
        });
        EXPECT_EQ(refused.text, row.text) << row.source;
        EXPECT_EQ(refused.lines, row.lines) << row.source;
    }
    EXPECT_TRUE(refusal([&] {
                    const Dockerfile file = read_dockerfile("FROM --platform=linux/ a");
                    static_cast<void>(graph(file));
                }).text.starts_with("failed to parse platform linux/: "));
}

TEST(StageGraph, predefined_arguments) {
    const Dockerfile file = read_dockerfile("FROM a AS x");
    const Environment out = platform_arguments(file, inputs({{"TARGETARCH", "own"}}));
    EXPECT_EQ(*out.find("BUILDPLATFORM"), "linux/amd64");
    EXPECT_EQ(*out.find("TARGETPLATFORM"), "linux/arm64");
    EXPECT_EQ(*out.find("TARGETARCH"), "own");
    EXPECT_EQ(*out.find("TARGETSTAGE"), "x");
    EXPECT_EQ(out.size(), 11U);
}

TEST(StageGraph, stands_many_stages) {
    std::string source = "FROM a AS s0\n";
    for (int i = 1; i < 50000; ++i) source += fmt::format("FROM s{} AS s{}\nCOPY --from=s{} a b\n", i - 1, i, i - 1);
    const Dockerfile file = read_dockerfile(source);
    const StageGraph out = graph(file);
    EXPECT_EQ(std::ranges::count(out.needed_for(49999), true), 50000);
}

}  // namespace
}  // namespace grua::build::dockerfile
