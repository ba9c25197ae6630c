#include "build/classic_context.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "layers/tar_writer.hpp"
#include "layers/test_streams.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <thread>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

struct Entry {
    std::string name;
    std::string text = {};
    std::string link = {};
    layers::TarEntry::Type type = layers::TarEntry::Type::file;
};

std::string tar_of(const std::vector<Entry>& entries) {
    layers::TextSink sink;
    layers::TarWriter writer(sink);
    for (const Entry& each : entries) {
        layers::TarEntry entry;
        entry.name = each.name;
        entry.link = each.link;
        entry.type = each.link.empty() ? each.type : layers::TarEntry::Type::symlink;
        entry.mode = entry.type == layers::TarEntry::Type::directory ? 0755 : 0644;
        entry.size = each.text.size();
        entry.uid = 1234;
        writer.add(entry);
        if (!each.text.empty()) writer.write(each.text);
    }
    writer.finish();
    return sink.text;
}

class ClassicContextTest : public testing::Test {
protected:
    ClassicContextTest() : directory(fs::temp_directory_path() / ("grua-classic-" + random_hex(6))), store(directory, "boot") {}
    ~ClassicContextTest() override { fs::remove_all(directory); }

    /// As it comes by a pipe; `is_broken`: the client has left.
    ClassicContext receive(const std::string& body, const ClassicRequest& request = {}, bool is_broken = false) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        std::jthread sender([&body, out = Fd(ends[1])]() mutable {
            std::size_t sent = 0;
            while (sent < body.size()) {
                const ssize_t count = ::write(out.get(), body.data() + sent, std::min<std::size_t>(1000, body.size() - sent));
                if (count <= 0) break;
                sent += static_cast<std::size_t>(count);
            }
            out = Fd{};
        });
        const engine::Input input{.reading = Fd(ends[0]), .check = [is_broken] {
                                      if (is_broken) fail(ErrorKind::invalid_argument, "the request's body broke off before its end");
                                  }};
        return receive_classic_context(store, input, request, {});
    }
    std::string refusal(const std::string& body, const ClassicRequest& request = {}, bool is_broken = false) {
        try {
            (void)receive(body, request, is_broken);
        } catch (const Error& error) {
            return error.what();
        }
        return "accepted";
    }
    static std::vector<std::string> names(const Context& context) {
        std::vector<std::string> out;
        for (const auto& [path, entry] : context.index()) out.push_back(path);
        return out;
    }

    fs::path directory;
    ContextStore store;
};

using Names = std::vector<std::string>;

TEST_F(ClassicContextTest, ATarBecomesAFolderOfItsOwn) {
    const std::string body = tar_of({{.name = "Dockerfile", .text = "FROM scratch\n"}, {.name = "d/a", .text = std::string(100'000, 'x')}});
    {
        const ClassicContext came = receive(body);
        EXPECT_EQ(came.dockerfile_text, "FROM scratch\n");
        EXPECT_EQ(names(*came.files), (Names{"Dockerfile", "d", "d/a"}));
        EXPECT_EQ(came.files->index().at("d/a").size, 100'000U);
        EXPECT_FALSE(came.files->index().at("d/a").digest.empty());
        EXPECT_EQ(came.files->index().at("d/a").uid, 0U);
        EXPECT_EQ(names(*came.dockerfile), Names{"Dockerfile"});
        EXPECT_EQ(read_file(came.dockerfile->folder() + "/Dockerfile"), "FROM scratch\n");
    }
    EXPECT_TRUE(fs::is_empty(directory));
}

TEST_F(ClassicContextTest, ItMayBePacked) {
    const std::string plain = tar_of({{.name = "Dockerfile", .text = "FROM scratch\n"}});
    for (const std::string tool : {"gzip", "bzip2", "xz", "zstd"}) {
        SCOPED_TRACE(tool);
        const std::string path = directory.string() + ".tar";
        replace_file(path, plain);
        ASSERT_EQ(std::system(fmt::format("{} -c {} > {}.packed", tool, path, path).c_str()), 0);
        EXPECT_EQ(names(*receive(read_file(path + ".packed")).files), Names{"Dockerfile"});
        fs::remove(path);
        fs::remove(path + ".packed");
    }
}

TEST_F(ClassicContextTest, NothingLeadsOutOfIt) {
    const fs::path outside = directory.string() + "-outside";
    fs::create_directory(outside);
    const std::string up = "../../../../../../../.." + outside.string();
    for (const auto& entries : std::vector<std::vector<Entry>>{
             {{.name = up + "/a", .text = "evil"}},
             {{.name = "l", .link = outside}, {.name = "l/a", .text = "evil"}},
             {{.name = "l", .link = up}, {.name = "l/a", .text = "evil"}},
         }) {
        auto all = entries;
        all.push_back({.name = "Dockerfile", .text = "FROM scratch\n"});
        static_cast<void>(refusal(tar_of(all)));
        EXPECT_TRUE(fs::is_empty(outside));
    }
    // What a link leads to is read inside.
    replace_file(outside / "secret", "evil");
    EXPECT_EQ(refusal(tar_of({{.name = "Dockerfile", .link = (outside / "secret").string()}})),
              "Cannot locate specified Dockerfile: Dockerfile");
    fs::remove_all(outside);
}

TEST_F(ClassicContextTest, TheDockerfileIsWhereItIsSaid) {
    const std::string body = tar_of({{.name = "dockerfile", .text = "FROM lower\n"},
                                     {.name = "d/x", .text = "FROM x\n"},
                                     {.name = "empty"},
                                     {.name = "link", .link = "/d/x"}});
    EXPECT_EQ(receive(body).dockerfile_text, "FROM lower\n");
    for (const std::string name : {"d/x", "/d/x", "./d/../d/x", "../../d/x", "link"})
        EXPECT_EQ(receive(body, {.dockerfile = name}).dockerfile_text, "FROM x\n") << name;
    EXPECT_EQ(refusal(body, {.dockerfile = "none"}), "Cannot locate specified Dockerfile: none");
    EXPECT_EQ(refusal(body, {.dockerfile = "d"}), "Cannot locate specified Dockerfile: d");
    EXPECT_EQ(refusal(body, {.dockerfile = "."}), "Cannot locate specified Dockerfile: .");
    EXPECT_EQ(refusal(body, {.dockerfile = "empty"}), "the Dockerfile (empty) cannot be empty");
    EXPECT_EQ(refusal(""), "Cannot locate specified Dockerfile: Dockerfile");
}

TEST_F(ClassicContextTest, OnlyTheDockerfileAndDockerignoreAreIgnored) {
    const auto with = [](const std::string& ignored) {
        return tar_of(
            {{.name = "Dockerfile", .text = "FROM scratch\n"}, {.name = ".dockerignore", .text = ignored}, {.name = "a", .text = "a"}});
    };
    EXPECT_EQ(names(*receive(with("a\n")).files), (Names{".dockerignore", "Dockerfile", "a"}));
    EXPECT_EQ(names(*receive(with("Dockerfile\n")).files), (Names{".dockerignore", "a"}));
    const ClassicContext none = receive(with("*\n"));
    EXPECT_EQ(names(*none.files), Names{"a"});
    EXPECT_FALSE(fs::exists(none.files->folder() + "/Dockerfile"));
    EXPECT_EQ(none.dockerfile_text, "FROM scratch\n");
    EXPECT_EQ(names(*receive(with("*\n!Dockerfile\n")).files), (Names{"Dockerfile", "a"}));
}

TEST_F(ClassicContextTest, ABodyThatBreaksOffIsToldAsThat) {
    const std::string body = tar_of({{.name = "Dockerfile", .text = "FROM scratch\n"}, {.name = "a", .text = std::string(10'000, 'x')}});
    for (const std::size_t size : {0UL, 100UL, 5000UL, body.size()})
        EXPECT_EQ(refusal(body.substr(0, size), {}, true), "the request's body broke off before its end") << size;
    EXPECT_NE(refusal(body.substr(0, 5000)), "accepted");
    EXPECT_TRUE(fs::is_empty(directory));
}

TEST_F(ClassicContextTest, AnythingElseIsADockerfileToBuildKitAlone) {
    const std::string text = "FROM scratch\nCOPY a /\n";
    EXPECT_NE(refusal(text), "accepted");
    const ClassicContext came = receive(text, {.version = ClassicVersion::trace});
    EXPECT_EQ(read_file(came.dockerfile->folder() + "/Dockerfile"), text);
    EXPECT_EQ(names(*came.files), Names{"Dockerfile"});
    const ClassicContext tar = receive(tar_of({{.name = "a", .text = "b"}}), {.version = ClassicVersion::trace});
    EXPECT_EQ(names(*tar.files), Names{"a"});
    EXPECT_EQ(tar.files->index().at("a").uid, 1234U);
    EXPECT_FALSE(tar.dockerfile);
    EXPECT_TRUE(names(*receive("", {.version = ClassicVersion::trace}).files).empty());
}

TEST_F(ClassicContextTest, AStopEndsItAlsoWhereTheClientIsSilent) {
    std::stop_source stop;
    const std::jthread later([&stop] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        stop.request_stop();
    });
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd writing(ends[1]);
    const engine::Input input{.reading = Fd(ends[0]), .check = [] {}};
    EXPECT_THROW((void)receive_classic_context(store, input, {}, stop.get_token()), Error);
}

}  // namespace
}  // namespace grua::build
