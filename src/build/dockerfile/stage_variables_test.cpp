#include "build/dockerfile/stage_variables.hpp"

#include <gtest/gtest.h>

namespace grua::build::dockerfile {
namespace {

Instruction read(std::string_view line) { return read_instruction(parse(line).nodes.at(0)); }

class StageVariablesTest : public testing::Test {
protected:
    StageVariablesTest() {
        globals_.set("GLOBAL", "from the top");
        variables_.set("PATH=/bin");
        variables_.set("ALONE");
    }

    Body take(std::string_view line) {
        return variables_.take(read(line), sources_, [this](const std::string& name) { missing_.push_back(name); }).body;
    }

    std::string value(std::string_view name) const {
        const std::string* found = variables_.all().find(name);
        return found ? *found : "unset";
    }

    std::map<std::string, std::string, std::less<>> given_{{"GIVEN", "by the user"}};
    Environment globals_;
    VariableSources sources_{given_, globals_, '\\'};
    StageVariables variables_;
    std::vector<std::string> missing_;
};

TEST_F(StageVariablesTest, an_instruction_sees_what_those_before_it_have_set) {
    take("ENV A=1");
    take("ENV A=2 B=$A");
    EXPECT_EQ(value("B"), "1") << "not what the same instruction sets";
    EXPECT_EQ(std::get<Workdir>(take("WORKDIR /$A/${B}")).path, "/2/1");
    EXPECT_EQ(value("PATH"), "/bin");
    EXPECT_EQ(value("ALONE"), "");
    EXPECT_TRUE(missing_.empty());
}

TEST_F(StageVariablesTest, an_argument_has_the_value_that_counts) {
    const Arg arg = std::get<Arg>(take("ARG GIVEN=default GLOBAL OWN=\"$PATH x\" NOTHING"));
    EXPECT_EQ(arg.declared[0].value, "by the user");
    EXPECT_EQ(arg.declared[1].value, "from the top");
    EXPECT_EQ(arg.declared[2].value, "/bin x");
    EXPECT_EQ(arg.declared[3].value, std::nullopt);
    EXPECT_EQ(value("GIVEN"), "by the user");
    EXPECT_EQ(value("NOTHING"), "unset");
    take("ARG GLOBAL=own");
    EXPECT_EQ(value("GLOBAL"), "own");
    take("USER $NOTHING$OTHER");
    EXPECT_EQ(missing_, std::vector<std::string>{"OTHER"}) << "a declared argument may have no value";
}

TEST_F(StageVariablesTest, a_default_that_does_not_count_is_not_looked_at) {
    EXPECT_NO_THROW(take("ARG GIVEN=${"));
    EXPECT_THROW(take("ARG OTHER=${"), SourceError);
}

TEST_F(StageVariablesTest, the_builders_own_arguments_are_no_variables) {
    take("ARG BUILDKIT_SBOM_SCAN_STAGE=true");
    EXPECT_EQ(value("BUILDKIT_SBOM_SCAN_STAGE"), "unset");
}

TEST_F(StageVariablesTest, a_port_becomes_several_and_a_heredoc_keeps_its_quotes) {
    take("ENV PORTS=\"80 443\"");
    EXPECT_EQ(std::get<Expose>(take("EXPOSE $PORTS")).ports, (std::vector<std::string>{"80", "443"}));
    EXPECT_EQ(std::get<Copy>(take("COPY <<E /x\n'$PORTS' \\$PORTS\nE")).sources.files[0].content, "'80 443' $PORTS\n");
}

TEST_F(StageVariablesTest, a_path_is_there_in_any_case) {
    StageVariables empty;
    empty.set_default_path();
    EXPECT_EQ(*empty.all().find("PATH"), default_path);
    variables_.set_default_path();
    EXPECT_EQ(value("PATH"), "/bin");
}

}  // namespace
}  // namespace grua::build::dockerfile
