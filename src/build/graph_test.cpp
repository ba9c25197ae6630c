#include "build/graph.hpp"

#include "base/error.hpp"
#include "content/hash.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>

namespace grua::build {
namespace {

using testing::HasSubstr;

std::string add(pb::Definition& definition, const pb::Op& op) {
    definition.add_def(to_bytes(op));
    return content::digest_of(definition.def().rbegin()[0]).text();
}

pb::Op source(const std::string& identifier) {
    pb::Op op;
    op.mutable_source()->set_identifier(identifier);
    return op;
}

pb::Op exec(const std::vector<std::string>& inputs, const std::string& command) {
    pb::Op op;
    for (const std::string& each : inputs) op.add_inputs()->set_digest(each);
    op.mutable_exec()->mutable_meta()->add_args(command);
    pb::Mount& mount = *op.mutable_exec()->add_mounts();
    mount.set_dest("/");
    mount.set_output(0);
    return op;
}

void ask_for(pb::Definition& definition, const std::string& digest, int index = 0) {
    pb::Op op;
    op.add_inputs()->set_digest(digest);
    op.mutable_inputs(0)->set_index(index);
    definition.add_def(to_bytes(op));
}

std::string refusal(const pb::Definition& definition) {
    try {
        (void)read_graph(definition);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

TEST(Graph, IsReadInAnyOrder) {
    pb::Definition definition;
    const std::string base = add(definition, source("docker-image://docker.io/library/busybox:latest"));
    const std::string made = add(definition, exec({base}, "make"));
    const std::string tested = add(definition, exec({made, base}, "test"));
    ask_for(definition, tested);
    (*definition.mutable_metadata())[made].mutable_description()->insert({"llb.customname", "[1/2] RUN make"});
    for (int round = 0; round < 2; ++round) {
        const Edge head = read_graph(definition);
        ASSERT_TRUE(head.vertex);
        EXPECT_EQ(head.vertex->digest, tested);
        EXPECT_EQ(head.vertex->name, "test");
        ASSERT_EQ(head.vertex->inputs.size(), 2U);
        EXPECT_EQ(head.vertex->inputs[0].vertex->name, "[1/2] RUN make");
        // One that several take is there once.
        EXPECT_EQ(head.vertex->inputs[1].vertex, head.vertex->inputs[0].vertex->inputs[0].vertex);
        const auto all = in_order(head);
        ASSERT_EQ(all.size(), 3U);
        EXPECT_EQ(all[0]->name, "docker-image://docker.io/library/busybox:latest");
        EXPECT_EQ(all[2]->digest, tested);
        definition.mutable_def()->SwapElements(0, 2);
    }
}

TEST(Graph, OfNothingIsNothing) {
    pb::Definition definition;
    EXPECT_FALSE(read_graph(definition).vertex);
    definition.add_def(to_bytes(pb::Op{}));
    EXPECT_FALSE(read_graph(definition).vertex);
}

TEST(Graph, WhatIsWrongIsRefusedWithItsVertex) {
    pb::Definition definition;
    const std::string missing = content::digest_of("x").text();
    const std::string made = add(definition, exec({missing}, "make"));
    ask_for(definition, made);
    EXPECT_EQ(refusal(definition),
              "invalid definition: vertex " + made.substr(0, 19) + ": its input " + missing.substr(0, 19) + " is not there");

    definition.Clear();
    const std::string base = add(definition, source("a"));
    ask_for(definition, base, 1);
    EXPECT_THAT(refusal(definition), HasSubstr("has no result 1"));
    definition.mutable_def()->RemoveLast();
    ask_for(definition, base, -1);
    EXPECT_THAT(refusal(definition), HasSubstr("has no result -1"));

    definition.Clear();
    add(definition, source("a"));
    EXPECT_THAT(refusal(definition), HasSubstr("does not say which result"));

    definition.Clear();
    definition.add_def("\xff\xff\xff");
    EXPECT_THAT(refusal(definition), HasSubstr("cannot be read"));

    definition.Clear();
    pb::Op unknown;
    const std::string nothing = add(definition, unknown);
    ask_for(definition, nothing);
    EXPECT_THAT(refusal(definition), HasSubstr(nothing.substr(0, 19) + ": it is no operation that is known here"));
}

TEST(Graph, NumbersOfInputsAreThoseThatAreThere) {
    const auto refused = [](auto change) {
        pb::Definition definition;
        pb::Op op = exec({add(definition, source("a"))}, "make");
        change(op);
        ask_for(definition, add(definition, op));
        return refusal(definition);
    };
    const auto of_files = [&](auto change) {
        return refused([&](pb::Op& op) {
            pb::FileAction& action = *op.mutable_file()->add_actions();
            action.set_secondaryinput(-1);
            change(action);
        });
    };
    EXPECT_EQ(refused([](pb::Op&) {}), "");
    for (const std::int64_t number : {std::int64_t{1}, std::int64_t{-2}, std::numeric_limits<std::int64_t>::max()}) {
        EXPECT_THAT(refused([&](pb::Op& op) { op.mutable_exec()->mutable_mounts(0)->set_input(number); }), HasSubstr("takes its input"));
        EXPECT_THAT(refused([&](pb::Op& op) { op.mutable_merge()->add_inputs()->set_input(number); }), HasSubstr("takes its input"));
        EXPECT_THAT(refused([&](pb::Op& op) { op.mutable_diff()->mutable_lower()->set_input(number); }), HasSubstr("takes its input"));
        EXPECT_THAT(refused([&](pb::Op& op) { op.mutable_diff()->mutable_upper()->set_input(number); }), HasSubstr("takes its input"));
        EXPECT_THAT(refused([&](pb::Op& op) { (*op.mutable_build()->mutable_inputs())["buildkit.llb.definition"].set_input(number); }),
                    HasSubstr("takes its input"));
        EXPECT_THAT(of_files([&](pb::FileAction& action) { action.set_input(number); }), HasSubstr("takes its input"));
        EXPECT_THAT(of_files([&](pb::FileAction& action) { action.set_secondaryinput(number); }), HasSubstr("takes its input"));
        EXPECT_THAT(of_files([&](pb::FileAction& action) {
                        action.mutable_copy()->mutable_owner()->mutable_user()->mutable_byname()->set_input(number);
                    }),
                    HasSubstr("takes its input"));
    }
    EXPECT_THAT(refused([](pb::Op& op) { op.mutable_exec()->mutable_mounts(0)->set_output(-3); }), HasSubstr("gives output -3"));
    EXPECT_THAT(refused([](pb::Op& op) { op.mutable_exec()->clear_mounts(); }), HasSubstr("no result 0"));
    EXPECT_THAT(refused([](pb::Op& op) { op.mutable_exec()->clear_meta(); }), HasSubstr("no program"));
    EXPECT_THAT(refused([](pb::Op& op) { op.mutable_exec()->set_security(static_cast<pb::SecurityMode>(2)); }),
                HasSubstr("security mode 2"));
    EXPECT_THAT(refused([](pb::Op& op) { op.mutable_exec()->set_network(static_cast<pb::NetMode>(7)); }), HasSubstr("network mode 7"));
}

TEST(Graph, ANameHasNoCredentials) { EXPECT_EQ(default_name(source("https://me:word@host/x")), "https://xxxxx:xxxxx@host/x"); }

TEST(Graph, ALongChainIsNoRecursion) {
    pb::Definition definition;
    std::string last = add(definition, source("a"));
    for (int i = 0; i < 50'000; ++i) last = add(definition, exec({last}, std::to_string(i)));
    ask_for(definition, last);
    EXPECT_EQ(in_order(read_graph(definition)).size(), 50'001U);
    while (definition.def_size() <= static_cast<int>(vertices_limit)) definition.add_def("");
    EXPECT_THAT(refusal(definition), HasSubstr("more than the 100000"));
}

TEST(Graph, BytesAreTheSameEachTime) {
    pb::Op one;
    pb::Op two;
    for (const char* key : {"a", "b", "c", "d", "e"}) (*one.mutable_source()->mutable_attrs())[key] = "x";
    for (const char* key : {"e", "d", "c", "b", "a"}) (*two.mutable_source()->mutable_attrs())[key] = "x";
    EXPECT_EQ(to_bytes(one), to_bytes(two));
}

}  // namespace
}  // namespace grua::build
