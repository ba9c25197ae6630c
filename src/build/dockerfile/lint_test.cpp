#include "build/dockerfile/lint.hpp"

#include "build/dockerfile/lint_stage.hpp"

#include <gtest/gtest.h>

namespace grua::build::dockerfile {
namespace {

using namespace std::literals;

LintInputs inputs() {
    LintInputs out;
    out.build.build_platform = {.architecture = "amd64", .os = "linux"};
    out.build.target_platform = {.architecture = "amd64", .os = "linux"};
    out.base_image = [](const std::string& name, const oci::Platform&) -> std::optional<BaseImage> {
        if (name == "unknown") return std::nullopt;
        BaseImage image{.env = {"PATH=/bin", "JAVA_HOME=/java"}, .has_shell = name == "shelled"};
        if (name == "foreign") image.platform = oci::Platform{.architecture = "arm64", .os = "linux"};
        if (name == "triggering") image.on_build = {"COPY $NOWHERE /x"};
        return image;
    };
    return out;
}

/// One warning a line, then the error.
std::string shown(const LintResult& result) {
    std::string out;
    for (const LintWarning& warning : result.warnings) {
        out += fmt::format("{}-{} {}: {}\n", warning.lines.first, warning.lines.last, about(warning.rule).name, warning.detail);
    }
    if (result.error) out += fmt::format("{} error: {}\n", result.error->lines().first, result.error->what());
    return out;
}

std::string check(std::string_view source, const LintInputs& with = inputs()) { return shown(lint(source, with)); }

struct Case {
    std::string_view source;
    std::string_view shown;
};

class Lint : public testing::TestWithParam<Case> {};

TEST_P(Lint, finds) { EXPECT_EQ(check(GetParam().source), GetParam().shown) << GetParam().source; }

INSTANTIATE_TEST_SUITE_P(
    Casing, Lint,
    testing::Values(Case{"FROM a AS b\nRUN c\n", ""},
                    Case{"FROM scratch AS Bad\nMAINTAINER me\nBADCMD",
                         "1-1 StageNameCasing: Stage name 'Bad' should be lowercase\n2-2 MaintainerDeprecated: Maintainer instruction is "
                         "deprecated in favor of "
                         "using label\n3 error: dockerfile parse error on line 3: unknown instruction: BADCMD\n"},
                    Case{"FROM a as b", "1-1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match\n"},
                    Case{"from a AS b", "1-1 FromAsCasing: 'AS' and 'from' keywords' casing do not match\n"}, Case{"from a as b", ""},
                    Case{"From scratch as base\nFROM scratch AS base2",
                         "1-1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase)\n"},
                    Case{"frOM a\nfrom a",
                         "1-1 ConsistentInstructionCasing: Command 'frOM' should match the case of the command majority (lowercase)\n"},
                    Case{"FROM a\nuser b",
                         "2-2 ConsistentInstructionCasing: Command 'user' should match the case of the command majority (uppercase)\n"},
                    Case{"FROM a\nRUN b \\\n\n c", "4-4 NoEmptyContinuation: Empty continuation line\n"}));

INSTANTIATE_TEST_SUITE_P(
    Stages, Lint,
    testing::Values(
        Case{"FROM a AS b\nFROM a AS b", "2-2 DuplicateStageName: Duplicate stage name \"b\", stage names should be unique\n"},
        Case{"FROM a AS scratch", "1-1 ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\"\n"},
        Case{"FROM a AS context", "1-1 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"\n"},
        Case{"FROM a AS x\nCOPY --from=y b c\nFROM a AS y",
             "2 error: cannot copy from stage \"y\", it needs to be defined before current stage \"x\"\n"},
        Case{"FROM a AS x\nRUN --mount=from=y,target=/t c\nFROM a AS y",
             "2 error: cannot mount from stage \"y\" to \"/t\", stage needs to be defined before current command\n"},
        Case{"FROM foreign",
             "1-1 InvalidBaseImagePlatform: Base image foreign was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for "
             "current build\n"},
        Case{"FROM triggering", "1-1 UndefinedVar: Usage of undefined variable '$NOWHERE'\n"},
        Case{"FROM a AS b\nONBUILD COPY $NOWHERE /x\nFROM b", "3-3 UndefinedVar: Usage of undefined variable '$NOWHERE'\n"}));

INSTANTIATE_TEST_SUITE_P(
    Arguments, Lint,
    testing::Values(Case{"ARG base=scratch\nFROM $base", ""}, Case{"FROM --platform=$BUILDPLATFORM a", ""},
                    Case{"ARG D\nFROM scratch${D}", ""}, Case{"ARG D=\"\"\nFROM scratch${D-@bogus}", ""},
                    Case{"FROM --platform=$BULIDPLATFORM a",
                         "1-1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)\n1 error: "
                         "empty platform value from "
                         "expression $BULIDPLATFORM (did you mean BUILDPLATFORM?)\n"},
                    Case{"ARG tag=latest\nFROM busybox:${tag}${version} AS b",
                         "2-2 UndefinedArgInFrom: FROM argument 'version' is not declared\n"},
                    Case{"FROM --platform=$TARGETPLATFORM a",
                         "1-1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the "
                         "default behavior\n"},
                    Case{"FROM --platform=${TARGETPLATFORM} a",
                         "1-1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is "
                         "the default behavior\n"},
                    Case{"FROM --platform=linux/amd64 a",
                         "1-1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\"\n"},
                    Case{"FROM --platform=linux/amd64 a AS my_amd64_stage", ""}, Case{"FROM --platform=linux/amd64 a AS linux", ""},
                    Case{"ARG V\nFROM busybox:$V",
                         "2-2 InvalidDefaultArgInFrom: Default value for ARG busybox:$V results in empty or invalid base image name\n"},
                    Case{"ARG I\nFROM $I",
                         "2-2 InvalidDefaultArgInFrom: Default value for ARG $I results in empty or invalid base image name\n2 error: base "
                         "name ($I) should not be "
                         "blank\n"},
                    Case{"ARG S=\"box:\"\nFROM busy${S}",
                         "2-2 InvalidDefaultArgInFrom: Default value for ARG busy${S} results in empty or invalid base image name\n"},
                    Case{"ARG B=\"\"\nFROM busybox:stable${B}", ""},
                    Case{"FROM a\nARG api_key\nARG X=$api_key",
                         "2-2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"api_key\")\n"}));

INSTANTIATE_TEST_SUITE_P(
    Variables, Lint,
    testing::Values(
        Case{"FROM a\nARG foo\nCOPY x${foo} .", ""}, Case{"FROM a AS base\nARG foo=x\n\nFROM base\nCOPY $foo .", ""},
        Case{"FROM a\nRUN echo $nothing", ""}, Case{"FROM a\nUSER $JAVA_HOME$PATH", ""},
        Case{"FROM a\nCOPY $foo .\nARG foo=b", "2-2 UndefinedVar: Usage of undefined variable '$foo'\n"},
        Case{"FROM a\nENV PATH=$PAHT:/x", "2-2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)\n"},
        Case{"FROM scratch\nENV PATH=$PAHT:$PATH", "2-2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)\n"},
        Case{"FROM unknown\nUSER $X", ""}, Case{"FROM a\nLABEL x=${A:-b}", "2-2 UndefinedVar: Usage of undefined variable '$A'\n"},
        Case{"FROM a\nCOPY <<E /x\n$A 'it\nE", "2-4 UndefinedVar: Usage of undefined variable '$A'\n"},
        Case{"FROM a\nCOPY <<'E' /x\n$A\nE", ""},
        Case{"FROM a\nRUN --mount=type=$T,target=/x y",
             "2-2 UndefinedVar: Usage of undefined variable '$T'\n2 error: unsupported mount type \"\"\n"},
        Case{"FROM a\nEXPOSE $P", ""}, Case{"FROM a\nLABEL a='$X' b=\\$Y", ""},
        Case{"FROM a\nUSER ${", "2 error: failed to process \"${\": syntax error: missing '}'\n"},
        Case{"FROM a\nENV S=x\nENV T=${S:?no}\nENV U=${V:?no}",
             "4-4 UndefinedVar: Usage of undefined variable '$V' (did you mean $S?)\n4 error: failed to process \"${V:?no}\": V: no\n"}));

INSTANTIATE_TEST_SUITE_P(
    Instructions, Lint,
    testing::Values(
        Case{"FROM a\nWORKDIR app/",
             "2-2 WorkdirRelativePath: Relative workdir \"app/\" can have unexpected results if the base image changes\n"},
        Case{"FROM a AS b\nWORKDIR /app\nFROM b\nWORKDIR sub", ""},
        Case{"FROM a\nWORKDIR app\nWORKDIR x",
             "2-2 WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes\n"},
        Case{"FROM a\nCMD x",
             "2-2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n"},
        Case{"FROM a\nENTRYPOINT x",
             "2-2 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals\n"},
        Case{"FROM a\nSHELL [\"b\"]\nCMD x", ""}, Case{"FROM shelled\nCMD x", ""}, Case{"FROM a AS b\nSHELL [\"b\"]\nFROM b\nCMD x", ""},
        Case{"FROM a\nCMD [\"x\"]\nENTRYPOINT [\"x\"]\nCMD [\"y\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD z\nENTRYPOINT [\"y\"]",
             "2-2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one "
             "will be used\n"
             "5-5 MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the "
             "last one will be "
             "used\n3-3 MultipleInstructionsDisallowed: Multiple ENTRYPOINT instructions should not be used in the same stage because only "
             "the last one "
             "will be used\n"},
        Case{"FROM a AS b\nCMD [\"x\"]\nFROM b\nCMD [\"x\"]", ""},
        Case{"FROM a\nENV k v\nLABEL k v",
             "2-2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format\n"
             "3-3 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format\n"},
        Case{"FROM a\nEXPOSE 80/TcP 8080/udp 5000:5000",
             "2-2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '5000:5000'\n"
             "2-2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase\n"},
        Case{"FROM a\nEXPOSE x", "2 error: invalid containerPort: x\n"}));

INSTANTIATE_TEST_SUITE_P(
    Configured, Lint,
    testing::Values(
        Case{"# check=skip=WorkdirRelativePath\nFROM a\nWORKDIR x", ""}, Case{"# check=skip=all\nFROM a as B\nWORKDIR x", ""},
        Case{"FROM a\n# check=skip=WorkdirRelativePath\nWORKDIR x\nCMD y",
             "4-4 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n"},
        Case{"# about\n# check=skip=StageNameCasing,FromAsCasing // why\nFROM a as B", ""},
        Case{"# check=bad\nFROM a\n", "1 error: failed to parse check options: invalid check option \"bad\"\n"},
        Case{"# check=error=maybe\nFROM a\n",
             "1 error: failed to parse check options: failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": "
             "invalid syntax\n"},
        Case{"# check=x=y\nFROM a\n", "1 error: failed to parse check options: invalid check option \"x\"\n"},
        Case{"# check=experimental=all\n# bar it is\nARG foo=bar\n# BasE it is\nFROM a AS base\n# bad\nARG x=1 y=2\n# x fine\nARG x=1 "
             "y=2\n# none\n#\nARG z",
             "3-3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# foo <description>`\n"
             "5-5 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`\n"
             "7-7 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`\n"},
        Case{"# bar it is\nARG foo=bar\nFROM a", ""}, Case{"", "0 error: the Dockerfile cannot be empty\n"},
        Case{"# a", "1 error: file with no instructions\n"}));

TEST(LintInputs, arguments_and_target) {
    LintInputs with = inputs();
    with.build.arguments = {{"I", "busybox"}, {"LATER", "v"}};
    EXPECT_EQ(check("ARG I\nFROM $I", with),
              "2-2 InvalidDefaultArgInFrom: Default value for ARG $I results in empty or invalid base image name\n");
    with = inputs();
    with.build.target = "b";
    EXPECT_EQ(check("FROM a AS b\nFROM a AS c\nWORKDIR x", with), "");
    with.build.target = "bb";
    EXPECT_EQ(check("FROM a AS b\nFROM a AS c\nWORKDIR x", with), "0 error: target stage \"bb\" could not be found (did you mean b?)\n");
}

TEST(LintInputs, ignored_files) {
    LintInputs with = inputs();
    with.config = LintConfig::parse("experimental=all");
    const auto ignoring = [&](std::string_view source, std::string_view patterns) {
        const IgnoreFile file = IgnoreFile::parse(patterns);
        with.ignore = &file;
        return check(source, with);
    };
    EXPECT_EQ(ignoring("FROM a\nCOPY ./x /\nADD x /\nADD https://x /\nCOPY y /", "x"),
              "2-2 CopyIgnoredFile: Attempting to Copy file \"x\" that is excluded by .dockerignore\n"
              "3-3 CopyIgnoredFile: Attempting to Add file \"x\" that is excluded by .dockerignore\n");
    EXPECT_EQ(ignoring("FROM a AS b\nFROM a\nCOPY --from=b x /", "x"), "");
    EXPECT_EQ(ignoring("FROM a\nCOPY x /", "**\n!x"), "");
    EXPECT_EQ(ignoring("FROM a\nCOPY . /", ".*"), "");
    EXPECT_EQ(ignoring("FROM a\nCOPY . /", "*"), "2-2 CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore\n");
    EXPECT_EQ(ignoring("FROM a\nARG F=x\nCOPY $F/y /", "x"),
              "3-3 CopyIgnoredFile: Attempting to Copy file \"x/y\" that is excluded by .dockerignore\n");
}

TEST(LintConfig, warnings_may_be_errors) {
    const LintResult result = lint("# check=error=true;skip=FromAsCasing\nFROM a as B\nWORKDIR x\nWORKDIR y", inputs());
    EXPECT_EQ(result.violation(), "lint violation found for rules: StageNameCasing, WorkdirRelativePath");
    EXPECT_EQ(lint("# check=error=true\nFROM a", inputs()).violation(), "");
    EXPECT_EQ(lint("FROM a AS B", inputs()).violation(), "");
    EXPECT_EQ(short_text(result.warnings.front()), "StageNameCasing: Stage name 'B' should be lowercase (line 2)");
    LintInputs with = inputs();
    with.config = LintConfig::parse(" skip = StageNameCasing , FromAsCasing ; experimental=all");
    EXPECT_EQ(check("FROM a as B", with), "");
    EXPECT_TRUE(with.config->holds(Rule::invalid_definition_description));
}

TEST(LintRules, have_their_texts) {
    EXPECT_EQ(lint_rules().size(), 22U);
    for (const RuleText& text : lint_rules()) {
        EXPECT_FALSE(text.name.empty() || text.description.empty());
        EXPECT_EQ(text.url.empty(), text.rule == Rule::invalid_base_image_platform);
        EXPECT_EQ(text.experimental, text.rule == Rule::invalid_definition_description || text.rule == Rule::copy_ignored_file);
    }
    EXPECT_EQ(about(Rule::expose_invalid_format).url, "https://docs.docker.com/go/dockerfile/rule/expose-invalid-format/");
}

TEST(Secrets, are_known_by_their_names) {
    for (const std::string_view name :
         {"SUPER_Secret", "password", "secret", "super_duper_secret_token", "auth", "apikey", "git_key", "API_KEY", "key_of"}) {
        EXPECT_TRUE(detail::names_a_secret(name)) << name;
    }
    for (const std::string_view name : {"sunflower", "PUBLIC_KEY", "public_token", "SECRET_PASSPHRASE_FILE", "secret_File",
                                        "AUTH_MODULE_VERSION", "keyboard", "monkey", "", "_", "passwords"}) {
        EXPECT_FALSE(detail::names_a_secret(name)) << name;
    }
}

TEST(Lint, stands_hostile_files) {
    std::string many = "FROM a\n";
    for (int i = 0; i < 100000; ++i) many += fmt::format("ENV v{}=$u{}\n", i, i);
    const LintResult result = lint(many, inputs());
    EXPECT_EQ(result.warnings.size(), lint_warning_limit);
    EXPECT_FALSE(result.error);

    std::string stages = "FROM a AS s0\nENV A=b\nONBUILD ENV c=d\n";
    for (int i = 1; i < 50000; ++i) stages += fmt::format("FROM s{} AS s{}\nENV v{}=$A\nONBUILD ENV c=d\n", i - 1, i, i);
    EXPECT_EQ(check(stages), "");

    std::string doubling = "FROM a\nENV A=xxxxxxxxxx\n";
    for (int i = 0; i < 50; ++i) doubling += "ENV A=$A$A\n";
    EXPECT_TRUE(check(doubling).ends_with("the variables of this Dockerfile expand to too much text\n"));

    EXPECT_EQ(check("FROM a\nENV a=\"\0\xFF\"\nUSER \xC3"sv), "");
}

}  // namespace
}  // namespace grua::build::dockerfile
