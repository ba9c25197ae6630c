// Rotated files that are packed, on their way and for who reads them.
#include "monitor/log_file.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "monitor/log_reader.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

class PackedLog : public testing::TestWithParam<LogFormat> {
protected:
    PackedLog() {
        std::string path = fs::temp_directory_path() / "grua-packed-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        path_ = folder_ + "/log";
    }
    ~PackedLog() override { fs::remove_all(folder_); }

    /// For two entries.
    static std::int64_t size() { return GetParam() == LogFormat::json ? 200 : 100; }
    std::unique_ptr<LogFile> open(int files = 9) const {
        return std::make_unique<LogFile>(path_, LogLimits{.max_size = size(), .max_files = files, .compress = true}, GetParam());
    }

    static void write(LogFile& log, int from, int to) {
        for (int i = from; i < to; ++i) {
            log.log({.text = fmt::format("{:060}", i), .time = Time{std::chrono::seconds(1'700'000'000 + i)}});
            log.flush();
        }
    }

    /// As the monitor hears of its children.
    static void let_it_pack(LogFile& log) {
        for (pid_t pid = 0; (pid = ::waitpid(-1, nullptr, 0)) > 0;) log.child_ended(pid);
    }

    std::vector<int> read(LogReaderOptions options = {}) const {
        options.path = path_;
        options.format = GetParam();
        LogReader reader(std::move(options));
        return rest_of(reader);
    }
    static std::vector<int> rest_of(LogReader& reader) {
        std::vector<int> out;
        while (const auto each = reader.next()) out.push_back(std::atoi(each->text.c_str()));
        return out;
    }
    static std::vector<int> numbers(int from, int to) {
        std::vector<int> out;
        for (int i = from; i < to; ++i) out.push_back(i);
        return out;
    }
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& each : fs::directory_iterator(folder_)) out.push_back(each.path().filename());
        std::ranges::sort(out);
        return out;
    }

    std::string folder_;
    std::string path_;
};

INSTANTIATE_TEST_SUITE_P(Formats, PackedLog, testing::Values(LogFormat::json, LogFormat::local),
                         [](const auto& format) { return format.param == LogFormat::json ? "Json" : "Local"; });

TEST_P(PackedLog, IsReadAsIfItWereNot) {
    const auto log = open();
    write(*log, 0, 7);
    let_it_pack(*log);
    EXPECT_THAT(names(), ElementsAre("log", "log.1.gz", "log.2.gz", "log.3.gz"));
    EXPECT_EQ(read(), numbers(0, 7));
    for (std::uint64_t tail = 0; tail < 9; ++tail)
        EXPECT_EQ(read({.path = {}, .tail = tail}), numbers(std::max(0, 7 - static_cast<int>(tail)), 7)) << tail;
    const auto time = [](int i) { return Time{std::chrono::seconds(1'700'000'000 + i)}; };
    EXPECT_EQ(read({.path = {}, .tail = {}, .since = time(3), .until = time(5)}), numbers(3, 6));
    LogReader sliced({.path = path_, .tail = 5, .format = GetParam()});
    std::vector<int> out;
    for (LogSlice slice{.entries = {}, .more = true}; slice.more;) {
        slice = sliced.slice(1, 50);
        for (const auto& each : slice.entries) out.push_back(std::atoi(each.text.c_str()));
    }
    EXPECT_EQ(out, numbers(2, 7));
    struct stat about{};
    ASSERT_EQ(::stat((path_ + ".1.gz").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 07777U, 0640U);
}

TEST_P(PackedLog, OthersCanReadIt) {
    const auto log = open();
    write(*log, 0, 3);
    let_it_pack(*log);
    EXPECT_EQ(std::system(fmt::format("gzip -t {}.1.gz && gunzip -c {}.1.gz > {}/out", path_, path_, folder_).c_str()), 0);
    EXPECT_TRUE(read_file(folder_ + "/out").contains(fmt::format("{:060}", 1)));
}

TEST_P(PackedLog, OldOnesGo) {
    const auto log = open(3);
    for (int i = 0; i < 20; i += 2) {
        write(*log, i, i + 2);
        let_it_pack(*log);
    }
    EXPECT_THAT(names(), ElementsAre("log", "log.1.gz", "log.2.gz"));
    EXPECT_EQ(read(), numbers(14, 20));
}

// While it packs, the files get other numbers: those of whom it was made count.
TEST_P(PackedLog, RotationDoesNotWaitForIt) {
    const auto log = open();
    write(*log, 0, 17);
    EXPECT_EQ(read(), numbers(0, 17));
    let_it_pack(*log);
    EXPECT_EQ(read(), numbers(0, 17));
    EXPECT_FALSE(fs::exists(path_ + ".5"));
    EXPECT_TRUE(fs::exists(path_ + ".8.gz"));
    EXPECT_FALSE(fs::exists(path_ + ".packed"));
}

TEST_P(PackedLog, WhatIsRotatedAwayMeanwhileIsNotPutBack) {
    const auto log = open(2);
    write(*log, 0, 3);
    write(*log, 3, 9);
    let_it_pack(*log);
    EXPECT_THAT(names(), ElementsAre("log", "log.1.gz"));
    EXPECT_EQ(read(), numbers(6, 9));
}

// A follower that holds a file does not get it again when that is packed.
TEST_P(PackedLog, AFollowerSeesEachLineOnce) {
    const auto log = open(200);
    LogReader behind({.path = path_, .tail = {}, .follow = true, .format = GetParam()});
    LogReader close({.path = path_, .tail = {}, .follow = true, .format = GetParam()});
    std::vector<int> all;
    for (int i = 0; i < 100; ++i) {
        write(*log, i, i + 1);
        if (i % 7 == 0) let_it_pack(*log);
        for (const int each : rest_of(close)) all.push_back(each);
        if (i == 30) EXPECT_EQ(behind.next()->text, fmt::format("{:060}\n", 0));
    }
    EXPECT_EQ(all, numbers(0, 100));
    EXPECT_EQ(rest_of(behind), numbers(1, 100));
}

TEST_P(PackedLog, OneWhosePackerWasKilledIsPackedLater) {
    const auto begin = [&] {
        for (const std::string& each : names()) fs::remove(folder_ + "/" + each);
        LogFile log(path_, {.max_size = size(), .max_files = 9}, GetParam());
        write(log, 0, 3);
    };
    begin();
    replace_file(path_ + ".packed.new", "half");
    {
        const auto log = open();
        let_it_pack(*log);
        EXPECT_THAT(names(), ElementsAre("log", "log.1.gz"));
        EXPECT_EQ(read(), numbers(0, 3));
    }
    // Packed, and not yet in its place.
    begin();
    make_archive(Fd(::open((path_ + ".1").c_str(), O_RDONLY | O_CLOEXEC)),
                 Fd(::open((path_ + ".packed").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640)));
    const auto log = open();
    EXPECT_THAT(names(), ElementsAre("log", "log.1.gz"));
    EXPECT_EQ(read(), numbers(0, 3));
}

// Builds for tests only have the points.
TEST_P(PackedLog, AWriterThatIsKilledAtAnyPointCostsNothing) {
    for (const char* point : {"log:rotate", "log:packed"}) {
        for (const std::string& each : names()) fs::remove(folder_ + "/" + each);
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::setenv("GRUA_CRASH_AT", point, 1);
            const auto log = open();
            write(*log, 0, 7);
            let_it_pack(*log);
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) GTEST_SKIP() << "there is no point " << point;
        const std::vector<int> before = read();
        EXPECT_EQ(before, numbers(0, point == std::string("log:rotate") ? 2 : 7)) << point;
        const auto log = open();
        const int next = before.back() + 1;
        write(*log, next, next + 7);
        let_it_pack(*log);
        EXPECT_EQ(read(), numbers(0, next + 7)) << point;
        for (const std::string& each : names()) EXPECT_TRUE(each == "log" || each.ends_with(".gz")) << point << ": " << each;
    }
}

TEST_P(PackedLog, InItsPlaceAndNotYetAlone) {
    const auto log = open();
    write(*log, 0, 3);
    const std::string plain = read_file(path_ + ".1");
    let_it_pack(*log);
    // It was killed before it removed what it had packed. (Another inode, as the test cannot keep it: so it is packed again.)
    replace_file(path_ + ".1", plain);
    EXPECT_EQ(read(), numbers(0, 3));
    write(*log, 3, 7);
    let_it_pack(*log);
    EXPECT_EQ(read(), numbers(0, 7));
    EXPECT_THAT(names(), ElementsAre("log", "log.1.gz", "log.2.gz", "log.3.gz"));
}

TEST_P(PackedLog, WithoutRoomItStaysAsItIs) {
    const auto log = open();
    fs::create_directory(path_ + ".packed.new");  // It cannot be made.
    write(*log, 0, 5);
    let_it_pack(*log);
    EXPECT_EQ(read(), numbers(0, 5));
    EXPECT_TRUE(fs::exists(path_ + ".1"));
    fs::remove(path_ + ".packed.new");
    write(*log, 5, 7);
    let_it_pack(*log);
    EXPECT_EQ(read(), numbers(0, 7));
    EXPECT_FALSE(fs::exists(path_ + ".1"));
}

TEST_P(PackedLog, OneThatIsBrokenCostsItsRestOnly) {
    const auto log = open();
    write(*log, 0, 7);
    let_it_pack(*log);
    const std::string whole = read_file(path_ + ".2.gz");
    replace_file(path_ + ".2.gz", whole.substr(0, whole.size() / 2));
    std::vector<int> out = read();
    EXPECT_EQ(std::vector<int>(out.begin(), out.begin() + 2), numbers(0, 2));
    EXPECT_EQ(std::vector<int>(out.end() - 3, out.end()), numbers(4, 7));
    for (const char* bad : {"", "x", "\x1f\x8b", "not gzip at all, and longer than a header"}) {
        replace_file(path_ + ".2.gz", bad);
        EXPECT_EQ(read(), (std::vector<int>{0, 1, 4, 5, 6})) << bad;
        EXPECT_EQ(read({.path = {}, .tail = 4}), (std::vector<int>{1, 4, 5, 6})) << bad;
    }
    // Docker's own: no field that says what it was made of.
    ASSERT_EQ(std::system(fmt::format("gunzip -c {0}.3.gz | gzip -c > {0}.2.gz", path_).c_str()), 0);
    EXPECT_EQ(read(), (std::vector<int>{0, 1, 0, 1, 4, 5, 6}));
}

}  // namespace
}  // namespace grua::monitor
