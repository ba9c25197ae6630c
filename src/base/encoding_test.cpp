#include "base/encoding.hpp"

#include <gtest/gtest.h>

namespace grua {
namespace {

TEST(Base64, RoundTrips) {
    EXPECT_EQ(base64_encode(""), "");
    EXPECT_EQ(base64_encode("f"), "Zg==");
    EXPECT_EQ(base64_encode("fo"), "Zm8=");
    EXPECT_EQ(base64_encode("foo"), "Zm9v");
    EXPECT_EQ(base64_encode("\xfb\xff\xfe"), "+//+");
    EXPECT_EQ(base64url_encode("\xfb\xff\xfe"), "-__-");
    EXPECT_EQ(base64url_encode("{}"), "e30=");
    EXPECT_EQ(base64_encode("user:secret"), "dXNlcjpzZWNyZXQ=");
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    for (std::size_t size = 0; size <= all.size(); ++size)
        EXPECT_EQ(base64_decode(base64_encode(all.substr(0, size))), all.substr(0, size));
}

TEST(Base64, RefusesWhatIsNone) {
    EXPECT_EQ(base64_decode("dTpw\n"), "u:p");
    for (const char* text : {"Zg", "Zg=", "Z===", "=Zg=", "Zg==Zg==", "Zm9v!", "-__-", "Zm 9v"})
        EXPECT_EQ(base64_decode(text), std::nullopt) << text;
}

TEST(Base64, TakesEitherAlphabet) {
    for (const char* text : {"-__-", "+//+", "+/_-"}) EXPECT_EQ(base64_decode_any(text), "\xfb\xff\xfe") << text;
    for (const char* text : {"Zg==", "Zg=", "Zg"}) EXPECT_EQ(base64_decode_any(text), "f") << text;
    for (const char* text : {"Z", "Zm9v!", "Zm9vZ", "=Zg="}) EXPECT_EQ(base64_decode_any(text), std::nullopt) << text;
}

TEST(Percent, EncodesWhatAUrlKeepsForItself) { EXPECT_EQ(percent_encode("a/b ~é"), "a%2Fb%20~%C3%A9"); }

}  // namespace
}  // namespace grua
