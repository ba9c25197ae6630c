#include "build/dockerfile/answers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json/parse.hpp>

namespace grua::build::dockerfile {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

boost::json::value document(std::string_view text) { return boost::json::parse(text); }

Answer lint_of(const std::string& source, FindBaseImage base_image = {}) {
    wire::graph::SourceInfo file;
    file.set_filename("Dockerfile");
    file.set_data(source);
    file.set_language("Dockerfile");
    return lint_answer(lint(source, {.build = {}, .base_image = std::move(base_image)}), file);
}

TEST(Answers, a_clean_file_has_no_warnings) {
    const Answer found = lint_of("FROM scratch\n");
    EXPECT_EQ(found.json,
              "{\n  \"warnings\": null,\n  \"sources\": [\n    {\n      \"filename\": \"Dockerfile\",\n      \"data\": "
              "\"RlJPTSBzY3JhdGNoCg==\",\n"
              "      \"language\": \"Dockerfile\"\n    }\n  ]\n}");
    EXPECT_EQ(found.text, "");
    EXPECT_EQ(found.status, 0);
    EXPECT_EQ(found.version, "1.0.0");
}

TEST(Answers, warnings_have_their_places) {
    const Answer found = lint_of("FROM scratch as Builder\nENV a=$b \\\n  c=d\nMAINTAINER me\n");
    EXPECT_EQ(found.status, 1);
    EXPECT_EQ(found.text, R"(
WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/
Stage name 'Builder' should be lowercase
Dockerfile:1
--------------------
   1 | >>> FROM scratch as Builder
   2 |     ENV a=$b \
   3 |       c=d
--------------------

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM scratch as Builder
   2 |     ENV a=$b \
   3 |       c=d
--------------------

WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
Usage of undefined variable '$b'
Dockerfile:2
--------------------
   1 |     FROM scratch as Builder
   2 | >>> ENV a=$b \
   3 | >>>   c=d
   4 |     MAINTAINER me
--------------------

WARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/
Maintainer instruction is deprecated in favor of using label
Dockerfile:4
--------------------
   2 |     ENV a=$b \
   3 |       c=d
   4 | >>> MAINTAINER me
   5 |     
--------------------
)");
    // In the order in which they were found; the client sorts.
    const auto json = document(found.json);
    const auto& warnings = json.at("warnings").as_array();
    ASSERT_EQ(warnings.size(), 4U);
    EXPECT_EQ(warnings[2].at("ruleName"), "MaintainerDeprecated");
    EXPECT_EQ(warnings[3], document(R"({"ruleName": "UndefinedVar", "description": "Variables should be defined before their use",
        "url": "https://docs.docker.com/go/dockerfile/rule/undefined-var/", "detail": "Usage of undefined variable '$b'",
        "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]}})"));
}

TEST(Answers, what_would_fail_the_build_is_told) {
    EXPECT_EQ(document(lint_of("FROM scratch\nFOO\n").json).at("buildError"),
              document(R"j({"message": "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)",
                           "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}})j"));
    const Answer violated = lint_of("# check=error=true\nFROM scratch as one\n");
    EXPECT_EQ(document(violated.json).at("buildError"),
              document(R"({"message": "lint violation found for rules: FromAsCasing", "location": {}})"));
    EXPECT_EQ(violated.status, 1);
}

TEST(Answers, lint_goes_on_without_an_image_that_is_missing) {
    const Answer found = lint_of(
        "FROM missing\nRUN a=$b\nMAINTAINER me\n",
        [](const std::string&, const oci::Platform&) -> std::optional<BaseImage> { fail(ErrorKind::not_found, "it is not there"); });
    EXPECT_EQ(found.status, 1);
    EXPECT_EQ(document(found.json).at("buildError"),
              document(R"({"message": "missing: it is not there", "location": {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}})"));
    EXPECT_EQ(document(found.json).at("warnings").as_array().size(), 1U);
}

TEST(Answers, a_text_about_very_many_warnings_ends) {
    std::string file = "FROM scratch\n";
    for (int n = 0; n < 20'000; ++n) file += "MAINTAINER me\n";
    const Answer found = lint_of(file);
    EXPECT_LT(found.text.size(), lint_text_limit * 2);
    EXPECT_THAT(found.text, HasSubstr("\nand "));
    EXPECT_THAT(found.text, EndsWith(" more\n"));
}

TEST(Answers, an_outline_says_what_can_be_given) {
    constexpr std::string_view source =
        "# base is below\nARG base=scratch\n# final has it all\nFROM $base AS final\nARG other\n"
        "RUN --mount=type=secret,id=s,required --mount=type=ssh x\n";
    const Answer found = outline_answer(make_outline(source, {}), source);
    EXPECT_EQ(found.text,
              "TARGET:      final\nDESCRIPTION: has it all\n\nBUILD ARG   VALUE     DESCRIPTION\nbase        scratch   is below\n"
              "other                 \n\nSECRET   REQUIRED\ns        true\n\nSSH       REQUIRED\ndefault   \n\n");
    const auto at = [](int line) {
        return fmt::format(R"("location": {{"ranges": [{{"start": {{"line": {0}}}, "end": {{"line": {0}}}}}]}})", line);
    };
    EXPECT_EQ(document(found.json), document(fmt::format(R"({{"name": "final", "description": "has it all",
                  "args": [{{"name": "base", "description": "is below", "value": "scratch", {}}}, {{"name": "other", {}}}],
                  "secrets": [{{"name": "s", "required": true, {}}}], "ssh": [{{"name": "default", {}}}],
                  "sources": ["IyBiYXNlIGlzIGJlbG93CkFSRyBiYXNlPXNjcmF0Y2gKIyBmaW5hbCBoYXMgaXQgYWxsCkZST00gJGJhc2UgQVMgZmluYWwKQVJHIG90aGVyClJVTiAtLW1vdW50PXR5cGU9c2VjcmV0LGlkPXMscmVxdWlyZWQgLS1tb3VudD10eXBlPXNzaCB4Cg=="]}})",
                                                         at(2), at(5), at(6), at(6))));
    EXPECT_EQ(outline_answer(make_outline("FROM scratch", {}), "").text, "");
    EXPECT_EQ(document(outline_answer(make_outline("FROM scratch", {}), "x").json), document(R"({"sources": ["eA=="]})"));
}

TEST(Answers, targets_are_the_stages) {
    constexpr std::string_view source = "# one is first\nFROM --platform=$BUILDPLATFORM a:$b AS one\nFROM c\nFROM one AS last\n";
    const Answer found = targets_answer(list_targets(source), source);
    EXPECT_EQ(found.text, "TARGET         DESCRIPTION\none            is first\n               \nlast (default) \n");
    EXPECT_EQ(document(found.json).at("targets"), document(R"([
        {"name": "one", "description": "is first", "base": "a:$b", "platform": "$BUILDPLATFORM",
         "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}},
        {"base": "c", "location": {"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]}},
        {"name": "last", "default": true, "base": "one", "location": {"ranges": [{"start": {"line": 4}, "end": {"line": 4}}]}}])"));
    EXPECT_THAT(targets_answer(list_targets("FROM a"), "").text, EndsWith("\n(default) \n"));
}

TEST(Answers, says_which_requests_there_are) {
    const Answer found = describe_answer();
    EXPECT_EQ(found.text,
              "NAME                 VERSION DESCRIPTION\n"
              "outline              1.0.0   List all parameters current build target supports\n"
              "targets              1.0.0   List all targets current build supports\n"
              "subrequests.describe 1.0.0   List available subrequest types\n");
    EXPECT_EQ(document(found.json).at(0), document(R"({"name": "frontend.outline", "version": "1.0.0", "type": "rpc",
        "description": "List all parameters current build target supports", "opts": [{"name": "target", "description": "Target build stage"}],
        "inputs": null, "metadata": [{"name": "result.json", "description": ""}, {"name": "result.txt", "description": ""}], "refs": null})"));
    EXPECT_EQ(parse_request("frontend.lint"), Request::lint);
    EXPECT_EQ(parse_request("frontend.nothing"), std::nullopt);
    EXPECT_EQ(parse_request(""), std::nullopt);
}

TEST(Answers, what_is_no_text_is_made_one) {
    const std::string source = "FROM scratch\nARG a=\xFF\n";
    EXPECT_NO_THROW(document(outline_answer(make_outline(source, {}), source).json));
}

}  // namespace
}  // namespace grua::build::dockerfile
