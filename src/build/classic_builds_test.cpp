#include "build/classic_builds.hpp"

#include "base/id.hpp"
#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "build/draft.hpp"
#include "layers/tar_writer.hpp"
#include "layers/test_streams.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <thread>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

/// One program, of the Dockerfile's second line, that prints and ends as the test wants.
class FakeBuilder final : public Builder {
public:
    explicit FakeBuilder(Sessions& sessions) : sessions_(sessions) {}

    asio::awaitable<wire::bridge::Result> solve(Caller caller, wire::bridge::SolveRequest request) override {
        options = {request.frontendopt().begin(), request.frontendopt().end()};
        if (const Given* given = sessions_.given().find(options["local-sessionid:context"])) {
            for (const auto& [path, entry] : given->contexts.at("context")->index()) files.push_back(path);
            has_credentials = given->credentials.contains("reg.test");
        }
        if (is_broken) fail(ErrorKind::not_found, "no such image");
        Draft draft;
        draft.set_source("Dockerfile", "FROM scratch\nRUN one\n", "Dockerfile");
        pb::Op op;
        pb::Mount& root = *op.mutable_exec()->add_mounts();
        root.set_dest("/");
        root.set_input(-1);
        op.mutable_exec()->mutable_meta()->add_args("one");
        const Draft::Output last = draft.add(op, "RUN one");
        draft.place(last, 2, 2);
        wire::bridge::Result out;
        *out.mutable_ref()->mutable_def() = draft.define(last);
        co_return out;
    }
    asio::awaitable<ResultPtr> make(BuildPtr build, pb::Definition definition) override {
        (void)build;
        (void)definition;
        co_return nullptr;
    }
    asio::awaitable<std::map<std::string, std::string>> finish(BuildPtr build, wire::bridge::Result result) override {
        const Edge edge = read_graph(result.ref().def());
        memory = edge.vertex->metadata.linux_resources().memory();
        build->journal.started(*edge.vertex);
        build->journal.printed(*edge.vertex, 1, "hello\n");
        is_running = true;
        if (holds) {
            asio::steady_timer timer(co_await asio::this_coro::executor, 60s);
            try {
                co_await timer.async_wait(asio::use_awaitable);
            } catch (...) {
                was_cancelled = true;
                throw;
            }
        }
        if (exit_code != 0) {
            build->failed = edge.vertex;
            build->exit_code = exit_code;
            build->journal.completed(*edge.vertex, false, "it failed");
            fail(ErrorKind::system, "it failed");
        }
        build->journal.completed(*edge.vertex, false, {});
        co_return std::map<std::string, std::string>{{"containerimage.digest", "sha256:0123456789abcdef"}};
    }
    wire::worker::WorkerRecord worker() const override { return {}; }

    std::map<std::string, std::string> options;
    std::vector<std::string> files;
    bool has_credentials = false;
    std::int64_t memory = 0;
    bool is_broken = false;
    bool holds = false;
    int exit_code = 0;
    bool is_running = false;
    bool was_cancelled = false;

private:
    Sessions& sessions_;
};

class ClassicBuildsTest : public testing::Test {
protected:
    ClassicBuildsTest() : directory(fs::temp_directory_path() / ("grua-builds-" + random_hex(6))), contexts(directory, "boot") {}
    ~ClassicBuildsTest() override {
        pool.join();
        fs::remove_all(directory);
    }

    static std::string tar(const std::string& dockerfile = "FROM scratch\nRUN one\n") {
        layers::TextSink sink;
        layers::TarWriter writer(sink);
        layers::TarEntry entry;
        entry.name = "Dockerfile";
        entry.mode = 0644;
        entry.size = dockerfile.size();
        writer.add(entry);
        writer.write(dockerfile);
        writer.finish();
        return sink.text;
    }
    /// A body that has come; it fits in a pipe.
    static engine::Input input(const std::string& body = tar()) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        const Fd out(ends[1]);
        EXPECT_EQ(::write(out.get(), body.data(), body.size()), static_cast<ssize_t>(body.size()));
        return {.reading = Fd(ends[0]), .check = [] {}};
    }
    static asio::awaitable<std::string> all_of(ClassicBuild& build) {
        std::string out;
        while (const auto lines = co_await build.next()) out += *lines;
        co_return out;
    }
    /// All lines, or what it failed with before the first.
    std::string answer(ClassicRequest request, const std::string& body = tar()) {
        std::string out;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const ClassicBuildPtr build = builds.begin(std::move(request), input(body));
            try {
                out = co_await all_of(*build);
            } catch (const Error& error) {
                out = std::string("refused: ") + error.what();
            }
        });
        EXPECT_EQ(control.count(), 0U);
        return out;
    }
    asio::awaitable<void> until(const bool& is_so) {
        asio::steady_timer timer(loop.get_executor());
        while (!is_so) {
            timer.expires_after(5ms);
            co_await timer.async_wait(asio::use_awaitable);
        }
    }

    fs::path directory;
    asio::io_context loop;
    asio::thread_pool pool{1};
    Transfers transfers;
    TurnedClock clock;
    ContextStore contexts;
    Sessions sessions{loop.get_executor(), clock, clock};
    FakeBuilder builder{sessions};
    Control control{loop.get_executor(), clock, clock, sessions, builder};
    ClassicBuilds builds{{.loop = loop.get_executor(),
                          .pool = pool,
                          .transfers = transfers,
                          .clock = clock,
                          .timers = clock,
                          .contexts = contexts,
                          .sessions = sessions,
                          .control = control,
                          .image_id = [](const std::string& name) { return name == "here" ? std::string("sha256:1") : std::string(); }}};
};

TEST_F(ClassicBuildsTest, ABuildIsToldInLines) {
    ClassicRequest request{.names = {"x"}, .credentials = {{"reg.test", {.username = "u", .password = "p"}}}};
    request.limits.memory = 1 << 25;
    EXPECT_EQ(answer(request),
              "{\"stream\":\"Step 1/2 : FROM scratch\"}\r\n{\"stream\":\"\\n\"}\r\n{\"stream\":\" ---> \\n\"}\r\n{\"stream\":\"Step 2/2 : "
              "RUN one\"}\r\n"
              "{\"stream\":\"\\n\"}\r\n{\"stream\":\"hello\\n\"}\r\n{\"stream\":\" ---> 0123456789ab\\n\"}\r\n"
              "{\"aux\":{\"ID\":\"sha256:0123456789abcdef\"}}\r\n{\"stream\":\"Successfully built 0123456789ab\\n\"}\r\n"
              "{\"stream\":\"Successfully tagged x:latest\\n\"}\r\n");
    EXPECT_EQ(builder.files, std::vector<std::string>{"Dockerfile"});
    EXPECT_TRUE(builder.has_credentials);
    EXPECT_EQ(builder.memory, 1 << 25);
    EXPECT_EQ(sessions.given().find(builder.options["local-sessionid:context"]), nullptr);
    pool.join();
    EXPECT_TRUE(fs::is_empty(directory));
}

TEST_F(ClassicBuildsTest, ACacheOfImagesThatAreNotHereIsNone) {
    static_cast<void>(answer({.cache_from = {"none"}}));
    EXPECT_TRUE(builder.options.contains("no-cache"));
    static_cast<void>(answer({.cache_from = {"none", "here"}}));
    EXPECT_FALSE(builder.options.contains("no-cache"));
    static_cast<void>(answer({.version = ClassicVersion::trace, .cache_from = {"none"}}));
    EXPECT_FALSE(builder.options.contains("no-cache"));
}

TEST_F(ClassicBuildsTest, AQuietOneSaysItsImage) {
    EXPECT_EQ(answer({.is_quiet = true}), "{\"stream\":\"sha256:0123456789abcdef\\n\"}\r\n");
    EXPECT_EQ(answer({.version = ClassicVersion::trace, .is_quiet = true}), "{\"stream\":\"sha256:0123456789abcdef\\n\"}\r\n");
    builder.exit_code = 3;
    const std::string said = answer({.is_quiet = true});
    EXPECT_TRUE(said.starts_with("{\"stream\":\"Step 1/2 : FROM scratch\"}\r\n")) << said;
    EXPECT_TRUE(said.contains("{\"stream\":\"hello\\n\"}\r\n{\"errorDetail\"")) << said;
}

TEST_F(ClassicBuildsTest, AProgramThatFailsIsToldWithItsStatus) {
    builder.exit_code = 3;
    const std::string said = answer({});
    EXPECT_TRUE(said.ends_with(
        "{\"stream\":\"hello\\n\"}\r\n{\"errorDetail\":{\"code\":3,\"message\":\"The command 'one' returned a non-zero code: "
        "3\"},\"error\":\"The command 'one' returned a non-zero code: 3\"}\r\n"))
        << said;
}

TEST_F(ClassicBuildsTest, WhatIsWrongBeforeItBeginsIsNoAnswer) {
    EXPECT_EQ(answer({}, tar("FROM scratch\nRUNN x\n")),
              "refused: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)");
    EXPECT_EQ(answer({.dockerfile = "none"}), "refused: Cannot locate specified Dockerfile: none");
    EXPECT_EQ(answer({.target = "none"}), "refused: target stage \"none\" could not be found");
    // From here on it has begun.
    builder.is_broken = true;
    EXPECT_EQ(answer({}),
              "{\"stream\":\"Step 1/2 : FROM scratch\"}\r\n{\"stream\":\"\\n\"}\r\n"
              "{\"errorDetail\":{\"message\":\"no such image\"},\"error\":\"no such image\"}\r\n");
    EXPECT_EQ(answer({.version = ClassicVersion::trace}), "refused: no such image");
}

TEST_F(ClassicBuildsTest, VersionTwoIsBuildKitsMessages) {
    const std::string said = answer({.version = ClassicVersion::trace});
    EXPECT_TRUE(said.starts_with("{\"id\":\"moby.buildkit.trace\",\"aux\":\"")) << said;
    EXPECT_TRUE(said.ends_with("{\"id\":\"moby.image.id\",\"aux\":{\"ID\":\"sha256:0123456789abcdef\"}}\r\n")) << said;
    builder.exit_code = 3;
    const std::string failed = answer({.version = ClassicVersion::trace});
    EXPECT_TRUE(failed.ends_with("{\"errorDetail\":{\"message\":\"it failed\"},\"error\":\"it failed\"}\r\n")) << failed;
}

TEST_F(ClassicBuildsTest, ItEndsWithWhoeverWantsIt) {
    builder.holds = true;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        ClassicBuildPtr build = builds.begin({}, input());
        co_await until(builder.is_running);
        build.reset();
        co_await until(builder.was_cancelled);
        co_await builds.shutdown();
        EXPECT_EQ(control.count(), 0U);
    });
}

TEST_F(ClassicBuildsTest, ItEndsWhileItsContextIsWaitedFor) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd silent(ends[1]);
    std::string said;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        const ClassicBuildPtr build = builds.begin({.id = "i"}, {.reading = Fd(ends[0]), .check = [] {}});
        asio::steady_timer timer(loop.get_executor(), 20ms);
        co_await timer.async_wait(asio::use_awaitable);
        builds.cancel("i");
        try {
            static_cast<void>(co_await all_of(*build));
        } catch (const Error& error) {
            said = error.what();
        }
    });
    EXPECT_EQ(said, "context canceled");
}

TEST_F(ClassicBuildsTest, ItIsCancelledByItsId) {
    builder.holds = true;
    std::string said;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        const ClassicBuildPtr build = builds.begin({.version = ClassicVersion::trace, .id = "i"}, input());
        co_await until(builder.is_running);
        builds.cancel("other");
        builds.cancel("i");
        said = co_await all_of(*build);
    });
    EXPECT_TRUE(builder.was_cancelled);
    EXPECT_TRUE(said.ends_with("{\"errorDetail\":{\"message\":\"context canceled\"},\"error\":\"context canceled\"}\r\n")) << said;
}

TEST_F(ClassicBuildsTest, AnUploadComesInARequestOfItsOwn) {
    for (const bool is_first : {true, false}) {
        builder.files.clear();
        bool is_read = false;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto bring = [&]() -> asio::awaitable<void> {
                co_await builds.upload("upload-request:i", input());
                is_read = true;
            };
            if (is_first) asio::co_spawn(loop, bring(), asio::detached);
            asio::steady_timer timer(loop.get_executor(), 20ms);
            co_await timer.async_wait(asio::use_awaitable);
            const ClassicBuildPtr build = builds.begin({.version = ClassicVersion::trace, .remote = "upload-request", .id = "i"}, {});
            if (!is_first) asio::co_spawn(loop, bring(), asio::detached);
            EXPECT_TRUE((co_await all_of(*build)).contains("moby.image.id"));
            co_await until(is_read);
        });
        EXPECT_EQ(builder.files, std::vector<std::string>{"Dockerfile"});
    }
}

TEST_F(ClassicBuildsTest, AnUploadThatNobodyWantsIsRefused) {
    std::string refused;
    std::string waited;
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        bool is_over = false;
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> {
                try {
                    co_await builds.upload("upload-request:a", input());
                } catch (const Error& error) {
                    refused = error.what();
                }
            },
            asio::detached);
        const ClassicBuildPtr build = builds.begin({.version = ClassicVersion::trace, .remote = "upload-request", .id = "b"}, {});
        asio::steady_timer timer(loop.get_executor(), 20ms);
        co_await timer.async_wait(asio::use_awaitable);
        clock.turn(6s);
        try {
            static_cast<void>(co_await all_of(*build));
        } catch (const Error& error) {
            waited = error.what();
        }
        is_over = true;
        co_await until(is_over);
    });
    EXPECT_EQ(refused, "no build has come for the upload a: context deadline exceeded");
    EXPECT_EQ(waited, "no upload b has come: context deadline exceeded");
}

}  // namespace
}  // namespace grua::build
