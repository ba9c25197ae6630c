#include "engine/model/stored_record.hpp"

#include <gmock/gmock.h>

namespace grua::engine {
namespace {

ContainerRecord full_record() {
    ContainerRecord record;
    record.id = std::string(64, 'a');
    record.name = "web";
    record.created = parse_time("2026-01-02T03:04:05.6Z").value();
    record.image_id = "sha256:1234";
    record.path = "sh";
    record.args = {"-c", "true"};
    record.config.env = {"A=1"};
    record.config.labels = {{"l", "v"}};
    record.host_config.memory = 1 << 24;
    record.host_config.auto_remove = true;
    record.host_config.restart_policy = {.name = "always"};
    record.networks["bridge"].ip_address = "10.99.0.2";
    record.mounts.push_back({.type = "volume", .name = "data", .source = "/v", .destination = "/data", .driver = "local"});
    record.anonymous_volumes = {"data"};
    record.chain = {"sha256:5678"};
    record.restart_count = 3;
    record.state.status = Status::exited;
    record.state.exit_code = 4;
    record.state.oom_killed = true;
    record.state.started_at = record.created;
    record.log_path = "/log";
    return record;
}

std::string with(std::string text, std::string_view from, std::string_view to) {
    const auto at = text.find(from);
    if (at == text.npos) throw std::runtime_error("the document has no " + std::string(from));
    return text.replace(at, from.size(), to);
}

TEST(StoredRecord, ComesBackAsItWas) {
    const ContainerRecord record = full_record();
    EXPECT_EQ(record_from_json(to_json(record)), record);
    EXPECT_EQ(std::get<ContainerRecord>(read_stored(record.id, to_json(record))), record);
}

TEST(StoredRecord, OneOfBeforeThereWereVersionsIsRead) {
    const ContainerRecord record = full_record();
    EXPECT_EQ(record_from_json(with(to_json(record), R"(,"version":1)", "")), record);
}

// B2: rows that a newer grua wrote, and rows that are broken.
TEST(StoredRecord, WhatCannotBeReadIsKeptAndShownAsDead) {
    const ContainerRecord record = full_record();
    const std::string text = to_json(record);
    const std::vector<std::pair<std::string, std::string>> cases{
        {with(text, R"("version":1)", R"("version":2)"), "written by a newer grua: version 2, this one reads up to 1"},
        {with(text, R"("status":"exited")", R"("status":"hibernating")"), R"(status: expected a status, got "hibernating")"},
        {with(text, R"("exit_code":4)", R"("exit_code":"four")"), "exit_code: expected an integer"},
        {with(text, R"("exit_code":4)", R"("exit_code":99999999999)"), "exit_code: 99999999999 is out of range"},
        {with(text, R"("version":1)", R"("version":"1")"), "version: expected a number"},
    };
    for (const auto& [document, reason] : cases) {
        const auto read = read_stored(record.id, document);
        ASSERT_TRUE(std::holds_alternative<UnreadableRecord>(read)) << document;
        const auto& kept = std::get<UnreadableRecord>(read);
        EXPECT_EQ(kept.id, record.id);
        EXPECT_THAT(kept.reason, testing::HasSubstr(reason));
        EXPECT_EQ(kept.shown.state.status, Status::dead);
        EXPECT_EQ(kept.shown.state.error, kept.reason);
        EXPECT_EQ(kept.shown.name, "web");
        EXPECT_EQ(kept.shown.image_id, record.image_id);
        EXPECT_EQ(kept.shown.mounts, record.mounts) << "its volumes count as used";
        EXPECT_FALSE(kept.shown.host_config.auto_remove) << "nothing acts on it by itself";
        EXPECT_EQ(kept.shown.host_config.restart_policy.name, "no");
    }
}

TEST(StoredRecord, TheMemberThatIsBrokenIsLeftOutAlone) {
    const ContainerRecord record = full_record();
    const auto read = read_stored(record.id, with(to_json(record), R"("Memory":16777216)", R"("Memory":"much")"));
    ASSERT_TRUE(std::holds_alternative<UnreadableRecord>(read));
    const auto& kept = std::get<UnreadableRecord>(read);
    EXPECT_THAT(kept.reason, testing::HasSubstr("host_config.Memory: expected an integer"));
    EXPECT_EQ(kept.shown.config, record.config);
    EXPECT_EQ(kept.shown.mounts, record.mounts);
}

TEST(StoredRecord, WhatIsNoDocumentAtAllStillHasItsId) {
    const std::string id(64, 'b');
    for (const std::string& text : {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{}"),
                                    std::string(100000, '['), to_json(full_record())}) {
        const auto read = read_stored(id, text);
        ASSERT_TRUE(std::holds_alternative<UnreadableRecord>(read)) << text.substr(0, 80);
        EXPECT_EQ(std::get<UnreadableRecord>(read).shown.id, id);
        EXPECT_FALSE(std::get<UnreadableRecord>(read).shown.name.empty());
    }
}

TEST(StoredRecord, ADescriptionIsWhatStartsDoNotChange) {
    ContainerRecord record = full_record();
    const std::string before = description_of(record);
    record.state.status = Status::running;
    record.state.pid = 17;
    record.restart_count = 9;
    record.networks["bridge"].ip_address = "10.99.0.9";
    record.networks["bridge"].endpoint_id = "e";
    record.sandbox_id = "s";
    record.ports["80/tcp"] = {{.host_ip = "0.0.0.0", .host_port = "32768"}};
    EXPECT_EQ(description_of(record), before);
    record.name = "other";
    EXPECT_NE(description_of(record), before);
}

}  // namespace
}  // namespace grua::engine
