#include "build/history.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_clock.hpp"
#include "build/content_service.hpp"
#include "build/test_calls.hpp"
#include "build/wire/content.pb.h"
#include "content/hash.hpp"

#include <gmock/gmock.h>
#include <filesystem>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Event = wire::control::BuildHistoryEvent;

const std::string control = "/moby.buildkit.v1.Control/";
const std::string content_service = "/containerd.services.content.v1.Content/";

class HistoryTest : public testing::Test {
protected:
    HistoryTest() {
        fs::create_directories(directory);
        start();
    }
    ~HistoryTest() override {
        history.reset();
        database.reset();
        images.reset();
        fs::remove_all(directory);
    }
    void start() {
        database.emplace(directory + "/grua.db");
        images.emplace(directory + "/content");
        history.emplace(loop.get_executor(), pool, clock, *database, *images, directory + "/history",
                        HistoryLimits{.entries = 3, .age = 1h, .most_entries = 6});
        services = {};
        history->add_to(services);
        add_content_service(services, pool, *history);
        services.add(control + "Status", [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            const auto request = grpc::Services::parse<wire::control::StatusRequest>(co_await call.read_only());
            if (!co_await history->tell_status(request.ref(), call)) fail(ErrorKind::not_found, "no such job {}", request.ref());
        });
    }
    /// As after a kill.
    void restart() {
        history.reset();
        images.reset();
        database.reset();
        start();
    }

    void begin(const std::string& ref, bool internal = false) {
        wire::control::SolveRequest request;
        request.set_ref(ref);
        request.set_frontend("dockerfile.v0");
        request.set_internal(internal);
        history->began(request);
    }
    asio::awaitable<void> end(std::string ref, BuildOutcome outcome = {}) {
        Journal journal(loop.get_executor(), clock);
        journal.step_started("d", "[1/2] RUN make " + ref);
        journal.step_completed("d", {});
        clock.turn(1s);
        co_await history->ended(ref, journal, std::move(outcome));
    }
    asio::awaitable<void> build(std::string ref, BuildOutcome outcome = {}) {
        begin(ref);
        co_await end(ref, std::move(outcome));
    }

    static wire::control::BuildHistoryRequest early() {
        wire::control::BuildHistoryRequest out;
        out.set_earlyexit(true);
        return out;
    }
    asio::awaitable<std::vector<Event>> list(wire::control::BuildHistoryRequest request = early()) {
        co_return co_await client.ask_all<Event>(control + "ListenBuildHistory", request);
    }
    asio::awaitable<std::vector<std::string>> refs(wire::control::BuildHistoryRequest request = early()) {
        std::vector<std::string> out;
        for (const Event& each : co_await list(std::move(request))) out.push_back(each.record().ref());
        co_return out;
    }
    asio::awaitable<void> update(std::string ref, bool is_removal, bool is_pinned = false) {
        wire::control::UpdateBuildHistoryRequest request;
        request.set_ref(ref);
        request.set_delete_(is_removal);
        request.set_pinned(is_pinned);
        (void)co_await client.ask<wire::control::UpdateBuildHistoryResponse>(control + "UpdateBuildHistory", request);
    }
    asio::awaitable<std::string> read(std::string digest, std::int64_t offset = 0, std::int64_t size = 0) {
        wire::content::ReadContentRequest request;
        request.set_digest(std::move(digest));
        request.set_offset(offset);
        request.set_size(size);
        std::string out;
        for (const auto& each : co_await client.ask_all<wire::content::ReadContentResponse>(content_service + "Read", request))
            out += each.data();
        co_return out;
    }
    asio::awaitable<std::vector<std::string>> steps_of(std::string ref) {
        wire::control::StatusRequest request;
        request.set_ref(std::move(ref));
        std::vector<std::string> out;
        for (const auto& each : co_await client.ask_all<wire::control::StatusResponse>(control + "Status", request))
            for (const auto& vertex : each.vertexes()) out.push_back(vertex.name());
        co_return out;
    }
    asio::awaitable<std::string> failure_of_flush() {
        try {
            co_await history->flushed();
        } catch (const Error& error) {
            co_return error.what();
        }
        co_return "";
    }
    std::size_t blobs() const {
        return static_cast<std::size_t>(
            std::distance(fs::directory_iterator(directory + "/history/blobs/sha256"), fs::directory_iterator{}));
    }

    const std::string directory = fs::temp_directory_path() / ("grua-history-" + random_hex(6));
    asio::io_context loop;
    asio::thread_pool pool{2};
    TurnedClock clock;
    std::optional<store::Database> database;
    std::optional<content::ContentStore> images;
    std::optional<History> history;
    grpc::Services services;
    ServiceClient client{loop, services};
};

TEST_F(HistoryTest, ABuildIsTheirsWhoAsk) {
    EXPECT_FALSE(fs::exists(directory + "/history"));
    const std::string config = R"({"architecture":"amd64","os":"linux"})";
    const auto config_digest = images->put(config);
    const std::string manifest = fmt::format(
        R"({{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":1}}]}})",
        oci::media_type::manifest, config_digest.text(), config.size(), images->put("l").text());
    const auto manifest_digest = images->put(manifest);
    client.run([&]() -> asio::awaitable<void> {
        begin("r1");
        auto events = co_await list();
        EXPECT_EQ(events.size(), 1U);
        if (events.size() != 1U) co_return;
        EXPECT_EQ(events[0].type(), wire::control::BUILD_HISTORY_EVENT_TYPE_STARTED);
        EXPECT_FALSE(events[0].record().has_completedat());
        EXPECT_NE(co_await client.refusal(control + "Status",
                                          [] {
                                              wire::control::StatusRequest out;
                                              out.set_ref("r1");
                                              return out;
                                          }()),
                  "");
        BuildOutcome outcome;
        outcome.exporter_response = {{"containerimage.digest", manifest_digest.text()}};
        outcome.results = {oci::Descriptor{
            .media_type = std::string(oci::media_type::manifest), .digest = manifest_digest.text(), .size = manifest.size()}};
        outcome.attestations = {{.platform = {}, .predicate_type = "https://slsa.dev/provenance/v1", .predicate = "{\"a\":1}"},
                                {.platform = "linux/arm64", .predicate_type = "https://slsa.dev/provenance/v1", .predicate = "{\"b\":2}"}};
        co_await end("r1", outcome);
        // At once, and after a start of gruad.
        for (int i = 0; i < 2; ++i) {
            events = co_await list();
            EXPECT_EQ(events.size(), 1U);
            if (events.size() != 1U) co_return;
            EXPECT_EQ(events[0].type(), wire::control::BUILD_HISTORY_EVENT_TYPE_COMPLETE);
            const HistoryRecord& record = events[0].record();
            EXPECT_EQ(record.ref(), "r1");
            EXPECT_EQ(record.frontend(), "dockerfile.v0");
            EXPECT_EQ(record.numtotalsteps(), 1);
            EXPECT_EQ(record.numcompletedsteps(), 1);
            EXPECT_EQ(record.completedat().seconds() - record.createdat().seconds(), 1);
            EXPECT_EQ(record.exporterresponse().at("containerimage.digest"), manifest_digest.text());
            EXPECT_EQ(record.result().resultdeprecated().digest(), manifest_digest.text());
            EXPECT_EQ(record.result().results().at(0).size(), static_cast<std::int64_t>(manifest.size()));
            EXPECT_EQ(record.result().attestations_size(), 1);
            if (record.result().attestations_size() != 1) co_return;
            const auto& provenance = record.result().attestations(0);
            EXPECT_EQ(provenance.media_type(), "application/vnd.in-toto+json");
            EXPECT_EQ(provenance.annotations().at("in-toto.io/predicate-type"), "https://slsa.dev/provenance/v1");
            EXPECT_EQ(co_await read(provenance.digest()), "{\"a\":1}");
            EXPECT_EQ(co_await read(record.results().at("linux/arm64").attestations(0).digest()), "{\"b\":2}");
            EXPECT_EQ(co_await read(manifest_digest.text()), manifest);
            EXPECT_EQ(co_await read(config_digest.text(), 1, 5), config.substr(1, 5));
            EXPECT_EQ(co_await read(config_digest.text(), 0, 1'000'000), config);
            EXPECT_EQ(co_await read(config_digest.text(), static_cast<std::int64_t>(config.size())), "");
            EXPECT_EQ((co_await read(record.logs().digest())).size(), static_cast<std::size_t>(record.logs().size()));
            EXPECT_THAT(co_await steps_of("r1"), ElementsAre("[1/2] RUN make r1", "[1/2] RUN make r1"));
            co_await history->flushed();
            images->remove(manifest_digest);
            images->remove(config_digest);
        }
    });
    restart();
    client.run([&]() -> asio::awaitable<void> {
        EXPECT_THAT(co_await refs(), ElementsAre("r1"));
        EXPECT_EQ(co_await read(manifest_digest.text()), manifest);
        EXPECT_THAT(co_await steps_of("r1"), ElementsAre("[1/2] RUN make r1", "[1/2] RUN make r1"));
    });
}

TEST_F(HistoryTest, WhatABuildIsMadeOfGoesWithIt) {
    const auto vertex = std::make_shared<Vertex>();
    vertex->name = "[1/1] FROM x";
    client.run([&]() -> asio::awaitable<void> {
        BuildOutcome outcome;
        outcome.project = "p";
        outcome.made["v"].vertex = vertex;
        co_await build("r1", outcome);
        co_await history->flushed();
        const auto events = co_await list();
        EXPECT_EQ(events.size(), 1U);
        if (events.size() != 1U) co_return;
        EXPECT_EQ(events[0].record().project(), "p");
        EXPECT_THAT(co_await read(events[0].record().madeof().digest()), HasSubstr("[1/1] FROM x"));
        EXPECT_EQ(blobs(), 2U);
        co_await update("r1", true);
        EXPECT_EQ(blobs(), 0U);
    });
}

TEST_F(HistoryTest, OnlyWhatItRefersToIsServed) {
    const std::string other = images->put("a layer").text();
    client.run([&]() -> asio::awaitable<void> {
        co_await build("r1");
        co_await history->flushed();
        wire::content::InfoRequest request;
        request.set_digest((co_await list())[0].record().logs().digest());
        const auto found = co_await client.ask<wire::content::InfoResponse>(content_service + "Info", request);
        EXPECT_EQ(found.info().digest(), request.digest());
        EXPECT_EQ(found.info().size(), (co_await list())[0].record().logs().size());
        EXPECT_GT(found.info().created_at().seconds(), 0);
        request.set_digest(other);
        EXPECT_EQ(co_await client.refusal(content_service + "Info", request), fmt::format("content {}: not found", other));
        request.set_digest("sha256:../../grua.db");
        EXPECT_THAT(co_await client.refusal(content_service + "Info", request), HasSubstr("failed validation"));
        wire::content::ReadContentRequest past;
        past.set_digest((co_await list())[0].record().logs().digest());
        past.set_offset(1 << 20);
        EXPECT_THAT(co_await client.refusal(content_service + "Read", past), HasSubstr("read past object length"));
    });
}

TEST_F(HistoryTest, ErrorsAreKeptWithTheirDetails) {
    client.run([&]() -> asio::awaitable<void> {
        wire::common::Status details;
        details.add_details()->set_type_url("type.googleapis.com/x");
        co_await build(
            "r1", {.error = grpc::Status{.code = grpc::Code::unknown, .message = "exit code: 3", .details = details.SerializeAsString()}});
        co_await build("r2", {.error = grpc::Status{.code = grpc::Code::cancelled, .message = "cancelled", .details = "\xff"}});
        auto request = early();
        request.add_filter("status==error");
        const auto events = co_await list(request);
        EXPECT_EQ(events.size(), 1U);
        if (events.size() != 1U) co_return;
        const HistoryRecord& record = events[0].record();
        EXPECT_EQ(record.error().code(), 2);
        EXPECT_EQ(record.error().message(), "exit code: 3");
        EXPECT_EQ(record.error().details_size(), 0);
        wire::common::Status whole;
        EXPECT_TRUE(whole.ParseFromString(co_await read(record.externalerror().digest())));
        EXPECT_EQ(whole.details(0).type_url(), "type.googleapis.com/x");
        EXPECT_EQ(whole.message(), "exit code: 3");
        request.set_filter(0, "status==canceled");
        EXPECT_THAT(co_await refs(request), ElementsAre("r2"));
        request.set_filter(0, "status=");
        EXPECT_NE(co_await client.refusal(control + "ListenBuildHistory", request), "");
    });
}

TEST_F(HistoryTest, WhoListensIsTold) {
    client.run([&]() -> asio::awaitable<void> {
        std::vector<std::string> heard;
        const auto listen = [&](wire::control::BuildHistoryRequest request, std::string who) {
            asio::co_spawn(
                loop,
                [](ServiceClient& asker, auto asked, std::string name, std::vector<std::string>& to) -> asio::awaitable<void> {
                    grpc::ClientCall call(asker.connection(), control + "ListenBuildHistory");
                    co_await call.write(asked.SerializeAsString());
                    call.end();
                    try {
                        while (auto message = co_await call.read()) {
                            EXPECT_FALSE(grpc::header(call.headers(), "buildkit-current-timestamp").empty());
                            const auto event = grpc::Services::parse<Event>(*message);
                            to.push_back(fmt::format("{} {} {}{}", name, event.record().ref(), static_cast<int>(event.type()),
                                                     event.record().pinned() ? " pinned" : ""));
                        }
                    } catch (const Error&) {
                        co_return;  // the test is over
                    }
                }(client, std::move(request), std::move(who), heard),
                asio::detached);
        };
        co_await build("old");
        begin("r1");
        listen({}, "all");
        wire::control::BuildHistoryRequest one;
        one.set_ref("r2");
        listen(one, "one");
        wire::control::BuildHistoryRequest active;
        active.set_activeonly(true);
        listen(active, "active");
        while (heard.size() < 3) co_await client.settle();
        EXPECT_THAT(heard, testing::UnorderedElementsAre("all r1 0", "all old 1", "active r1 0"));
        heard.clear();
        co_await end("r1");
        co_await build("r2");
        begin("probe", true);
        co_await end("probe");
        co_await update("r2", false, true);
        co_await update("r1", true);
        while (heard.size() < 13) co_await client.settle();
        EXPECT_THAT(heard, testing::UnorderedElementsAre("all r1 1", "active r1 1", "all r2 0", "active r2 0", "one r2 0", "all r2 1",
                                                         "active r2 1", "one r2 1", "all r2 1 pinned", "active r2 1 pinned",
                                                         "one r2 1 pinned", "all r1 2", "active r1 2"));
        EXPECT_THAT(co_await refs(), ElementsAre("r2", "old"));
    });
}

TEST_F(HistoryTest, ItIsBounded) {
    client.run([&]() -> asio::awaitable<void> {
        for (int i = 0; i < 5; ++i) co_await build(fmt::format("young {}", i));
        co_await history->flushed();
        EXPECT_EQ((co_await refs()).size(), 5U) << "more than 3, and not old";
        co_await update("young 0", false, true);
        clock.turn(2h);
        co_await build("new");
        co_await history->flushed();
        EXPECT_THAT(co_await refs(), ElementsAre("new", "young 4", "young 3", "young 0"));
        for (int i = 0; i < 9; ++i) co_await build(fmt::format("many {}", i));
        co_await history->flushed();
        EXPECT_THAT(co_await refs(), ElementsAre("many 8", "many 7", "many 6", "many 5", "many 4", "many 3", "young 0"));
        auto request = early();
        request.set_limit(2);
        EXPECT_THAT(co_await refs(request), ElementsAre("many 8", "many 7"));
        request.add_filter("ref~=young,duration>0s");
        EXPECT_THAT(co_await refs(request), ElementsAre("young 0"));
        request.set_limit(-1);
        EXPECT_EQ(co_await client.refusal(control + "ListenBuildHistory", request), "invalid limit -1");
    });
    EXPECT_EQ(blobs(), 7U) << "a log each, which is another one each time";
}

TEST_F(HistoryTest, RemovedIsRemoved) {
    client.run([&]() -> asio::awaitable<void> {
        BuildOutcome outcome;
        outcome.attestations = {{.platform = {}, .predicate_type = "t", .predicate = "{}"}};
        co_await build("r1", outcome);
        co_await build("r2", outcome);
        co_await history->flushed();
        EXPECT_EQ(blobs(), 3U);
        co_await update("r1", true);
        co_await update("r1", true);
        EXPECT_EQ(blobs(), 2U);
        EXPECT_EQ(co_await read(content::digest_of("{}").text()), "{}");
        co_await update("r2", true);
        EXPECT_EQ(blobs(), 0U);
        EXPECT_THAT(co_await refs(), IsEmpty());
        wire::control::UpdateBuildHistoryRequest request;
        EXPECT_NE(co_await client.refusal(control + "UpdateBuildHistory", request), "");
        request.set_ref("r3");
        EXPECT_EQ(co_await client.refusal(control + "UpdateBuildHistory", request), "there is no record of a build r3");
        begin("r3");
        request.set_delete_(true);
        EXPECT_EQ(co_await client.refusal(control + "UpdateBuildHistory", request), "build r3 has not ended");
        co_await end("r3");
        request.set_delete_(false);
        request.set_finalize(true);
        (void)co_await client.ask<wire::control::UpdateBuildHistoryResponse>(control + "UpdateBuildHistory", request);
        EXPECT_EQ(database->query("SELECT ref FROM build_history").size(), 1U);
    });
}

TEST_F(HistoryTest, WhatBelongsToNobodyGoesWithTheNextStart) {
    client.run([&]() -> asio::awaitable<void> {
        co_await build("r1");
        co_await history->flushed();
    });
    content::ContentStore(directory + "/history").put("lost by a kill");
    database->execute("INSERT INTO build_history (ref, created, completed, pinned, document) VALUES ('bad', 0, 0, 0, 'x')");
    restart();
    begin("r2");
    restart();
    client.run([&]() -> asio::awaitable<void> { EXPECT_THAT(co_await refs(), ElementsAre("r1")) << "and a build that ran is forgotten"; });
    EXPECT_EQ(blobs(), 1U);
}

TEST_F(HistoryTest, WhatTheDiskDoesNotTakeIsToldAndTriedAgain) {
    client.run([&]() -> asio::awaitable<void> {
        co_await build("r1");
        co_await history->flushed();
        database->execute("CREATE TRIGGER refused BEFORE INSERT ON build_history BEGIN SELECT RAISE(ABORT, 'refused'); END");
        co_await build("r2");
        EXPECT_THAT(co_await failure_of_flush(), HasSubstr("refused"));
        EXPECT_THAT(co_await refs(), ElementsAre("r2", "r1"));
        co_await update("r2", false, true);
        for (int i = 0; i < 10; ++i) co_await build(fmt::format("more {}", i));
        EXPECT_NE(co_await failure_of_flush(), "");
        EXPECT_EQ((co_await refs()).size(), 7U) << "no more than 6 wait";
        database->execute("DROP TRIGGER refused");
        co_await build("r3");
        co_await history->flushed();
        EXPECT_THAT(co_await refs(), testing::Contains("r3"));
    });
    EXPECT_GE(database->query("SELECT ref FROM build_history").size(), 6U);
}

}  // namespace
}  // namespace grua::build
