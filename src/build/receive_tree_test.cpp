#include "build/receive_tree.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"
#include "content/hash.hpp"
#include "grpc/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <filesystem>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;
using wire::files::Packet;

constexpr const char* method = "/moby.filesync.v1.FileSync/DiffCopy";
constexpr std::int64_t then = 1'700'000'000'123'456'789;

struct Sent {
    TreeEntry entry;
    std::string contents;
};

/// The client: sends the list, then what it is asked for, several files at a time.
class ReceiveTest : public testing::Test {
protected:
    ReceiveTest() : folder(fs::temp_directory_path() / ("grua-receive-" + random_hex(6))) {
        fs::create_directory(folder);
        client.add(method, [this](grpc::ServerCall& call) { return send(call); });
    }
    ~ReceiveTest() override { fs::remove_all(folder); }

    void file(const std::string& path, std::string contents, std::int64_t mtime = then, mode_t mode = 0644) {
        tree[path] = {{.mode = S_IFREG | mode, .size = contents.size(), .mtime = mtime}, contents};
    }
    void directory(const std::string& path, mode_t mode = 0755) { tree[path] = {{.mode = S_IFDIR | mode, .mtime = then}, {}}; }
    void link(const std::string& path, const std::string& to) { tree[path] = {{.mode = S_IFLNK | 0777, .mtime = then, .link = to}, {}}; }

    static asio::awaitable<void> say(grpc::ServerCall& call, const Packet& packet) { co_await call.write(packet.SerializeAsString()); }

    asio::awaitable<void> send(grpc::ServerCall& call) {
        std::vector<std::string> paths;
        for (const auto& [path, sent] : tree) {
            Packet packet;
            *packet.mutable_stat() = write_stat(path, sent.entry);
            paths.push_back(path);
            co_await say(call, packet);
        }
        co_await say(call, Packet{});
        std::vector<std::pair<std::uint32_t, std::string_view>> under_way;
        while (auto message = co_await call.read()) {
            const auto packet = grpc::Services::parse<Packet>(*message);
            if (packet.type() == Packet::PACKET_FIN) {
                Packet fin;
                fin.set_type(Packet::PACKET_FIN);
                co_await say(call, fin);
                co_return;
            }
            asked.push_back(paths.at(packet.id()));
            const std::string_view contents = tree.at(paths.at(packet.id())).contents;
            Packet data;
            data.set_type(Packet::PACKET_DATA);
            data.set_id(packet.id() + wrong_number);
            for (std::size_t at = 0; at < contents.size(); at += 30'000) {
                data.set_data(std::string(contents.substr(at, 30'000)));
                co_await say(call, data);
            }
            if (fails) {
                Packet error;
                error.set_type(Packet::PACKET_ERR);
                error.set_data("open a: permission denied");
                co_await say(call, error);
                co_return;
            }
            data.clear_data();
            co_await say(call, data);
        }
    }

    /// What is here is `index` then.
    void receive() {
        asked.clear();
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto executor = loop.get_executor();
            asio::co_spawn(loop, client.serve(executor, grpc::over_socket(executor, Fd(pair[1]))), asio::detached);
            const auto connection = grpc::Http2::make(executor, grpc::over_socket(executor, Fd(pair[0])), grpc::Http2::Role::client);
            asio::co_spawn(loop, connection->run(), asio::detached);
            std::exception_ptr failure;
            try {
                grpc::ClientCall call(*connection, method);
                index = co_await receive_tree(call, {.folder = folder, .before = index}, pool, executor);
            } catch (...) {
                failure = std::current_exception();
            }
            connection->close("the test is over");
            if (failure) std::rethrow_exception(failure);
        });
        expect_same();
    }

    void expect_same() const {
        std::size_t count = 0;
        for (const auto& each : fs::recursive_directory_iterator(folder)) {
            static_cast<void>(each);
            ++count;
        }
        EXPECT_EQ(count, tree.size());
        for (const auto& [path, sent] : tree) {
            struct stat status{};
            ASSERT_EQ(::lstat((folder / path).c_str(), &status), 0) << path;
            EXPECT_EQ(status.st_mode, sent.entry.mode) << path;
            EXPECT_EQ(status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec, sent.entry.mtime) << path;
            if (S_ISLNK(sent.entry.mode)) EXPECT_EQ(fs::read_symlink(folder / path), sent.entry.link);
            if (S_ISREG(sent.entry.mode)) {
                const std::string& contents = sent.entry.link.empty() ? sent.contents : tree.at(sent.entry.link).contents;
                EXPECT_EQ(read_file(folder / path, 100 << 20), contents) << path;
                EXPECT_EQ(index.at(path).digest, content::digest_of(contents).text()) << path;
            }
        }
    }

    fs::path folder;
    std::map<std::string, Sent, PathOrder> tree;
    TreeIndex index;
    std::vector<std::string> asked;
    std::uint32_t wrong_number = 0;
    bool fails = false;
    asio::io_context loop;
    asio::thread_pool pool{2};
    grpc::Services client;
};

TEST_F(ReceiveTest, XattrsThatAreGoneAreGoneHere) {
    directory("a");
    file("a/b", "one");
    for (const char* path : {"a", "a/b"}) tree.at(path).entry.xattrs = {{"user.one", "1"}, {"user.two", "2"}};
    receive();
    const auto has = [&](const char* path, const char* name) { return ::lgetxattr((folder / path).c_str(), name, nullptr, 0) >= 0; };
    if (!has("a", "user.one")) GTEST_SKIP() << "no xattrs here";
    for (const char* path : {"a", "a/b"}) tree.at(path).entry.xattrs.erase("user.one");
    receive();
    for (const char* path : {"a", "a/b"}) {
        EXPECT_FALSE(has(path, "user.one")) << path;
        EXPECT_TRUE(has(path, "user.two")) << path;
    }
}

TEST_F(ReceiveTest, ATreeComesAndThenItsDifferences) {
    directory("a", 01755);
    file("a/b", "one");
    file("a/c", std::string(1'000'000, 'x'), then, 04755);
    directory("a/d");
    file("empty", "");
    link("l", "a/b");
    tree["other"] = {{.mode = S_IFREG | 0644, .size = 3, .mtime = then, .link = "a/b"}, {}};
    tree["pipe"] = {{.mode = S_IFIFO | 0640, .mtime = -1}, {}};
    receive();
    EXPECT_THAT(asked, ElementsAre("a/b", "a/c", "empty"));
    receive();
    EXPECT_THAT(asked, IsEmpty());

    file("a/c", "changed", then + 1);
    file("z", "new");
    tree.erase("empty");
    receive();
    EXPECT_THAT(asked, ElementsAre("a/c", "z"));

    // Each becomes another kind.
    tree.erase("a/b");
    tree.erase("a/c");
    tree.erase("a/d");
    tree.erase("other");
    file("a", "a file now");
    tree.erase("l");
    directory("l");
    file("l/b", "in a folder that was a link");
    link("z", "/etc");
    receive();
    EXPECT_THAT(asked, ElementsAre("a", "l/b"));
    tree.clear();
    receive();
}

TEST_F(ReceiveTest, ManyFilesComeByWindows) {
    for (int folder_number = 0; folder_number < 20; ++folder_number) {
        directory(fmt::format("f{}", folder_number));
        for (int number = 0; number < 100; ++number)
            file(fmt::format("f{}/{}", folder_number, number), fmt::format("contents {} {}", folder_number, number));
    }
    receive();
    EXPECT_EQ(asked.size(), 2000U);
    file("f7/7", "another");
    tree.at("f7/7").entry.mtime += 1;
    receive();
    EXPECT_THAT(asked, ElementsAre("f7/7"));
}

TEST_F(ReceiveTest, ASenderThatLiesIsRefused) {
    file("a", "one");
    wrong_number = 5;
    EXPECT_THROW(receive(), Error);
    wrong_number = 0;
    fails = true;
    fs::remove_all(folder);
    fs::create_directory(folder);
    try {
        receive();
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("open a: permission denied"));
    }
}

TEST_F(ReceiveTest, WhatTheFolderHasBecomeMeanwhileLeadsNowhere) {
    directory("a");
    file("a/b", "one");
    receive();
    const fs::path outside = folder.string() + "-outside";
    fs::create_directory(outside);
    fs::remove_all(folder / "a");
    fs::create_directory_symlink(outside, folder / "a");
    file("a/b", "two", then + 1);
    EXPECT_THROW(receive(), Error);
    EXPECT_TRUE(fs::is_empty(outside));
    fs::remove_all(outside);
}

}  // namespace
}  // namespace grua::build
