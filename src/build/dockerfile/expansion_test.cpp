#include "build/dockerfile/expansion.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <map>
#include <optional>

namespace grua::build::dockerfile {
namespace {

using namespace std::literals;
using Strings = std::vector<std::string>;

Environment environment(const std::map<std::string, std::string>& values) {
    Environment out;
    for (const auto& [name, value] : values) out.set(name, value);
    return out;
}

std::string expand(std::string_view text, const Environment& with, ExpansionRules rules = {}) {
    return Expander(rules).expand(text, with).text;
}

std::string refusal(std::string_view text, const Environment& with = {}) {
    try {
        static_cast<void>(Expander().expand(text, with));
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

struct Case {
    std::string_view text;
    std::optional<std::string> gives;  // Nothing: an error.
};

class Expansion : public testing::TestWithParam<Case> {};

TEST_P(Expansion, of_a_word) {
    const Environment with = environment({{"HOME", "/root"}, {"EMPTY", ""}, {"SH", "bash"}, {"한국", "서울"}});
    const auto& [text, gives] = GetParam();
    if (gives) {
        EXPECT_EQ(expand(text, with), *gives) << text;
    } else {
        EXPECT_NE(refusal(text, with), "") << text;
    }
}

INSTANTIATE_TEST_SUITE_P(Words, Expansion,
                         testing::Values(Case{"", ""}, Case{"plain", "plain"}, Case{"a'b'c", "abc"}, Case{"a'b", {}},
                                         Case{R"(a\'b)", "a'b"}, Case{R"(a\\'b)", {}}, Case{R"(a\tb)", "atb"}, Case{R"("a\tb")", R"(a\tb)"},
                                         Case{R"("a\\tb")", R"(a\tb)"}, Case{R"('a\tb')", R"(a\tb)"}, Case{R"(end\)", "end"},
                                         Case{R"(end\\)", R"(end\)"}, Case{"\"open", {}}, Case{R"("open\")", {}}, Case{R"("it's")", "it's"},
                                         Case{R"('back\')", R"(back\)"}, Case{"\"''\"", "''"}, Case{"a b", "a b"}, Case{"$.", "$."},
                                         Case{"$", "$"}, Case{"a$1b", "ab"}, Case{"$HOME", "/root"}, Case{"a$HOME.b", "a/root.b"},
                                         Case{"a$HOMEb", "a"}, Case{R"(\$HOME)", "$HOME"}, Case{R"(\\$HOME)", R"(\/root)"},
                                         Case{R"("\$HOME")", "$HOME"}, Case{"'$HOME'", "$HOME"}, Case{"\"'$HOME'\"", "'/root'"},
                                         Case{R"(\${})", "${}"}, Case{"${}", {}}, Case{"${HOME}", "/root"}, Case{"a${NONE}b", "ab"},
                                         Case{"${.}", {}}, Case{"${HOME", {}}, Case{"${", {}}, Case{"${{HOME}", {}},
                                         Case{"${HOME}}", "/root}"}, Case{"$한국", "서울"}, Case{"안$한국", "안서울"},
                                         Case{"$HOME、x", "/root、x"}, Case{"$$", ""}, Case{"$@@", "@"}, Case{"$0", ""},
                                         Case{"$12ab", "ab"}, Case{"${12:-x}", "x"}, Case{"${#}", ""}, Case{"${-:-x}", "x"}));

INSTANTIATE_TEST_SUITE_P(Defaults, Expansion,
                         testing::Values(Case{"${NONE:-d}", "d"}, Case{"${NONE-d}", "d"}, Case{"${EMPTY:-d}", "d"}, Case{"${EMPTY-d}", ""},
                                         Case{"${HOME:-d}", "/root"}, Case{"${HOME-d}", "/root"}, Case{"${NONE:-$HOME}", "/root"},
                                         Case{"${NONE:-${X:-${Y:-z}}}", "z"}, Case{"${NONE:-}", ""}, Case{"${NONE:-a b}", "a b"},
                                         Case{"${NONE:-'a}'}", "a}"}, Case{R"(${NONE:-a\}b})", "a}b"},
                                         Case{R"(${NONE:-\$HOME:})", "$HOME:"}, Case{"${NONE:-{x}", "{x"}, Case{"${NONE:-x", {}},
                                         Case{"${NONE:-a ${HOME}", {}}, Case{"${NONE:+w}", ""}, Case{"${EMPTY:+w}", ""},
                                         Case{"${EMPTY+w}", "w"}, Case{"${HOME:+w}", "w"}, Case{"${HOME+${SH}}", "bash"},
                                         Case{"${HOME:+${NONE}}", ""}, Case{"${HOME?no}", "/root"}, Case{"${EMPTY?no}", ""},
                                         Case{"${EMPTY:?no}", {}}, Case{"${NONE?no}", {}}, Case{"${NONE:?}", {}}, Case{"${NONE:=d}", {}},
                                         Case{"${NONE=d}", {}}, Case{"${NONE:x}", {}}, Case{"${:}", {}}, Case{"${:-d}", {}},
                                         Case{"a${NONE:+-x}b", "ab"}, Case{"a${SH:+-$SH}b", "a-bashb"}));

INSTANTIATE_TEST_SUITE_P(NoRules, Expansion,
                         testing::Values(Case{"${HOME:#x}", {}}, Case{"${HOME:%x}", {}}, Case{"${HOME//x}", {}}, Case{"${HOME/x}", {}},
                                         Case{"${HOME/", {}}));

TEST(Expansion, keeps_what_its_rules_say) {
    const Environment with = environment({{"A", "1"}});
    EXPECT_EQ(expand(R"("a" 'b' $A)", with, {.keep_quotes = true}), R"("a" 'b' 1)");
    EXPECT_EQ(expand(R"(a\ b\$A)", with, {.keep_escapes = true}), R"(a\ b\$A)");
    EXPECT_EQ(expand(R"(it's "$A" \$A)", with, {.quotes_plain = true}), R"(it's "1" $A)");
    EXPECT_EQ(expand("$A $B ${B} ${B:-$A} ${B#x} ${B/a/b}", with, {.keep_unset = true}), "1 $B ${B} ${B:-1} ${B#x} ${B/a/b}");
    EXPECT_EQ(expand(R"(C:\x`$A$A)", with, {.escape = '`'}), R"(C:\x$A1)");
}

TEST(Expansion, says_what_was_used_and_what_was_missing) {
    const Environment with = environment({{"A", "1"}, {"B", ""}});
    const Expanded out = Expander().expand("$B $A ${C:-$D} $A ${D}", with);
    EXPECT_EQ(out.used, (Strings{"B", "A"}));
    EXPECT_EQ(out.missing, (Strings{"D", "C"})) << "a word is read before it is known whether it is needed";
    EXPECT_TRUE(Expander().expand("'$A'", with).used.empty());
}

TEST(Expansion, words) {
    const Environment with = environment({{"S", "abc  def"}, {"L", "  ab c"}, {"T", "ab c   "}, {"N", ""}});
    struct Row {
        std::string_view text;
        Strings words;
    };
    for (const Row& row : {
             Row{"", {}},
             Row{"a b\tc", {"a", "b", "c"}},
             Row{"a${N}b", {"ab"}},
             Row{"a${S}b", {"aabc", "defb"}},
             Row{"a\"${S}\"b", {"aabc  defb"}},
             Row{"a \"${S}\"b", {"a", "abc  defb"}},
             Row{"a${L}b", {"a", "ab", "cb"}},
             Row{"a${T}", {"aab", "c"}},
             Row{"a${T}d", {"aab", "c", "d"}},
             Row{R"(a\ b)", {"a b"}},
             Row{"''", {}},
             Row{"x${NO:-d e}y", {"xd", "ey"}},
             Row{"cat << EOF > f", {"cat", "<< EOF", ">", "f"}},
             Row{"cat <<EOF < f", {"cat", "<<EOF", "<", "f"}},
         }) {
        EXPECT_EQ(Expander().expand(row.text, with).words, row.words) << row.text;
    }
}

TEST(Expansion, patterns) {
    struct Row {
        std::string_view value;
        std::string_view text;
        std::string_view gives;
    };
    for (const Row& row : {
             Row{"xxyy", "${V#*x*y}", "y"},
             Row{"xxyy", "${V##*x*y}", ""},
             Row{"xxyy", "${V#*}", "xxyy"},
             Row{"xxyy", "${V##*x}", "yy"},
             Row{"xxyy", "${V#}", "xxyy"},
             Row{"xxyy", "${V##}", "xxyy"},
             Row{"xxyy", "${V%y}", "xxy"},
             Row{"xxyy", "${V%%y*}", "xx"},
             Row{"xxyy", "${V%z}", "xxyy"},
             Row{"xxyy", "${V%}", "xxyy"},
             Row{"???y", R"(${V#?\?})", "?y"},
             Row{"xx**", R"(${V%%\**})", "xx"},
             Row{"a***yy*", R"(${V%%\**\*})", "a"},
             Row{"()[]{}^$.*?|\\x", R"(${V#()[]{\}^$.\*\?|\\})", "x"},
             Row{"v1.2.3-rc1", "${V%-*}", "v1.2.3"},
             Row{"a/b/c", "${V##*/}", "c"},
             Row{"a/b/c", "${V%/*}", "a/b"},
             Row{"안녕하세요", "${V#?}", "녕하세요"},
             Row{"안녕하세요", "${V%?}", "안녕하세"},
             Row{"/tmp/tmp/bar", R"(${V/\/tmp/})", "/tmp/bar"},
             Row{"/tmp/tmp/bar", R"(${V//\/tmp/})", "/bar"},
             Row{"/tmp/foo", R"(${V//\//-})", "-tmp-foo"},
             Row{"abcabc", "${V/b/X}", "aXcabc"},
             Row{"abcabc", "${V//b/X}", "aXcaXc"},
             Row{"abcabc", "${V/b*b/X}", "aXc"},
             Row{"abcabc", "${V//?/.}", "......"},
             Row{"abc", "${V//*/.}", "."},
             Row{"abc", "${V///x}", "xaxbxcx"},
             Row{"abc", "${V/$NONE/x}", "xabc"},
             Row{"abc", "${V//b/$0}", "ac"},
             Row{"", "${V//a/b}", ""},
         }) {
        EXPECT_EQ(expand(row.text, environment({{"V", std::string(row.value)}})), row.gives) << row.text << " of " << row.value;
    }
    EXPECT_EQ(expand("${NO#x}${NO/a/b}", {}), "");
    EXPECT_NE(refusal(R"(${V#\x})", environment({{"V", "x"}})), "");
}

TEST(Expansion, errors_are_buildkits) {
    EXPECT_EQ(refusal("${A:?}"), R"(failed to process "${A:?}": A: is not allowed to be unset)");
    EXPECT_EQ(refusal("${A:?say so}"), R"(failed to process "${A:?say so}": A: say so)");
    EXPECT_EQ(refusal("${A:?}", environment({{"A", ""}})), R"(failed to process "${A:?}": A: is not allowed to be empty)");
    EXPECT_EQ(refusal("${A"), R"(failed to process "${A": syntax error: missing '}')");
    EXPECT_EQ(refusal("${A:-"), R"(failed to process "${A:-": syntax error: missing '}')");
    EXPECT_EQ(refusal("${A/x"), R"(failed to process "${A/x": syntax error: missing '/' in ${})");
    EXPECT_EQ(refusal("${}"), R"(failed to process "${}": syntax error: bad substitution)");
    EXPECT_EQ(refusal("${A=b}"), R"(failed to process "${A=b}": unsupported modifier (=) in substitution)");
    EXPECT_EQ(refusal("${A:#b}"), R"(failed to process "${A:#b}": unsupported modifier (:#) in substitution)");
    EXPECT_EQ(refusal("'a"), R"(failed to process "'a": unexpected end of statement while looking for matching single-quote)");
    EXPECT_EQ(refusal("\"a"), R"(failed to process "\"a": unexpected end of statement while looking for matching double-quote)");
    EXPECT_EQ(refusal(R"(${A#\x})"), "failed to process \"${A#\\\\x}\": invalid pattern (\\x) in substitution: invalid escape '\\x'");
}

TEST(Expansion, is_bounded) {
    std::string nested;
    for (int i = 0; i < 100000; ++i) nested += "${a:-";
    EXPECT_NE(refusal(nested).find("nest too deep"), std::string::npos);

    // Doubles with each turn.
    Environment grown = environment({{"A", "x"}});
    Expander expander;
    const auto grow = [&] {
        for (int i = 0; i < 64; ++i) grown.set("A", expander.expand("$A$A", grown).text);
    };
    EXPECT_THROW(grow(), Error);

    const std::string value(1 << 20, 'a');
    const Environment with = environment({{"V", value}});
    EXPECT_EQ(expand("${V//*a*a*a*b/x}", with), value);
    EXPECT_EQ(expand("${V%%b*a*a*a*}", with), value);
    EXPECT_THROW(static_cast<void>(expand("${V//?/" + std::string(1000, 'x') + "}", with)), Error);
    EXPECT_THROW(static_cast<void>(expand("${V#" + std::string(10000, '*') + "}", with)), Error);
}

TEST(Expansion, takes_any_bytes) {
    constexpr std::string_view bytes = "\xC3\x28 \xFF$A\x00 \xE2\x82"sv;
    EXPECT_EQ(expand(bytes, environment({{"A", "\x80"}})), "\xC3\x28 \xFF\x80\x00 \xE2\x82"sv);
    EXPECT_EQ(expand("${A#?}", environment({{"A", "\x80\x81z"}})), "\x81z");
}

TEST(Environment, shares_what_it_does_not_change) {
    Environment first;
    for (int i = 0; i < 20000; ++i) first.set(std::to_string(i), "x");
    Environment second = first;
    second.set("5", "y");
    second.set("new", "z");
    EXPECT_EQ(*first.find("5"), "x");
    EXPECT_EQ(*second.find("5"), "y");
    EXPECT_FALSE(first.contains("new"));
    EXPECT_EQ(first.size(), 20000U);
    EXPECT_EQ(second.size(), 20001U);
    EXPECT_EQ(second.names(2), (std::vector<std::string_view>{"0", "1"}));
}

}  // namespace
}  // namespace grua::build::dockerfile
