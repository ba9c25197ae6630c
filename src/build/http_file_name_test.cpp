#include "build/http_file_name.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

TEST(HttpFileName, IsNeverAPath) {
    struct Case {
        const char* url;
        const char* wanted;
        const char* disposition;
        const char* name;
    };
    const Case cases[] = {
        {"http://h/a/b.txt?x=/y#/z", "", "", "b.txt"},
        {"http://h/a/b/", "", "", "b"},
        {"http://h", "", "", "download"},
        {"http://h/", "", "", "download"},
        {"http://h/..", "", "", "download"},
        {"http://h/a%2F..%2Fb", "", "", "b"},
        {"http://h/a%0Ab", "", "", "download"},
        {"http://h/a", "other", "attachment; filename=c", "other"},
        {"http://h/a", "/x/../y", "", "y"},
        {"http://h/a", "..", "", "download"},
        {"http://h/a", "", "attachment; filename=c.tar", "c.tar"},
        {"http://h/a", "", "attachment; filename=\"c d.tar\"", "c d.tar"},
        {"http://h/a", "", "attachment; filename=\"/etc/passwd\"", "passwd"},
        {"http://h/a", "", "attachment; filename=\"../../x\"", "x"},
        {"http://h/a", "", "attachment; filename=\"x/\"", "a"},
        {"http://h/a", "", "attachment; filename=\"a\\\"b\"", "a\"b"},
        {"http://h/a", "", "attachment; filename=x; filename*=UTF-8''%c3%a4.txt", "\xc3\xa4.txt"},
        {"http://h/a", "", "attachment; filename*=latin1''x; filename=y", "y"},
        {"http://h/a", "", "attachment; filename=\"broken", "a"},
        {"http://h/a", "", "attachment filename=x", "a"},
        {"http://h/a", "", "attachment; ; =", "a"},
        {"http://h/a", "", "inline", "a"},
    };
    for (const Case& each : cases)
        EXPECT_EQ(http_file_name(each.url, each.wanted, each.disposition), each.name)
            << each.url << " " << each.wanted << " " << each.disposition;
}

TEST(HttpFileName, DatesAreRead) {
    const auto time = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT");
    ASSERT_TRUE(time);
    EXPECT_EQ(time->time_since_epoch(), std::chrono::seconds(784111777));
    EXPECT_EQ(format_http_date(*time), "Sun, 06 Nov 1994 08:49:37 GMT");
    EXPECT_EQ(format_http_date(Time{}), "Thu, 01 Jan 1970 00:00:00 GMT");
    for (const std::string& each : {std::string(), std::string("soon"), std::string(100, '1')}) EXPECT_FALSE(parse_http_date(each)) << each;
}

}  // namespace
}  // namespace grua::build
