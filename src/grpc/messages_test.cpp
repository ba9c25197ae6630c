#include "grpc/messages.hpp"

#include "grpc/status.hpp"

#include <gtest/gtest.h>

namespace grua::grpc {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

TEST(Messages, ComeBackOutOfPiecesOfAnySize) {
    const std::vector<std::string> sent{"", "a", std::string(70'000, 'x'), "\0\1\2"s};
    std::string bytes;
    for (const std::string& each : sent) bytes += frame(each);
    for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{4096}, bytes.size()}) {
        MessageReader reader;
        std::vector<std::string> got;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            reader.add(std::string_view(bytes).substr(at, piece));
            while (auto message = reader.next()) got.push_back(std::move(*message));
        }
        EXPECT_EQ(got, sent) << piece;
        EXPECT_FALSE(reader.has_part());
    }
}

TEST(Messages, OneThatIsTooLargeIsRefusedByItsLength) {
    MessageReader reader{10};
    reader.add("\0\0\0\0\x0a"s);
    EXPECT_EQ(reader.next(), std::nullopt);
    EXPECT_TRUE(reader.has_part());
    reader.add("0123456789");
    EXPECT_EQ(reader.next(), "0123456789");
    reader.add("\0\0\0\0\x0b"s);
    try {
        (void)reader.next();
        FAIL();
    } catch (const CallError& error) {
        EXPECT_EQ(error.status().code, Code::resource_exhausted);
    }
    MessageReader compressed;
    compressed.add("\1\0\0\0\0"s);
    EXPECT_THROW((void)compressed.next(), CallError);
}

TEST(Status, TextsOfHeaders) {
    EXPECT_EQ(encode_message("a b~"), "a b~");
    EXPECT_EQ(encode_message("50 %\nü"), "50 %25%0A%C3%BC");
    EXPECT_EQ(decode_message("50 %25%0A%C3%bc"), "50 %\nü");
    EXPECT_EQ(decode_message("%"), "%");
    EXPECT_EQ(decode_message("%4"), "%4");
    EXPECT_EQ(decode_message("%zz%4g"), "%zz%4g");
    EXPECT_EQ(parse_code("0"), Code::ok);
    EXPECT_EQ(parse_code("16"), Code::unauthenticated);
    for (const char* each : {"17", "", "-1", "x", "99999999999999999999"}) EXPECT_EQ(parse_code(each), Code::unknown) << each;
}

TEST(Status, Timeouts) {
    EXPECT_EQ(parse_timeout("15S"), 15s);
    EXPECT_EQ(parse_timeout("1H"), 1h);
    EXPECT_EQ(parse_timeout("2M"), 2min);
    EXPECT_EQ(parse_timeout("100m"), 100ms);
    EXPECT_EQ(parse_timeout("7u"), 7us);
    EXPECT_EQ(parse_timeout("0n"), 0ns);
    EXPECT_GT(parse_timeout("99999999H"), 24h * 365 * 200);
    for (const char* each : {"", "S", "1", "1s", "-1S", "123456789S", "1 S", "1.5S"}) EXPECT_EQ(parse_timeout(each), std::nullopt) << each;
    for (const std::chrono::nanoseconds each : {0ns, 999ns, 15'000'000'000ns, std::chrono::nanoseconds(48h)})
        EXPECT_EQ(parse_timeout(format_timeout(each)), each);
    EXPECT_EQ(format_timeout(-1s), "0n");
}

TEST(Status, OfWhatWasThrown) {
    EXPECT_EQ(status_of(Error(ErrorKind::not_found, "x")).code, Code::not_found);
    EXPECT_EQ(status_of(Error(ErrorKind::system, "x")).code, Code::unknown);
    EXPECT_EQ(status_of(Error(ErrorKind::conflict, "x")).code, Code::failed_precondition);
    EXPECT_EQ(status_of(std::runtime_error("x")).message, "x");
    EXPECT_EQ(status_of(CallError({.code = Code::aborted, .message = "m", .details = "d"})).details, "d");
    EXPECT_EQ(CallError({.code = Code::deadline_exceeded, .message = "m", .details = {}}).kind(), ErrorKind::unavailable);
}

}  // namespace
}  // namespace grua::grpc
