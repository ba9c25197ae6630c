#include "base/utf8.hpp"

#include <gtest/gtest.h>

namespace grua {
namespace {

TEST(Utf8, EachByteThatBeginsNoCharacterIsReplaced) {
    const std::pair<std::string_view, std::string_view> cases[] = {{"", ""},
                                                                   {"plain", "plain"},
                                                                   {"é\u2027\U0001F600", "é\u2027\U0001F600"},
                                                                   {"a\xff\x62", "a\uFFFDb"},
                                                                   {"\xc3", "\uFFFD"},
                                                                   {"\xc0\x80", "\uFFFD\uFFFD"},
                                                                   {"\xe2\x82", "\uFFFD\uFFFD"},
                                                                   {"\xe2\x82x", "\uFFFD\uFFFDx"},
                                                                   {"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xed\x9f\xbf", "\xed\x9f\xbf"},
                                                                   {"\xe0\x9f\xbf", "\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xf0\x8f\xbf\xbf", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
                                                                   {"\xf5\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                                                                   {"\x80", "\uFFFD"}};
    for (const auto& [bytes, text] : cases) {
        EXPECT_EQ(to_valid_utf8(bytes), text);
        EXPECT_EQ(is_valid_utf8(bytes), bytes == text) << text;
        EXPECT_TRUE(is_valid_utf8(to_valid_utf8(bytes)));
    }
    EXPECT_TRUE(is_valid_utf8(std::string_view("a\0b", 3)));
}

TEST(Utf8, ACutLeavesCharactersWhole) {
    EXPECT_EQ(cut_utf8("éé", 4), "éé");
    EXPECT_EQ(cut_utf8("éé", 3), "é");
    EXPECT_EQ(cut_utf8("éé", 2), "é");
    EXPECT_EQ(cut_utf8("éé", 1), "");
    EXPECT_EQ(cut_utf8("a\U0001F600", 4), "a");
    EXPECT_EQ(cut_utf8("a\U0001F600", 5), "a\U0001F600");
    EXPECT_EQ(cut_utf8("a\U0001F600", 0), "");
    EXPECT_EQ(cut_utf8("\xff\xff\xff\xff", 3), "\xff\xff\xff");
    EXPECT_EQ(cut_utf8("ab\xc3", 2), "ab");
}

}  // namespace
}  // namespace grua
