#include "build/session_files.hpp"

#include "build/test_session.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::HasSubstr;

constexpr const char* pull_method = "/moby.upload.v1.Upload/Pull";

class SessionFiles : public WithSessions {};

TEST_F(SessionFiles, ASecretIsTheClients) {
    secrets["token"] = std::string("a\0b", 3);
    secrets["empty"] = "";
    secrets["large"] = std::string(secret_limit, 'x');
    secrets["too large"] = std::string(secret_limit + 1, 'x');
    with_client([&]() -> asio::awaitable<void> {
        EXPECT_EQ(co_await get_secret(group(), "token"), secrets["token"]);
        EXPECT_EQ(co_await get_secret(group(), "empty"), "");
        EXPECT_EQ((co_await get_secret(group(), "large")).size(), secret_limit);
        EXPECT_EQ(co_await refusal(get_secret(group(), "none")), "secret none: not found");
        EXPECT_THAT(co_await refusal(get_secret(group(), "too large")), HasSubstr("invalid secret size 512001"));
        EXPECT_EQ(co_await find_secret(group(), "none"), std::nullopt);
        EXPECT_EQ(co_await find_secret(group(), "token"), secrets["token"]);
        EXPECT_EQ(co_await find_secret(group({}), "token"), std::nullopt);
        EXPECT_EQ(co_await refusal(get_secret(group({}), "token")), "no active sessions");
    });
}

TEST_F(SessionFiles, OneWhoHasNoneIsNotAsked) {
    with_client([&]() -> asio::awaitable<void> { EXPECT_EQ(co_await refusal(get_secret(group(), "x")), "secret x: not found"); }, {});
    EXPECT_TRUE(asked.empty());
}

TEST_F(SessionFiles, SessionsAreAskedInTurn) {
    secrets["token"] = "x";
    with_client([&]() -> asio::awaitable<void> {
        std::string found;
        bool is_over = false;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                found = co_await get_secret(group({"gone", "s1"}), "token");
                is_over = true;
            },
            asio::detached);
        co_await settle();
        clock.turn(std::chrono::seconds(5));  // The first one does not come.
        while (!is_over) co_await settle();
        EXPECT_EQ(found, "x");
    });
}

TEST_F(SessionFiles, AnUploadComesInOrder) {
    std::string sent;
    client.add(pull_method, [&](grpc::ServerCall& call) -> asio::awaitable<void> {
        EXPECT_EQ(call.metadata("urlhost"), "buildkit-session");
        if (call.metadata("urlpath") != "/abc")
            fail(ErrorKind::not_found, "no http response from session for {}", call.metadata("urlpath"));
        for (int number = 0; number < 100; ++number) {
            wire::session::BytesMessage message;
            message.set_data(std::string(32U << 10U, static_cast<char>('a' + number % 26)));
            sent += message.data();
            co_await call.write(message.SerializeAsString());
        }
    });
    with_client(
        [&]() -> asio::awaitable<void> {
            std::string came;
            std::size_t pieces = 0;
            const TakeBytes take = [&](std::string bytes) -> asio::awaitable<void> {
                ++pieces;
                came += bytes;
                co_return;
            };
            const SessionPtr giver = co_await pull_upload(group(), "/abc", take);
            EXPECT_EQ(giver->head().id, "s1");
            EXPECT_EQ(came, sent);
            EXPECT_LT(pieces, 20U);
            EXPECT_THAT(co_await refusal(pull_upload(group(), "/other", take)), HasSubstr("no http response from session for /other"));
        },
        {pull_method});
}

}  // namespace
}  // namespace grua::build
