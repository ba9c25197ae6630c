#include "client/endpoint.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>

namespace grua::client {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view text) {
    try {
        parse_endpoint(text);
    } catch (const Error& error) {
        return error.what();
    }
    return "taken";
}

TEST(Endpoint, OfEachKindIsTextAgain) {
    for (const char* text :
         {"unix:///run/x.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2376", "ssh://host", "ssh://me@host:2222", "ssh://me@host/run/x.sock"})
        EXPECT_EQ(parse_endpoint(text).text(), text);
    EXPECT_EQ(parse_endpoint("/run/x.sock").text(), "unix:///run/x.sock");
    EXPECT_EQ(parse_endpoint("ssh://host/").path, "");
    EXPECT_EQ(parse_endpoint("ssh://[fd00::1]:22").address, "fd00::1");
}

TEST(Endpoint, ThatIsNoneIsRefused) {
    EXPECT_THAT(refusal("ssh://-oProxyCommand=x/"), HasSubstr("no name of a host"));
    EXPECT_THAT(refusal("ssh://-x@host"), HasSubstr("no name of a user"));
    EXPECT_THAT(refusal("ssh://@host"), HasSubstr("no name of a user"));
    EXPECT_THAT(refusal("ssh://me:secret@host"), HasSubstr("plain-text password is not supported"));
    EXPECT_THAT(refusal("ssh://"), HasSubstr("no host specified"));
    EXPECT_THAT(refusal("ssh://host:0"), HasSubstr("invalid port"));
    EXPECT_THAT(refusal("ssh://host:x"), HasSubstr("invalid port"));
    EXPECT_THAT(refusal("ssh://host?x"), HasSubstr("a query or a fragment"));
    EXPECT_THAT(refusal("https://host"), HasSubstr("--tlsverify"));
    EXPECT_THAT(refusal("ftp://host"), HasSubstr("Invalid bind address protocol"));
}

}  // namespace
}  // namespace grua::client
