#include "build/dockerfile/outline.hpp"

#include <gtest/gtest.h>

namespace grua::build::dockerfile {
namespace {

OutlineInputs inputs(std::string target = {}) {
    OutlineInputs out;
    out.build.target = std::move(target);
    out.build.build_platform = out.build.target_platform = {.architecture = "amd64", .os = "linux"};
    out.base_image = [](const std::string& name, const oci::Platform&) -> std::optional<BaseImage> {
        if (name == "missing") fail(ErrorKind::not_found, "no such image");
        if (name == "triggering") return BaseImage{.env = {}, .on_build = {"RUN --mount=type=secret,id=of-image x", "ARG late=1"}};
        return BaseImage{.env = {"FLAVOUR=mint"}};
    };
    return out;
}

/// One thing a line.
std::string shown(const Outline& outline) {
    std::string out = fmt::format("{}|{}\n", outline.name, outline.description);
    for (const auto& each : outline.arguments)
        out += fmt::format("{} {}={} {}\n", each.lines.first, each.name, each.value, each.description);
    for (const auto& each : outline.secrets) out += fmt::format("{} secret {}{}\n", each.lines.first, each.id, each.is_required ? "!" : "");
    for (const auto& each : outline.agents) out += fmt::format("{} agent {}{}\n", each.lines.first, each.id, each.is_required ? "!" : "");
    return out;
}

std::string outline(std::string_view source, const OutlineInputs& with = inputs()) { return shown(make_outline(source, with)); }

TEST(Outline, has_arguments_of_the_stages_that_the_target_needs) {
    constexpr std::string_view file = R"(ARG kind=box
ARG other=${kind}2
ARG nobody=${other}
# name is what it is called
ARG name="busy${kind}"
FROM $name AS first
# not about it
ARG ONE=1
# TWO is a number
ARG TWO=2
FROM scratch$nobody AS second
ARG THREE
FROM scratch AS third
ARG FOUR=4
# final is all of it
FROM third AS final
COPY --from=first /x /
FROM second
)";
    EXPECT_EQ(outline(file, inputs("final")),
              "final|is all of it\n1 kind=box \n5 name=busybox is what it is called\n8 ONE=1 \n10 TWO=2 is a number\n14 FOUR=4 \n");
    OutlineInputs given = inputs("final");
    given.build.arguments = {{"TWO", "two"}, {"kind", "cat"}, {"unknown", "x"}};
    EXPECT_EQ(outline(file, given),
              "final|is all of it\n1 kind=cat \n5 name=busycat is what it is called\n8 ONE=1 \n10 TWO=two is a number\n14 FOUR=4 \n");
    EXPECT_EQ(outline(file), "|\n1 kind=box \n2 other=box2 \n3 nobody=box2 \n12 THREE= \n");
}

TEST(Outline, an_argument_is_told_once_where_its_nearest_stage_has_it) {
    EXPECT_EQ(outline("FROM scratch AS a\nARG x=1\nARG y=1\nFROM a\nARG x=2\n"), "|\n3 y=1 \n5 x=2 \n");
    EXPECT_EQ(outline("# x of all\nARG x=0\nFROM scratch\nARG x\n"), "|\n2 x=0 of all\n");
    EXPECT_EQ(outline("ARG x=0\nFROM scratch\nARG x=\n"), "|\n3 x= \n");
    EXPECT_EQ(outline("FROM scratch\nARG x=1\nARG x=${x}2\n"), "|\n3 x=12 \n");
}

TEST(Outline, an_argument_that_is_made_of_itself_keeps_what_it_was_made_of) {
    EXPECT_EQ(outline("ARG a=1\nARG b=2\nARG x=$a\nARG x=$x$b\nFROM scratch\nARG x\n"), "|\n1 a=1 \n2 b=2 \n4 x=12 \n");
    EXPECT_EQ(outline("ARG a=1\nARG b=2\nARG x=$a\nARG x=$b\nFROM scratch\nARG x\n"), "|\n2 b=2 \n4 x=2 \n");
}

TEST(Outline, arguments_of_the_builder_are_not_told) {
    EXPECT_EQ(outline("FROM --platform=$BUILDPLATFORM scratch\nARG TARGETARCH\n"), "|\n");
    EXPECT_EQ(outline("FROM scratch\nARG TARGETARCH=x\n"), "|\n2 TARGETARCH=x \n");
}

TEST(Outline, has_secrets_and_agents) {
    EXPECT_EQ(
        outline("FROM base AS a\nRUN --mount=type=secret,target=/etc/passwd,required --mount=type=ssh x\n"
                "FROM scratch AS unused\nRUN --mount=type=secret,id=u --mount=type=ssh,id=u x\n"
                "FROM base\nARG n=1\nCOPY --from=a / /\nRUN --mount=type=secret,id=s$n-$FLAVOUR --mount=type=ssh,id=mine,required \\\n x\n"
                "RUN --mount=type=secret,id=passwd x\n"),
        "|\n6 n=1 \n8 secret s1-mint\n10 secret passwd\n2 agent default\n8 agent mine!\n");
}

TEST(Outline, has_what_triggers_say) {
    EXPECT_EQ(outline("FROM triggering\n"), "|\n1 late=1 \n1 secret of-image\n");
    EXPECT_EQ(outline("FROM scratch AS a\nONBUILD RUN --mount=type=ssh x\nFROM a\n"), "|\n3 agent default\n");
}

TEST(Outline, a_stage_that_something_else_stands_for_has_nothing) {
    OutlineInputs with = inputs();
    with.is_replaced = [](const std::string& name, const oci::Platform&) { return name == "a"; };
    EXPECT_EQ(outline("ARG b=1\nFROM missing$b AS a\nARG x=1\nFROM a\nARG y=2\n", with), "|\n5 y=2 \n");
}

TEST(Outline, refuses_what_is_wrong) {
    EXPECT_THROW(outline("FROM scratch", inputs("none")), Error);
    EXPECT_THROW(outline("FROM missing"), SourceError);
    EXPECT_THROW(outline("FROM"), SourceError);
    EXPECT_THROW(outline("FROM scratch\nRUN --mount=type=secret x"), SourceError);
}

/// Each of many stages needs the same long chain of arguments; the time for it is that of the file.
TEST(Outline, takes_time_as_the_file_is_long) {
    std::string file = "ARG a0=x\n";
    constexpr int many = 20'000;
    for (int n = 1; n < many; ++n) file += fmt::format("ARG a{}=$a{}\n", n, n - 1);
    for (int n = 0; n < many; ++n)
        file += fmt::format("FROM scratch$a{} AS s{}\n{}", many - 1, n, n > 0 ? fmt::format("COPY --from=s{} / /\n", n - 1) : "");
    OutlineInputs with = inputs();
    EXPECT_EQ(make_outline(file, with).arguments.size(), many);
}

}  // namespace
}  // namespace grua::build::dockerfile
