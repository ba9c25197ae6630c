#include "build/cache_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string a = "sha256:" + std::string(64, 'a');
const std::string b = "sha256:" + std::string(64, 'b');

std::string with(std::string text) {
    for (const auto& [mark, digest] : {std::pair{std::string("$a"), a}, std::pair{std::string("$b"), b}})
        for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark)) text.replace(at, mark.size(), digest);
    return text;
}

std::string refusal(const std::string& text) {
    try {
        (void)parse_cache_config(with(text));
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.what();
    }
    return {};
}

TEST(CacheConfig, IsReadAsBuildKitWritesIt) {
    // The first layer as a parent is not written, as Go leaves out what is zero.
    const CacheConfig out = parse_cache_config(with(
        R"({"layers":[{"blob":"$a","parent":-1},{"blob":"$b"}],"records":[{"digest":"$a"},)"
        R"({"layers":[{"layer":1,"createdAt":"2024-01-02T03:04:05.6Z"}],"digest":"$b","inputs":[[{"selector":"$a","link":0}],[{"link":0}]]}]})"));
    ASSERT_EQ(out.layers.size(), 2U);
    EXPECT_EQ(out.layers[0].parent, -1);
    EXPECT_EQ(out.layers[1].parent, 0);
    ASSERT_EQ(out.records.size(), 2U);
    EXPECT_EQ(out.records[1].results.at(0).layer, 1);
    EXPECT_EQ(out.records[1].inputs.at(0).at(0).selector, a);
    const std::string text = cache_config_text(out);
    EXPECT_EQ(cache_config_text(parse_cache_config(text)), text);
    EXPECT_THAT(text, HasSubstr(R"({"blob":")" + b + R"("})"));
}

TEST(CacheConfig, WhatIsNotThereIsRefused) {
    EXPECT_THAT(refusal("[]"), HasSubstr("cache config"));
    EXPECT_THAT(refusal("{"), HasSubstr("cache config"));
    EXPECT_THAT(refusal(R"({"layers":[{"blob":"../../etc/passwd","parent":-1}]})"), HasSubstr("layers[0]: blob is no digest"));
    EXPECT_THAT(refusal(R"({"layers":[{"blob":"$a","parent":7}]})"), HasSubstr("layers[0]: invalid layer index 7"));
    EXPECT_THAT(refusal(R"({"layers":[{"blob":"$a","parent":-2}]})"), HasSubstr("invalid layer index -2"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"random:x"}]})"), HasSubstr("records[0]: digest is none"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","layers":[{"layer":0}]}]})"), HasSubstr("records[0]: invalid layer index 0"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","chains":[{"layers":[-1]}]}]})"), HasSubstr("invalid layer index -1"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","inputs":[[{"link":1}]]}]})"), HasSubstr("records[0]: invalid record ID 1"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","inputs":[[{"link":-1}]]}]})"), HasSubstr("invalid record ID -1"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","inputs":[[]]}]})"), HasSubstr("an input is empty"));
}

TEST(CacheConfig, NothingLeadsToItself) {
    EXPECT_THAT(refusal(R"({"layers":[{"blob":"$a"}]})"), HasSubstr("looping layer"));
    EXPECT_THAT(refusal(R"({"layers":[{"blob":"$a","parent":1},{"blob":"$b"}]})"), HasSubstr("looping layer"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","inputs":[[{"link":0}]]}]})"), HasSubstr("looping record"));
    EXPECT_THAT(refusal(R"({"records":[{"digest":"$a","inputs":[[{"link":1}]]},{"digest":"$b","inputs":[[{"link":0}]]}]})"),
                HasSubstr("looping record"));
    // Shared ones are none.
    EXPECT_EQ(refusal(R"({"layers":[{"blob":"$a","parent":-1},{"blob":"$b"},{"blob":"$a"}],"records":[{"digest":"$a"},)"
                      R"({"digest":"$b","inputs":[[{"link":0}],[{"link":0}]]},{"digest":"$b","inputs":[[{"link":0},{"link":1}]]}]})"),
              "");
}

TEST(CacheConfig, ItsSizeHasABound) {
    EXPECT_THAT(refusal(std::string(cache_config_limit + 1, ' ')), HasSubstr("more than"));
    std::string many = R"({"records":[)";
    for (int number = 0; number < 200'001; ++number) many += "{},";
    EXPECT_THAT(refusal(many + "{}]}"), HasSubstr("more than 200000 values"));
}

TEST(CacheConfig, RecordsOfAnImageSpeakOfItsLayers) {
    const CacheConfig out = parse_inline_records(with(R"([{"digest":"$a","layers":[{"layer":1,"empty":[{"at":0}]}]}])"), {a, b});
    ASSERT_EQ(out.layers.size(), 2U);
    EXPECT_EQ(out.layers[0].parent, -1);
    EXPECT_EQ(out.layers[1].parent, 0);
    EXPECT_EQ(out.records.at(0).results.at(0).empty.at(0).at, 0);
    const std::string text = inline_records_text(out);
    EXPECT_EQ(inline_records_text(parse_inline_records(text, {a, b})), text);
    EXPECT_THROW((void)parse_inline_records(text, {a}), Error);
    EXPECT_THROW((void)parse_inline_records("{}", {a}), Error);
}

}  // namespace
}  // namespace grua::build
