// Streams of messages on a small terminal: what counts is what is on the screen in the end, not which bytes brought it there.
#include "cli/progress.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json.hpp>

namespace grua::cli {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// As much of a VT100 as the frames use; lines that leave the screen at its top are kept.
class Screen {
public:
    Screen(std::size_t rows, std::size_t columns) : rows_(rows), columns_(columns), lines_(1) {}

    void write(std::string_view text) {
        while (!text.empty()) {
            if (text.starts_with("\x1b[")) {
                const std::size_t end = text.find_first_of("ABJKm");
                ASSERT_NE(end, std::string_view::npos);
                control(text[end], parse_uint(text.substr(2, end - 2)).value_or(1));
                text.remove_prefix(end + 1);
                continue;
            }
            const char c = text[0];
            text.remove_prefix(1);
            if (c == '\r')
                column_ = 0;
            else if (c == '\n')
                line_feed();
            else
                put(c);
        }
    }

    std::vector<std::string> lines() const {
        std::vector<std::string> out;
        for (const std::string& line : lines_) out.push_back(line.substr(0, line.find_last_not_of(' ') + 1));
        while (!out.empty() && out.back().empty()) out.pop_back();
        return out;
    }
    std::string text() const { return join(lines(), "\n"); }
    std::size_t wrapped() const { return wrapped_; }
    std::size_t scrolled() const { return lines_.size() > rows_ ? lines_.size() - rows_ : 0; }
    bool coloured() const { return coloured_; }

private:
    void control(char command, std::uint64_t count) {
        if (command == 'A') {
            const std::size_t top = scrolled();
            row_ = row_ > top + count ? row_ - count : top;
        } else if (command == 'K') {
            lines_[row_].resize(std::min(lines_[row_].size(), column_));
        } else if (command == 'J') {
            lines_.resize(row_ + 1);
            lines_[row_].resize(std::min(lines_[row_].size(), column_));
        } else if (command == 'm') {
            coloured_ = true;
        }
    }
    void line_feed() {
        column_ = 0;
        if (++row_ == lines_.size()) lines_.emplace_back();
    }
    void put(char c) {
        const bool continues = (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
        if (!continues && display_width(lines_[row_].substr(0, column_)) >= columns_) {
            ++wrapped_;
            line_feed();
        }
        std::string& line = lines_[row_];
        if (line.size() <= column_) line.resize(column_ + 1, ' ');
        line[column_++] = c;
    }

    std::size_t rows_;
    std::size_t columns_;
    std::vector<std::string> lines_;
    std::size_t row_ = 0;
    std::size_t column_ = 0;
    std::size_t wrapped_ = 0;
    bool coloured_ = false;
};

ProgressStyle painted(unsigned rows, unsigned columns, bool colour = false, bool unicode = false) {
    return {.kind = ProgressStyle::Kind::painted, .colour = colour, .unicode = unicode, .size = {rows, columns}};
}

class Show {
public:
    explicit Show(ProgressStyle style) : view(style), screen(style.size.rows, style.size.columns) {}

    Show& say(std::string_view message, milliseconds later = milliseconds(100)) {
        time += later;
        emit(view.take(boost::json::parse(message), time));
        return *this;
    }
    Show& layer(std::string_view id, std::string_view status, std::int64_t current = 0, std::int64_t total = 0) {
        boost::json::object detail;
        if (current > 0) detail["current"] = current;
        if (total > 0) detail["total"] = total;
        return say(boost::json::serialize(boost::json::object{{"id", id}, {"status", status}, {"progressDetail", detail}}));
    }
    Show& wait(milliseconds later) {
        time += later;
        emit(view.tick(time));
        return *this;
    }
    Show& finish() {
        emit(view.finish(time));
        return *this;
    }
    void emit(const std::string& text) {
        written += text;
        screen.write(text);
    }

    ProgressView view;
    Screen screen;
    std::string written;
    ProgressView::Clock::time_point time{milliseconds(1'000'000)};
};

TEST(Progress, WithoutATerminalEachStateIsALine) {
    Show show({.kind = ProgressStyle::Kind::lines});
    show.say(R"({"status":"Pulling from library/busybox","id":"latest"})")
        .layer("aaa", "Pulling fs layer")
        .layer("bbb", "Already exists")
        .layer("aaa", "Downloading", 10, 100)
        .layer("aaa", "Downloading", 100, 100)
        .layer("aaa", "Verifying Checksum")
        .layer("aaa", "Download complete")
        .layer("aaa", "Extracting", 100, 100)
        .layer("aaa", "Pull complete")
        .say(R"({"status":"Digest: sha256:123"})")
        .say(R"({"status":"Status: Downloaded newer image for busybox:latest"})")
        .finish();
    EXPECT_EQ(show.written,
              "latest: Pulling from library/busybox\naaa: Pulling fs layer\nbbb: Already exists\naaa: Verifying Checksum\n"
              "aaa: Download complete\naaa: Pull complete\nDigest: sha256:123\nStatus: Downloaded newer image for busybox:latest\n");
}

TEST(Progress, QuietShowsOnlyWhatIsAResult) {
    Show show({.kind = ProgressStyle::Kind::quiet});
    show.layer("aaa", "Loading layer", 1, 2)
        .say(R"({"status":"Status: x"})")
        .say(R"({"stream":"Loaded image: busybox:latest\n"})")
        .finish();
    EXPECT_EQ(show.written, "Loaded image: busybox:latest\n");
}

TEST(Progress, AnErrorOfTheStreamIsThrownWithItsText) {
    for (const auto kind : {ProgressStyle::Kind::painted, ProgressStyle::Kind::lines, ProgressStyle::Kind::quiet}) {
        Show show({.kind = kind, .size = {24, 80}});
        show.layer("aaa", "Downloading", 1, 2);
        try {
            show.say(R"({"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"})");
            ADD_FAILURE();
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), "unexpected EOF");
        }
        EXPECT_THROW(show.say(R"({"error":"old form"})"), Error);
        show.finish();
    }
}

TEST(Progress, LinesAreRedrawnInPlace) {
    Show show(painted(24, 100));
    show.say(R"({"status":"Pulling from library/nginx","id":"latest","progressDetail":{}})")
        .layer("aaaaaaaaaaaa", "Pulling fs layer")
        .layer("bbbbbbbbbbbb", "Pulling fs layer")
        .layer("cccccccccccc", "Waiting");
    for (int step = 1; step <= 20; ++step) {
        show.layer("aaaaaaaaaaaa", "Downloading", step * 2'500'000, 100'000'000);
        show.layer("bbbbbbbbbbbb", "Downloading", step * 100'000, 4'000'000);
    }
    const auto lines = show.screen.lines();
    ASSERT_EQ(lines.size(), 5U);
    EXPECT_EQ(lines[0], "latest: Pulling from library/nginx");
    EXPECT_THAT(lines[1], StartsWith("aaaaaaaaaaaa  Downloading        ["));
    EXPECT_THAT(lines[1], HasSubstr("50MB/100MB"));
    EXPECT_THAT(lines[1], HasSubstr("12.5MB/s"));
    EXPECT_THAT(lines[2], HasSubstr("2MB/4MB"));
    EXPECT_EQ(lines[3], "cccccccccccc  Waiting");
    EXPECT_THAT(lines[4], StartsWith("Total         0 of 3             ["));
    EXPECT_THAT(lines[4], HasSubstr("52MB/104MB"));
    // The third layer's size is not known, so nobody can tell how long it takes.
    EXPECT_THAT(lines[4], Not(HasSubstr("left")));
    EXPECT_EQ(show.screen.wrapped(), 0U);
}

TEST(Progress, TheTotalTellsHowLongItTakes) {
    Show show(painted(24, 120));
    for (int step = 1; step <= 10; ++step) {
        show.layer("aaaaaaaaaaaa", "Downloading", step * 2'000'000, 100'000'000);
        show.layer("bbbbbbbbbbbb", "Downloading", step * 2'000'000, 100'000'000);
    }
    EXPECT_THAT(show.screen.lines().back(), HasSubstr("20MB/s"));
    EXPECT_THAT(show.screen.lines().back(), HasSubstr("8.0s left"));
}

TEST(Progress, WhatIsDoneKeepsItsSizeAndTheSumStaysBelow) {
    Show show(painted(24, 100));
    show.layer("aaaaaaaaaaaa", "Downloading", 1, 30'000'000).layer("bbbbbbbbbbbb", "Already exists");
    show.layer("aaaaaaaaaaaa", "Downloading", 30'000'000, 30'000'000);
    show.layer("aaaaaaaaaaaa", "Download complete").layer("aaaaaaaaaaaa", "Extracting", 15'000'000, 30'000'000);
    EXPECT_THAT(show.screen.lines()[0], HasSubstr("Extracting"));
    EXPECT_THAT(show.screen.lines()[0], HasSubstr("15MB/30MB"));
    show.layer("aaaaaaaaaaaa", "Pull complete");
    show.say(R"({"status":"Digest: sha256:abc"})").finish();
    const auto lines = show.screen.lines();
    ASSERT_EQ(lines.size(), 4U);
    EXPECT_THAT(lines[0], StartsWith("aaaaaaaaaaaa  Pull complete"));
    EXPECT_THAT(lines[0], testing::EndsWith(" 30MB"));
    EXPECT_EQ(lines[1], "bbbbbbbbbbbb  Already exists");
    EXPECT_THAT(lines[2], StartsWith("Total         30MB in 0.6s, "));
    EXPECT_EQ(lines[3], "Digest: sha256:abc");
}

TEST(Progress, NothingThatMovedHasNoSum) {
    Show show(painted(24, 80));
    show.layer("aaa", "Already exists").layer("bbb", "Already exists").say(R"({"status":"Digest: sha256:abc"})").finish();
    EXPECT_THAT(show.screen.lines(), ElementsAre("aaa    Already exists", "bbb    Already exists", "Digest: sha256:abc"));
}

TEST(Progress, ARemarkStandsAboveTheLinesThatGoOn) {
    Show show(painted(24, 80));
    show.layer("aaa", "Downloading", 1, 100).say(R"({"status":"rate limit: 3 pulls left"})").layer("aaa", "Downloading", 50, 100);
    const auto lines = show.screen.lines();
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[0], "rate limit: 3 pulls left");
    EXPECT_THAT(lines[1], StartsWith("aaa    Downloading"));
}

TEST(Progress, MoreLayersThanRowsNeverScroll) {
    Show show(painted(10, 80));
    for (int i = 0; i < 40; ++i) show.layer(fmt::format("layer{:07}", i), "Pulling fs layer");
    for (int i = 0; i < 30; ++i) {
        show.layer(fmt::format("layer{:07}", i), "Downloading", 5, 10);
        EXPECT_EQ(show.screen.scrolled(), 0U);
        show.layer(fmt::format("layer{:07}", i), "Pull complete");
    }
    show.layer("layer0000030", "Downloading", 5, 10);
    EXPECT_EQ(show.screen.scrolled(), 0U);
    const std::string text = show.screen.text();
    EXPECT_THAT(text, HasSubstr("layer0000030  Downloading"));
    EXPECT_THAT(text, HasSubstr("and 30 done, 4 waiting"));
    EXPECT_THAT(text, HasSubstr("Total         30 of 40"));
    // In the end all that began can be read.
    show.finish();
    EXPECT_EQ(show.screen.lines().size(), 33U);
    EXPECT_THAT(show.screen.text(), HasSubstr("and 9 waiting"));
}

TEST(Progress, NoWidthMakesALineWrap) {
    for (unsigned columns = 1; columns <= 160; ++columns) {
        for (const bool unicode : {false, true}) {
            Show show(painted(24, columns, false, unicode));
            show.layer("aaaaaaaaaaaa", "Downloading", 33'300'000, 1'234'000'000).layer("bbbbbbbbbbbb", "Retrying in 5 seconds");
            show.layer("a-rather-long-name/of/an:image", "Verifying Checksum").wait(milliseconds(600)).finish();
            EXPECT_EQ(show.screen.wrapped(), 0U) << columns;
            EXPECT_EQ(show.screen.lines().size(), 4U) << columns << "\n" << show.screen.text();
        }
    }
}

TEST(Progress, ANarrowerWindowIsRedrawnWhole) {
    Show show(painted(24, 120));
    show.layer("aaaaaaaaaaaa", "Downloading", 1'000, 10'000).layer("bbbbbbbbbbbb", "Downloading", 1'000, 10'000);
    // The terminal breaks each line of the frame in two, and the cursor moves down with them.
    Screen narrow(24, 60);
    for (const std::string& line : show.screen.lines())
        narrow.write(line.substr(0, 60) + "\n" + (line.size() > 60 ? line.substr(60) + "\n" : ""));
    show.view.resize({24, 60});
    show.screen = narrow;
    show.layer("aaaaaaaaaaaa", "Downloading", 5'000, 10'000);
    const auto lines = show.screen.lines();
    ASSERT_EQ(lines.size(), 3U) << show.screen.text();
    EXPECT_THAT(lines[0], HasSubstr("5kB/10kB"));
}

TEST(Progress, AStalledTransferIsSeen) {
    Show show(painted(24, 100));
    show.layer("aaa", "Downloading", 1'000, 10'000).layer("aaa", "Downloading", 2'000, 10'000).layer("aaa", "Downloading", 4'000, 10'000);
    EXPECT_THAT(show.screen.text(), HasSubstr("kB/s"));
    show.wait(milliseconds(4000));
    EXPECT_THAT(show.screen.text(), HasSubstr("stalled"));
}

TEST(Progress, ColoursAndBarsAreOnlyWhereTheyAreWanted) {
    Show plain(painted(24, 100));
    plain.layer("aaa", "Downloading", 50, 100).finish();
    EXPECT_FALSE(plain.screen.coloured());
    EXPECT_THAT(plain.written, Not(HasSubstr("━")));
    Show pretty(painted(24, 100, true, true));
    pretty.layer("aaa", "Downloading", 50, 100).finish();
    EXPECT_TRUE(pretty.screen.coloured());
    EXPECT_THAT(pretty.screen.text(), HasSubstr("━━━━━"));
}

TEST(Progress, ARemoteTextCannotMoveTheCursor) {
    Show show(painted(24, 80));
    show.say(R"({"id":"a\u001b[2Jb","status":"\u001b[31mred\u0007","progressDetail":{}})").say(R"({"status":"x\u001b[9Ay"})").finish();
    EXPECT_THAT(show.written, Not(HasSubstr("\x1b[2J")));
    EXPECT_THAT(show.written, Not(HasSubstr("\x1b[9A")));
}

TEST(Progress, UnitsOtherThanBytes) {
    Show show(painted(24, 100));
    show.say(R"({"id":"aaa","status":"Extracting","progressDetail":{"current":3,"units":"s"}})");
    EXPECT_THAT(show.screen.text(), HasSubstr(" 3 s"));
}

TEST(TransferRate, IsThatOfTheLastSeconds) {
    TransferRate rate;
    auto time = TransferRate::Clock::time_point(milliseconds(5000));
    EXPECT_EQ(rate.per_second(time), 0);
    std::int64_t bytes = 0;
    for (int i = 0; i < 100; ++i) rate.add(bytes += 100, time += milliseconds(100));
    EXPECT_NEAR(rate.per_second(time), 1000, 50);
    for (int i = 0; i < 100; ++i) rate.add(bytes += 500, time += milliseconds(100));
    EXPECT_NEAR(rate.per_second(time), 5000, 250);
    rate.add(1, time += milliseconds(100));
    EXPECT_EQ(rate.per_second(time), 0) << "it began again";
}

}  // namespace
}  // namespace grua::cli
