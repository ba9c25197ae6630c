#include "base/options.hpp"

#include <gtest/gtest.h>
#include <array>

namespace grua {
namespace {

using Words = std::vector<std::string>;

constexpr std::array rules{
    OptionRule{.name = "force", .letter = 'f', .kind = OptionKind::boolean},
    OptionRule{.name = "quiet", .letter = 'q', .kind = OptionKind::boolean},
    OptionRule{.name = "env", .letter = 'e', .kind = OptionKind::list},
    OptionRule{.name = "bundle", .letter = 'b'},
    OptionRule{.name = "memory", .kind = OptionKind::integer},
    OptionRule{.name = "shares", .kind = OptionKind::unsigned_integer},
    OptionRule{.name = "secret", .hidden = true},
    OptionRule{.name = "tls", .kind = OptionKind::not_implemented},
};

Options parse(const Words& words, OptionsEnd end = OptionsEnd::at_double_dash) { return {rules, parse_command_line(rules, words, end)}; }

std::string refusal(const Words& words) {
    try {
        parse(words);
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

TEST(CommandLines, OptionsMayStandAnywhere) {  // E2
    for (const Words& words : {Words{"id", "--force", "--memory", "33"}, {"--force", "--memory=33", "id"}, {"--memory=33", "id", "-f"}}) {
        const Options options = parse(words);
        EXPECT_TRUE(options.on("force"));
        EXPECT_EQ(options.integer("memory"), 33);
        EXPECT_EQ(options.arguments(), Words{"id"});
    }
    EXPECT_EQ(parse({"id", "--", "--force"}).arguments(), (Words{"id", "--force"}));
    EXPECT_EQ(parse({"-"}).arguments(), Words{"-"});
}

TEST(CommandLines, AProgramsWordsAreItsOwn) {
    EXPECT_EQ(parse({"-f", "image", "ls", "-q", "--"}, OptionsEnd::at_first_argument).arguments(), (Words{"image", "ls", "-q", "--"}));
    const Options second = parse({"id", "-f", "ls", "-q", "--help"}, OptionsEnd::at_second_argument);
    EXPECT_TRUE(second.on("force"));
    EXPECT_FALSE(second.on("quiet"));
    EXPECT_EQ(second.arguments(), (Words{"id", "ls", "-q", "--help"}));
    EXPECT_EQ(parse({"id", "--", "-q"}, OptionsEnd::at_second_argument).arguments(), (Words{"id", "-q"}));
}

TEST(CommandLines, ValuesFollowOrStandBehindEquals) {
    EXPECT_EQ(parse({"--bundle", "a"}).text("bundle"), "a");
    EXPECT_EQ(parse({"--bundle=a"}).text("bundle"), "a");
    EXPECT_EQ(parse({"-ba"}).text("bundle"), "a");
    EXPECT_EQ(parse({"-b=a"}).text("bundle"), "a");
    EXPECT_EQ(parse({"-fqb", "a"}).text("bundle"), "a");
    EXPECT_TRUE(parse({"--bundle="}).given("bundle"));
    EXPECT_EQ(parse({"--memory", "-1"}).integer("memory"), -1);
    EXPECT_EQ(parse({"--bundle", "a", "--bundle", "b"}).text("bundle"), "b");
    EXPECT_EQ(parse({"-e", "A=1", "-eB=2"}).list("env"), (Words{"A=1", "B=2"}));
    EXPECT_FALSE(parse({"--force=false"}).on("force"));
    EXPECT_EQ(parse({"--force", "false"}).arguments(), Words{"false"});
    EXPECT_EQ(parse({}).integer("memory"), std::nullopt);
    EXPECT_EQ(parse({}).unsigned_integer("shares"), std::nullopt);
}

TEST(CommandLines, WhatIsNotKnownIsRefusedByName) {  // E2
    EXPECT_EQ(refusal({"id", "--bogus"}), "unknown flag: --bogus");
    EXPECT_EQ(refusal({"--froce"}), "unknown flag: --froce\n\nDid you mean --force?");
    EXPECT_EQ(refusal({"--secrett"}), "unknown flag: --secrett");
    EXPECT_EQ(refusal({"-fx"}), "unknown shorthand flag: 'x' in -fx");
    EXPECT_EQ(refusal({"id", "--bundle"}), "flag needs an argument: --bundle");
    EXPECT_EQ(refusal({"-b"}), "flag needs an argument: 'b' in -b");
    EXPECT_EQ(refusal({"--force=x"}), "invalid argument \"x\" for \"-f, --force\" flag: strconv.ParseBool: parsing \"x\": invalid syntax");
    EXPECT_EQ(refusal({"--memory", "1k"}),
              "invalid argument \"1k\" for \"--memory\" flag: strconv.ParseInt: parsing \"1k\": invalid syntax");
    EXPECT_EQ(refusal({"--shares=-1"}), "invalid argument \"-1\" for \"--shares\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax");
    EXPECT_EQ(refusal({"--tls=1"}), "not implemented: --tls");
    EXPECT_EQ(refusal({"--tls"}), "not implemented: --tls");
}

TEST(CommandLines, HelpIsSeenWhereOptionsAre) {
    EXPECT_TRUE(parse({"x", "-h"}).help());
    EXPECT_TRUE(parse({"--help", "--bogus"}).help());
    EXPECT_FALSE(parse({"x", "--help"}, OptionsEnd::at_first_argument).help());
}

TEST(CommandLines, AnOptionThatTheCommandLacksIsTheProgramsMistake) { EXPECT_THROW((void)parse({}).given("bogus"), Error); }

}  // namespace
}  // namespace grua
