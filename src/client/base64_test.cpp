#include "client/base64.hpp"

#include <gtest/gtest.h>

namespace grua::client {
namespace {

TEST(Base64, RoundTrips) {
    EXPECT_EQ(base64_encode(""), "");
    EXPECT_EQ(base64_encode("f"), "Zg==");
    EXPECT_EQ(base64_encode("fo"), "Zm8=");
    EXPECT_EQ(base64_encode("foo"), "Zm9v");
    EXPECT_EQ(base64_encode("\xfb\xff\xfe"), "+//+");
    EXPECT_EQ(base64url_encode("\xfb\xff\xfe"), "-__-");
    EXPECT_EQ(base64url_encode("{}"), "e30=");
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

}  // namespace
}  // namespace grua::client
