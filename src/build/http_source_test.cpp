#include "build/http_source.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "build/test_session.hpp"
#include "content/hash.hpp"
#include "registry/test_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using registry::TestAnswer;
using registry::TestRequest;
using registry::TestServer;
using testing::HasSubstr;
using testing::Not;

constexpr const char* pull_method = "/moby.upload.v1.Upload/Pull";

TestAnswer answer(std::string body, std::vector<std::string> headers = {}) {
    TestAnswer out;
    out.headers = std::move(headers);
    out.body = std::move(body);
    return out;
}
TestAnswer status(int code, std::vector<std::string> headers = {}) {
    TestAnswer out;
    out.status = code;
    out.headers = std::move(headers);
    return out;
}

class HttpSourceTest : public WithSessions {
protected:
    HttpSourceTest() { renew(); }
    /// As gruad does when it starts again.
    void renew() {
        source.reset();
        source = std::make_unique<HttpSource>(HttpSourceOptions{.directory = work + "/http", .limits = limits}, loop.get_executor(),
                                              sessions, transfers, pool);
    }
    static HttpIdentifier identifier(const std::string& url, const std::map<std::string, std::string>& attributes = {}) {
        pb::SourceOp op;
        op.set_identifier(url);
        for (const auto& [name, value] : attributes) (*op.mutable_attrs())[name] = value;
        return read_http_source(op);
    }
    asio::awaitable<HttpFoundPtr> look_up(std::string url, std::map<std::string, std::string> attributes = {}) {
        co_return co_await source->look_up(identifier(url, attributes), ids);
    }
    /// What is in the folder that a source was put into.
    asio::awaitable<std::string> contents(HttpFoundPtr found, std::string name) {
        const std::string into = folder(fmt::format("into{}", ++count));
        co_await source->put(found, into, ids, {});
        co_return read_file(into + "/" + name);
    }

    registry::Limits limits;
    std::unique_ptr<HttpSource> source;
    std::vector<std::string> ids;
    int count = 0;
};

TEST_F(HttpSourceTest, AFileAndItsKey) {
    const TestServer server([](const TestRequest&) { return answer("content1", {"ETag: \"1\""}); });
    on_loop([&]() -> asio::awaitable<void> {
        std::uint64_t told = 0;
        const auto found = co_await source->look_up(identifier(server.url() + "/foo"), {},
                                                    [&](std::uint64_t current, std::uint64_t total) { told = current + total; });
        const std::string digest = content::digest_of("content1").text();
        EXPECT_EQ(found->digest.text(), digest);
        EXPECT_EQ(key_of(*found), content::digest_of(R"({"Filename":"foo","Perm":0,"UID":0,"GID":0,"Checksum":")" + digest + "\"}").text());
        EXPECT_EQ(told, 16U);
        EXPECT_EQ(co_await contents(found, "foo"), "content1");
        EXPECT_EQ(co_await contents(found, "foo"), "content1") << "as often as it is wanted";
        struct stat about{};
        EXPECT_EQ(::stat((work + "/into1/foo").c_str(), &about), 0);
        EXPECT_EQ(about.st_mode & 07777U, 0600U);
        EXPECT_EQ(about.st_mtim.tv_sec, 0);
        EXPECT_EQ(about.st_nlink, 1U);
    });
    EXPECT_EQ(server.requests().size(), 1U);
    EXPECT_THAT(server.requests()[0].header("user-agent"), HasSubstr("grua/"));
}

TEST_F(HttpSourceTest, WhatTheGraphAsksForIsDone) {
    const TestServer server([](const TestRequest&) {
        return answer("x", {"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Content-Disposition: attachment; filename=\"../c d\""});
    });
    on_loop([&]() -> asio::awaitable<void> {
        const auto found = co_await look_up(server.url() + "/foo", {{"http.perm", "0755"},
                                                                    {"http.uid", "12"},
                                                                    {"http.gid", "34"},
                                                                    {"http.header.accept", "text/plain"},
                                                                    {"http.header.User-Agent", "me"},
                                                                    {"http.header.cookie", "no"}});
        EXPECT_EQ(found->filename, "c d");
        EXPECT_EQ(co_await contents(found, "c d"), "x");
        struct stat about{};
        EXPECT_EQ(::stat((work + "/into1/c d").c_str(), &about), 0);
        EXPECT_EQ(about.st_mode & 07777U, 0755U);
        EXPECT_EQ(about.st_uid, 12U);
        EXPECT_EQ(about.st_gid, 34U);
        EXPECT_EQ(about.st_mtim.tv_sec, 784111777);
        EXPECT_EQ(key_of(*found),
                  content::digest_of(R"({"Filename":"c d","Perm":493,"UID":12,"GID":34,"Checksum":")" + found->digest.text() +
                                     R"(","LastModTime":"Sun, 06 Nov 1994 08:49:37 GMT","Header":[{"Name":"Accept","Value":"text/plain"},)"
                                     R"({"Name":"User-Agent","Value":"me"}]})")
                      .text());
        EXPECT_EQ((co_await look_up(server.url() + "/foo", {{"http.filename", "/a/b"}}))->filename, "b");
    });
    EXPECT_EQ(server.requests()[0].header("accept"), "text/plain");
    EXPECT_EQ(server.requests()[0].header("user-agent"), "me");
    EXPECT_EQ(server.requests()[0].header("cookie"), "");
    EXPECT_EQ(identifier("http://h/x", {{"http.perm", "0x1ff"}}).mode, 0777U);
    EXPECT_EQ(identifier("http://h/x", {{"http.perm", "420"}}).mode, 0644U);
    for (const auto& [name, value] : {std::pair{"http.perm", "rw"},
                                      {"http.uid", "-1"},
                                      {"http.uid", ""},
                                      {"http.checksum", "sha256:x"},
                                      {"http.header.accept", "a\r\nb"},
                                      {"http.sig.pubkey", "x"}})
        EXPECT_THROW((void)identifier("http://h/x", {{name, value}}), Error) << name;
    for (const char* each : {"ftp://h/x", "file:///x", "http://", "h/x"}) EXPECT_THROW((void)identifier(each), Error) << each;
}

TEST_F(HttpSourceTest, WhatIsTheSameIsNotFetchedAgain) {
    std::string etag = "W/\"1\"";
    bool ignores_question = false;
    const TestServer server([&](const TestRequest& request) {
        if (request.header("if-none-match") == etag && !ignores_question) return status(304);
        return answer("body of " + etag, {"ETag: " + etag, "Content-Disposition: attachment; filename=n"});
    });
    on_loop([&]() -> asio::awaitable<void> {
        const std::string first = key_of(*co_await look_up(server.url() + "/foo"));
        renew();
        const auto again = co_await look_up(server.url() + "/foo");
        EXPECT_EQ(key_of(*again), first);
        EXPECT_EQ(server.requests().back().header("if-none-match"), etag);
        EXPECT_EQ(co_await contents(again, "n"), "body of W/\"1\"");
        ignores_question = true;
        EXPECT_EQ(key_of(*co_await look_up(server.url() + "/foo")), first) << "the server sends it, and says that it is the same";
        etag = "\"2\"";
        const auto changed = co_await look_up(server.url() + "/foo");
        EXPECT_NE(key_of(*changed), first);
        EXPECT_EQ(co_await contents(changed, "n"), "body of \"2\"");
        // Another URL, other headers: another file, for all that is known.
        (void)co_await look_up(server.url() + "/foo", {{"http.header.accept", "x"}});
        EXPECT_EQ(server.requests().back().header("if-none-match"), "");
        for (const auto& each : source->cache().list()) source->cache().remove(each.name);
        (void)co_await look_up(server.url() + "/foo");
        EXPECT_EQ(server.requests().back().header("if-none-match"), "");
    });
}

TEST_F(HttpSourceTest, TheTimeIsAskedForWhereItIsPrecise) {
    std::string date = "Sun, 06 Nov 1994 08:50:36 GMT";
    const TestServer server([&](const TestRequest& request) {
        if (!request.header("if-modified-since").empty()) return status(304);
        return answer("x", {"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Date: " + date});
    });
    on_loop([&]() -> asio::awaitable<void> {
        (void)co_await look_up(server.url() + "/foo");
        (void)co_await look_up(server.url() + "/foo");
        EXPECT_EQ(server.requests().back().header("if-modified-since"), "") << "it may have changed within that second";
        date = "Sun, 06 Nov 1994 08:50:37 GMT";
        (void)co_await look_up(server.url() + "/foo");
        const auto again = co_await look_up(server.url() + "/foo");
        EXPECT_EQ(server.requests().back().header("if-modified-since"), "Sun, 06 Nov 1994 08:49:37 GMT");
        EXPECT_EQ(again->last_modified->time_since_epoch(), 784111777s);
        EXPECT_EQ(co_await contents(again, "foo"), "x");
    });
}

TEST_F(HttpSourceTest, ADigestThatIsGivenIsNotAskedFor) {
    const TestServer server([](const TestRequest&) { return answer("right"); });
    on_loop([&]() -> asio::awaitable<void> {
        for (const char* algorithm : {"sha256", "sha512"}) {
            const std::string right = content::digest_of("right", algorithm).text();
            const std::size_t before = server.requests().size();
            const auto found = co_await look_up(server.url() + "/foo", {{"http.checksum", right}});
            EXPECT_EQ(server.requests().size(), before);
            EXPECT_EQ(key_of(*found),
                      content::digest_of(R"({"Filename":"foo","Perm":0,"UID":0,"GID":0,"Checksum":")" + right + "\"}").text());
            EXPECT_EQ(co_await contents(found, "foo"), "right");
            EXPECT_EQ(co_await contents(found, "foo"), "right");
            EXPECT_EQ(server.requests().size(), before + 1) << "it is known to be what is wanted";
            EXPECT_EQ(co_await contents(co_await look_up(server.url() + "/foo", {{"http.checksum", right}}), "foo"), "right");
            EXPECT_EQ(server.requests().size(), before + 1);
        }
        const std::string wrong = content::digest_of("wrong").text();
        const auto found = co_await look_up(server.url() + "/foo", {{"http.checksum", wrong}});
        EXPECT_EQ(co_await refusal(contents(found, "foo")),
                  fmt::format("digest mismatch {}: {}", content::digest_of("right").text(), wrong));
    });
}

TEST_F(HttpSourceTest, ErrorsAreBuildKits) {
    const TestServer server([](const TestRequest& request) {
        if (request.target.starts_with("/cut")) {
            TestAnswer out = answer("0123456789", {"ETag: \"1\""});
            out.cut = 5;
            return out;
        }
        if (request.target == "/large-404") {
            TestAnswer out = status(404);
            out.body = std::string(4U << 20U, 'x');
            return out;
        }
        if (request.target == "/nowhere") return status(302);
        return status(static_cast<int>(parse_uint(request.target.substr(1)).value_or(500)));
    });
    on_loop([&]() -> asio::awaitable<void> {
        for (const int each : {400, 401, 403, 404, 500, 503, 304, 300, 206})
            EXPECT_EQ(co_await refusal(look_up(fmt::format("{}/{}", server.url(), each))), fmt::format("invalid response status {}", each));
        EXPECT_EQ(co_await refusal(look_up(server.url() + "/large-404")), "invalid response status 404");
        EXPECT_EQ(co_await refusal(look_up(server.url() + "/nowhere")), "invalid response status 302");
        EXPECT_THAT(co_await refusal(look_up(server.url() + "/cut?signature=secret")), HasSubstr("unexpected EOF"));
        EXPECT_THAT(co_await refusal(look_up(server.url() + "/cut?signature=secret")), Not(HasSubstr("secret")));
        EXPECT_TRUE(source->cache().list().empty());
        const std::string nobody = co_await refusal(look_up("http://me:secret@127.0.0.1:1/x"));
        EXPECT_THAT(nobody, HasSubstr("dial tcp 127.0.0.1:1: connect: connection refused"));
        EXPECT_THAT(nobody, Not(HasSubstr("secret")));
    });
}

TEST_F(HttpSourceTest, RedirectsHaveAnEndAndLeadToServersOnly) {
    const TestServer other([](const TestRequest& request) {
        return request.header("authorization").empty() ? answer("of the other") : answer("it was told a secret");
    });
    std::string to;
    const TestServer server([&](const TestRequest& request) {
        if (request.target == "/loop") return status(302, {"Location: /loop"});
        if (request.target == "/start/a") return status(307, {"Location: ../end b?x=1"});
        if (request.target == "/away") return status(301, {"Location: " + to});
        return answer(request.target + " " + request.header("authorization"));
    });
    on_loop([&]() -> asio::awaitable<void> {
        const std::string with_user = "http://me:pass@" + server.authority();
        EXPECT_EQ(co_await contents(co_await look_up(with_user + "/start/a"), "a"), "/end%20b?x=1 Basic bWU6cGFzcw==");
        EXPECT_THAT(co_await refusal(look_up(server.url() + "/loop")), HasSubstr("stopped after 10 redirects"));
        EXPECT_EQ(server.requests().size(), 2U + 11U);
        to = other.url() + "/x";
        EXPECT_EQ(co_await contents(co_await look_up(with_user + "/away"), "away"), "of the other");
        for (const char* each :
             {"file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1:1/x", "http://a:b@127.0.0.1/", "unix:///x"}) {
            to = each;
            EXPECT_THAT(co_await refusal(look_up(server.url() + "/away")), HasSubstr("Location: ")) << each;
        }
    });
}

TEST_F(HttpSourceTest, SecretsOfTheClientAuthorize) {
    const TestServer server([](const TestRequest& request) { return answer(request.header("authorization")); });
    ids = {"s1"};
    with_client([&]() -> asio::awaitable<void> {
        EXPECT_EQ(co_await contents(co_await look_up(server.url() + "/x"), "x"), "");
        EXPECT_EQ(asked, (std::vector<std::string>{"HTTP_AUTH_HEADER_127.0.0.1", "HTTP_AUTH_TOKEN_127.0.0.1"}));
        secrets["HTTP_AUTH_TOKEN_127.0.0.1"] = "abc\n";
        EXPECT_EQ(co_await contents(co_await look_up("http://me:pass@" + server.authority() + "/x"), "x"), "Bearer abc");
        secrets = {{"own", "Negotiate xyz"}};
        EXPECT_EQ(co_await contents(co_await look_up(server.url() + "/x", {{"http.authheadersecret", "own"}}), "x"), "Negotiate xyz");
        EXPECT_EQ(co_await refusal(look_up(server.url() + "/x", {{"http.authheadersecret", "none"}})),
                  "failed to retrieve HTTP auth secret none: secret none: not found");
        secrets["own"] = "a\r\nX: y";
        EXPECT_THAT(co_await refusal(look_up(server.url() + "/x", {{"http.authheadersecret", "own"}})),
                    HasSubstr("invalid header field value"));
    });
}

TEST_F(HttpSourceTest, WhatIsNotWantedAnyMoreEnds) {
    const TestServer server([](const TestRequest&) {
        TestAnswer out = answer(std::string(10'000, 'x'), {"ETag: \"1\""});
        out.pause = 20ms;
        return out;
    });
    on_loop([&]() -> asio::awaitable<void> {
        asio::cancellation_signal cancel;
        bool is_over = false;
        asio::co_spawn(loop, look_up(server.url() + "/x"),
                       asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& failure, const HttpFoundPtr&) {
                           EXPECT_TRUE(failure);
                           is_over = true;
                       }));
        co_await settle(100ms);
        EXPECT_FALSE(is_over);
        cancel.emit(asio::cancellation_type::terminal);
        co_await settle();
        EXPECT_TRUE(is_over);
        // And by its token.
        const auto pinned = co_await look_up(server.url() + "/x", {{"http.checksum", content::digest_of(std::string(10'000, 'x')).text()}});
        std::stop_source stop;
        std::string said;
        asio::co_spawn(
            loop, [&]() -> asio::awaitable<void> { said = co_await refusal(source->put(pinned, folder("into"), {}, stop.get_token())); },
            asio::detached);
        co_await settle(100ms);
        stop.request_stop();
        co_await settle(200ms);
        EXPECT_EQ(said, "context canceled");
        EXPECT_TRUE(std::filesystem::is_empty(work + "/into"));
    });
    EXPECT_TRUE(source->cache().list().empty());
}

TEST_F(HttpSourceTest, AnUploadOfTheClientIsAFileAsWell) {
    int pulls = 0;
    client.add(pull_method, [&](grpc::ServerCall& call) -> asio::awaitable<void> {
        if (++pulls > 2) fail(ErrorKind::not_found, "no http response from session for {}", call.metadata("urlpath"));
        for (const char* each : {"one ", "two"}) {
            wire::session::BytesMessage message;
            message.set_data(each);
            co_await call.write(message.SerializeAsString());
        }
    });
    ids = {"s1"};
    with_client(
        [&]() -> asio::awaitable<void> {
            const std::map<std::string, std::string> name{{"http.filename", "context"}};
            const auto found = co_await look_up("http://buildkit-session/abc", name);
            EXPECT_EQ(found->digest, content::digest_of("one two"));
            EXPECT_EQ(co_await contents(found, "context"), "one two");
            // The client gives it once; the graph names it again.
            const auto again = co_await look_up("http://buildkit-session/abc", name);
            EXPECT_EQ(key_of(*again), key_of(*found));
            EXPECT_EQ(co_await contents(again, "context"), "one two");
            EXPECT_EQ(pulls, 1);
            source->forget("s1");
            EXPECT_EQ((co_await look_up("http://buildkit-session/abc", name))->digest, found->digest);
            EXPECT_EQ(pulls, 2);
            EXPECT_THAT(co_await refusal(look_up("http://buildkit-session/other", name)), HasSubstr("no http response from session"));
            EXPECT_TRUE(source->cache().list().empty());
        },
        {pull_method});
}

}  // namespace
}  // namespace grua::build
