#include "api/grpc_refusal.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::api {
namespace {

using namespace std::string_literals;

const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const std::string settings = "\0\0\0\x04\0\0\0\0\0"s;
const std::string settings_ack = "\0\0\0\x04\x01\0\0\0\0"s;
const std::string call = "\0\0\x01\x01\x04\0\0\0\x03\x82"s;  // HEADERS that are whole, of stream 3

TEST(GrpcRefusal, AnswersEachCall) {
    GrpcRefusal refusal{"not implemented: builds"};
    EXPECT_EQ(refusal.take(preface + settings), settings + settings_ack);
    const std::string answer = refusal.take(call);
    EXPECT_EQ(answer.substr(3, 6), "\x01\x05\0\0\0\x03"s);
    EXPECT_TRUE(answer.substr(9).starts_with("\x88"));
    EXPECT_TRUE(
        answer.contains("\x0bgrpc-status\x02"
                        "12"s))
        << answer;
    EXPECT_TRUE(answer.contains("\x0cgrpc-message\x17not implemented: builds"s));
    EXPECT_EQ(refusal.take("\0\0\x08\x06\0\0\0\0\0"s + "12345678"), "\0\0\x08\x06\x01\0\0\0\0"s + "12345678");
    EXPECT_EQ(refusal.take(settings_ack), "");
    EXPECT_EQ(refusal.take("\0\0\x08\x07\0\0\0\0\0"s + "12345678" + call), "");
    EXPECT_TRUE(refusal.is_over());
}

TEST(GrpcRefusal, ByteByByteItSaysTheSame) {
    GrpcRefusal whole{"x"};
    GrpcRefusal slow{"x"};
    const std::string all = preface + settings + call + call;
    std::string out;
    for (const char c : all) out += slow.take({&c, 1});
    EXPECT_EQ(out, whole.take(all));
}

TEST(GrpcRefusal, WhatIsNoHttp2IsRefused) {
    EXPECT_THROW(GrpcRefusal{"x"}.take("GET / HTTP/1.1\r\n"), Error);
    GrpcRefusal large{"x"};
    EXPECT_THROW(large.take(preface + "\xff\xff\xff\0\0\0\0\0\0"s), Error);
    GrpcRefusal many{"x"};
    EXPECT_THROW(
        {
            many.take(preface);
            for (int i = 0; i < 20'000; ++i) many.take(settings_ack);
        },
        Error);
}

}  // namespace
}  // namespace grua::api
