#include "base/codec.hpp"

#include <gtest/gtest.h>

namespace grua::json {
namespace {

struct Inner {
    std::string name;
    static json::Fields fields() { return json::Fields{field("Name", &Inner::name)}; }
    bool operator==(const Inner&) const = default;
};

struct Outer {
    std::optional<std::vector<std::string>> command;
    std::vector<std::string> words;
    std::vector<Inner> list;
    std::map<std::string, std::vector<Inner>> by_name;
    Time when{};

    static json::Fields fields() {
        return json::Fields{field("Command", &Outer::command).or_text(), field("Words", &Outer::words), field("List", &Outer::list),
                            field("ByName", &Outer::by_name), field("When", &Outer::when)};
    }
};

std::string refusal(std::string_view text) {
    try {
        parse<Outer>(text);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

// G10
TEST(Codec, TakesWhatGosDecoderTakes) {
    const auto read = parse<Outer>(R"({"Command":"sh","Words":["a",null],"List":[null,{"Name":"x"}],"ByName":{"80/tcp":null}})");
    EXPECT_EQ(read.command, std::vector<std::string>{"sh"});
    EXPECT_EQ(read.words, (std::vector<std::string>{"a", ""}));
    EXPECT_EQ(read.list, (std::vector<Inner>{{}, {"x"}}));
    EXPECT_TRUE(read.by_name.contains("80/tcp"));
    EXPECT_EQ(parse<Outer>(R"({"Command":["a","b"]})").command, (std::vector<std::string>{"a", "b"}));
}

TEST(Codec, NamesThePlaceOfAWrongType) {
    EXPECT_EQ(refusal(R"({"Words":"a"})"), "Words: expected an array, got string");
    EXPECT_EQ(refusal(R"({"Command":[1]})"), "Command[0]: expected a string, got int64");
    EXPECT_EQ(refusal(R"({"ByName":{"a\nb":{}}})"), "ByName[a b]: expected an array, got object");
    EXPECT_EQ(refusal(R"({"When":"yesterday"})"), "When: expected a time, got \"yesterday\"");
}

TEST(Codec, TimesAreText) {
    const auto read = parse<Outer>(R"({"When":"2026-01-02T03:04:05.6Z"})");
    EXPECT_EQ(format_time(read.when), "2026-01-02T03:04:05.6Z");
    EXPECT_NE(dump(read, {1, 50}).find(R"("When":"2026-01-02T03:04:05.6Z")"), std::string::npos);
}

}  // namespace
}  // namespace grua::json
