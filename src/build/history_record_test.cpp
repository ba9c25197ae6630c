#include "build/history_record.hpp"

#include "base/error.hpp"
#include "build/journal.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

constexpr Time today{std::chrono::hours(24 * 365 * 56)};

TEST(HistoryRecord, PasswordsAreNoPartOfIt) {
    const std::pair<const char*, const char*> cases[]{
        {"https://github.com/a/b.git#main", "https://github.com/a/b.git#main"},
        {"https://user:secret@github.com/a/b", "https://xxxxx:xxxxx@github.com/a/b"},
        {"https://token@github.com/a/b", "https://xxxxx@github.com/a/b"},
        {"https://:secret@host", "https://:xxxxx@host"},
        {"https://a:b@c@host/x@y", "https://xxxxx:xxxxx@host/x@y"},
        {"ssh://git@github.com/a", "ssh://git@github.com/a"},
        {"ssh://git:secret@github.com/a", "ssh://xxxxx:xxxxx@github.com/a"},
        {"http://host/?u=a@b", "http://host/?u=a@b"},
        {"one https://a:b@h two http://c:d@i", "one https://xxxxx:xxxxx@h two http://xxxxx:xxxxx@i"},
        {"://", "://"},
        {"https://@host", "https://@host"},
        {"git@github.com:a/b", "git@github.com:a/b"},
        {"", ""},
    };
    for (const auto& [text, shown] : cases) EXPECT_EQ(text_without_credentials(text), shown);

    wire::control::SolveRequest request;
    request.set_ref("r");
    auto& attributes = *request.mutable_frontendattrs();
    attributes["context"] = "https://user:secret@github.com/a/b.git";
    attributes["build-arg:FROM"] = "http://x:secret@mirror/";
    attributes["cache-imports"] = R"([{"Type":"gha","Attrs":{"token":"secret","scope":"main"}},{"Type":"registry","Attrs":{"ref":"a/b"}}])";
    attributes["target"] = "prod";
    request.set_exporterdeprecated("moby");
    (*request.mutable_exporterattrsdeprecated())["name"] = "x";
    HistoryRecord record = begin_record(request, today);
    EXPECT_FALSE(record.SerializeAsString().contains("secret"));
    EXPECT_EQ(record.frontendattrs().at("target"), "prod");
    EXPECT_EQ(record.frontendattrs().at("cache-imports"),
              R"([{"Type":"gha","Attrs":{"scope":"main"}},{"Type":"registry","Attrs":{"ref":"a/b"}}])");
    ASSERT_EQ(record.exporters_size(), 1);
    EXPECT_EQ(record.exporters(0).type(), "moby");
    EXPECT_EQ(record.createdat().seconds(), today.time_since_epoch() / 1s);
    for (const char* wrong : {"", "[", "{}", "[1]", "[]],[{\"a\":1}"}) {
        attributes["cache-imports"] = wrong;
        EXPECT_NO_THROW(record = begin_record(request, today)) << wrong;
    }
    request.add_exporters()->set_type("oci");
    EXPECT_EQ(begin_record(request, today).exporters(0).type(), "oci");
}

TEST(HistoryRecord, StepsAreCountedOnce) {
    std::vector<wire::control::StatusResponse> told(3);
    const auto vertex = [&](std::size_t at, const char* digest, bool cached, bool completed) {
        auto& out = *told[at].add_vertexes();
        out.set_digest(digest);
        out.set_cached(cached);
        if (completed) out.mutable_completed()->set_seconds(1);
    };
    vertex(0, "a", false, false);
    vertex(1, "a", true, true);
    vertex(1, "b", false, true);
    vertex(2, "c", false, false);
    told[2].add_warnings();
    HistoryRecord record;
    count_steps(told, record);
    EXPECT_EQ(record.numtotalsteps(), 3);
    EXPECT_EQ(record.numcachedsteps(), 1);
    EXPECT_EQ(record.numcompletedsteps(), 2);
    EXPECT_EQ(record.numwarnings(), 1);
    const std::string log = write_log(told);
    std::size_t size = 0;
    for (const auto& each : told) size += 4 + each.ByteSizeLong();
    EXPECT_EQ(log.size(), size);
    EXPECT_EQ(static_cast<std::size_t>(log[0]), told[0].ByteSizeLong());
}

TEST(HistoryRecord, Filters) {
    HistoryRecord record;
    record.set_ref("abc");
    *record.mutable_createdat() = to_timestamp(today - 2h);
    const auto matches = [&](const std::vector<std::string>& lines) { return HistoryFilter::parse(lines, today).matches(record); };
    EXPECT_TRUE(matches({}));
    EXPECT_TRUE(matches({"status==running"}));
    EXPECT_FALSE(matches({"completedAt>1h"}));
    *record.mutable_completedat() = to_timestamp(today - 1h);
    EXPECT_TRUE(matches({"status==completed"}));
    record.mutable_error()->set_code(2);
    EXPECT_TRUE(matches({"status==error"}));
    record.mutable_error()->set_code(1);
    EXPECT_TRUE(matches({"status==canceled"}));
    record.mutable_error()->set_code(2);
    record.mutable_error()->set_message("context canceled");
    EXPECT_TRUE(matches({"status==canceled"}));
    EXPECT_TRUE(matches({"ref~=b"}));
    EXPECT_FALSE(matches({"ref~=b,status==running"}));
    EXPECT_TRUE(matches({"ref~=x", "ref~=c"}));
    EXPECT_TRUE(matches({"startedAt<1h"})) << "longer ago than an hour";
    EXPECT_TRUE(matches({"startedAt>=2h,completedAt<30m"}));
    EXPECT_FALSE(matches({"startedAt>1h"}));
    EXPECT_TRUE(matches({"startedAt<" + format_time(today)}));
    EXPECT_TRUE(matches({"duration>59m,duration<=1h"}));
    EXPECT_FALSE(matches({"duration<1h"}));
    EXPECT_TRUE(matches({"\"ref~=\"\"a|x\"\"\""}));
    EXPECT_FALSE(matches({"repository~=git"}));
    (*record.mutable_frontendattrs())["context"] = "https://github.com/a/b.git#main";
    EXPECT_TRUE(matches({"repository~=github.com/a/b"}));
    EXPECT_FALSE(matches({"repository~=main"}));
    (*record.mutable_frontendattrs())["vcs:source"] = "git@host:x";
    EXPECT_TRUE(matches({"repository==git@host:x"}));
    for (const char* each : {"duration>soon", "startedAt>soon", "status=", "\"ref"}) EXPECT_THROW(matches({each}), Error) << each;
}

}  // namespace
}  // namespace grua::build
