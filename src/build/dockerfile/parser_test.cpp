#include "build/dockerfile/parser.hpp"

#include "build/dockerfile/directives.hpp"

#include <gtest/gtest.h>

namespace grua::build::dockerfile {
namespace {

using namespace std::literals;
using Strings = std::vector<std::string>;

/// Keyword, flags and arguments of each node, one a line.
std::string shape(const ParsedFile& file) {
    std::string out;
    for (const Node& node : file.nodes) {
        out += fmt::format("{}-{} {}", node.lines.first, node.lines.last, node.keyword);
        for (const std::string& flag : node.flags) out += " {" + flag + "}";
        for (const std::string& argument : node.arguments) out += " [" + argument + "]";
        for (const KeyValue& pair : node.pairs) out += " [" + pair.key + (pair.legacy ? " " : "=") + pair.value + "]";
        if (node.is_json) out += " json";
        for (const Heredoc& heredoc : node.heredocs) {
            out += fmt::format(" <<{}{}:{}", heredoc.name, heredoc.expand ? "" : " plain", in_quotes(heredoc.content));
        }
        out += '\n';
    }
    return out;
}

struct Refused {
    std::string text;
    LineRange lines;
};

Refused refusal(std::string_view source) {
    try {
        static_cast<void>(parse(source));
    } catch (const SourceError& error) {
        return {error.what(), error.lines()};
    }
    return {};
}

struct Case {
    std::string_view source;
    std::string_view shape;
};

class Parser : public testing::TestWithParam<Case> {};

TEST_P(Parser, gives) { EXPECT_EQ(shape(parse(GetParam().source)), GetParam().shape) << GetParam().source; }

INSTANTIATE_TEST_SUITE_P(Lines, Parser,
                         testing::Values(Case{"FROM a", "1-1 FROM [a]\n"}, Case{"\n\n  from   a \t AS\tb  \n", "3-3 from [a] [AS] [b]\n"},
                                         Case{"\xEF\xBB\xBF# syntax=x\nFROM a", "2-2 FROM [a]\n"},
                                         Case{"\xEF\xBB\xBF"
                                              "FROM a",
                                              "1-1 FROM [a]\n"},
                                         Case{"FROM a\r\nRUN b \\\r\n c\r\n", "1-1 FROM [a]\n2-3 RUN [b  c]\n"},
                                         Case{"# c\nFROM a\n # d\nRUN b # e\n", "2-2 FROM [a]\n4-4 RUN [b # e]\n"},
                                         Case{"RUN a \\\n# c\n  # d\n\n b \\  \t\n c", "1-6 RUN [a  b  c]\n"},
                                         Case{"RUN a \\\\\nRUN b", "1-1 RUN [a \\\\]\n2-2 RUN [b]\n"}, Case{"\\\nRUN a", "1-2 RUN [a]\n"},
                                         Case{"RUN a \\", "1-1 RUN [a]\n"}, Case{"RUN a \\\n", "1-1 RUN [a]\n"},
                                         Case{"RUN a \\\n# c", "1-2 RUN [a]\n"}, Case{"RU\\\nN a", "1-2 RUN [a]\n"},
                                         Case{"# escape=`\nRUN a \\\nRUN b `\nc", "2-2 RUN [a \\]\n3-4 RUN [b c]\n"},
                                         Case{"#  EsCaPe  =  `  \nRUN b `\nc", "2-3 RUN [b c]\n"},
                                         Case{"\n# escape=`\nRUN b `\nRUN c", "3-3 RUN [b `]\n4-4 RUN [c]\n"},
                                         Case{"# other=1\n# escape=`\nRUN b `\nRUN c", "3-3 RUN [b `]\n4-4 RUN [c]\n"},
                                         Case{"#! x\n# escape=`\nRUN b `\nRUN c", "3-3 RUN [b `]\n4-4 RUN [c]\n"},
                                         Case{"# syntax=x\n# escape=`\nRUN b `\nc", "3-4 RUN [b c]\n"}, Case{"XYZ a b", "1-1 XYZ\n"},
                                         Case{"RUN", "1-1 RUN\n"}, Case{"\xC2\xA0RUN a\xC2\xA0", "1-1 RUN [a]\n"}));

INSTANTIATE_TEST_SUITE_P(
    Arguments, Parser,
    testing::Values(Case{"CMD [\"a\", \"b c\"]", "1-1 CMD [a] [b c] json\n"}, Case{"CMD [ ]", "1-1 CMD json\n"},
                    Case{"CMD ['a']", "1-1 CMD [['a']]\n"}, Case{"CMD [\"a\"] b", "1-1 CMD [[\"a\"] b]\n"},
                    Case{"CMD [\"a\"", "1-1 CMD [[\"a\"]\n"}, Case{"CMD a  b", "1-1 CMD [a  b]\n"},
                    Case{"COPY [\"a b\", \"c\"]", "1-1 COPY [a b] [c] json\n"}, Case{"COPY [a] b", "1-1 COPY [[a]] [b]\n"},
                    Case{"COPY --from=x --link a b", "1-1 COPY {--from=x} {--link} [a] [b]\n"},
                    Case{"COPY -- --a b", "1-1 COPY [--a] [b]\n"}, Case{"COPY --chown=\"a b\" a b", "1-1 COPY {--chown=a b} [a] [b]\n"},
                    Case{"COPY --x=a\\ b a b", "1-1 COPY {--x=a b} [a] [b]\n"}, Case{"COPY --x='é' a b", "1-1 COPY {--x=é} [a] [b]\n"},
                    Case{"COPY - b", "1-1 COPY [-] [b]\n"},
                    Case{"ENV a=b c=\"d e\" f='g h' i=j\\ k", "1-1 ENV [a=b] [c=\"d e\"] [f='g h'] [i=j\\ k]\n"},
                    Case{"ENV a b  c ", "1-1 ENV [a b  c]\n"}, Case{"ENV a=", "1-1 ENV [a=]\n"}, Case{"ENV a==b", "1-1 ENV [a==b]\n"},
                    Case{"LABEL \"a b\"=c", "1-1 LABEL [\"a b\"=c]\n"}, Case{"ENV", "1-1 ENV\n"},
                    Case{"ARG a b=c d=\"e f\"", "1-1 ARG [a] [b=c] [d=\"e f\"]\n"}, Case{"ENV a=b\\", "1-1 ENV [a=b]\n"},
                    Case{"EXPOSE 80 443/tcp", "1-1 EXPOSE [80] [443/tcp]\n"}, Case{"USER  a b ", "1-1 USER [a b]\n"},
                    Case{"HEALTHCHECK --interval=1s CMD a  b", "1-1 HEALTHCHECK {--interval=1s} [CMD] [a  b]\n"},
                    Case{"HEALTHCHECK CMD [\"a\"]", "1-1 HEALTHCHECK [CMD] [a] json\n"},
                    Case{"HEALTHCHECK NONE", "1-1 HEALTHCHECK [NONE]\n"}, Case{"ONBUILD RUN a", "1-1 ONBUILD [RUN]\n"},
                    Case{"VOLUME a b", "1-1 VOLUME [a] [b]\n"}, Case{"VOLUME [\"a\"]", "1-1 VOLUME [a] json\n"}));

INSTANTIATE_TEST_SUITE_P(Heredocs, Parser,
                         testing::Values(Case{"RUN <<EOF\na\n# b\n\nEOF\nRUN c", "1-5 RUN [<<EOF] <<EOF:\"a\\n# b\\n\\n\"\n6-6 RUN [c]\n"},
                                         Case{"RUN <<'E F'\nE F\n", "1-2 RUN [<<'E F'] <<E F plain:\"\"\n"},
                                         Case{"RUN <<\"EOF\"\n$a\nEOF", "1-3 RUN [<<\"EOF\"] <<EOF plain:\"$a\\n\"\n"},
                                         Case{"RUN <<E\"O\"F\nEOF", "1-2 RUN [<<E\"O\"F] <<EOF plain:\"\"\n"},
                                         Case{"RUN <<-E\n\ta\n\tE\n", "1-3 RUN [<<-E] <<E:\"\\ta\\n\"\n"},
                                         Case{"RUN <<E\n\tE\nE", "1-3 RUN [<<E] <<E:\"\\tE\\n\"\n"},
                                         Case{"RUN 3<<E cat <&3\nE", "1-2 RUN [3<<E cat <&3] <<E:\"\"\n"},
                                         Case{"RUN cat << E > f\nx\r\nE\r\n", "1-3 RUN [cat << E > f] <<E:\"x\\r\\n\"\n"},
                                         Case{"COPY <<a <<b /x/\n1\na\n2\nb\n", "1-5 COPY [<<a] [<<b] [/x/] <<a:\"1\\n\" <<b:\"2\\n\"\n"},
                                         Case{"ADD --chown=1 <<a /x\na", "1-2 ADD {--chown=1} [<<a] [/x] <<a:\"\"\n"},
                                         Case{"ENV a=<<EOF\nENV b=c", "1-1 ENV [a=<<EOF]\n2-2 ENV [b=c]\n"},
                                         Case{"RUN echo '<<EOF'\nRUN b", "1-1 RUN [echo '<<EOF']\n2-2 RUN [b]\n"},
                                         Case{"RUN echo \"<<EOF\nRUN b", "1-1 RUN [echo \"<<EOF]\n2-2 RUN [b]\n"},
                                         Case{"RUN echo \\<<EOF\nRUN b", "1-1 RUN [echo \\<<EOF]\n2-2 RUN [b]\n"},
                                         Case{"RUN [\"<<EOF\"]\nRUN b", "1-1 RUN [<<EOF] json\n2-2 RUN [b]\n"},
                                         Case{"RUN echo <<<EOF\nRUN b", "1-1 RUN [echo <<<EOF]\n2-2 RUN [b]\n"},
                                         Case{"RUN echo $((1 << 2))\n2))", "1-2 RUN [echo $((1 << 2))] <<2)):\"\"\n"},
                                         Case{"ONBUILD RUN <<E\na\nE", "1-3 ONBUILD [RUN] <<E:\"a\\n\"\n"},
                                         Case{"RUN <<$E\n$E", "1-2 RUN [<<$E] <<$E:\"\"\n"},
                                         Case{"RUN <<E \\\n && x\na\nE", "1-4 RUN [<<E  && x] <<E:\"a\\n\"\n"}));

TEST(ParserErrors, know_their_lines) {
    struct Row {
        std::string_view source;
        std::string_view text;
        LineRange lines;
    };
    for (const Row& row : {
             Row{"", "file with no instructions", {0, 0}},
             Row{"# a\n\n", "file with no instructions", {2, 2}},
             Row{"FROM a\nENV b", "ENV must have two arguments", {2, 2}},
             Row{"FROM a\nLABEL \\\n b=c \\\n d", "Syntax error - can't find = in \"d\". Must be of the form: name=value", {2, 4}},
             Row{"FROM a\nCMD [\"a\", 1]", "when using JSON array syntax, arrays must be comprised of strings only", {2, 2}},
             Row{"RUN [[]]", "when using JSON array syntax, arrays must be comprised of strings only", {1, 1}},
             Row{"FROM a\nRUN <<EOF\nx\n", "unterminated heredoc", {2, 3}},
             Row{"# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used", {2, 2}},
             Row{"# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\", {1, 1}},
         }) {
        const Refused refused = refusal(row.source);
        EXPECT_EQ(refused.text, row.text) << row.source;
        EXPECT_EQ(refused.lines, row.lines) << row.source;
    }
}

TEST(Parser, says_where_a_line_is_empty_within_an_instruction) {
    const ParsedFile file = parse("FROM a\nRUN b \\\n\n c\nRUN d \\\n# e\n f\nRUN g \\\n\n");
    EXPECT_EQ(file.empty_continuations, (std::vector<LineRange>{{4, 4}, {9, 9}}));
}

TEST(Parser, keeps_comments_that_stand_above) {
    const ParsedFile file = parse("# check=skip=all\n# one\n#two  \nFROM a\n# three\n#\n# four\n\nRUN b\nRUN c \\\n# five\n d\nRUN e");
    EXPECT_EQ(file.nodes[0].comments, (Strings{"one", "two"}));
    EXPECT_EQ(file.nodes[1].comments, Strings{"four"});
    EXPECT_TRUE(file.nodes[2].comments.empty());
    EXPECT_TRUE(file.nodes[3].comments.empty());
}

TEST(Parser, parses_what_onbuild_triggers) {
    const ParsedFile file = parse("ONBUILD COPY --from=a b c\nONBUILD ONBUILD RUN x\nONBUILD");
    ASSERT_EQ(file.nodes[0].trigger.size(), 1U);
    EXPECT_EQ(file.nodes[0].trigger[0].arguments, (Strings{"b", "c"}));
    EXPECT_EQ(file.nodes[0].trigger[0].flags, Strings{"--from=a"});
    EXPECT_EQ(file.nodes[0].trigger[0].lines, (LineRange{1, 1}));
    EXPECT_EQ(file.nodes[1].trigger[0].keyword, "onbuild");
    EXPECT_TRUE(file.nodes[2].trigger.empty());
}

TEST(Parser, stands_hostile_files) {
    EXPECT_EQ(refusal("RUN " + std::string(1 << 20, 'a')).text, "dockerfile line greater than max allowed size of 65535");
    EXPECT_EQ(parse("RUN " + std::string(line_limit - 4, 'a') + "\n").nodes.size(), 1U);
    EXPECT_EQ(refusal("FROM a\n" + std::string(65536, ' ')).lines, (LineRange{2, 2}));
    EXPECT_EQ(parse("RUN a\0b\n\xFF\xC3 x"sv).nodes[0].arguments[0], "a\0b"sv);

    std::string many;
    for (int i = 0; i < 100000; ++i) many += "RUN echo <\n";
    EXPECT_EQ(parse(many).nodes.size(), 100000U);

    std::string joined = "RUN a";
    for (int i = 0; i < 200000; ++i) joined += " \\\n b";
    EXPECT_EQ(parse(joined).nodes.size(), 1U);

    std::string nested = "RUN [";
    nested += std::string(60000, '[');
    EXPECT_EQ(refusal(nested).text, "when using JSON array syntax, arrays must be comprised of strings only");

    std::string triggers;
    for (int i = 0; i < 8000; ++i) triggers += "ONBUILD ";
    EXPECT_EQ(parse(triggers).nodes.size(), 1U);

    std::string documents = "RUN";
    for (int i = 0; i < 10000; ++i) documents += " <<E";
    EXPECT_EQ(refusal(documents + "\n").text, "unterminated heredoc");
    EXPECT_EQ(refusal("RUN <<EOF\n" + std::string(3 << 20, '\n')).text, "unterminated heredoc");
}

TEST(Directives, are_found_in_any_language) {
    struct Row {
        std::string_view source;
        std::string_view value;
        int line;
    };
    for (const Row& row : {
             Row{"# syntax=docker/dockerfile:1\nFROM a", "docker/dockerfile:1", 1},
             Row{"\xEF\xBB\xBF#SYNTAX = a b \r\n", "a b", 1},
             Row{"#!/usr/bin/x\n# escape=`\n#syntax=a", "a", 3},
             Row{"// syntax=a\n{}", "a", 1},
             Row{"#!x\n// escape=`\n// syntax=a", "a", 3},
             Row{"{\"syntax\": \"a\", \"b\": 1}", "a", 0},
             Row{"#!x\n{\"syntax\": \"a\"}", "a", 1},
         }) {
        const auto found = detect_syntax(row.source);
        ASSERT_TRUE(found) << row.source;
        EXPECT_EQ(found->value, row.value);
        EXPECT_EQ(found->line, row.line);
    }
    for (const std::string_view source : {"", "FROM a\n# syntax=a", "\n# syntax=a", "# a\n# syntax=a", "# syntax=", "# syntax",
                                          "{\"syntax\": 1}", "{\"syntax\"", "#syn tax=a", "/ syntax=a"}) {
        EXPECT_FALSE(detect_syntax(source)) << source;
    }
    EXPECT_FALSE(find_directive("// check=skip=all\n", "check"));
    EXPECT_EQ(find_directive("# check=skip=all;error=true x\n", "check")->first_word(), "skip=all;error=true");
}

TEST(Heredoc, without_tabs) {
    EXPECT_EQ(without_tabs("\t\ta\n\t b\tc\n\n\t\n"), "a\n b\tc\n\n\n");
    EXPECT_FALSE(parse_heredoc("<<"));
    EXPECT_FALSE(parse_heredoc("a<<b"));
    EXPECT_FALSE(parse_heredoc("<<a b"));
    EXPECT_TRUE(parse_heredoc("12<<- a")->strip_tabs);
    EXPECT_EQ(parse_heredoc("12<<a")->descriptor, 12U);
}

}  // namespace
}  // namespace grua::build::dockerfile
