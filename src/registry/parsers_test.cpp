#include "base/encoding.hpp"
#include "base/error.hpp"
#include "registry/answers.hpp"
#include "registry/challenge.hpp"
#include "registry/credentials.hpp"
#include "registry/tokens.hpp"
#include "registry/url.hpp"

#include <gtest/gtest.h>

namespace grua::registry {
namespace {

TEST(Challenge, of_docker_hub) {
    const auto challenges = parse_challenges(
        R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push")");
    ASSERT_EQ(challenges.size(), 1U);
    EXPECT_EQ(challenges[0].scheme, "bearer");
    EXPECT_EQ(challenges[0].parameter("realm"), "https://auth.docker.io/token");
    EXPECT_EQ(challenges[0].parameter("scope"), "repository:library/debian:pull,push");
    EXPECT_EQ(challenges[0].parameter("none"), "");
}

TEST(Challenge, several_in_one_header) {
    const auto challenges = parse_challenges("Negotiate, BASIC Realm=\"a\\\"b\" , Bearer realm = x,service=y");
    ASSERT_EQ(challenges.size(), 3U);
    EXPECT_EQ(challenges[0].scheme, "negotiate");
    EXPECT_EQ(challenges[1].scheme, "basic");
    EXPECT_EQ(challenges[1].parameter("realm"), "a\"b");
    EXPECT_EQ(challenges[2].parameter("realm"), "x");
    EXPECT_EQ(challenges[2].parameter("service"), "y");
}

// G26
TEST(Challenge, of_several_fields) {
    const auto challenges = parse_challenges("Negotiate YIIBhg+/==\nDigest realm=\"unfinished\nBearer realm=\"x\"");
    ASSERT_EQ(challenges.size(), 3U);
    EXPECT_EQ(challenges[0].scheme, "negotiate");
    EXPECT_EQ(challenges[1].scheme, "digest");
    EXPECT_EQ(challenges[2].parameter("realm"), "x");
    const auto in_one = parse_challenges("Negotiate YIIBhg==, Bearer realm=\"x\"");
    ASSERT_EQ(in_one.size(), 2U);
    EXPECT_EQ(in_one[1].parameter("realm"), "x");
}

TEST(Challenge, what_is_broken_ends_the_list) {
    EXPECT_TRUE(parse_challenges("").empty());
    EXPECT_TRUE(parse_challenges("=x").empty());
    ASSERT_EQ(parse_challenges("Basic realm=\"x\", Bearer realm=\"unfinished").size(), 2U);
    EXPECT_EQ(parse_challenges("Basic realm=\"x\", Bearer realm=\"unfinished")[1].parameter("realm"), "");
    EXPECT_EQ(parse_challenges("Bearer realm=\"a\r\nX: y\"")[0].parameter("realm"), "");
    EXPECT_TRUE(parse_challenges(std::string(10'000, 'a')).empty());
}

TEST(Link, next) {
    EXPECT_EQ(next_link("</v2/x/tags/list?last=b&n=2>; rel=\"next\"").value(), "/v2/x/tags/list?last=b&n=2");
    EXPECT_EQ(next_link("<a>; rel=prev, <b>; title=\"x\"; rel=\"last next\"").value(), "b");
    EXPECT_FALSE(next_link("<a>; rel=prev"));
    EXPECT_FALSE(next_link("<a; rel=next"));
    EXPECT_FALSE(next_link(""));
}

TEST(Url, only_http_and_no_users) {
    EXPECT_EQ(Url::parse("HTTPS://Host:443/a/b?c=d").text(), "https://host/a/b?c=d");
    EXPECT_EQ(Url::parse("http://[::1]:5000/v2/").authority(), "[::1]:5000");
    EXPECT_THROW(Url::parse("ftp://host/"), Error);
    EXPECT_THROW(Url::parse("file:///etc/passwd"), Error);
    EXPECT_THROW(Url::parse("https://user:secret@host/"), Error);
    EXPECT_THROW(Url::parse("https://host/a b"), Error);
    EXPECT_THROW(Url::parse("https://host/\r\nX: y"), Error);
    EXPECT_THROW(Url::parse(""), Error);
    const Url base = Url::parse("https://host:5000/v2/x/blobs/uploads/");
    EXPECT_EQ(base.resolve("/v2/x?state=1").text(), "https://host:5000/v2/x?state=1");
    EXPECT_EQ(base.resolve("https://other/y").authority(), "other");
    EXPECT_THROW(base.resolve("javascript:1"), Error);
    Url with = base;
    with.add_query("digest", "sha256:a b");
    EXPECT_EQ(with.query, "digest=sha256%3Aa%20b");
}

TEST(Credentials, of_a_header) {
    const std::string text = R"({"username":"u","password":"p>?","serveraddress":"127.0.0.1:5000"})";
    std::string encoded = base64_encode(text);
    for (char& c : encoded) c = c == '+' ? '-' : c == '/' ? '_' : c;
    const Credentials credentials = parse_auth_header(encoded);
    EXPECT_EQ(credentials.username, "u");
    EXPECT_EQ(credentials.password, "p>?");
    EXPECT_EQ(credentials.server_address, "127.0.0.1:5000");
    EXPECT_EQ(parse_auth_header(base64_encode(R"({"auth":")" + base64_encode("a:b:c") + "\"}")).password, "b:c");
    EXPECT_TRUE(parse_auth_header("").empty());
    EXPECT_TRUE(parse_auth_header("e30=").empty());
    EXPECT_EQ(parse_auth_header(base64_encode(R"({"identitytoken":"t"})")).identity_token, "t");
    EXPECT_THROW(parse_auth_header("not base64!"), Error);
    EXPECT_THROW(parse_auth_header(base64_encode("[]")), Error);
    EXPECT_THROW(parse_auth_header(base64_encode(R"({"username":"a\r\nb"})")), Error);
    EXPECT_THROW(parse_auth_header(std::string(1'000'000, 'A')), Error);
}

TEST(Complaint, in_dockers_words) {
    const auto text = [](std::string_view body) { return parse_complaint(body).value().text; };
    EXPECT_EQ(text(R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]})"),
              "manifest unknown: manifest unknown");
    EXPECT_EQ(text(R"({"errors":[{"code":"UNAUTHORIZED"}]})"), "unauthorized: authentication required");
    EXPECT_EQ(text(R"({"details":"incorrect username or password"})"), "incorrect username or password");
    EXPECT_EQ(text(R"({"errors":[{"code":"A_B","message":"\u001b[31mred"}]})"), "a b:  [31mred");
    EXPECT_FALSE(parse_complaint("<html>"));
    EXPECT_FALSE(parse_complaint("{}"));
}

TEST(Failure, what_may_be_tried_again) {
    Request request;
    request.url = Url::parse("https://r.example/v2/x/manifests/y");
    const auto of = [&](int status, std::string body, Headers headers = {}) {
        return failure_of(request, Response{status, std::move(headers), std::move(body), {}});
    };
    EXPECT_EQ(of(503, "").retry(), Retry::again);
    EXPECT_EQ(of(501, "").retry(), Retry::elsewhere);
    EXPECT_STREQ(of(500, "<html>").what(),
                 "Get \"https://r.example/v2/x/manifests/y\": received unexpected HTTP status: 500 Internal Server Error");
    const Failure busy = of(429, R"({"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]})", {{"retry-after", "7"}});
    EXPECT_EQ(busy.retry(), Retry::again);
    EXPECT_EQ(busy.retry_after, std::chrono::seconds{7});
    EXPECT_EQ(busy.said, "toomanyrequests: slow down");
    EXPECT_EQ(of(401, "").said, "unauthorized: authentication required");
    EXPECT_EQ(of(401, R"({"details":"incorrect username or password"})").said, "unauthorized: incorrect username or password");
    const Failure denied = of(401, "", {{"www-authenticate", R"(Bearer realm="x",error="insufficient_scope")"}});
    EXPECT_EQ(denied.said, "denied: requested access to the resource is denied");
    try {
        rethrow_for_pull(denied, oci::Reference::parse("me/x"));
    } catch (const Failure& failure) {
        EXPECT_STREQ(failure.what(),
                     "pull access denied for me/x, repository does not exist or may require 'docker login': denied: requested "
                     "access to the resource is denied");
    }
    try {
        rethrow_for_pull(of(404, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})"), oci::Reference::parse("x:y"));
    } catch (const Failure& failure) {
        EXPECT_STREQ(failure.what(), "manifest for x:y not found: manifest unknown: manifest unknown");
        EXPECT_EQ(failure.kind(), ErrorKind::not_found);
    }
}

TEST(RetryAfter, seconds_or_date) {
    EXPECT_EQ(parse_retry_after("3"), std::chrono::seconds{3});
    EXPECT_EQ(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), std::chrono::seconds{0});
    EXPECT_FALSE(parse_retry_after("soon"));
    EXPECT_FALSE(parse_retry_after(""));
}

TEST(RateLimit, of_docker_hub) {
    const auto limit = rate_limit_of({200, {{"ratelimit-limit", "100;w=21600"}, {"ratelimit-remaining", "76;w=21600"}}, {}, {}});
    ASSERT_TRUE(limit);
    EXPECT_EQ(limit->limit, 100U);
    EXPECT_EQ(limit->remaining, 76U);
    EXPECT_EQ(limit->window, std::chrono::hours{6});
    EXPECT_EQ(describe(*limit), "76 of 100 pulls left in 6 hours");
    EXPECT_FALSE(rate_limit_of({}));
}

TEST(Token, of_an_answer) {
    const auto now = std::chrono::steady_clock::now();
    EXPECT_EQ(parse_token(R"({"token":"a","expires_in":300})", now).expires, now + std::chrono::minutes{5});
    EXPECT_EQ(parse_token(R"({"access_token":"b","refresh_token":"r"})", now).refresh, "r");
    EXPECT_EQ(parse_token(R"({"access_token":"b"})", now).expires, now + std::chrono::minutes{1});
    EXPECT_THROW(parse_token("{}", now), Error);
    EXPECT_THROW(parse_token(R"({"token":"a\r\nb"})", now), Error);
    TokenCache cache;
    cache.keep("k", parse_token(R"({"token":"a","expires_in":300})", now));
    EXPECT_EQ(cache.find("k"), "a");
    cache.keep("k", parse_token(R"({"token":"a","expires_in":1})", now));
    EXPECT_FALSE(cache.find("k"));
}

}  // namespace
}  // namespace grua::registry
