#include "api/router.hpp"

#include "api/filters.hpp"
#include "api/http_parser.hpp"
#include "api/names.hpp"
#include "api/routes.hpp"
#include "base/error.hpp"

#include <gtest/gtest.h>
#include <algorithm>

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

TEST(Version, IsTakenFromThePath) {
    EXPECT_EQ(split_version("/containers/json").version, newest_version);
    const Target target = split_version("/v1.44/containers/json");
    EXPECT_EQ(target.version, (json::Version{1, 44}));
    EXPECT_EQ(target.path, "/containers/json");
    EXPECT_EQ(split_version("/volumes").path, "/volumes");
    EXPECT_EQ(split_version("/version").path, "/version");
    EXPECT_EQ(refusal([] { split_version("/v1.99/info"); }), "client version 1.99 is too new. Maximum supported API version is 1.51");
    EXPECT_EQ(refusal([] { split_version("/v1.23/info"); }),
              "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version");
    EXPECT_EQ(refusal([] { split_version("/v1.43/info", {1, 44}); }),
              "client version 1.43 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version");
    EXPECT_EQ(refusal([] { split_version("/v1.2.3/info"); }), "invalid API version 1.2.3");
    EXPECT_EQ(refusal([] { split_version("/v99999999999999999999.1/info"); }), "invalid API version 99999999999999999999.1");
}

TEST(Router, KnowsEveryOperation) {
    const auto is_own = [](const Route& route) { return route.pattern.starts_with("/grua/"); };
    EXPECT_EQ(std::ranges::count_if(routes(), is_own), 5);
    EXPECT_EQ(routes().size() - 5, 112U);  // Docker's, of which /networks has two forms, and /debug/vars, which its list does not have
    for (const Route& route : routes()) {
        std::string path{route.pattern};
        const std::size_t open = path.find('{');
        if (open != std::string::npos) path.replace(open, path.find('}') - open + 1, "some-name");
        const Match match = find_route(routes(), route.method, path);
        ASSERT_TRUE(match.route) << path;
        EXPECT_EQ(match.route->pattern, route.pattern) << path;
    }
}

// G15
TEST(Router, EveryOperationCanBeDescribed) {
    for (const Route& route : routes()) {
        const json::Value said = describe(route);
        EXPECT_EQ(said.at("Body").as_array().empty(), route.body == nullptr) << route.title();
        EXPECT_EQ(said.at("Filters").as_array().empty(), !find_name(route.parameters, "filters")) << route.title();
        for (const auto& name : said.at("Parameters").as_array()) {
            const auto since = name.at("Since").as_int64();
            EXPECT_TRUE(24 <= since && since <= newest_version.minor_number) << route.title() << name;
        }
    }
}

// G12
TEST(Router, SlashesThatFollowEachOtherAreOne) {
    EXPECT_EQ(with_single_slashes("//v1.44///containers//json"), "/v1.44/containers/json");
    EXPECT_EQ(with_single_slashes("/networks/"), "/networks/");
    EXPECT_EQ(find_route(routes(), "GET", "/networks/").route->handler, network_list);
    EXPECT_FALSE(find_route(routes(), "GET", "/containers/json/").route);
}

TEST(Router, NamesWithSlashesAreImagesOnly) {
    EXPECT_EQ(find_route(routes(), "GET", "/images/localhost:5000/a/b:1/json").name, "localhost:5000/a/b:1");
    EXPECT_EQ(find_route(routes(), "DELETE", "/images/a/b").name, "a/b");
    EXPECT_FALSE(find_route(routes(), "GET", "/containers/a/b/json").route);
    EXPECT_FALSE(find_route(routes(), "GET", "/containers//json").route);
    EXPECT_FALSE(find_route(routes(), "PATCH", "/containers/json").route);
    EXPECT_FALSE(find_route(routes(), "GET", "/nothing").route);
    EXPECT_EQ(find_route(routes(), "GET", "/images/json").route->pattern, "/images/json");
}

TEST(Filters, BothFormsAreRead) {
    const Filters list = Filters::parse(R"({"label":["a=b","c"],"status":["running"]})", "label status");
    EXPECT_TRUE(list.labels("label", {{"a", "b"}, {"c", "d"}}));
    EXPECT_FALSE(list.labels("label", {{"a", "x"}, {"c", "d"}}));
    EXPECT_TRUE(list.exact("status", "running"));
    EXPECT_FALSE(list.exact("status", "exited"));
    const Filters map = Filters::parse(R"({"status":{"exited":true,"dead":false}})", "status");
    EXPECT_TRUE(map.exact("status", "exited"));
    EXPECT_FALSE(map.exact("status", "dead"));
}

TEST(Filters, HostileTextIsRefused) {
    EXPECT_EQ(refusal([] { Filters::parse(R"({"x":["1"]})", "label"); }), "invalid filter 'x'");
    EXPECT_EQ(refusal([] { Filters::parse("[1]", "label"); }), "invalid filter: expected an object");
    EXPECT_NE(refusal([] { Filters::parse(std::string(100, '['), "label"); }), "accepted");
    EXPECT_NE(refusal([] { Filters::parse(R"({"label":[1]})", "label"); }), "accepted");
    const Filters pattern = Filters::parse(R"({"name":["(((","^we.$"]})", "name");
    EXPECT_TRUE(pattern.pattern("name", "web"));
    EXPECT_FALSE(pattern.pattern("name", "other"));
}

TEST(Timestamp, AllForms) {
    const Time base = *parse_time("2026-01-02T03:04:05Z");
    EXPECT_EQ(parse_timestamp("2026-01-02T03:04:05Z", base), base);
    EXPECT_EQ(parse_timestamp("1767323045.5", base), base + std::chrono::milliseconds{500});
    EXPECT_EQ(parse_timestamp("1h30m", base), base - std::chrono::minutes{90});
    EXPECT_FALSE(parse_timestamp("soon", base));
    EXPECT_FALSE(parse_timestamp("99999999999999999999", base));
}

int status_of_request(std::string_view text) {
    RequestParser parser;
    try {
        const std::size_t used = parser.parse_header(text);
        if (!parser.header_done()) return 0;
        (void)used;
        parser.take_head();
    } catch (const ProtocolError& error) {
        return error.status;
    }
    return 200;
}

TEST(Parser, HostileRequestsAreRefused) {
    EXPECT_EQ(status_of_request("GET /info HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    EXPECT_EQ(status_of_request("GET /info HTTP/1.1\r\nHost"), 0);
    EXPECT_EQ(status_of_request("POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400);
    EXPECT_EQ(status_of_request("POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400);
    EXPECT_EQ(status_of_request("POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
    EXPECT_EQ(status_of_request("GET /%zz HTTP/1.1\r\n\r\n"), 400);
    EXPECT_EQ(status_of_request("GET /%2 HTTP/1.1\r\n\r\n"), 400);
    EXPECT_EQ(status_of_request("not http at all\r\n\r\n"), 400);
    EXPECT_EQ(status_of_request("GET / HTTP/1.1\r\nA: " + std::string(header_limit, 'a') + "\r\n\r\n"), 431);
}

TEST(Parser, ChunkedBodyInSmallPieces) {
    const std::string request = "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n";
    RequestParser parser;
    std::string buffer;
    std::string body;
    std::array<char, 4> out{};
    for (const char c : request) {
        buffer += c;
        if (!parser.header_done()) {
            buffer.erase(0, parser.parse_header(buffer));
            continue;
        }
        for (;;) {
            const RequestParser::Piece piece = parser.parse_body(buffer, out);
            buffer.erase(0, piece.used);
            body.append(out.data(), piece.produced);
            if (piece.produced == 0) break;
        }
    }
    EXPECT_TRUE(parser.done());
    EXPECT_EQ(body, "hello world");
}

TEST(Json, ErrorsNameThePlace) {
    EXPECT_TRUE(refusal([] { parse_json(R"({"a": x})"); }).contains("at byte 6"));
    EXPECT_TRUE(refusal([] { parse_json(R"({"a": 1)"); }).contains("EOF"));
    EXPECT_EQ(refusal([] { parse_json("{} {}"); }), "unexpected content after JSON");
    EXPECT_NE(refusal([] { parse_json(std::string(1000, '[')); }), "accepted");
}

TEST(Query, DockersTruth) {
    const Query query = Query::parse("a=1&b=0&c=false&d=yes&e&name=x%2Fy+z&t=abc");
    EXPECT_TRUE(query.flag("a"));
    EXPECT_FALSE(query.flag("b"));
    EXPECT_FALSE(query.flag("c"));
    EXPECT_TRUE(query.flag("d"));
    EXPECT_FALSE(query.flag("e"));
    EXPECT_TRUE(query.flag("missing", true));
    EXPECT_EQ(query.get("name"), "x/y z");
    EXPECT_NE(refusal([&] { (void)query.number("t"); }), "accepted");
}

// G15
TEST(Query, WhatIsNotInTheTableCannotBeRead) {
    Query query = Query::parse("a=1&b=2&a=3&new=4&stray=5");
    query.declare("a b new@42 later@42 none", 41);
    EXPECT_EQ(query.get("a"), "1");
    EXPECT_EQ(query.all("a"), (std::vector<std::string>{"1", "3"}));
    EXPECT_FALSE(query.has("new"));
    EXPECT_FALSE(query.has("none"));
    EXPECT_EQ(query.unread(), (std::vector<std::string_view>{"b", "stray"}));
    EXPECT_EQ(refusal([&] { (void)query.get("stray"); }), "the parameter stray is read and not in the table of operations");
    EXPECT_NE(refusal([&] { (void)query.flag("lat"); }), "accepted");
    Query newer = Query::parse("new=4");
    newer.declare("a new@42", 42);
    EXPECT_EQ(newer.get("new"), "4");
}

}  // namespace
}  // namespace grua::api
