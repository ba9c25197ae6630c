#include "build/export_local.hpp"
#include "build/export_tar.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"
#include "build/receive_tree.hpp"
#include "build/wire/session.pb.h"
#include "layers/tar.hpp"
#include "layers/test_streams.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <filesystem>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace fs = std::filesystem;

/// A client that puts into "to" what comes, or keeps the bytes.
class ExportTest : public testing::Test {
protected:
    ExportTest() : work(fs::temp_directory_path() / ("grua-export-" + random_hex(6))), to(work / "to") {
        fs::create_directories(to);
        client.add(file_send_method, [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            asked.push_back(fmt::format("{}{}", call.metadata("buildkit-attachable-exporter-id"),
                                        call.metadata("buildkit-exporter-multi-platform").empty() ? "" : " all at once"));
            if (refuses != grpc::Code::ok) throw grpc::CallError({.code = refuses, .message = "the client refuses", .details = {}});
            if (takes_files) {
                co_await receive_tree(call, {.folder = to, .present = Present::replaced}, pool, loop.get_executor());
                co_return;
            }
            while (const auto message = co_await call.read()) {
                const auto piece = grpc::Services::parse<wire::session::BytesMessage>(*message);
                longest = std::max(longest, piece.data().size());
                bytes += piece.data();
            }
        });
    }
    ~ExportTest() override { fs::remove_all(work); }

    FilesResult result(const std::string& platform, const std::map<std::string, std::string>& files) const {
        const fs::path root = work / ("root" + random_hex(4));
        fs::create_directories(root);
        for (const auto& [path, contents] : files) {
            fs::create_directories((root / path).parent_path());
            replace_file(root / path, contents);
        }
        return {.platform = platform, .root = Root::open(root.c_str()), .attestations = {}};
    }

    template <typename Exporter>
    void run(Exporter exporter, FilesExportTask task) {
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto executor = loop.get_executor();
            asio::co_spawn(loop, client.serve(executor, grpc::over_socket(executor, Fd(pair[1]))), asio::detached);
            const auto connection = grpc::Http2::make(executor, grpc::over_socket(executor, Fd(pair[0])), grpc::Http2::Role::client);
            asio::co_spawn(loop, connection->run(), asio::detached);
            const auto session = std::make_shared<Session>(SessionHead{.id = "s", .methods = {file_send_method}}, connection);
            std::exception_ptr failure;
            try {
                co_await exporter(
                    session, std::move(task),
                    [&](const std::string& what, std::int64_t count, bool is_done) {
                        if (is_done) told.push_back(fmt::format("{} {}", what, count > 0 ? "some" : "none"));
                    },
                    Time(std::chrono::seconds(77)), pool);
            } catch (...) {
                failure = std::current_exception();
            }
            connection->close("the test is over");
            if (failure) std::rethrow_exception(failure);
        });
    }
    template <typename Exporter>
    std::string refusal(Exporter exporter, FilesExportTask task) {
        try {
            run(exporter, std::move(task));
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }

    /// "name=contents" of each entry.
    std::vector<std::string> entries() const {
        std::vector<std::string> out;
        layers::TextSource source(bytes);
        layers::TarReader reader(source);
        while (const auto entry = reader.next()) {
            std::string text(1000, '\0');
            std::string contents;
            for (std::size_t count = reader.read(text); count > 0; count = reader.read(text)) contents += text.substr(0, count);
            out.push_back(fmt::format("{}={}@{}", entry->name, contents, entry->mtime.tv_sec));
        }
        return out;
    }

    fs::path work;
    fs::path to;
    grpc::Services client;
    asio::io_context loop;
    asio::thread_pool pool{2};
    bool takes_files = true;
    grpc::Code refuses = grpc::Code::ok;
    std::vector<std::string> asked;
    std::vector<std::string> told;
    std::string bytes;
    std::size_t longest = 0;
};

TEST_F(ExportTest, AFolder) {
    FilesExportTask task{.exporter = 3, .source_date = 9};
    task.results.push_back(result("", {{"a/b", "one"}, {"c", "two"}}));
    task.options.attestation_prefix = "x.";
    task.results[0].attestations = {{"provenance.json", "{}"}};
    run(export_local, std::move(task));
    EXPECT_EQ(read_file(to / "a/b"), "one");
    EXPECT_EQ(read_file(to / "x.provenance.json"), "{}");
    EXPECT_EQ(fs::last_write_time(to / "c"), fs::last_write_time(to / "a"));
    EXPECT_THAT(asked, ElementsAre("3"));
    EXPECT_THAT(told, ElementsAre("copying files some"));
}

TEST_F(ExportTest, PlatformsHaveFolders) {
    FilesExportTask task;
    task.results.push_back(result("linux/arm64", {{"a", "arm"}}));
    task.results.push_back(result("linux/amd64", {{"a", "amd"}}));
    task.results[0].attestations = {{"sbom.json", "s"}};
    run(export_local, std::move(task));
    EXPECT_EQ(read_file(to / "linux_arm64/a"), "arm");
    EXPECT_EQ(read_file(to / "linux_amd64/a"), "amd");
    EXPECT_EQ(read_file(to / "linux_arm64/sbom.json"), "s");
    EXPECT_THAT(told, ElementsAre("copying files linux/amd64 some", "copying files linux/arm64 some"));
}

TEST_F(ExportTest, PlatformsShareAFolderWhereTheirFilesDiffer) {
    FilesExportTask task{.options = {.platform_split = false}};
    task.results.push_back(result("linux/arm64", {{"bin/arm", "1"}}));
    task.results.push_back(result("linux/amd64", {{"bin/amd", "2"}}));
    task.results[0].attestations = {{"sbom.json", "s"}};
    run(export_local, std::move(task));
    EXPECT_EQ(read_file(to / "bin/arm") + read_file(to / "bin/amd"), "12");
    EXPECT_EQ(read_file(to / "sbom.linux_arm64.json"), "s");

    FilesExportTask same{.options = {.platform_split = false}};
    same.results.push_back(result("linux/arm64", {{"bin/a", "1"}}));
    same.results.push_back(result("linux/amd64", {{"bin/a", "2"}}));
    EXPECT_THAT(refusal(export_local, std::move(same)),
                HasSubstr("cannot overwrite bin/a from linux/amd64 with linux/arm64 when split option is disabled"));
}

TEST_F(ExportTest, WhatElseIsThereIsRemovedInOneCall) {
    FilesExportTask task{.options = {.mode = FilesExport::Mode::remove_others}};
    task.results.push_back(result("linux/arm64", {{"a", "1"}}));
    task.results.push_back(result("linux/amd64", {{"a", "2"}}));
    run(export_local, std::move(task));
    EXPECT_THAT(asked, ElementsAre("0 all at once"));
    EXPECT_EQ(read_file(to / "linux_arm64/a") + read_file(to / "linux_amd64/a"), "12");
}

TEST_F(ExportTest, ATar) {
    takes_files = false;
    FilesExportTask task{.source_date = 9};
    task.results.push_back(result("", {{"a/b", std::string(100'000, 'x')}, {"c", ""}}));
    run(export_tar, std::move(task));
    EXPECT_THAT(entries(), ElementsAre("a/=@9", "a/b=" + std::string(100'000, 'x') + "@9", "c=@9"));
    EXPECT_EQ(longest, 32U << 10U);
    EXPECT_THAT(told, ElementsAre("sending tarball some"));
    bytes.clear();
    FilesExportTask platforms{.options = {.platform_split = false}};
    platforms.results.push_back(result("linux/amd64", {{"a", "1"}}));
    platforms.results[0].attestations = {{"p.json", "{}"}};
    run(export_tar, std::move(platforms));
    EXPECT_EQ(entries().size(), 3U);
    EXPECT_EQ(entries()[0], "linux_amd64/=@77");
    EXPECT_EQ(entries()[2], "linux_amd64/p.linux_amd64.json={}@77");
}

TEST_F(ExportTest, AClientMayRefuse) {
    takes_files = false;
    const auto task = [&] {
        FilesExportTask out;
        out.results.push_back(result("", {{"a", std::string(5'000'000, 'x')}}));
        return out;
    };
    refuses = grpc::Code::permission_denied;
    EXPECT_EQ(refusal(export_tar, task()), "the client refuses");
    EXPECT_EQ(refusal(export_local, task()), "the client refuses");
    refuses = grpc::Code::already_exists;
    EXPECT_EQ(refusal(export_tar, task()), "");
}

}  // namespace
}  // namespace grua::build
