#include "build/send_tree.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_loop.hpp"
#include "build/receive_tree.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
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

/// Both halves in one process: "from" is sent, "to" is what has come.
class SendTest : public testing::Test {
protected:
    SendTest() : work(fs::temp_directory_path() / ("grua-send-" + random_hex(6))), from(work / "from"), to(work / "to") {
        fs::create_directories(from);
        fs::create_directories(to);
    }
    ~SendTest() override { fs::remove_all(work); }

    void file(const std::string& path, std::string_view contents, mode_t mode = 0644) const {
        fs::create_directories((from / path).parent_path());
        replace_file(from / path, contents, mode);
        set_time(path, 1'700'000'000);
    }
    void folder(const std::string& path) const { fs::create_directories(from / path); }
    void link(const std::string& path, const std::string& target) const {
        fs::create_directories((from / path).parent_path());
        fs::create_symlink(target, from / path);
        set_time(path, 1'700'000'001);
    }
    void set_time(const std::string& path, time_t time) const {
        const std::array times{timespec{time, 5}, timespec{time, 7}};
        ASSERT_EQ(::utimensat(AT_FDCWD, (from / path).c_str(), times.data(), AT_SYMLINK_NOFOLLOW), 0);
    }

    SendOptions options(TreeView view = {}) const {
        SendOptions out;
        out.parts.resize(1);
        out.parts[0].folder = Root::open(from.c_str());
        out.view = std::move(view);
        return out;
    }

    /// Who calls and who is called, on one connection.
    template <typename Caller>
    void talk(grpc::Handler called, Caller caller) {
        grpc::Services services;
        services.add(method, std::move(called));
        std::array<int, 2> pair{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            const auto executor = loop.get_executor();
            asio::co_spawn(loop, services.serve(executor, grpc::over_socket(executor, Fd(pair[1]))), asio::detached);
            const auto connection = grpc::Http2::make(executor, grpc::over_socket(executor, Fd(pair[0])), grpc::Http2::Role::client);
            asio::co_spawn(loop, connection->run(), asio::detached);
            std::exception_ptr failure;
            try {
                grpc::ClientCall call(*connection, method);
                co_await caller(call);
            } catch (...) {
                failure = std::current_exception();
            }
            connection->close("the test is over");
            if (failure) std::rethrow_exception(failure);
        });
    }

    /// As a client serves its folder.
    TreeIndex serve(TreeView view = {}) {
        TreeIndex index;
        talk([&](grpc::ServerCall& call) { return send_tree(call, options(view), pool); },
             [&](grpc::ClientCall& call) -> asio::awaitable<void> {
                 index = co_await receive_tree(call, {.folder = to}, pool, loop.get_executor());
             });
        return index;
    }

    /// As a result is exported into somebody's folder.
    void give(SendOptions sent, ReceiveOptions received = {}) {
        received.folder = to;
        received.present = Present::replaced;
        talk([&](grpc::ServerCall& call) -> asio::awaitable<void> { co_await receive_tree(call, received, pool, loop.get_executor()); },
             [&](grpc::ClientCall& call) { return send_tree(call, std::move(sent), pool); });
    }

    /// Path, kind and mode, owner, time, and what is in it or where it leads.
    static std::vector<std::string> shown(const fs::path& tree) {
        std::vector<std::string> out;
        for (const auto& each : fs::recursive_directory_iterator(tree)) {
            struct stat about{};
            EXPECT_EQ(::lstat(each.path().c_str(), &about), 0);
            std::string text = fmt::format("{} {:o} {}:{} {}.{:09}", each.path().lexically_relative(tree).string(), about.st_mode,
                                           about.st_uid, about.st_gid, about.st_mtim.tv_sec, about.st_mtim.tv_nsec);
            if (S_ISREG(about.st_mode)) text += " =" + read_file(each.path(), std::size_t{1} << 30U);
            if (S_ISLNK(about.st_mode)) text += " ->" + fs::read_symlink(each.path()).string();
            if (S_ISCHR(about.st_mode)) text += fmt::format(" {}:{}", major(about.st_rdev), minor(about.st_rdev));
            out.push_back(std::move(text));
        }
        std::ranges::sort(out);
        return out;
    }
    static std::vector<std::string> names(const TreeIndex& index) {
        std::vector<std::string> out;
        for (const auto& [path, entry] : index) out.push_back(path);
        return out;
    }

    fs::path work;
    fs::path from;
    fs::path to;
    asio::io_context loop;
    asio::thread_pool pool{4};
};

TEST_F(SendTest, AllKindsOfFilesAreSent) {
    file("a/b", "one", 0755);
    file("a/large", std::string(1'000'000, 'x'), 04750);
    file("a.b", "sorts behind what is in a");
    file("empty", "");
    folder("folder");
    link("link", "a/b");
    link("dangling", "/nowhere");
    fs::create_hard_link(from / "a/b", from / "z");
    ASSERT_EQ(::mkfifo((from / "pipe").c_str(), 0640), 0);
    if (::geteuid() == 0) {
        ASSERT_EQ(::mknod((from / "device").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
        ASSERT_EQ(::lchown((from / "link").c_str(), 5, 6), 0);
        ASSERT_EQ(::setxattr((from / "a/b").c_str(), "trusted.grua", "v", 1, 0), 0);
    }
    for (const char* each : {"a", "folder"}) set_time(each, 1'600'000'000);
    const TreeIndex index = serve();
    EXPECT_EQ(shown(to), shown(from));
    EXPECT_EQ(index.at("z").link, "a/b");
    EXPECT_EQ(fs::hard_link_count(to / "z"), 2U);
    if (::geteuid() == 0) {
        EXPECT_EQ(index.at("a/b").xattrs.at("trusted.grua"), "v");
        EXPECT_EQ(index.at("device").device, makedev(1, 3));
        EXPECT_EQ(index.at("link").uid, 5U);
    }
}

TEST_F(SendTest, ManyFilesGoByPieces) {
    for (int number = 0; number < 3000; ++number) file(fmt::format("f{}/{}", number % 30, number), fmt::format("contents {}", number));
    const TreeIndex index = serve();
    EXPECT_EQ(index.size(), 3030U);
    EXPECT_EQ(shown(to), shown(from));
}

TEST_F(SendTest, FoldersInFoldersAreFollowedToTheirEnd) {
    std::string path;
    for (int depth = 0; depth < 300; ++depth) path += "d/";
    file(path + "file", "deep");
    file("d/d/e", "and back");
    file("d/f", "again");
    EXPECT_EQ(serve().size(), 303U);
    EXPECT_EQ(shown(to), shown(from));
}

TEST_F(SendTest, OwnersAndTimesCanBeGiven) {
    file("a/b", "one");
    const TreeIndex index = serve({.owner = Owner{.uid = 7, .gid = 8}, .mtime = 1'000'000'000'000'000'005});
    EXPECT_EQ(index.at("a/b").uid, 7U);
    EXPECT_EQ(index.at("a").gid, 8U);
    EXPECT_EQ(index.at("a").mtime, 1'000'000'000'000'000'005);
    EXPECT_EQ(index.at("a/b").mtime, 1'000'000'000'000'000'005);
}

TEST_F(SendTest, ASocketIsAnEmptyFile) {
    const Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string path = (from / "s").string();
    ASSERT_LT(path.size(), sizeof address.sun_path);
    std::ranges::copy(path, address.sun_path);
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(serve().at("s").size, 0U);
    EXPECT_TRUE(fs::is_regular_file(to / "s"));
}

TEST_F(SendTest, PatternsChoose) {
    for (const char* each : {"a/b/c.go", "a/b/c.txt", "a/x.go", "node_modules/x/y.go", "top.go", "keep/in/here"}) file(each, each);
    EXPECT_THAT(names(serve({.filter = {.exclude = {"node_modules", "**/*.txt"}}})),
                ElementsAre("a", "a/b", "a/b/c.go", "a/x.go", "keep", "keep/in", "keep/in/here", "top.go"));
    fs::remove_all(to);
    fs::create_directory(to);
    EXPECT_THAT(names(serve({.filter = {.include = {"a/b", "top.go"}}})), ElementsAre("a", "a/b", "a/b/c.go", "a/b/c.txt", "top.go"));
    fs::remove_all(to);
    fs::create_directory(to);
    EXPECT_THAT(names(serve({.filter = {.include = {"**/*.go"}, .exclude = {"*", "!a/b"}}})), ElementsAre("a", "a/b", "a/b/c.go"));
    fs::remove_all(to);
    fs::create_directory(to);
    EXPECT_THAT(names(serve({.filter = {.include = {"keep/*/h*"}}})), ElementsAre("keep", "keep/in", "keep/in/here"));
}

TEST_F(SendTest, WhatLinksLeadToComesAlong) {
    file("real/app/main", "m");
    file("real/other", "o");
    file("lib/x", "x");
    link("app", "real/app");
    link("up", "../../lib");
    link("loop", "loop");
    link("into", "into/itself");
    link("w1", "lib/x");
    const auto follow = [&](std::vector<std::string> paths) {
        fs::remove_all(to);
        fs::create_directory(to);
        return names(serve({.filter = {.follow = std::move(paths)}}));
    };
    EXPECT_THAT(follow({"app"}), ElementsAre("app", "real", "real/app", "real/app/main"));
    EXPECT_THAT(follow({"app/main", "app/missing"}), ElementsAre("app", "real", "real/app", "real/app/main"));
    EXPECT_THAT(follow({"up/x"}), ElementsAre("lib", "lib/x", "up"));
    EXPECT_THAT(follow({"w*"}), ElementsAre("lib", "lib/x", "w1"));
    EXPECT_THAT(follow({"loop"}), ElementsAre("loop"));
    EXPECT_THAT(follow({"into"}), ElementsAre("into"));
    EXPECT_THAT(follow({"missing"}), IsEmpty());
    EXPECT_EQ(follow({"."}).size(), 11U);
    EXPECT_EQ(follow({"/", "app"}).size(), 11U);
}

TEST_F(SendTest, AHardLinkWhoseFirstNameIsLeftOutIsTheFile) {
    file("a", "one");
    fs::create_hard_link(from / "a", from / "b");
    fs::create_hard_link(from / "a", from / "c");
    const TreeIndex index = serve({.filter = {.exclude = {"a"}}});
    EXPECT_EQ(index.at("b").link, "");
    EXPECT_EQ(index.at("c").link, "b");
    EXPECT_EQ(read_file(to / "c"), "one");
}

TEST_F(SendTest, AResultIsPutIntoWhatIsThere) {
    file("bin/app", "new", 0755);
    file("file", "was a folder");
    folder("folder");
    file("folder/x", "was behind a link");
    link("link", "file");
    fs::create_hard_link(from / "bin/app", from / "bin/same");
    fs::create_directories(to / "bin");
    replace_file(to / "bin/app", "old");
    replace_file(to / "bin/other", "stays");
    fs::create_directories(to / "file/in");
    const fs::path outside = work / "outside";
    fs::create_directory(outside);
    fs::create_directory_symlink(outside, to / "folder");
    for (int round = 0; round < 2; ++round) {
        give(options());
        EXPECT_EQ(read_file(to / "bin/app"), "new");
        EXPECT_EQ(read_file(to / "bin/other"), "stays");
        EXPECT_EQ(read_file(to / "file"), "was a folder");
        EXPECT_EQ(read_file(to / "folder/x"), "was behind a link");
        EXPECT_EQ(fs::read_symlink(to / "link"), "file");
        EXPECT_EQ(fs::hard_link_count(to / "bin/same"), 2U);
    }
    EXPECT_TRUE(fs::is_empty(outside));
    for (const std::string& each : shown(to)) EXPECT_THAT(each, testing::Not(HasSubstr(".tmp."))) << each;

    ReceiveOptions received;
    received.removes_others = true;
    give(options(), received);
    EXPECT_FALSE(fs::exists(to / "bin/other"));
    EXPECT_EQ(shown(to).size(), shown(from).size());
}

TEST_F(SendTest, PartsAreFoldersOfTheWhole) {
    file("app", "one");
    SendOptions sent = options({.new_mtime = 5});
    sent.parts[0].name = "linux_amd64";
    sent.parts[0].files = {{"provenance.json", "{}"}, {"app", "instead"}};
    TreePart other{.name = "linux_arm64", .files = {{"only", "this"}}};
    sent.parts.push_back(std::move(other));
    give(std::move(sent));
    EXPECT_EQ(read_file(to / "linux_amd64/app"), "instead");
    EXPECT_EQ(read_file(to / "linux_amd64/provenance.json"), "{}");
    EXPECT_EQ(read_file(to / "linux_arm64/only"), "this");
    struct stat about{};
    ASSERT_EQ(::stat((to / "linux_amd64/provenance.json").c_str(), &about), 0);
    EXPECT_EQ(about.st_mtim.tv_nsec, 5);
    EXPECT_EQ(about.st_mode & 07777U, 0600U);
}

TEST_F(SendTest, AFileThatChangesIsAnError) {
    file("a", std::string(300'000, 'x'));
    file("b", "one");
    const auto failure = [&](const std::function<void()>& change) {
        std::string text;
        talk([&](grpc::ServerCall& call) { return send_tree(call, options(), pool); },
             [&](grpc::ClientCall& call) -> asio::awaitable<void> {
                 // The list first, and only then the file.
                 for (;;) {
                     const auto packet = grpc::Services::parse<Packet>(*co_await call.read());
                     if (packet.type() == Packet::PACKET_STAT && !packet.has_stat()) break;
                 }
                 change();
                 Packet request;
                 request.set_type(Packet::PACKET_REQ);
                 co_await call.write(request.SerializeAsString());
                 for (;;) {
                     const auto packet = grpc::Services::parse<Packet>(*co_await call.read());
                     if (packet.type() != Packet::PACKET_ERR) continue;
                     text = packet.data();
                     break;
                 }
             });
        return text;
    };
    EXPECT_THAT(failure([&] { fs::resize_file(from / "a", 100'000); }), HasSubstr("a: it has become shorter"));
    EXPECT_THAT(failure([&] { fs::resize_file(from / "a", 100'001); }), HasSubstr("a: it has become longer"));
    EXPECT_THAT(failure([&] { fs::remove(from / "a"); }), HasSubstr("a"));
}

TEST_F(SendTest, WhoAsksForWhatThereIsNotIsRefused) {
    folder("a");
    file("b", std::string(5'000'000, 'x'));  // More than is sent before it is read.
    link("c", "b");
    struct Script {
        std::vector<std::pair<Packet::PacketType, std::uint32_t>> says;
        const char* error;
    };
    for (const Script& each :
         {Script{{{Packet::PACKET_REQ, 7}}, "asks for 7"}, Script{{{Packet::PACKET_REQ, 0}}, "asks for 0"},
          Script{{{Packet::PACKET_REQ, 2}}, "asks for 2"}, Script{{{Packet::PACKET_REQ, 1}, {Packet::PACKET_REQ, 1}}, "asks for 1"},
          Script{{{Packet::PACKET_REQ, 1}, {Packet::PACKET_FIN, 0}}, "has ended before all"},
          Script{{{Packet::PACKET_ERR, 0}}, "the receiver of files: "}, Script{{{Packet::PACKET_DATA, 0}}, "a packet of type 2"},
          Script{{}, "has left"}}) {
        std::string told;
        std::string failure;
        talk(
            [&](grpc::ServerCall& call) -> asio::awaitable<void> {
                const auto read = [&]() -> asio::awaitable<std::optional<Packet>> {
                    const auto message = co_await call.read();
                    if (!message) co_return std::nullopt;
                    co_return grpc::Services::parse<Packet>(*message);
                };
                for (;;) {
                    const auto packet = co_await read();
                    if (!packet || (packet->type() == Packet::PACKET_STAT && !packet->has_stat())) break;
                }
                for (const auto& [type, id] : each.says) {
                    Packet packet;
                    packet.set_type(type);
                    packet.set_id(id);
                    co_await call.write(packet.SerializeAsString());
                }
                if (each.says.empty()) co_return;
                while (const auto packet = co_await read())
                    if (packet->type() == Packet::PACKET_ERR) told = packet->data();
            },
            [&](grpc::ClientCall& call) -> asio::awaitable<void> {
                try {
                    co_await send_tree(call, options(), pool);
                } catch (const Error& error) {
                    failure = error.what();
                }
            });
        EXPECT_THAT(failure, HasSubstr(each.error));
        if (!each.says.empty()) EXPECT_EQ(told, failure);
    }
}

TEST_F(SendTest, AFileThatIsALinkByNowLeadsNowhere) {
    file("a/b", "one");
    const fs::path secret = work / "secret";
    replace_file(secret, "two");
    std::vector<TreePart> parts = std::move(options().parts);
    fs::remove(from / "a/b");
    fs::create_symlink(secret, from / "a/b");
    EXPECT_THROW(FileReader(parts[0], "a/b", 3), Error);
    fs::rename(from / "a", from / "c");
    fs::create_directory_symlink(work, from / "a");
    EXPECT_THROW(FileReader(parts[0], "a/secret", 3), Error);
    ASSERT_EQ(::mkfifo((from / "pipe").c_str(), 0600), 0);
    EXPECT_THROW(FileReader(parts[0], "pipe", 3), Error);
}

TEST_F(SendTest, MoreFilesThanTheLimitAreRefused) {
    for (int number = 0; number < 20; ++number) file(fmt::format("{}", number), "");
    EXPECT_THROW(serve({.limit = 19}), Error);
    fs::remove_all(to);
    fs::create_directory(to);
    EXPECT_EQ(serve({.limit = 20}).size(), 20U);
}

}  // namespace
}  // namespace grua::build
