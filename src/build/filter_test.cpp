#include "build/filter.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

bool matches(const std::vector<std::string>& filter, const std::map<std::string, std::string>& record) {
    return Filter::parse(filter).matches([&](const std::string& path) -> std::optional<std::string> {
        const auto found = record.find(path);
        return found == record.end() ? std::nullopt : std::optional(found->second);
    });
}

std::string refusal(const std::string& filter) {
    try {
        (void)Filter::parse({filter});
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

TEST(Filter, SelectorsAllMatchAndOneTextIsEnough) {
    const std::map<std::string, std::string> record{{"type", "regular"}, {"description", "RUN make -j 4"}, {"inuse", ""}, {"a.b c", "1"}};
    EXPECT_TRUE(matches({}, record));
    EXPECT_TRUE(matches({""}, record));
    EXPECT_TRUE(matches({"type==regular"}, record));
    EXPECT_FALSE(matches({"type==regula"}, record));
    EXPECT_TRUE(matches({"type!=frontend"}, record));
    EXPECT_TRUE(matches({"nowhere!=frontend"}, record));
    EXPECT_FALSE(matches({"nowhere==\"\""}, record));
    EXPECT_TRUE(matches({"inuse"}, record));
    EXPECT_FALSE(matches({"mutable"}, record));
    EXPECT_TRUE(matches({"description~=mak[e]"}, record));
    EXPECT_TRUE(matches({"description~=/make -j \\\\d/"}, record));
    EXPECT_TRUE(matches({"description~=|^RUN|"}, record));
    EXPECT_TRUE(matches({"description==\"RUN make -j \\x34\""}, record));
    EXPECT_TRUE(matches({"a.\"b c\"==1"}, record));
    EXPECT_TRUE(matches({" type == regular , inuse "}, record));
    EXPECT_FALSE(matches({"type==regular,mutable"}, record));
    EXPECT_TRUE(matches({"mutable", "type==regular"}, record));
    EXPECT_TRUE(matches({"id~=^$"}, record)) << "what is not there is empty";
    EXPECT_TRUE(matches({"path==https://a.b/c?d=e#f"}, {{"path", "https://a.b/c?d=e#f"}}));
    EXPECT_TRUE(matches({"name==\"\\u00e4\\U0001F600\\n\\101\""}, {{"name", "ä😀\nA"}}));
}

TEST(Filter, WhatIsNoneIsRefused) {
    for (const char* each : {"==",
                             "type=regular",
                             "type===regular",
                             "type==",
                             "type==a b",
                             "type==\"a",
                             "type==/a/",
                             "type==\"\\q\"",
                             "type==\"\\400\"",
                             "type==\"\\ud800\"",
                             "type==\"\\x4\"",
                             "type==a,",
                             ",type",
                             "type.",
                             "ty pe",
                             "type~=(",
                             "type~=a{1000}{1000}",
                             "type==\x01",
                             "type>a",
                             "type==\"a\"b"})
        EXPECT_NE(refusal(each), "") << each;
    EXPECT_THAT(refusal("type=regular"), HasSubstr("filter type=regular: ==, != or ~= is expected behind 'type'"));
    EXPECT_THAT(refusal(std::string(filter_size_limit + 1, 'a')), HasSubstr("longer than 4096 bytes"));
    EXPECT_NE(refusal("type==\xff"), "");
    EXPECT_THROW((void)Filter::parse(std::vector<std::string>(filter_limit + 1)), Error);
}

TEST(Filter, RefusalsHaveAText) {
    for (const std::string& none : {std::string("\0a,\"", 4), std::string("\0\"a", 3), std::string("a\0==b c", 8)})
        EXPECT_THAT(refusal(none), HasSubstr("a"));
    const auto split = [] { (void)split_csv(std::string_view("\0=\"", 3)); };
    EXPECT_THROW(split(), Error);
    try {
        split();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), " =\": a quote in the middle");
    }
}

TEST(Filter, LinesOfCsv) {
    EXPECT_THAT(split_csv("a,b"), ElementsAre("a", "b"));
    EXPECT_THAT(split_csv(""), ElementsAre(""));
    EXPECT_THAT(split_csv("a,\n"), ElementsAre("a", ""));
    EXPECT_THAT(split_csv("\"ref~=a,\"\"b\"\"\",c"), ElementsAre("ref~=a,\"b\"", "c"));
    EXPECT_THROW(split_csv("\"a"), Error);
    EXPECT_THROW(split_csv("\"a\"b"), Error);
    EXPECT_THROW(split_csv("a\"b"), Error);
}

}  // namespace
}  // namespace grua::build
