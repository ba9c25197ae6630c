#include "api/filters.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <boost/json.hpp>
#include <chrono>

namespace grua::api {
namespace {

std::string refusal(auto what) {
    try {
        what();
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

Filters named(const std::string& pattern) {
    return Filters::parse(boost::json::serialize(boost::json::object{{"name", {pattern}}}), "name");
}

bool matches(const std::string& pattern, std::string_view text) { return named(pattern).pattern("name", text); }

TEST(Filters, a_name_is_matched_as_docker_matches_it) {
    EXPECT_TRUE(matches("web", "web"));
    EXPECT_TRUE(matches("we", "web-1"));
    EXPECT_TRUE(matches("^we.-[0-9]$", "web-1"));
    EXPECT_FALSE(matches("^we.-[0-9]$", "web-12"));
    EXPECT_TRUE(matches("^/web$", "/web"));
    EXPECT_TRUE(matches("", "web"));
    EXPECT_FALSE(matches("a+b", "a+b-1"));  // An expression, not a part of the text,
    EXPECT_TRUE(matches("a+b", "a+b"));     // but the whole text is always itself.
    EXPECT_TRUE(matches("(((", "((("));
    EXPECT_FALSE(matches("(((", "a((("));
    EXPECT_TRUE(matches("(?i)WEB", "web"));
    EXPECT_FALSE(matches("(?=web)web", "web"));  // Not in Go's syntax either.
    EXPECT_TRUE(matches("\xc3\xa4.", "\xc3\xa4\xc3\xb6"));
    const Filters several = Filters::parse(R"({"name":["(((","^db$","web"]})", "name");
    EXPECT_TRUE(several.pattern("name", "a-web"));
    EXPECT_TRUE(several.pattern("name", "db"));
    EXPECT_FALSE(several.pattern("name", "db2"));
    EXPECT_TRUE(Filters().pattern("name", "anything"));
}

// A9
TEST(Filters, no_expression_costs_more_than_its_text) {
    const std::string name = std::string(60, 'a') + "_b";
    const auto began = std::chrono::steady_clock::now();
    const Filters filters = named("^(a+)+$");
    for (int i = 0; i < 1000; ++i) EXPECT_FALSE(filters.pattern("name", name));
    // It was 1.7 s for one name of 24 letters, and twice that for each more. A bound that a slow machine keeps too.
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
}

TEST(Filters, expressions_are_bounded_in_all) {
    EXPECT_TRUE(refusal([] {
                    named("[ab]{1000}|[cd]{1000}c|[ef]{1000}e|[gh]{1000}g|[ij]{1000}i");
                }).starts_with("invalid filter 'name': the regular expressions need more than"));
    EXPECT_FALSE(matches("(a{1000}){1000}", "aaa"));  // No expression: it repeats too often.
    boost::json::array many;
    for (int i = 0; i < 1000; ++i) many.emplace_back(std::to_string(i) + "(x|y){40}");
    EXPECT_NE(refusal([&] { Filters::parse(boost::json::serialize(boost::json::object{{"name", many}}), "name"); }), "accepted");
}

PortFilter ports(const std::string& value) {
    return PortFilter::parse(Filters::parse(boost::json::serialize(boost::json::object{{"publish", {value}}}), "publish"), "publish");
}

TEST(PortFilter, a_port_or_a_range_with_a_protocol) {
    EXPECT_TRUE(ports("80").contains(80, "tcp"));
    EXPECT_FALSE(ports("80").contains(80, "udp"));
    EXPECT_FALSE(ports("80").contains(81, "tcp"));
    EXPECT_TRUE(ports("53/udp").contains(53, "udp"));
    EXPECT_TRUE(ports("8080-8090/tcp").contains(8085, "tcp"));
    EXPECT_TRUE(ports("8080-8090").contains(8090, "tcp"));
    EXPECT_FALSE(ports("8080-8090").contains(8091, "tcp"));
    for (const char* wrong : {"", "x", "80/icmp", "90-80", "1-70000", "-1", "80:80", "80-", "/tcp"})
        EXPECT_NE(refusal([&] { ports(wrong); }), "accepted") << wrong;
}

}  // namespace
}  // namespace grua::api
