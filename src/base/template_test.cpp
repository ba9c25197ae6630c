#include "base/template.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <boost/json.hpp>

namespace grua::templates {
namespace {

std::string run(std::string_view text, std::string_view data = "{}") { return Template::parse(text).run(boost::json::parse(data)); }

std::string refusal(std::string_view text, std::string_view data = "{}") {
    try {
        run(text, data);
        return "";
    } catch (const Error& error) {
        return error.what();
    }
}

TEST(Template, FieldsAndChains) {
    EXPECT_EQ(run("a {{.B.C}} d", R"({"B": {"C": 5}})"), "a 5 d");
    EXPECT_EQ(run("{{.}}", R"({"b": [1, "x"], "a": true})"), "map[a:true b:[1 x]]");
    EXPECT_EQ(run("{{$.A}}{{with .B}}{{.C}}{{$.A}}{{end}}", R"({"A": 1, "B": {"C": 2}})"), "121");
    EXPECT_EQ(run("{{(index .L 1).X}}", R"({"L": [{"X": 1}, {"X": 2}]})"), "2");
}

TEST(Template, Conditions) {
    const std::string_view text = "{{if eq .S \"a\"}}1{{else if gt .N 3}}2{{else}}3{{end}}";
    EXPECT_EQ(run(text, R"({"S": "a", "N": 0})"), "1");
    EXPECT_EQ(run(text, R"({"S": "b", "N": 4})"), "2");
    EXPECT_EQ(run(text, R"({"S": "b", "N": 1})"), "3");
    EXPECT_EQ(run("{{if and .A (not .B)}}y{{end}}", R"({"A": 1, "B": ""})"), "y");
    EXPECT_EQ(run("{{or .A \"none\"}}", R"({"A": ""})"), "none");
    EXPECT_EQ(run("{{eq .A 1 2 3}}", R"({"A": 3})"), "true");
    EXPECT_EQ(run("{{and .A .A.B}}", R"({"A": null})"), "<no value>");
}

TEST(Template, Ranges) {
    EXPECT_EQ(run("{{range .L}}[{{.}}]{{end}}", R"({"L": [1, 2]})"), "[1][2]");
    EXPECT_EQ(run("{{range $i, $x := .L}}{{$i}}={{$x}} {{end}}", R"({"L": ["a", "b"]})"), "0=a 1=b ");
    EXPECT_EQ(run("{{range $k, $v := .M}}{{$k}}={{$v}} {{end}}", R"({"M": {"b": 2, "a": 1}})"), "a=1 b=2 ");
    EXPECT_EQ(run("{{range .L}}x{{else}}empty{{end}}", R"({"L": []})"), "empty");
}

TEST(Template, Functions) {
    EXPECT_EQ(run("{{json .}}", R"({"b":1,"a":"x<y"})"), R"({"b":1,"a":"x<y"})");
    EXPECT_EQ(run("{{join .L \", \"}}", R"({"L": ["a", "b"]})"), "a, b");
    EXPECT_EQ(run("{{.S | upper | printf \"%-5s|\"}}", R"({"S": "ab"})"), "AB   |");
    EXPECT_EQ(run("{{index (split .S \"/\") 1}}", R"({"S": "a/b"})"), "b");
    EXPECT_EQ(run("{{printf \"%q %05d %.2f %x %v%%\" .S .N .F .N .S}}", R"({"S": "a", "N": 42, "F": 1.5})"), "\"a\" 00042 1.50 2a a%");
    EXPECT_EQ(run("{{len .L}} {{title .S}} {{pad .S 1 2}}| {{truncate .S 2}} {{slice .S 1 3}}", R"({"L": [1, 2], "S": "abc"})"),
              "2 Abc  abc  | ab bc");
    EXPECT_EQ(run("{{index .M \"missing\"}}", R"({"M": {}})"), "<no value>");
    EXPECT_EQ(run("{{println .S 1}}", R"({"S": "a"})"), "a 1\n");
}

TEST(Template, TrimsAndComments) {
    EXPECT_EQ(run("a  {{- /* no */ -}}  b"), "ab");
    EXPECT_EQ(run("a {{- \" x \" -}} b"), "a x b");
    EXPECT_EQ(run("{{\"}}\"}}"), "}}");
    EXPECT_EQ(run("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}"), "2");
}

TEST(Template, RefusesWhatItDoesNotKnow) {
    EXPECT_EQ(refusal("{{.A"), "template parsing error: template: :1: unclosed action");
    EXPECT_EQ(refusal("{{nope .A}}"), "template parsing error: template: :1: function \"nope\" not defined");
    EXPECT_EQ(refusal("{{if .A}}"), "template parsing error: template: :1: unexpected EOF");
    EXPECT_EQ(refusal("{{end}}"), "template parsing error: template: :1: unexpected {{end}}");
    EXPECT_NE(refusal("{{.A}}"), "");
    EXPECT_NE(refusal("{{.A.B}}", R"({"A": 1})"), "");
    EXPECT_NE(refusal(std::string(1000, '(')), "(");
    EXPECT_NE(refusal("{{" + std::string(1000, '(') + "1" + std::string(1000, ')') + "}}"), "");
}

TEST(Template, SaysWhichFieldsItUses) {
    const Template text = Template::parse("{{if .Size}}{{.Names}}{{end}}");
    EXPECT_TRUE(text.mentions("Size"));
    EXPECT_FALSE(text.mentions("ID"));
}

TEST(PrettyJson, KeepsTheOrderOfMembers) {
    EXPECT_EQ(pretty_json(boost::json::parse(R"([{"b":1,"a":[],"c":{"d":[1,"x"]}}])")),
              "[\n    {\n        \"b\": 1,\n        \"a\": [],\n        \"c\": {\n            \"d\": [\n                1,\n               "
              " \"x\"\n            ]\n        }\n    }\n]");
}

}  // namespace
}  // namespace grua::templates
