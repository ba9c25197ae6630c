#include "base/error.hpp"
#include "base/files.hpp"
#include "monitor/log_reader.hpp"
#include "monitor/log_writer.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int64_t start_second = 1767323045;  // 2026-01-02T03:04:05Z

Time at(std::int64_t seconds, std::int64_t nanoseconds = 0) {
    return Time{std::chrono::seconds(start_second + seconds) + std::chrono::nanoseconds(nanoseconds)};
}

void append_log_entry(std::string& out, Stream stream, std::string_view text, Time time, LogFormat format = LogFormat::json,
                      const LogAttributes& attributes = {}) {
    const PartialMark goes_on{.id = "x"};
    LogLine line{.stream = stream, .text = text, .time = time, .part = &goes_on};
    if (text.ends_with('\n')) {
        line.text.remove_suffix(1);
        line.part = nullptr;
    }
    LogEncoder(format, attributes).append(out, line);
}

std::string entry(std::string_view text, Stream stream = Stream::standard_output) {
    std::string out;
    append_log_entry(out, stream, text, at(0));
    return out;
}

/// A log in a temporary folder of its own.
class LogTest : public testing::Test {
protected:
    LogTest() {
        std::string path = fs::temp_directory_path() / "grua-log-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        path_ = folder_ + "/c-json.log";
    }
    ~LogTest() override { fs::remove_all(folder_); }

    std::string path(int number = 0) const { return number == 0 ? path_ : fmt::format("{}.{}", path_, number); }
    std::string bytes(int number = 0) const { return read_file(path(number)); }

    /// Lines "0" to "<count - 1>", one second apart, in files of two lines each.
    void write_lines(int count, int max_files) const {
        const auto size = static_cast<std::int64_t>(entry("0\n").size());
        LogWriter writer(path_, {.max_size = 2 * size, .max_files = max_files});
        for (int i = 0; i < count; ++i) writer.add(Stream::standard_output, fmt::format("{}\n", i), at(i));
        writer.flush();
    }

    std::vector<std::string> read(LogReaderOptions options = {}) const {
        options.path = path_;
        LogReader reader(std::move(options));
        std::vector<std::string> out;
        while (const auto each = reader.next()) out.emplace_back(trim(each->text));
        EXPECT_TRUE(reader.ended());
        return out;
    }

    std::string folder_;
    std::string path_;
};

TEST(LogEntry, IsDockersJsonFile) {
    std::string out;
    append_log_entry(out, Stream::standard_output, "hello\n", at(0, 678901234));
    append_log_entry(out, Stream::standard_error, "no newline", at(0, 600000000));
    EXPECT_EQ(out,
              "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.678901234Z\"}\n"
              "{\"log\":\"no newline\",\"stream\":\"stderr\",\"time\":\"2026-01-02T03:04:05.6Z\"}\n");
}

TEST(LogEntry, Escapes) {
    const auto escaped = [](std::string_view text) {
        const std::string whole = entry(text);
        const std::string tail = entry("");
        return whole.substr(8, whole.size() - tail.size());
    };
    EXPECT_EQ(escaped("\"\\\n\r"), "\\\"\\\\\\n\\r");
    EXPECT_EQ(escaped("\t\x1b\x01<>&"), "\\u0009\\u001b\\u0001\\u003c\\u003e\\u0026");
    EXPECT_EQ(escaped(std::string_view("\0/\x7f", 3)), "\\u0000/\x7f");
    EXPECT_EQ(escaped("é\u2027\u2028\u2029\u202A\U0001F600"), "é\u2027\\u2028\\u2029\u202A\U0001F600");
}

TEST(LogEntry, WhatIsNotUtf8IsReplaced) {
    // As Go's utf8 counts: one replacement for each byte that begins no character.
    const std::pair<std::string_view, std::string_view> cases[] = {{"a\xff\x62", "a\uFFFDb"},
                                                                   {"\xc3", "\uFFFD"},
                                                                   {"\xc0\x80", "\uFFFD\uFFFD"},
                                                                   {"\xe2\x82", "\uFFFD\uFFFD"},
                                                                   {"\xe2\x82x", "\uFFFD\uFFFDx"},
                                                                   {"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xe0\x9f\xbf", "\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                                                                   {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
                                                                   {"\x80", "\uFFFD"}};
    for (const auto& [bytes, text] : cases) {
        const auto read = parse_log_line(trim(entry(bytes)));
        ASSERT_TRUE(read);
        EXPECT_EQ(read->text, text);
    }
}

TEST(LogEntry, EveryByteComesBack) {
    std::string all;
    for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
    const auto read = parse_log_line(trim(entry(all, Stream::standard_error)));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->text, all);
    EXPECT_TRUE(read->from_stderr);
    EXPECT_EQ(read->time, at(0));
}

TEST(LogEntry, WhatIsNone) {
    for (const char* bad : {"", "{", "null", "[]", "{}", R"({"log":"x","stream":"stdout"})", R"({"log":1,"time":"2026-01-02T03:04:05Z"})"})
        EXPECT_FALSE(parse_log_line(bad)) << bad;
    EXPECT_TRUE(parse_log_line(R"({"log":"x","stream":"stdout","attrs":{"tag":"a"},"time":"2026-01-02T03:04:05+01:00"})"));
}

TEST(LogEntry, HasAttributes) {
    std::string out;
    append_log_entry(out, Stream::standard_output, "hello\n", at(0), LogFormat::json, {{"tag", "a\"b"}, {"env", "é\xff<"}});
    EXPECT_EQ(out,
              "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"attrs\":{\"env\":\"é\\ufffd\\u003c\",\"tag\":\"a\\\"b\"},"
              "\"time\":\"2026-01-02T03:04:05Z\"}\n");
    const auto read = parse_log_line(trim(out));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->attributes, (LogAttributes{{"tag", "a\"b"}, {"env", "é\uFFFD<"}}));
    EXPECT_EQ(encode_attributes(read->attributes), "env=%C3%A9%EF%BF%BD%3C,tag=a%22b");
}

TEST(LogEntry, IsOneLineInTheLocalFormat) {
    std::string out;
    append_log_entry(out, Stream::standard_output, "hello\n", at(0, 678901), LogFormat::local);
    append_log_entry(out, Stream::standard_error, "no newline", at(0), LogFormat::local);
    append_log_entry(out, Stream::standard_output, "\n", Time{std::chrono::nanoseconds(-1)}, LogFormat::local, {{"a b", "c,d"}, {"e", ""}});
    EXPECT_EQ(out,
              "1767323045.000678901 o hello\n"
              "1767323045.000000000 E no newline\n"
              "-1.999999999 o?a+b=c%2Cd,e= \n");
}

TEST(LogEntry, EveryByteComesBackFromTheLocalFormat) {
    std::string all;
    for (int c = 0; c < 256; ++c)
        if (c != '\n') all += static_cast<char>(c);
    const LogAttributes attributes{{"every", all}, {"", "x=y"}};
    for (const LogAttributes& each : {LogAttributes{}, attributes})
        for (const Time time : {at(0), at(-3'000'000'000, 999'999'999), Time{}, Time{std::chrono::nanoseconds(-1)}}) {
            std::string out;
            append_log_entry(out, Stream::standard_error, all + "\n", time, LogFormat::local, each);
            ASSERT_EQ(out.back(), '\n');
            const auto read = parse_log_line(std::string_view(out).substr(0, out.size() - 1), LogFormat::local);
            ASSERT_TRUE(read);
            EXPECT_EQ(read->text, all + "\n");
            EXPECT_EQ(read->time, time);
            EXPECT_TRUE(read->from_stderr);
            EXPECT_EQ(read->attributes, each);
        }
}

TEST(LogEntry, WhatIsNoneInTheLocalFormat) {
    const std::string time = "1767323045.000000000";
    for (const std::string& bad :
         std::vector<std::string>{"", std::string(100, '\0'), "x", time, time + " ", time + " o", time + " x y", time + "o x",
                                  "1767323045.00000000 o x", "99999999999999999999.000000000 o x", time + " o?a=b", time + " o?a b",
                                  time + " o?a=%4 b", time + " o?a=%zz b", "1767323045.-00000001 o x", time + " ox"})
        EXPECT_FALSE(parse_log_line(bad, LogFormat::local)) << bad;
    EXPECT_EQ(parse_log_line(time + " o ", LogFormat::local)->text, "\n");
}

/// What a driver is given.
struct Given final : LogDriver {
    struct Line {
        std::string text;
        Time time;
        std::string id;
        int ordinal = 0;
        bool last = false;
    };
    void log(const LogLine& line) noexcept override {
        lines.push_back({.text = std::string(line.text), .time = line.time});
        if (line.part != nullptr)
            std::tie(lines.back().id, lines.back().ordinal, lines.back().last) =
                std::tie(line.part->id, line.part->ordinal, line.part->last);
    }
    void flush() noexcept override {}
    std::vector<Line> lines;
};

// As Docker's copier: the parts of a line have one ID and one time, and the last says that it is.
TEST(LogCutter, MarksParts) {
    auto driver = std::make_unique<Given>();
    const auto& lines = driver->lines;
    LogWriter writer;
    writer.add_driver(std::move(driver));
    const std::string part(longest_line_part, 'x');
    writer.add(Stream::standard_output, "whole\n" + part, at(1));
    writer.add(Stream::standard_output, part, at(2));
    writer.add(Stream::standard_output, "y\nnext\n", at(3));
    writer.add(Stream::standard_output, "open", at(4));
    writer.end(Stream::standard_output, at(5));
    ASSERT_EQ(lines.size(), 6U);
    EXPECT_EQ(lines[0].text, "whole");
    EXPECT_EQ(lines[0].id, "");
    for (int i = 1; i <= 3; ++i) {
        const auto& each = lines[static_cast<std::size_t>(i)];
        EXPECT_EQ(each.id, lines[1].id);
        EXPECT_EQ(each.ordinal, i);
        EXPECT_EQ(each.last, i == 3);
        EXPECT_EQ(each.time, at(1));
    }
    EXPECT_EQ(lines[1].id.size(), 64U);
    EXPECT_EQ(lines[3].text, "y");
    EXPECT_EQ(lines[4].id, "");
    EXPECT_EQ(lines[4].time, at(3));
    EXPECT_EQ(lines[5].text, "open");
    EXPECT_EQ(lines[5].ordinal, 1);
    EXPECT_FALSE(lines[5].last);
    EXPECT_NE(lines[5].id, lines[1].id);
}

TEST_F(LogTest, CutsIntoLines) {
    LogWriter writer(path_, {});
    writer.add(Stream::standard_output, "a\nb", at(0));
    writer.add(Stream::standard_error, "x", at(0));
    EXPECT_EQ(writer.unfinished(Stream::standard_output), "b");
    writer.add(Stream::standard_output, "c\n\n", at(0));
    writer.end(Stream::standard_error, at(0));
    writer.end(Stream::standard_output, at(0));
    EXPECT_EQ(bytes(), "");
    writer.flush();
    EXPECT_EQ(bytes(), entry("a\n") + entry("bc\n") + entry("\n") + entry("x", Stream::standard_error));
    struct stat about{};
    ASSERT_EQ(::stat(path_.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 07777U, 0640U);
}

TEST_F(LogTest, ALongLineBecomesParts) {
    LogWriter writer(path_, {});
    const std::string part(longest_line_part, 'x');
    writer.add(Stream::standard_output, part + part + "y\n", at(0));
    // In small reads, as from a slow program.
    for (std::size_t i = 0; i < part.size() + 10; ++i) writer.add(Stream::standard_output, "z", at(0));
    writer.add(Stream::standard_output, "\n", at(0));
    writer.flush();
    EXPECT_EQ(bytes(), entry(part) + entry(part) + entry("y\n") + entry(std::string(part.size(), 'z')) + entry("zzzzzzzzzz\n"));
}

TEST_F(LogTest, AnEmptyPathKeepsNothing) {
    LogWriter writer("", {});
    EXPECT_FALSE(writer.enabled());
    writer.add(Stream::standard_output, "a\nb", at(0));
    writer.end(Stream::standard_output, at(0));
    writer.flush();
    writer.reopen();
    EXPECT_EQ(writer.lost(), 0U);
}

TEST_F(LogTest, RotatesBySizeAndCount) {
    write_lines(9, 3);
    EXPECT_THAT(read(), ElementsAre("4", "5", "6", "7", "8"));
    EXPECT_EQ(fs::file_size(path(1)), 2 * entry("0\n").size());
    EXPECT_EQ(fs::file_size(path(2)), 2 * entry("0\n").size());
    EXPECT_FALSE(fs::exists(path(3)));
}

// F: the files that there are are renamed, not those that there might be.
TEST_F(LogTest, RotationDoesNotCountToTheLimit) {
    const auto began = std::chrono::steady_clock::now();
    write_lines(20, 1'000'000'000);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(10));
    EXPECT_EQ(read().size(), 20U);
    EXPECT_TRUE(fs::exists(path(9)));
}

TEST_F(LogTest, OneFileIsBegunAnew) {
    write_lines(5, 1);
    EXPECT_THAT(read(), ElementsAre("4"));
    EXPECT_FALSE(fs::exists(path(1)));
}

TEST_F(LogTest, NeverRotated) {
    LogWriter writer(path_, {.max_size = -1, .max_files = 2});
    for (int i = 0; i < 1000; ++i) writer.add(Stream::standard_output, "line\n", at(i));
    writer.flush();
    EXPECT_EQ(read().size(), 1000U);
    EXPECT_FALSE(fs::exists(path(1)));
}

TEST_F(LogTest, TailAcrossRotatedFiles) {
    write_lines(7, 5);
    EXPECT_THAT(read({.path = {}, .tail = 0}), IsEmpty());
    EXPECT_THAT(read({.path = {}, .tail = 1}), ElementsAre("6"));
    EXPECT_THAT(read({.path = {}, .tail = 2}), ElementsAre("5", "6"));
    EXPECT_THAT(read({.path = {}, .tail = 3}), ElementsAre("4", "5", "6"));
    EXPECT_THAT(read({.path = {}, .tail = 4}), ElementsAre("3", "4", "5", "6"));
    EXPECT_EQ(read({.path = {}, .tail = 7}).size(), 7U);
    EXPECT_EQ(read({.path = {}, .tail = 100}).size(), 7U);
}

TEST_F(LogTest, TailOfLongLines) {
    // Longer than a block that the reader looks at.
    LogWriter writer(path_, {});
    for (const char c : {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'})
        writer.add(Stream::standard_output, std::string(10000, c) + "\n", at(0));
    writer.flush();
    const auto last = read({.path = {}, .tail = 8});
    ASSERT_EQ(last.size(), 8U);
    EXPECT_EQ(last.front(), std::string(10000, 'c'));
}

TEST_F(LogTest, TailWithALastLineWithoutNewline) {
    LogWriter writer(path_, {});
    writer.add(Stream::standard_output, "a\nb\nprompt> ", at(0));
    writer.end(Stream::standard_output, at(0));
    writer.flush();
    LogReader reader({.path = path_, .tail = 2});
    EXPECT_EQ(reader.next()->text, "b\n");
    EXPECT_EQ(reader.next()->text, "prompt> ");
    EXPECT_FALSE(reader.next());
}

TEST_F(LogTest, AHalfEntryAtTheEndIsNoEntry) {
    replace_file(path_, entry("a\n") + entry("b\n") + R"({"log":"c)");
    EXPECT_THAT(read(), ElementsAre("a", "b"));
    EXPECT_THAT(read({.path = {}, .tail = 1}), ElementsAre("b"));
    EXPECT_THAT(read({.path = {}, .tail = 0}), IsEmpty());
}

TEST_F(LogTest, SinceAndUntilAreInclusive) {
    write_lines(7, 5);
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = at(4)}), ElementsAre("4", "5", "6"));
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = at(1, 1), .until = at(3)}), ElementsAre("2", "3"));
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = {}, .until = at(0, 1)}), ElementsAre("0"));
    EXPECT_THAT(read({.path = {}, .tail = 2, .since = at(6)}), ElementsAre("6"));
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = at(100)}), IsEmpty());
}

/// As many bytes as a reader looks at for what is as late as `since`, of a log of 100 MB in which an entry is a second.
TEST_F(LogTest, ALongLogIsSearchedByHalving) {
    for (const LogFormat format : {LogFormat::json, LogFormat::local}) {
        const int count = 100'000;
        std::string all;
        for (int i = 0; i < count; ++i) append_log_entry(all, Stream::standard_output, fmt::format("{:01000}\n", i), at(i), format);
        // What is no entry is no hindrance.
        all.insert(all.size() / 2 - 70'000, 150'000, 'z');
        replace_file(path_, all);
        for (const int wanted : {0, 1, 7, 1000, 49'900, 50'000, 70'000, count - 1}) {
            LogReader reader({.path = path_, .tail = {}, .since = at(wanted), .format = format});
            const LogSlice slice = reader.slice(1, std::size_t{2} << 20U);
            ASSERT_EQ(slice.entries.size(), 1U) << wanted;
            EXPECT_EQ(std::atoi(slice.entries.front().text.c_str()), wanted);
        }
        LogReader reader({.path = path_, .tail = {}, .since = at(count), .format = format});
        EXPECT_TRUE(reader.slice(1, std::size_t{2} << 20U).entries.empty());
    }
}

// What was rotated away before that time is not even read.
TEST_F(LogTest, OlderFilesAreLeftOut) {
    write_lines(7, 9);
    const std::array<timespec, 2> long_ago{timespec{.tv_sec = start_second + 1, .tv_nsec = 0},
                                           timespec{.tv_sec = start_second + 1, .tv_nsec = 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path(3).c_str(), long_ago.data(), 0), 0);
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = at(1)}), ElementsAre("1", "2", "3", "4", "5", "6"));
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = at(100)}), IsEmpty());
    EXPECT_THAT(read({.path = {}, .tail = {}, .since = at(6, 1)}), IsEmpty());
}

TEST_F(LogTest, NoLogIsAnEmptyOne) { EXPECT_THAT(read(), IsEmpty()); }

TEST_F(LogTest, InTheMiddleOfARotation) {
    write_lines(7, 5);
    // .3 has become .4, and .2 not yet .3; then the same further down.
    fs::rename(path(3), path(4));
    EXPECT_EQ(read().size(), 7U);
    fs::rename(path(2), path(3));
    EXPECT_EQ(read().size(), 7U);
    fs::rename(path(1), path(2));
    EXPECT_EQ(read().size(), 7U);
    fs::rename(path_, path(1));
    EXPECT_EQ(read().size(), 7U);
}

TEST_F(LogTest, AFollowerThatIsBehindLosesNoFileInTheMiddleOfARotation) {
    write_lines(2, 9);
    LogReader reader({.path = path_, .tail = {}, .follow = true});
    EXPECT_EQ(reader.next()->text, "0\n");
    EXPECT_EQ(reader.next()->text, "1\n");
    EXPECT_FALSE(reader.next());
    // Two rotations, and a third that stands before .1.
    fs::rename(path_, path(3));
    replace_file(path(2), entry("2\n"));
    replace_file(path_, entry("3\n"));
    EXPECT_EQ(reader.next()->text, "2\n");
    EXPECT_EQ(reader.next()->text, "3\n");
    EXPECT_FALSE(reader.next());
}

TEST_F(LogTest, FollowBeginsBeforeTheLogDoes) {
    LogReader reader({.path = path_, .tail = 5, .follow = true});
    EXPECT_FALSE(reader.next());
    EXPECT_FALSE(reader.ended());
    write_lines(5, 9);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(reader.next()->text, fmt::format("{}\n", i));
    EXPECT_FALSE(reader.next());
}

TEST_F(LogTest, FollowEndsAtUntil) {
    LogReader reader({.path = path_, .tail = {}, .since = {}, .until = at(1), .follow = true});
    write_lines(3, 9);
    EXPECT_EQ(reader.next()->text, "0\n");
    EXPECT_EQ(reader.next()->text, "1\n");
    EXPECT_FALSE(reader.next());
    EXPECT_TRUE(reader.ended());
}

TEST_F(LogTest, FollowSeesEveryLineOnceAcrossRotation) {
    constexpr int count = 3000;
    LogReader reader({.path = path_, .tail = {}, .follow = true});
    const std::jthread writing([this] {
        // In files of about forty lines.
        LogWriter writer(path_, {.max_size = 3000, .max_files = 200});
        for (int i = 0; i < count; ++i) {
            writer.add(Stream::standard_output, fmt::format("{}\n", i), now());
            if (i % 3 == 0) writer.flush();
        }
        writer.flush();
    });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (int i = 0; i < count;) {
        if (const auto each = reader.next()) {
            ASSERT_EQ(each->text, fmt::format("{}\n", i));
            ++i;
            continue;
        }
        ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "after line " << i;
        std::this_thread::yield();
    }
    EXPECT_FALSE(reader.next());
}

TEST_F(LogTest, ReadersThatComeDuringRotationSeeARunOfLines) {
    std::jthread writing([this](const std::stop_token& stop) {
        LogWriter writer(path_, {.max_size = 3000, .max_files = 8});
        for (int i = 0; !stop.stop_requested(); ++i) {
            writer.add(Stream::standard_output, fmt::format("{}\n", i), now());
            writer.flush();
            if (i % 100 == 0) std::this_thread::yield();
        }
    });
    for (int turn = 0; turn < 200; ++turn) {
        std::optional<std::int64_t> last;
        for (const std::string& each : read()) {
            const auto number = parse_int(each);
            ASSERT_TRUE(number);
            if (last) ASSERT_EQ(*number, *last + 1);
            last = number;
        }
    }
}

/// All that it has, in slices; how many there were.
int read_in_slices(LogReader& reader, std::size_t entries, std::size_t size, std::vector<std::string>& out) {
    for (int count = 1;; ++count) {
        const LogSlice slice = reader.slice(entries, size);
        EXPECT_LE(slice.entries.size(), entries);
        for (const LogEntry& each : slice.entries) out.emplace_back(trim(each.text));
        if (!slice.more) return count;
    }
}

TEST_F(LogTest, SlicesAreTheSameAsAll) {
    write_lines(500, 300);
    for (const auto& tail : {std::optional<std::uint64_t>{}, std::optional<std::uint64_t>{0}, std::optional<std::uint64_t>{77},
                             std::optional<std::uint64_t>{499}, std::optional<std::uint64_t>{501}}) {
        const auto all = read({.path = {}, .tail = tail});
        LogReader reader({.path = path_, .tail = tail});
        std::vector<std::string> sliced;
        EXPECT_GT(read_in_slices(reader, 7, 100, sliced), static_cast<int>(all.size() / 7));
        EXPECT_EQ(sliced, all);
        EXPECT_TRUE(reader.ended());
    }
}

// C2: what is asked for may be nowhere in a log of gigabytes; a slice of the search has an end all the same.
TEST_F(LogTest, ASliceEndsWhereNothingIsFound) {
    {
        LogWriter writer(path_, {.max_size = -1});
        for (int i = 0; i < 20'000; ++i) writer.add(Stream::standard_output, std::string(100, 'x') + "\n", at(0));
        writer.flush();
    }
    LogReader early({.path = path_, .tail = {}, .since = at(1000)});
    std::vector<std::string> out;
    EXPECT_LT(read_in_slices(early, 10, std::size_t{256} << 10U, out), 8);  // Most of it is not even read.
    LogReader other({.path = path_, .tail = {}, .use_stdout = false});
    EXPECT_GT(read_in_slices(other, 10, std::size_t{256} << 10U, out), 8);
    LogReader tail({.path = path_, .tail = 19'999});
    EXPECT_TRUE(tail.slice(1, std::size_t{64} << 10U).entries.empty());
    EXPECT_THAT(out, IsEmpty());
    read_in_slices(tail, 1000, std::size_t{64} << 10U, out);
    EXPECT_EQ(out.size(), 19'999U);
}

TEST_F(LogTest, OneStreamIsChosen) {
    LogWriter writer(path_, {});
    writer.add(Stream::standard_output, "a\n", at(0));
    writer.add(Stream::standard_error, "b\n", at(0));
    writer.flush();
    EXPECT_THAT(read({.path = {}, .tail = {}, .use_stderr = false}), ElementsAre("a"));
    EXPECT_THAT(read({.path = {}, .tail = {}, .use_stdout = false}), ElementsAre("b"));
}

std::int64_t resident_bytes() {
    const auto words = split(read_file("/proc/self/statm"), ' ');
    return parse_int(words.at(1)).value_or(0) * ::sysconf(_SC_PAGESIZE);
}

// C2: three gigabytes without a newline, as a crash of the machine or a careless hand leaves them.
TEST_F(LogTest, AHoleInTheLogTakesNeitherMemoryNorTime) {
    const std::string first = entry("first\n");
    const std::string last = entry("last\n") + entry("very last\n");
    const std::int64_t hole = std::int64_t{3} << 30U;
    const Fd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::pwrite(file.get(), first.data(), first.size(), 0), static_cast<ssize_t>(first.size()));
    ASSERT_EQ(::ftruncate(file.get(), hole), 0);
    const std::int64_t before = resident_bytes();
    const auto read_tail = [&] {
        const auto began = std::chrono::steady_clock::now();
        auto out = read({.path = {}, .tail = 2});
        EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
        EXPECT_LT(resident_bytes() - before, std::int64_t{16} << 20U);
        return out;
    };
    EXPECT_THAT(read_tail(), IsEmpty());
    // The entry that the hole is a part of is none.
    const std::string end = "\n" + last;
    ASSERT_EQ(::pwrite(file.get(), end.data(), end.size(), hole), static_cast<ssize_t>(end.size()));
    EXPECT_THAT(read_tail(), ElementsAre("last", "very last"));
    EXPECT_THAT(read({.path = {}, .tail = 3}), ElementsAre("last", "very last"));
    LogReader all({.path = path_, .tail = {}});
    EXPECT_EQ(all.slice(10, std::size_t{1} << 20U).entries.size(), 1U);
    EXPECT_LT(resident_bytes() - before, std::int64_t{16} << 20U);
}

TEST_F(LogTest, ALineThatIsTooLongIsNoEntry) {
    const std::string fits = R"({"log":"a","stream":"stdout","time":"2026-01-02T03:04:05Z","x":")";
    const auto line = [&](std::size_t size) { return fits + std::string(size - fits.size() - 2, 'x') + "\"}\n"; };
    for (const std::size_t size : {longest_log_line - 1, longest_log_line, longest_log_line + 1, longest_log_line * 3}) {
        replace_file(path_, entry("1\n") + line(size) + entry("2\n"));
        const auto out = read();
        EXPECT_EQ(out.size(), size <= longest_log_line ? 3U : 2U) << size;
        EXPECT_EQ(out.back(), "2");
    }
}

TEST_F(LogTest, AWriterAfterAKilledOneGoesOn) {
    replace_file(path_, entry("a\n"));
    {
        LogWriter writer(path_, {});
        writer.add(Stream::standard_output, "b\n", at(0));
        writer.flush();
    }
    EXPECT_EQ(bytes(), entry("a\n") + entry("b\n"));
    // The host went down in the middle of a write.
    replace_file(path_, entry("a\n") + R"({"log":"half an ent)");
    LogWriter writer(path_, {});
    writer.add(Stream::standard_output, "b\n", at(0));
    writer.flush();
    EXPECT_THAT(read(), ElementsAre("a", "b"));
}

TEST_F(LogTest, ReopensWhatSomebodyElseRenamed) {
    LogWriter writer(path_, {});
    writer.add(Stream::standard_output, "a\n", at(0));
    writer.flush();
    fs::rename(path_, folder_ + "/elsewhere");
    writer.add(Stream::standard_output, "b\n", at(0));
    writer.reopen();
    writer.add(Stream::standard_output, "c\n", at(0));
    writer.flush();
    EXPECT_EQ(read_file(folder_ + "/elsewhere"), entry("a\n") + entry("b\n"));
    EXPECT_EQ(bytes(), entry("c\n"));
}

TEST_F(LogTest, ALinkIsNotFollowed) {
    fs::create_symlink(folder_ + "/target", path_);
    EXPECT_THROW(LogWriter(path_, {}), Error);
    EXPECT_FALSE(fs::exists(folder_ + "/target"));
}

TEST_F(LogTest, ARotationThatFailsLosesNothing) {
    const auto size = static_cast<std::int64_t>(entry("0\n").size());
    LogWriter writer(path_, {.max_size = size, .max_files = 3});
    writer.add(Stream::standard_output, "0\n", at(0));
    writer.flush();
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 1; i < 9; ++i) {
        writer.add(Stream::standard_output, fmt::format("{}\n", i), at(0));
        writer.flush();
    }
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_THAT(read(), ElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8"));
    writer.add(Stream::standard_output, "9\n", at(0));
    writer.flush();
    EXPECT_EQ(read().back(), "9");
    EXPECT_EQ(fs::file_size(path_), static_cast<std::uintmax_t>(size));
}

TEST_F(LogTest, AFullDiskCostsEntriesOnly) {
    LogWriter writer("/dev/full", {});
    writer.add(Stream::standard_output, "a\n", at(0));
    writer.flush();
    EXPECT_EQ(writer.lost(), 1U);
    writer.add(Stream::standard_output, "b\n", at(0));
    writer.flush();
    EXPECT_EQ(writer.lost(), 2U);
}

/// As a disk on which a file can have so many bytes.
class Room {
public:
    explicit Room(std::size_t bytes) {
        (void)std::signal(SIGXFSZ, SIG_IGN);
        EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &before_), 0);
        const rlimit room{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &room), 0);
    }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
    ~Room() {
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before_), 0);
        (void)std::signal(SIGXFSZ, SIG_DFL);
    }

private:
    rlimit before_{};
};

TEST_F(LogTest, WhatHasRoomStaysAndTheRestIsTold) {
    LogWriter writer(path_, {});
    const auto write = [&](int from, int to) {
        for (int i = from; i < to; ++i) writer.add(Stream::standard_output, fmt::format("{}\n", i), at(0));
        writer.flush();
    };
    {
        const Room room{entry("0\n").size() * 5 / 2};
        write(0, 5);
        write(5, 7);
        EXPECT_EQ(bytes(), entry("0\n") + entry("1\n"));
    }
    EXPECT_EQ(writer.lost(), 5U);
    EXPECT_THAT(writer.take_news(), ElementsAre(path_ + ": File too large, and lines are left out"));
    write(7, 8);
    EXPECT_THAT(read(), ElementsAre("0", "1", "7"));
    // Room may come and go many times a second.
    EXPECT_THAT(writer.take_news(), IsEmpty());
    std::this_thread::sleep_for(std::chrono::milliseconds(1050));
    write(8, 9);
    EXPECT_THAT(writer.take_news(), ElementsAre(path_ + ": it is written again; 5 lines were left out in all"));
    EXPECT_EQ(writer.lost(), 5U);
    writer.end();
    EXPECT_THAT(writer.take_news(), IsEmpty());
}

TEST_F(LogTest, WhatWasLeftOutIsToldAtTheEndAtTheLatest) {
    LogWriter writer(path_, {});
    {
        const Room room{entry("0\n").size() * 5 / 2};
        for (int i = 0; i < 5; ++i) writer.add(Stream::standard_output, fmt::format("{}\n", i), at(0));
        writer.flush();
    }
    EXPECT_THAT(writer.take_news(), ElementsAre(path_ + ": File too large, and lines are left out"));
    writer.add(Stream::standard_output, "5\n", at(0));
    writer.end();
    EXPECT_THAT(read(), ElementsAre("0", "1", "5"));
    EXPECT_THAT(writer.take_news(), ElementsAre(path_ + ": 3 lines were left out in all"));
}

// There is room for a part of an entry only, again and again.
TEST_F(LogTest, HalfAnEntryThatWasTakenBackIsNoPartOfTheNextOne) {
    for (const LogFormat format : {LogFormat::json, LogFormat::local}) {
        std::string first;
        std::string second;
        append_log_entry(first, Stream::standard_output, "first\n", at(0), format);
        append_log_entry(second, Stream::standard_output, "second, which is longer\n", at(1), format);
        replace_file(path_, first);
        LogReader reader({.path = path_, .tail = {}, .follow = true, .format = format});
        EXPECT_EQ(reader.next()->text, "first\n");
        const Fd file{::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC)};
        for (std::size_t half = 1; half < first.size(); ++half) {
            ASSERT_EQ(::write(file.get(), first.data(), half), static_cast<ssize_t>(half));
            EXPECT_FALSE(reader.next());
            ASSERT_EQ(::ftruncate(file.get(), static_cast<off_t>(first.size())), 0);
            if (half % 2 == 0) EXPECT_FALSE(reader.next());
        }
        ASSERT_EQ(::write(file.get(), second.data(), second.size()), static_cast<ssize_t>(second.size()));
        const auto entry = reader.next();
        ASSERT_TRUE(entry);
        EXPECT_EQ(entry->text, "second, which is longer\n");
        EXPECT_FALSE(reader.next());
    }
}

TEST_F(LogTest, LinesThatAreNoEntriesAreCounted) {
    replace_file(path_, entry("a\n") + "broken\n\n" + std::string(100, '\0') + "\n" + entry("b\n") +
                            std::string(longest_log_line + 5, 'z') + "\n" + entry("c\n"));
    LogReader reader({.path = path_, .tail = {}});
    LogSlice slice = reader.slice(2, std::size_t{4} << 20U);
    EXPECT_EQ(slice.entries.size(), 2U);
    EXPECT_EQ(slice.broken, 2U);
    slice = reader.slice(2, std::size_t{4} << 20U);
    EXPECT_EQ(slice.entries.size(), 1U);
    EXPECT_EQ(slice.broken, 1U);
}

}  // namespace
}  // namespace grua::monitor
