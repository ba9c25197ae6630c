#include "cli/build/display.hpp"

#include "base/encoding.hpp"
#include "cli/template.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <boost/json.hpp>
#include <cstring>

namespace grua::cli {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t begin = 1'700'000'000;

Time at(std::chrono::nanoseconds after) { return Time(std::chrono::seconds(begin)) + after; }

/// What an engine tells, piece by piece.
class Told {
public:
    Told& step(const std::string& digest, const std::string& name, std::optional<std::chrono::nanoseconds> started = {},
               std::optional<std::chrono::nanoseconds> completed = {}) {
        vertex_ = told_.add_vertexes();
        vertex_->set_digest(digest);
        vertex_->set_name(name);
        if (started) *vertex_->mutable_started() = time(*started);
        if (completed) *vertex_->mutable_completed() = time(*completed);
        return *this;
    }
    Told& cached() {
        vertex_->set_cached(true);
        return *this;
    }
    Told& error(const std::string& text) {
        vertex_->set_error(text);
        return *this;
    }
    Told& in_group(const std::string& id, const std::string& name, bool weak = false) {
        vertex_->mutable_progressgroup()->set_id(id);
        vertex_->mutable_progressgroup()->set_name(name);
        vertex_->mutable_progressgroup()->set_weak(weak);
        return *this;
    }
    Told& log(const std::string& digest, const std::string& text, std::chrono::nanoseconds when) {
        auto& log = *told_.add_logs();
        log.set_vertex(digest);
        log.set_msg(text);
        log.set_stream(1);
        *log.mutable_timestamp() = time(when);
        return *this;
    }
    Told& status(const std::string& digest, const std::string& id, std::int64_t current, std::int64_t total, std::chrono::nanoseconds when,
                 bool is_done = false) {
        auto& status = *told_.add_statuses();
        status.set_vertex(digest);
        status.set_id(id);
        status.set_current(current);
        status.set_total(total);
        *status.mutable_started() = time(0ns);
        *status.mutable_timestamp() = time(when);
        if (is_done) *status.mutable_completed() = time(when);
        return *this;
    }
    Told& warning(const std::string& digest, const std::string& text) {
        auto& warning = *told_.add_warnings();
        warning.set_vertex(digest);
        warning.set_short_(text);
        return *this;
    }
    operator const wire::control::StatusResponse&() const { return told_; }

private:
    static wire::common::Timestamp time(std::chrono::nanoseconds after) {
        wire::common::Timestamp out;
        out.set_seconds(begin + after / 1s);
        out.set_nanos(static_cast<std::int32_t>((after % 1s).count()));
        return out;
    }
    wire::control::StatusResponse told_;
    wire::control::Vertex* vertex_ = nullptr;
};

TEST(PlainDisplay, ABuildAsDockerWritesIt) {
    PlainDisplay display;
    std::string out = display.take(Told().step("a", "[internal] load build definition from Dockerfile"), at(0ns));
    EXPECT_EQ(out, "");
    out += display.take(Told().step("a", "[internal] load build definition from Dockerfile", 0ns), at(200ms));
    out += display.take(Told()
                            .status("a", "transferring dockerfile:", 113, 0, 5ms, true)
                            .step("a", "[internal] load build definition from Dockerfile", 0ns, 30ms),
                        at(400ms));
    out += display.take(Told().step("b", "[1/3] FROM docker.io/library/alpine", 40ms, 40ms).cached(), at(600ms));
    out += display.take(Told().step("c", "[2/3] RUN make", 50ms).log("c", "one\ntwo", 100ms), at(800ms));
    out += display.take(Told().log("c", " more\nthree\n", 12s).step("c", "[2/3] RUN make", 50ms, 12s + 50ms), at(1s));
    out += display.finish(at(13s));
    EXPECT_EQ(out,
              "#0 building with \"default\" instance using grua driver\n\n"
              "#1 [internal] load build definition from Dockerfile\n"
              "#1 transferring dockerfile: 113B done\n"
              "#1 DONE 0.0s\n"
              "\n#2 [1/3] FROM docker.io/library/alpine\n"
              "#2 CACHED\n"
              "\n#3 [2/3] RUN make\n"
              "#3 0.050 one\n"
              "#3 0.050 two more\n"
              "#3 11.95 three\n"
              "#3 DONE 12.0s\n");
}

TEST(PlainDisplay, AFailureIsToldOnceMoreAtTheEnd) {
    PlainDisplay display;
    std::string out = display.take(Told()
                                       .step("a", "RUN false", 0ns)
                                       .log("a", "bad\n", 250ms)
                                       .step("a", "RUN false", 0ns, 300ms)
                                       .error("process \"/bin/sh -c false\" did not complete successfully: exit code: 1"),
                                   at(0ns));
    out += display.take(Told().step("b", "RUN other", 0ns, 300ms).error("context canceled"), at(1s));
    const std::string end = display.finish(at(2s));
    EXPECT_THAT(out, HasSubstr("#1 0.250 bad\n#1 ERROR: process \"/bin/sh -c false\" did not complete successfully: exit code: 1\n"));
    EXPECT_THAT(out, HasSubstr("#2 CANCELED\n"));
    EXPECT_EQ(end, "------\n > RUN false:\n0.250 bad\n------\n");
}

TEST(PlainDisplay, StepsTakeTurns) {
    PlainDisplay display;
    std::string out = display.take(Told().step("a", "first", 0ns).log("a", "a1\n", 0ns), at(0ns));
    out += display.take(Told().step("b", "second", 0ns).log("b", "b1\n", 0ns), at(1s));
    EXPECT_THAT(out, Not(HasSubstr("second")));
    // It is not left waiting for ever.
    out += display.tick(at(12s));
    EXPECT_THAT(out, HasSubstr("#1 ...\n\n#2 second\n#2 0.000 b1\n"));
    out += display.take(Told().log("a", "a2\n", 13s).step("a", "first", 0ns, 13s), at(13s));
    EXPECT_THAT(out, HasSubstr("#2 ...\n\n#1 first\n#1 13.00 a2\n#1 DONE 13.0s\n"));
}

TEST(PlainDisplay, AmountsAreToldNowAndThen) {
    PlainDisplay display;
    std::string out = display.take(Told().step("a", "load", 0ns).status("a", "sha256:1", 10'000, 1'000'000, 0ns), at(0ns));
    out += display.take(Told().status("a", "sha256:1", 20'000, 1'000'000, 1s), at(1s));
    out += display.take(Told().status("a", "sha256:1", 900'000, 1'000'000, 2s), at(2s));
    out += display.take(Told().status("a", "sha256:1", 1'000'000, 1'000'000, 3s, true), at(3s));
    EXPECT_THAT(out,
                HasSubstr("#1 sha256:1 10.00kB / 1.00MB\n#1 sha256:1 900.00kB / 1.00MB 2.0s\n#1 sha256:1 1.00MB / 1.00MB 3.0s done\n"));
}

TEST(PlainDisplay, GroupsAreOneStepEach) {
    PlainDisplay display;
    std::string out = display.take(Told().step("h", "helper", 0ns, 1ms).in_group("g", "COPY --link", true), at(0ns));
    EXPECT_EQ(out, "");
    out += display.take(Told().step("a", "copy", 1ms, 2ms).in_group("g", "COPY --link").cached(), at(1s));
    EXPECT_THAT(out, HasSubstr("#1 COPY --link\n#1 DONE 0.0s\n"));
    EXPECT_THAT(out, Not(HasSubstr("helper")));
}

TEST(LiveDisplay, FitsTheScreenAndShowsWhatRuns) {
    LiveDisplay display({.colour = false, .size = {.rows = 12, .columns = 60}});
    Told told;
    for (int number = 0; number < 30; ++number) told.step(fmt::format("s{}", number), fmt::format("[{}/30] RUN step", number), 0ns, 1s);
    told.step("running", "[stage 2/2] RUN something with a name that is much longer than the screen is wide", 0ns);
    for (int line = 0; line < 20; ++line) told.log("running", fmt::format("progress {}\rline {}\n", line, line), 1s);
    told.log("running", "\x1b[31mred", 1s);
    const std::string frame = display.take(told, at(2s));
    EXPECT_LE(std::ranges::count(frame, '\n'), 11);
    EXPECT_THAT(frame, HasSubstr("[+] Building"));
    EXPECT_THAT(frame, HasSubstr("(30/31)"));
    EXPECT_THAT(frame, HasSubstr(" => => # line 19"));
    EXPECT_THAT(frame, Not(HasSubstr("\x1b[31m")));
    std::string_view rest = frame;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string line(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        for (const char* each : {"\x1b[?25l", "\x1b[?25h"})
            if (const std::size_t place = line.find(each); place != std::string::npos) line.erase(place, std::strlen(each));
        EXPECT_LT(line.size(), 64U) << line;
    }
    const std::string next = display.tick(at(3s));
    EXPECT_THAT(next, HasSubstr(fmt::format("\x1b[{}A\r\x1b[J", std::ranges::count(frame, '\n'))));
    const std::string last = display.finish(at(4s));
    EXPECT_THAT(last, HasSubstr("[29/30] RUN step"));
    EXPECT_THAT(last, HasSubstr("[0/30] RUN step"));
}

TEST(LiveDisplay, AllOfAFailedStepIsTold) {
    LiveDisplay display({.colour = true, .size = {.rows = 24, .columns = 80}});
    Told told;
    told.step("a", "RUN make", 0ns).cached();
    for (int line = 0; line < 50; ++line) told.log("a", fmt::format("line {}\n", line), 1s);
    (void)display.take(told, at(0ns));
    (void)display.take(Told().step("a", "RUN make", 0ns, 2s).error("exit code: 2"), at(1s));
    const std::string last = display.finish(at(2s));
    EXPECT_THAT(last, HasSubstr("ERROR RUN make"));
    EXPECT_THAT(last, HasSubstr("\x1b[31m"));
    EXPECT_THAT(last, HasSubstr(" > RUN make:\n1.000 line 0\n"));
    EXPECT_THAT(last, HasSubstr("1.000 line 49\n------\n"));
}

TEST(JsonDisplay, MessagesHaveDockersNames) {
    JsonDisplay display;
    const std::string out = display.take(
        Told().step("a", "x", 1s, 2s).cached().log("a", "hi\n", 1s).status("a", "s", 1, 2, 1s).warning("a", "careful"), at(0ns));
    const Value parsed = boost::json::parse(out);
    EXPECT_EQ(boost::json::serialize(parsed.at("vertexes").at(0)),
              R"({"digest":"a","name":"x","started":"2023-11-14T22:13:21Z","completed":"2023-11-14T22:13:22Z","cached":true})");
    EXPECT_EQ(parsed.at("logs").at(0).at("data").as_string(), base64_encode("hi\n"));
    EXPECT_EQ(parsed.at("statuses").at(0).at("total").as_int64(), 2);
    EXPECT_EQ(parsed.at("warnings").at(0).at("short").as_string(), base64_encode("careful"));
    EXPECT_EQ(display.warnings().size(), 1U);
    EXPECT_THAT(out, EndsWith("}\n"));
}

TEST(BuildTrace, WhatIsTwiceTheSameTimeCountsOnce) {
    BuildTrace trace(10);
    trace.take(Told().step("a", "x", 0s, 4s), at(0s));
    trace.take(Told().step("a", "x", 2s, 6s), at(0s));
    trace.take(Told().step("a", "x", 8s), at(0s));
    ASSERT_EQ(trace.steps().size(), 1U);
    EXPECT_EQ(trace.steps()[0]->duration(at(9s)), 7s);
    EXPECT_FALSE(trace.steps()[0]->is_completed());
}

TEST(BuildTrace, LinesAreBounded) {
    BuildTrace trace(3);
    Told told;
    told.step("a", "x", 0s);
    for (int line = 0; line < 100; ++line) told.log("a", "line\n", 1s);
    told.log("a", std::string(1 << 20, 'x'), 1s).log("nobody", "y", 1s);
    trace.take(told, at(0s));
    EXPECT_EQ(trace.steps()[0]->lines().size(), 3U);
    EXPECT_EQ(trace.steps()[0]->take_new_lines(), 3U);
    EXPECT_LE(trace.steps()[0]->open_line().size(), BuildTrace::line_limit);
}

}  // namespace
}  // namespace grua::cli
