#include "api/container_wire.hpp"

#include "base/codec.hpp"

#include <gtest/gtest.h>

namespace grua::api {
namespace {

using namespace std::chrono_literals;

engine::ContainerRecord example() {
    engine::ContainerRecord record;
    record.id = std::string(64, 'a');
    record.name = "web";
    record.created = *parse_time("2026-01-02T03:04:05Z");
    record.path = "nginx";
    record.args = {"-g", "daemon off;"};
    record.config.image = "nginx:1";
    // What a client chose must not be taken for the place that is filled in.
    record.config.labels = {{"Status", ""}, {"\"Status\":\"\"", "\"Status\":\"\","}, {"a", "b"}};
    record.config.exposed_ports["80/tcp"];
    record.networks["bridge"].ip_address = "10.99.0.2";
    record.networks["bridge"].mac_address = "02:42:0a:63:00:02";
    record.mounts = {{.type = "volume", .name = "v", .source = "/x", .destination = "/data"}};
    record.ports["80/tcp"] = {{.host_ip = "0.0.0.0", .host_port = "8080"}};
    record.state.status = engine::Status::running;
    record.state.started_at = record.created;
    record.state.pid = 17;
    return record;
}

std::string summary(const engine::ContainerRecord& record, json::Version version, Time now) {
    std::string out;
    append_summary(out, record, version, now);
    return out;
}

// C6
TEST(PreparedSummary, IsWhatTheCodecWouldWrite) {
    const engine::ContainerRecord record = example();
    for (const json::Version version : {json::Version{1, 24}, json::Version{1, 44}, json::Version{1, 50}}) {
        for (const Time now : {record.created + 5s, record.created + 72h, record.created + 5s}) {
            EXPECT_EQ(summary(record, version, now), json::dump(summary_of(record, now), version));
        }
    }
}

TEST(PreparedSummary, OfAChangedRecordIsAnother) {
    const engine::ContainerRecord record = example();
    const Time now = record.created + 5s;
    const std::string before = summary(record, {1, 44}, now);
    engine::ContainerRecord next = record;
    next.name = "other";
    EXPECT_TRUE(summary(next, {1, 44}, now).contains("\"/other\""));
    EXPECT_EQ(summary(record, {1, 44}, now), before);
}

TEST(PreparedInspect, IsWhatTheCodecWouldWriteAndIsMadeOnce) {
    const engine::ContainerRecord record = example();
    for (const json::Version version : {json::Version{1, 43}, json::Version{1, 44}}) {
        const auto text = inspect_text(record, version);
        EXPECT_EQ(text->text, json::dump(inspect_of(record, version), version) + "\n");
        EXPECT_EQ(inspect_text(record, version), text);
    }
}

}  // namespace
}  // namespace grua::api
