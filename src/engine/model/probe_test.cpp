#include "engine/model/probe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::engine {
namespace {

std::string refusal(const StringList& test) {
    try {
        parse_probe(test);
    } catch (const Error& error) {
        return error.what();
    }
    return "taken";
}

std::vector<std::string> addresses(const Probe& probe) {
    std::vector<std::string> out;
    for (const linux::Ip& each : probe.addresses) out.push_back(each.text());
    return out;
}

TEST(Probe, EachKindIsTakenApart) {
    const auto http = parse_probe({"HTTP", "http://localhost:8080/ready?deep=1"});
    ASSERT_TRUE(http);
    EXPECT_EQ(http->kind, Probe::Kind::http);
    EXPECT_EQ(addresses(*http), (std::vector<std::string>{"127.0.0.1", "::1"}));
    EXPECT_EQ(std::tuple(http->port, http->authority, http->path), std::tuple(8080, "localhost:8080", "/ready?deep=1"));
    const auto plain = parse_probe({"HTTP", "http://[fd00:99::1]"});
    ASSERT_TRUE(plain);
    EXPECT_EQ(addresses(*plain), std::vector<std::string>{"fd00:99::1"});
    EXPECT_EQ(std::tuple(plain->port, plain->path), std::tuple(80, "/"));
    const auto tcp = parse_probe({"TCP", ":5432"});
    ASSERT_TRUE(tcp);
    EXPECT_EQ(tcp->kind, Probe::Kind::tcp);
    EXPECT_EQ(addresses(*tcp), (std::vector<std::string>{"127.0.0.1", "::1"}));
    EXPECT_EQ(tcp->port, 5432);
    EXPECT_EQ(addresses(*parse_probe({"TCP", "[::1]:53"})), std::vector<std::string>{"::1"});
    const auto file = parse_probe({"FILE", "/run/ready"});
    ASSERT_TRUE(file);
    EXPECT_EQ(std::tuple(file->kind, file->path), std::tuple(Probe::Kind::file, "/run/ready"));
}

TEST(Probe, OtherChecksAreNone) {
    for (const StringList& test : {StringList{}, StringList{"NONE"}, StringList{"CMD", "x"}, StringList{"CMD-SHELL", "x"}})
        EXPECT_FALSE(parse_probe(test));
}

TEST(Probe, WhatCannotBeAskedIsRefused) {
    using testing::HasSubstr;
    EXPECT_THAT(refusal({"HTTP"}), HasSubstr("HTTP takes one word, and 0 are given"));
    EXPECT_THAT(refusal({"TCP", "a", "b"}), HasSubstr("TCP takes one word, and 2 are given"));
    EXPECT_THAT(refusal({"HTTP", "localhost:80"}), HasSubstr("invalid URL"));
    EXPECT_THAT(refusal({"HTTP", "https://localhost/"}), HasSubstr("not implemented"));
    EXPECT_THAT(refusal({"HTTP", "http://user:word@localhost/"}), HasSubstr("user name"));
    EXPECT_THAT(refusal({"HTTP", "http://localhost/\r\nX: y"}), HasSubstr("invalid URL"));
    EXPECT_THAT(refusal({"HTTP", "http://example.com/"}), HasSubstr("\"example.com\" is neither an IP address nor localhost"));
    EXPECT_THAT(refusal({"TCP", "localhost"}), HasSubstr("is not HOST:PORT"));
    for (const char* port : {"", "0", "65536", "-1", "x", "1 "})
        EXPECT_THAT(refusal({"TCP", std::string("localhost:") + port}), HasSubstr("is no port"));
    EXPECT_THAT(refusal({"FILE", "run/ready"}), HasSubstr("is not an absolute path"));
    EXPECT_THAT(refusal({"FILE", ""}), HasSubstr("is not an absolute path"));
}

}  // namespace
}  // namespace grua::engine
