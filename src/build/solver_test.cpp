#include "build/solver.hpp"

#include "base/test_loop.hpp"
#include "build/draft.hpp"
#include "content/hash.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

/// Files are a map; an operation `cmd` appends its name to "/log", and copies are made as they say.
struct Files final : Result {
    Files(std::string its_key, std::map<std::string, std::string> its_files) : Result(std::move(its_key)), files(std::move(its_files)) {}
    std::map<std::string, std::string> files;
};

asio::awaitable<void> pause_for(std::chrono::milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    co_await timer.async_wait(asio::use_awaitable);
}

class FakeWorker final : public Worker {
public:
    asio::awaitable<SourceKey> look_up(VertexPtr source, std::string session, Audience* audience) override {
        (void)audience;
        const std::string& name = source->op.source().identifier();
        looked_up.push_back(name + (session.empty() ? "" : " by " + session));
        co_await pause_for(1ms);
        if (!sources.contains(name)) fail(ErrorKind::not_found, "{}: not found", name);
        std::string key = name;
        for (const auto& [path, contents] : sources.at(name)) key += fmt::format("{}={};", path, contents);
        co_return SourceKey{.key = std::move(key), .found = {}};
    }
    asio::awaitable<std::string> digest_of(ResultPtr input, std::vector<Selection> selections, ReadFiles* /*read*/) override {
        const auto& files = dynamic_cast<const Files&>(*input).files;
        std::string out;
        for (const Selection& each : selections)
            for (const auto& [path, contents] : files)
                if (each.path == "/" || path == each.path) out += fmt::format("{}={};", path, contents);
        co_return out;
    }
    asio::awaitable<Results> run(Work work) override {
        if (work.vertex->op.has_build()) {
            granted = work.granted;
            co_return Results{co_await solver->solve({.edge = graphs.at(work.vertex->name), .session = {}, .above = work.above})};
        }
        ++running;
        most = std::max(most, running);
        struct Leave {
            int& count;
            ~Leave() { --count; }
        } const leave{running};
        ran.push_back(work.vertex->name);
        while (holds && !work.stop.stop_requested()) co_await pause_for(1ms);
        co_await pause_for(2ms);
        if (work.stop.stop_requested()) {
            stopped.push_back(work.vertex->name);
            fail(ErrorKind::unavailable, "stopped");
        }
        if (broken.contains(work.vertex->name)) fail(ErrorKind::system, "exit code: 3");
        work.audiences->printed(*work.vertex, 1, "output of " + work.vertex->name);
        const pb::Op& op = work.vertex->op;
        std::map<std::string, std::string> files;
        if (op.has_source()) files = sources.at(op.source().identifier());
        if (op.has_exec()) {
            const std::int64_t root = op.exec().mounts(0).input();
            if (root >= 0) files = dynamic_cast<const Files&>(*work.inputs.at(static_cast<std::size_t>(root))).files;
            files["/log"] += op.exec().meta().args(0) + ";";
        }
        if (op.has_file()) {
            const pb::FileAction& action = op.file().actions(0);
            if (action.input() >= 0) files = dynamic_cast<const Files&>(*work.inputs.at(static_cast<std::size_t>(action.input()))).files;
            const auto& from = dynamic_cast<const Files&>(*work.inputs.at(static_cast<std::size_t>(action.secondaryinput()))).files;
            if (from.contains(action.copy().src())) files[action.copy().dest()] = from.at(action.copy().src());
        }
        co_return Results{std::make_shared<Files>(key_of_result(work.key, 0), std::move(files))};
    }

    std::map<std::string, std::map<std::string, std::string>> sources;
    std::set<std::string> broken;
    std::map<std::string, Edge> graphs;  ///< That operations which are builds of their own read, by their names.
    Solver* solver = nullptr;
    std::vector<std::string> granted;
    bool holds = false;
    int running = 0;
    int most = 0;
    std::vector<std::string> looked_up;
    std::vector<std::string> ran;
    std::vector<std::string> stopped;
};

class FakeCache final : public Cache {
public:
    asio::awaitable<std::optional<Results>> find(std::string key) override {
        const auto found = kept.find(key);
        co_return found == kept.end() ? std::nullopt : std::optional(found->second);
    }
    asio::awaitable<void> keep(std::string key, Results results, VertexPtr made_by) override {
        kept[key] = std::move(results);
        names[key] = made_by->name;
        co_return;
    }
    std::map<std::string, Results> kept;
    std::map<std::string, std::string> names;
};

class FakeImports final : public Imports {
public:
    std::optional<Results> find(const std::string& key, const VertexPtr& vertex) override {
        const auto found = known.find(key);
        if (found == known.end()) return std::nullopt;
        given.push_back(vertex->name);
        return found->second;
    }
    bool fill_mount(const std::string&, const std::string&) override { return false; }
    std::map<std::string, Results> known;
    std::vector<std::string> given;
};

class Listener final : public Audience {
public:
    void started(const Vertex& vertex) override { said.push_back("start " + vertex.name); }
    void completed(const Vertex& vertex, bool was_cached, const std::string& error) override {
        said.push_back(fmt::format("{} {}", !error.empty() ? error : was_cached ? "cached" : "done", vertex.name));
    }
    void printed(const Vertex&, int, std::string_view bytes) override { said.emplace_back(bytes); }
    void advanced(const Vertex&, const std::string&, std::int64_t, std::int64_t, bool) override {}
    std::vector<std::string> said;
};

class SolverTest : public testing::Test {
protected:
    SolverTest() {
        worker.sources["image"] = {{"/bin", "1"}};
        worker.sources["context"] = {{"/a", "1"}, {"/b", "1"}};
        worker.solver = &solver;
    }

    Draft::Output source(const std::string& name) {
        pb::Op op;
        op.mutable_source()->set_identifier(name);
        return draft.add(op, name);
    }
    Draft::Output exec(const Draft::Output& root, const std::string& command, bool without_cache = false) {
        pb::Op op;
        op.mutable_exec()->mutable_meta()->add_args(command);
        pb::Mount& mount = *op.mutable_exec()->add_mounts();
        mount.set_dest("/");
        mount.set_input(input_of(op, root));
        pb::OpMetadata metadata;
        metadata.set_ignore_cache(without_cache);
        return draft.add(op, command, metadata);
    }
    Draft::Output copy(const Draft::Output& to, const Draft::Output& from, const std::string& path) {
        pb::Op op;
        pb::FileAction& action = *op.mutable_file()->add_actions();
        action.set_input(input_of(op, to));
        action.set_secondaryinput(input_of(op, from));
        action.mutable_copy()->set_src(path);
        action.mutable_copy()->set_dest(path);
        return draft.add(op, "copy " + path);
    }
    Draft::Output build_of(const std::string& name, const Draft::Output& file) {
        pb::Op op;
        op.mutable_build()->set_builder(-1);
        (*op.mutable_build()->mutable_attrs())["name"] = name;
        (*op.mutable_build()->mutable_inputs())["buildkit.llb.definition"].set_input(input_of(op, file));
        return draft.add(op, name);
    }
    Edge edge(const Draft::Output& output) { return read_graph(draft.define(output)); }

    std::map<std::string, std::string> solve(const Draft::Output& output, Listener* listener = nullptr) {
        worker.ran.clear();
        ResultPtr result;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            result = co_await solver.solve({.edge = edge(output), .session = {}, .audience = listener});
        });
        return result ? dynamic_cast<const Files&>(*result).files : std::map<std::string, std::string>{};
    }
    /// A Dockerfile's usual chain.
    Draft::Output chain() { return exec(copy(exec(source("image"), "install"), source("context"), "/a"), "make"); }

    asio::io_context loop;
    FakeWorker worker;
    FakeCache cache;
    Solver solver{loop.get_executor(), worker, cache, 2};
    Draft draft;
};

TEST_F(SolverTest, WhatHasBeenDoneIsNotDoneAgain) {
    const auto files = solve(chain());
    EXPECT_EQ(files.at("/log"), "install;make;");
    EXPECT_EQ(files.at("/a"), "1");
    EXPECT_THAT(worker.ran, UnorderedElementsAre("image", "context", "install", "copy /a", "make"));
    Listener listener;
    EXPECT_EQ(solve(chain(), &listener), files);
    EXPECT_THAT(worker.ran, IsEmpty()) << "not even the image is fetched";
    EXPECT_THAT(listener.said, testing::Contains("cached install"));
    EXPECT_EQ(listener.said.back(), "cached make");
}

TEST_F(SolverTest, WhatIsKnownElsewhereIsNotDone) {
    const auto imports = std::make_shared<FakeImports>();
    std::map<std::string, std::string, std::less<>> keys;
    const auto solve_with = [&](const Draft::Output& output) {
        worker.ran.clear();
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            (void)co_await solver.solve({.edge = edge(output), .session = {}, .audience = nullptr, .imports = imports, .keys = &keys});
        });
    };
    solve_with(chain());
    EXPECT_THAT(imports->given, IsEmpty());
    EXPECT_THAT(keys, testing::SizeIs(5));
    for (const auto& [digest, key] : keys) EXPECT_TRUE(cache.kept.contains(key));
    // By its definition, which is the same elsewhere.
    imports->known = std::exchange(cache.kept, {});
    solve_with(chain());
    EXPECT_THAT(worker.ran, IsEmpty());
    EXPECT_THAT(imports->given, ElementsAre("make"));
    // By its contents, where the whole is another one.
    worker.sources.at("context")["/b"] = "2";
    imports->given.clear();
    cache.kept.clear();
    solve_with(chain());
    EXPECT_THAT(worker.ran, UnorderedElementsAre("context"));
    EXPECT_THAT(imports->given, UnorderedElementsAre("install", "copy /a", "make"));
    // What is here goes first.
    imports->given.clear();
    solve_with(chain());
    EXPECT_THAT(imports->given, IsEmpty());
}

TEST_F(SolverTest, WhatIsNotCopiedChangesNothing) {
    solve(chain());
    worker.sources.at("context")["/b"] = "2";
    solve(chain());
    EXPECT_THAT(worker.ran, UnorderedElementsAre("context")) << "it is looked at, and the copy is the same";
    worker.sources.at("context")["/b"] = "3";
    worker.sources.at("context")["/a"] = "2";
    EXPECT_EQ(solve(chain()).at("/a"), "2");
    EXPECT_THAT(worker.ran, UnorderedElementsAre("context", "copy /a", "make"));
    worker.sources.at("image")["/bin"] = "2";
    solve(chain());
    EXPECT_THAT(worker.ran, UnorderedElementsAre("image", "install", "copy /a", "make"));
}

TEST_F(SolverTest, WhatIsToBeDoneAgainIs) {
    const auto made = exec(exec(source("image"), "install"), "make", true);
    solve(made);
    solve(made);
    EXPECT_THAT(worker.ran, ElementsAre("make"));
}

TEST_F(SolverTest, WhatBecameOfOperationsIsTold) {
    const auto made_of = [&] {
        MadeSteps made;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            (void)co_await solver.solve({.edge = edge(chain()), .session = {}, .audience = nullptr, .pins = nullptr, .made = &made});
        });
        std::map<std::string, MadeStep> by_name;
        for (const auto& [digest, step] : made) by_name[step.vertex->name] = step;
        return by_name;
    };
    auto first = made_of();
    EXPECT_EQ(first.size(), 5U);
    EXPECT_FALSE(first["make"].was_cached);
    ASSERT_EQ(first["copy /a"].inputs.size(), 2U);
    EXPECT_FALSE(first["copy /a"].inputs[0].files) << "the tree that it is copied to counts as a whole";
    EXPECT_TRUE(first["copy /a"].inputs[1].files);
    // As a whole: nobody has looked at what is below.
    auto second = made_of();
    EXPECT_TRUE(second["make"].was_cached);
    EXPECT_EQ(second["make"].contents_key, "");
    EXPECT_EQ(second["make"].definition_key, first["make"].definition_key);
    EXPECT_FALSE(second.contains("copy /a"));
    worker.sources.at("context")["/a"] = "2";
    auto third = made_of();
    EXPECT_TRUE(third["install"].was_cached);
    EXPECT_FALSE(third["make"].was_cached);
    EXPECT_NE(third["copy /a"].inputs[1].key, first["copy /a"].inputs[1].key);
    EXPECT_EQ(third["copy /a"].inputs[0].key, first["copy /a"].inputs[0].key);
    worker.broken = {"make"};
    worker.sources.at("context")["/a"] = "3";
    MadeSteps made;
    EXPECT_THROW(run_on_loop(loop,
                             [&]() -> asio::awaitable<void> {
                                 (void)co_await solver.solve(
                                     {.edge = edge(chain()), .session = {}, .audience = nullptr, .pins = nullptr, .made = &made});
                             }),
                 VertexError);
    const auto failed = std::ranges::find(made, "make", [](const auto& each) { return each.second.vertex->name; });
    ASSERT_NE(failed, made.end());
    EXPECT_NE(failed->second.contents_key, "") << "also of what has failed";
}

TEST_F(SolverTest, SideBySideWithinBounds) {
    pb::Op op;
    std::vector<Draft::Output> parts;
    for (int i = 0; i < 8; ++i) parts.push_back(exec(source("image"), fmt::format("part {}", i)));
    for (const Draft::Output& each : parts) op.mutable_merge()->add_inputs()->set_input(input_of(op, each));
    solve(draft.add(op, "merge"));
    EXPECT_EQ(worker.ran.size(), 10U);
    EXPECT_EQ(worker.most, 2);
}

TEST_F(SolverTest, AFailureNamesItsOperationAndEndsTheOthers) {
    worker.broken = {"make"};
    pb::Op op;
    op.mutable_merge()->add_inputs()->set_input(input_of(op, exec(source("image"), "make")));
    op.mutable_merge()->add_inputs()->set_input(input_of(op, exec(exec(source("image"), "a"), "b")));
    const auto merged = draft.add(op, "merge");
    Listener listener;
    try {
        solve(merged, &listener);
        FAIL();
    } catch (const VertexError& error) {
        EXPECT_STREQ(error.what(), "exit code: 3");
        EXPECT_EQ(error.vertex()->name, "make");
    }
    EXPECT_THAT(listener.said, testing::Contains("exit code: 3 make"));
    EXPECT_THAT(listener.said, testing::Not(testing::Contains("start merge")));
    EXPECT_EQ(solver.running(), 0U);
    worker.broken.clear();
    solve(merged);
    EXPECT_THAT(worker.ran, testing::Contains("make")) << "a failure is not kept";
    try {
        solve(exec(source("nowhere"), "x"));
        FAIL();
    } catch (const VertexError& error) {
        EXPECT_STREQ(error.what(), "nowhere: not found");
    }
}

TEST_F(SolverTest, OneRunForAllWhoWantIt) {
    Listener first;
    Listener second;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        int done = 0;
        for (Listener* each : {&first, &second})
            asio::co_spawn(loop, solver.solve({.edge = edge(chain()), .session = "s", .audience = each}),
                           [&](const std::exception_ptr& failure, const ResultPtr&) {
                               EXPECT_FALSE(failure);
                               ++done;
                           });
        while (done < 2) co_await pause_for(1ms);
    });
    EXPECT_EQ(worker.ran.size(), 5U);
    EXPECT_THAT(first.said, testing::Contains("output of make"));
    EXPECT_THAT(second.said, testing::Contains("output of make"));
}

TEST_F(SolverTest, TheLastOneThatLeavesEndsIt) {
    worker.holds = true;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        asio::cancellation_signal first;
        asio::cancellation_signal second;
        int left = 0;
        int done = 0;
        const auto start = [&](asio::cancellation_signal& signal) {
            asio::co_spawn(loop, solver.solve({.edge = edge(exec(source("image"), "long")), .session = {}}),
                           asio::bind_cancellation_slot(
                               signal.slot(), [&](const std::exception_ptr& failure, const ResultPtr&) { ++(failure ? left : done); }));
        };
        start(first);
        start(second);
        while (worker.running == 0) co_await pause_for(1ms);
        first.emit(asio::cancellation_type::terminal);
        co_await pause_for(20ms);
        EXPECT_EQ(left, 1);
        EXPECT_THAT(worker.stopped, IsEmpty());
        second.emit(asio::cancellation_type::terminal);
        co_await pause_for(20ms);
        EXPECT_EQ(left, 2);
        EXPECT_EQ(worker.stopped.size(), 1U);
        EXPECT_EQ(worker.running, 0);
        EXPECT_EQ(done, 0);
    });
    worker.holds = false;
    worker.stopped.clear();
    EXPECT_EQ(solve(exec(source("image"), "long")).at("/log"), "long;");
}

TEST_F(SolverTest, ALongChainIsNoDepth) {
    Draft::Output last = source("image");
    for (int i = 0; i < 500; ++i) last = exec(last, std::to_string(i));
    worker.holds = false;
    Listener listener;
    EXPECT_EQ(solve(last, &listener).size(), 2U);
    EXPECT_EQ(worker.ran.size(), 501U);
    solve(last);
    EXPECT_THAT(worker.ran, IsEmpty());
}

TEST_F(SolverTest, AnEmptyTreeIsNoResult) {
    run_on_loop(loop, [&]() -> asio::awaitable<void> { EXPECT_FALSE(co_await solver.solve({})); });
}

TEST_F(SolverTest, ABuildOfItsOwnTakesNoPlaceFromWhatItWaitsFor) {
    pb::Op op;
    for (int i = 0; i < 6; ++i) {
        const std::string name = fmt::format("build {}", i);
        worker.graphs[name] = edge(exec(source("image"), fmt::format("inner {}", i)));
        op.mutable_merge()->add_inputs()->set_input(input_of(op, build_of(name, source("context"))));
    }
    solve(draft.add(op, "merge"));
    EXPECT_THAT(worker.ran, testing::Contains("inner 5"));
    EXPECT_LE(worker.most, 2);
    solve(exec(build_of("build 0", source("context")), "x"));
    EXPECT_THAT(worker.ran, ElementsAre("x")) << "it is kept as all others are";
}

TEST_F(SolverTest, ABuildThatContainsItselfIsRefused) {
    const auto one = build_of("one", source("context"));
    const auto two = build_of("two", source("context"));
    worker.graphs["one"] = edge(one);
    EXPECT_THROW(solve(one), Error);
    worker.graphs["one"] = edge(two);
    worker.graphs["two"] = edge(one);
    // From both ends at once: neither waits for the other.
    std::vector<std::string> failures;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        for (const auto& each : {one, two})
            asio::co_spawn(loop, solver.solve({.edge = edge(each), .session = {}}),
                           [&](const std::exception_ptr& failure, const ResultPtr&) {
                               try {
                                   if (failure) std::rethrow_exception(failure);
                               } catch (const std::exception& error) {
                                   failures.emplace_back(error.what());
                               }
                           });
        while (failures.size() < 2) co_await pause_for(1ms);
    });
    for (const std::string& each : failures) EXPECT_THAT(each, HasSubstr("contains itself"));
}

TEST_F(SolverTest, BuildsInBuildsHaveAnEnd) {
    for (int i = 0; i < 20; ++i) worker.graphs[std::to_string(i)] = edge(build_of(std::to_string(i + 1), source("context")));
    try {
        solve(build_of("0", source("context")));
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("at most 8 deep"));
    }
}

/// On the stack of the one that needs it each would be 100,000 deep.
TEST_F(SolverTest, ALongChainIsNoRecursion) {
    class Quick final : public Worker {
        asio::awaitable<SourceKey> look_up(VertexPtr, std::string, Audience*) override { co_return SourceKey{.key = "image", .found = {}}; }
        asio::awaitable<std::string> digest_of(ResultPtr, std::vector<Selection>, ReadFiles*) override { co_return std::string(); }
        asio::awaitable<Results> run(Work work) override {
            co_return Results{std::make_shared<Files>(work.key, std::map<std::string, std::string>{})};
        }
    } quick;
    pb::Definition definition;
    const auto add = [&](const pb::Op& op) {
        definition.add_def(to_bytes(op));
        return content::digest_of(*definition.def().rbegin()).text();
    };
    pb::Op op;
    op.mutable_source()->set_identifier("image");
    std::string last = add(op);
    for (int number = 0; number < 60'000; ++number) {
        op.Clear();
        op.add_inputs()->set_digest(last);
        op.mutable_merge()->add_inputs();
        op.mutable_platform()->set_os(std::to_string(number));
        last = add(op);
    }
    op.Clear();
    op.add_inputs()->set_digest(last);
    add(op);
    Solver deep(loop.get_executor(), quick, cache, 4);
    Listener listener;
    const Edge head = read_graph(definition);
    for (int round = 0; round < 2; ++round) {
        listener.said.clear();
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            EXPECT_TRUE(co_await deep.solve({.edge = head, .session = {}, .audience = &listener}));
        });
        // Each is told once, also where all below the last one are there.
        EXPECT_EQ(listener.said.size(), 2 * 60'001U);
    }
}

/// What many stand on is told with the first of them, and is not walked through again with each.
TEST_F(SolverTest, WhatManyStandOnIsToldOnce) {
    Draft::Output below = source("image");
    for (int number = 0; number < 20; ++number) below = exec(below, fmt::format("below {}", number));
    pb::Op merge;
    for (int number = 0; number < 50; ++number) {
        const Draft::Output leaf = exec(below, fmt::format("leaf {}", number));
        solve(leaf);
        merge.mutable_merge()->add_inputs()->set_input(input_of(merge, leaf));
    }
    Listener listener;
    solve(draft.add(merge, "merge"), &listener);
    std::map<std::string, int> told;
    for (const std::string& each : listener.said) ++told[each];
    for (const auto& [what, count] : told) EXPECT_EQ(count, 1) << what;
    EXPECT_TRUE(told.contains("cached image"));
    EXPECT_TRUE(told.contains("cached leaf 49"));
}

}  // namespace
}  // namespace grua::build
