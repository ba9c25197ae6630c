#include "build/url_text.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

TEST(UrlText, IsTakenApart) {
    const auto url = split_url("HTTPS://me%40x:p%3Ass@Host:80/a%20b?x=1#y%20z");
    ASSERT_TRUE(url);
    EXPECT_EQ(url->scheme, "https");
    EXPECT_EQ(url->user, (UrlUser{"me@x", "p:ss"}));
    EXPECT_EQ(url->host, "Host:80");
    EXPECT_EQ(url->host_name(), "Host");
    EXPECT_EQ(url->path, "/a%20b");
    EXPECT_EQ(url->query, "x=1");
    EXPECT_EQ(url->fragment, "y z");
    EXPECT_EQ(url->plain(), "https://Host:80/a%20b");
    EXPECT_EQ(url->user->authorization(), "Basic bWVAeDpwOnNz");

    EXPECT_EQ(split_url("ssh://git@[::1]:22/x")->host_name(), "::1");
    EXPECT_EQ(split_url("http://a@b@c/")->user->name, "a@b") << "the last one is the separator";
    EXPECT_FALSE(split_url("http://c/@d")->user);
    EXPECT_FALSE(split_url("http://u@c")->user->password);
    for (const char* each : {"", "://x", "host/path", "git@host:path", "a b://c", "/x://y"}) EXPECT_FALSE(split_url(each)) << each;
}

TEST(UrlText, CredentialsAreNotShown) {
    EXPECT_EQ(without_credentials("https://me:secret@host/x?y"), "https://xxxxx:xxxxx@host/x?y");
    EXPECT_EQ(without_credentials("https://token@host/x"), "https://xxxxx@host/x");
    EXPECT_EQ(without_credentials("https://:secret@host"), "https://:xxxxx@host");
    EXPECT_EQ(without_credentials("https://a:p@ss@host/u@v"), "https://xxxxx:xxxxx@host/u@v");
    for (const char* each : {"https://host/x@y", "https://host?a@b", "git@github.com:a/b", "", "x"})
        EXPECT_EQ(without_credentials(each), each);
}

TEST(UrlText, EscapesAreUndone) {
    EXPECT_EQ(percent_decode("a%2fb%20%"), "a/b %");
    EXPECT_EQ(percent_decode("%zz%4"), "%zz%4");
    EXPECT_EQ(percent_decode("%+1%-1"), "%+1%-1");
    EXPECT_EQ(percent_decode(std::string_view("%41%", 3)), "A");
    using Pairs = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(parse_query("a=1&&b=x+%2B&c&a=2"), (Pairs{{"a", "1"}, {"b", "x +"}, {"c", ""}, {"a", "2"}}));
    EXPECT_EQ(parse_query(""), Pairs{});
}

TEST(UrlText, WhatPeopleWriteIsEscaped) {
    EXPECT_EQ(escape_url("http://h/a b%20\xc3\xa4"), "http://h/a%20b%20%C3%A4");
    for (const std::string& each :
         {std::string("http://h/\n"), std::string("a\0b", 3), std::string("\x7f"), std::string(url_limit + 1, 'x')})
        EXPECT_THROW((void)escape_url(each), Error);
}

}  // namespace
}  // namespace grua::build
