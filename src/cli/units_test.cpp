#include "cli/units.hpp"

#include "base/error.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"
#include "cli/terminal.hpp"

#include <gtest/gtest.h>
#include <array>
#include <boost/json.hpp>

namespace grua::cli {
namespace {

TEST(Units, Sizes) {
    EXPECT_EQ(parse_size("64m"), 64 << 20);
    EXPECT_EQ(parse_size("1.5g"), 1610612736);
    EXPECT_EQ(parse_size("10 KiB"), 10240);
    EXPECT_EQ(parse_size("7"), 7);
    EXPECT_EQ(parse_size("7b"), 7);
    EXPECT_EQ(parse_size("-1"), -1);
    for (const char* bad : {"", "x", "-5", "1x", "1mm", "1.2.3", "m"}) EXPECT_THROW(parse_size(bad), Error) << bad;
    EXPECT_EQ(human_size(0), "0B");
    EXPECT_EQ(human_size(1234567), "1.235MB");
    EXPECT_EQ(human_size(1984321, 3), "1.98MB");
    EXPECT_EQ(binary_size(64 << 20), "64MiB");
    EXPECT_EQ(binary_size(1000), "1000B");
}

TEST(Units, Durations) {
    EXPECT_EQ(parse_duration("1m30s"), 90'000'000'000);
    EXPECT_EQ(parse_duration("10ms"), 10'000'000);
    EXPECT_EQ(parse_duration("1.5h"), 5'400'000'000'000);
    EXPECT_EQ(parse_duration("-2s"), -2'000'000'000);
    EXPECT_EQ(parse_duration("0"), 0);
    for (const char* bad : {"", "5", "s", "5x", "1s2"}) EXPECT_THROW(parse_duration(bad), Error) << bad;
    EXPECT_EQ(human_duration(0), "Less than a second");
    EXPECT_EQ(human_duration(59), "59 seconds");
    EXPECT_EQ(human_duration(61), "About a minute");
    EXPECT_EQ(human_duration(3600), "About an hour");
    EXPECT_EQ(human_duration(47 * 3600), "47 hours");
    EXPECT_EQ(human_duration(3 * 24 * 3600), "3 days");
    EXPECT_EQ(human_duration(60 * 24 * 3600), "2 months");
}

TEST(Units, Cpus) {
    EXPECT_EQ(parse_cpus("1.5"), 1'500'000'000);
    EXPECT_EQ(parse_cpus("0.001"), 1'000'000);
    EXPECT_THROW(parse_cpus("x"), Error);
    EXPECT_THROW(parse_cpus("0.0000000001"), Error);
}

TEST(Units, Timestamps) {
    EXPECT_EQ(timestamp_argument("1700000000"), "1700000000");
    EXPECT_EQ(timestamp_argument("2023-11-14T22:13:20Z"), "1700000000.000000000");
    EXPECT_EQ(timestamp_argument("2023-11-14T22:13:20.5Z"), "1700000000.500000000");
    EXPECT_THROW(timestamp_argument("yesterday"), Error);
}

TEST(Units, Ellipsis) {
    EXPECT_EQ(ellipsis("abcdef", 4), "abc…");
    EXPECT_EQ(ellipsis("abcd", 4), "abcd");
    EXPECT_EQ(ellipsis("äöüß", 3), "äö…");
    EXPECT_EQ(display_width("äö…"), 3U);
}

TEST(Table, ColumnsAreAsWideAsTheirLongestCell) {
    EXPECT_EQ(align_columns("A\tB\nlonger than ten\tx\n"), "A                 B\nlonger than ten   x\n");
    EXPECT_EQ(align_columns("A\tB\n"), "A         B\n");
    EXPECT_EQ(align_columns("ä\tB\n"), "ä         B\n");
    EXPECT_EQ(align_columns("title\na\tb\n"), "title\na         b\n");
}

constexpr std::array headings{Heading{"ID", "CONTAINER ID"}, Heading{"Names", "NAMES"}};

TEST(Rows, FormatsAreDockers) {
    const Listing listing{.default_table = "{{.ID}}\t{{.Names}}", .headings = headings};
    const std::vector<Value> rows{boost::json::object{{"Names", "web"}, {"ID", "1"}}};
    EXPECT_EQ(render_rows(listing, "", rows), "CONTAINER ID   NAMES\n1              web\n");
    EXPECT_EQ(render_rows(listing, "table {{upper .Names}}\\t{{json .ID}}", rows), "NAMES     CONTAINER ID\nWEB       \"1\"\n");
    EXPECT_EQ(render_rows(listing, "json", rows), "{\"ID\":\"1\",\"Names\":\"web\"}\n");
    EXPECT_EQ(render_rows(listing, "{{.ID}}:{{.Names}}", rows), "1:web\n");
    EXPECT_THROW(render_rows(listing, "{{.Nope}}", rows), Error);
}

TEST(Documents, MayLackWhatDockerLeavesOut) {
    EXPECT_EQ(render_document("{{if .Health}}yes{{else}}no{{end}}", boost::json::object()), "no");
    EXPECT_THROW(render_document("{{.Typo}}", boost::json::object()), Error);
}

TEST(DetachKeys, AreLettersAndControlCharacters) {
    EXPECT_EQ(parse_detach_keys("ctrl-p,ctrl-q"), "\x10\x11");
    EXPECT_EQ(parse_detach_keys("a,ctrl-["), "a\x1b");
    EXPECT_THROW(parse_detach_keys("ctrl-"), Error);
    EXPECT_THROW(parse_detach_keys("shift-a"), Error);
}

}  // namespace
}  // namespace grua::cli
