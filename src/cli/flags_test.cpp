#include "cli/flags.hpp"

#include <gtest/gtest.h>
#include <array>

namespace grua::cli {
namespace {

constexpr std::array table{
    Flag{.name = "interactive", .letter = 'i', .kind = FlagKind::boolean},
    Flag{.name = "tty", .letter = 't', .kind = FlagKind::boolean},
    Flag{.name = "env", .letter = 'e', .kind = FlagKind::list},
    Flag{.name = "name"},
    Flag{.name = "memory", .letter = 'm', .kind = FlagKind::bytes},
    Flag{.name = "timeout", .kind = FlagKind::integer},
    Flag{.name = "sig-proxy", .kind = FlagKind::boolean, .fallback = "true"},
    Flag{.name = "network", .kind = FlagKind::list},
    Flag{.name = "net", .kind = FlagKind::list, .hidden = true, .same_as = "network"},
};

Parsed parse(const std::vector<std::string>& words, Interspersed interspersed = Interspersed::yes) {
    const std::array tables{std::span<const Flag>(table)};
    return parse_flags(tables, words, interspersed);
}

std::string refusal(const std::vector<std::string>& words) {
    try {
        parse(words);
        return "";
    } catch (const UsageError& error) {
        return error.what();
    }
}

using Words = std::vector<std::string>;

TEST(Flags, ShortFormsMayStandTogether) {
    const Parsed parsed = parse({"-ite", "A=1", "-eB=2", "-e=C=3", "x"});
    EXPECT_TRUE(parsed.flags.on("interactive"));
    EXPECT_TRUE(parsed.flags.on("tty"));
    EXPECT_EQ(parsed.flags.list("env"), (Words{"A=1", "B=2", "C=3"}));
    EXPECT_EQ(parsed.arguments, Words{"x"});
}

TEST(Flags, BooleansTakeAValueOnlyBehindEquals) {
    EXPECT_FALSE(parse({"--tty=false"}).flags.on("tty"));
    EXPECT_TRUE(parse({"--tty=1"}).flags.on("tty"));
    const Parsed parsed = parse({"--tty", "false"});
    EXPECT_TRUE(parsed.flags.on("tty"));
    EXPECT_EQ(parsed.arguments, Words{"false"});
    EXPECT_TRUE(parse({}).flags.on("sig-proxy"));
    EXPECT_FALSE(parse({"--sig-proxy=false"}).flags.on("sig-proxy"));
}

TEST(Flags, ValuesMayFollowOrStandBehindEquals) {
    EXPECT_EQ(parse({"--name", "a"}).flags.text("name"), "a");
    EXPECT_EQ(parse({"--name=a"}).flags.text("name"), "a");
    EXPECT_EQ(parse({"--name="}).flags.text("name"), "");
    EXPECT_TRUE(parse({"--name="}).flags.given("name"));
    EXPECT_EQ(parse({"--name", "-x"}).flags.text("name"), "-x");
    EXPECT_EQ(parse({"-m64m"}).flags.bytes("memory"), 64 << 20);
    EXPECT_EQ(parse({"--timeout", "-1"}).flags.integer("timeout"), -1);
    EXPECT_EQ(parse({"--name", "a", "--name", "b"}).flags.text("name"), "b");
    EXPECT_EQ(parse({"--net", "a", "--network", "b"}).flags.list("network"), (Words{"a", "b"}));
}

TEST(Flags, EndAtTheFirstArgumentWhereAProgramFollows) {
    const Parsed parsed = parse({"-i", "image", "ls", "-t", "--", "--help"}, Interspersed::no);
    EXPECT_FALSE(parsed.flags.on("tty"));
    EXPECT_EQ(parsed.arguments, (Words{"image", "ls", "-t", "--", "--help"}));
    EXPECT_EQ(parse({"a", "-t", "b"}).arguments, (Words{"a", "b"}));
    EXPECT_EQ(parse({"--", "-t", "b"}).arguments, (Words{"-t", "b"}));
    EXPECT_EQ(parse({"-"}).arguments, Words{"-"});
}

TEST(Flags, ErrorsAreDockers) {
    EXPECT_EQ(refusal({"--nmae", "x"}), "unknown flag: --nmae\n\nDid you mean --name?");
    EXPECT_EQ(refusal({"--xyz"}), "unknown flag: --xyz");
    EXPECT_EQ(refusal({"-ix"}), "unknown shorthand flag: 'x' in -ix");
    EXPECT_EQ(refusal({"--name"}), "flag needs an argument: --name");
    EXPECT_EQ(refusal({"-e"}), "flag needs an argument: 'e' in -e");
    EXPECT_EQ(refusal({"--tty=x"}), "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax");
    EXPECT_EQ(refusal({"--timeout", "x"}),
              "invalid argument \"x\" for \"--timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax");
}

TEST(Flags, HelpIsSeenAnywhere) {
    EXPECT_TRUE(parse({"--help"}).help);
    EXPECT_TRUE(parse({"x", "-h"}).help);
    EXPECT_FALSE(parse({"x", "--help"}, Interspersed::no).help);
}

TEST(Nearest, IsCautious) {
    const Words names{"start", "stop", "stats", "rm"};
    EXPECT_EQ(nearest("strat", names), "start");
    EXPECT_EQ(nearest("stopp", names), "stop");
    EXPECT_EQ(nearest("zzzzz", names), "");
    EXPECT_EQ(nearest("x", names), "");
}

}  // namespace
}  // namespace grua::cli
