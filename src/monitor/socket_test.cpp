#include "monitor/socket.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "monitor/messages.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cstdlib>
#include <filesystem>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

std::pair<Fd, Fd> make_pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    return {Fd(ends[0]), Fd(ends[1])};
}

std::uint64_t inode_of(const Fd& fd) {
    struct stat about{};
    EXPECT_EQ(::fstat(fd.get(), &about), 0);
    return about.st_ino;
}

TEST(Socket, TextsAndDescriptors) {
    const auto [left, right] = socket_pair();
    const auto [read, write] = make_pipe();
    const int fds[] = {read.get(), write.get()};
    EXPECT_EQ(send(left.get(), "one", fds), Sent::yes);
    EXPECT_EQ(send(left.get(), ""), Sent::yes);
    EXPECT_EQ(send(left.get(), std::string_view("a\0b", 3)), Sent::yes);
    Packet packet;
    ASSERT_EQ(receive(right.get(), packet), Received::packet);
    EXPECT_EQ(packet.text, "one");
    ASSERT_EQ(packet.fds.size(), 2U);
    EXPECT_EQ(inode_of(packet.fds[0]), inode_of(read));
    EXPECT_NE(packet.fds[0].get(), read.get());
    EXPECT_EQ(::fcntl(packet.fds[1].get(), F_GETFD), FD_CLOEXEC);
    ASSERT_EQ(receive(right.get(), packet), Received::packet);
    EXPECT_EQ(packet.text, "");
    EXPECT_THAT(packet.fds, IsEmpty());
    ASSERT_EQ(receive(right.get(), packet), Received::packet);
    EXPECT_EQ(packet.text, std::string_view("a\0b", 3));
}

TEST(Socket, LongTextsKeepTheirDescriptors) {
    const auto [left, right] = socket_pair();
    const auto [read, write] = make_pipe();
    for (const std::size_t size :
         {(std::size_t{16} << 10U) - 1, std::size_t{16} << 10U, (std::size_t{16} << 10U) + 1, std::size_t{3} << 20U}) {
        std::string text(size, 'x');
        text.back() = 'y';
        const int fds[] = {write.get()};
        ASSERT_EQ(send(left.get(), text, fds), Sent::yes);
        Packet packet;
        ASSERT_EQ(receive(right.get(), packet), Received::packet);
        EXPECT_TRUE(packet.text == text) << size;
        ASSERT_EQ(packet.fds.size(), 1U) << size;
        EXPECT_EQ(inode_of(packet.fds[0]), inode_of(write));
    }
}

TEST(Socket, TooManyDescriptors) {
    const auto [left, right] = socket_pair();
    const std::vector<int> most(most_fds, left.get());
    EXPECT_EQ(send(left.get(), "x", most), Sent::yes);
    Packet packet;
    ASSERT_EQ(receive(right.get(), packet), Received::packet);
    EXPECT_EQ(packet.fds.size(), most_fds);
    EXPECT_THROW(send(left.get(), "x", std::vector<int>(most_fds + 1, left.get())), Error);
    EXPECT_THROW(send(left.get(), std::string(100000, 'x'), most), Error);
}

// A7: who has no descriptors left is told that they are lost, and what the message was about.
TEST(Socket, DescriptorsThatAreLostAreToldOf) {
    const auto [left, right] = socket_pair();
    const auto [read, write] = make_pipe();
    const int fds[] = {read.get(), write.get()};
    ASSERT_EQ(send(left.get(), "started", fds), Sent::yes);
    ASSERT_EQ(send(left.get(), std::string(100'000, 'x'), fds), Sent::yes);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    Packet packet;
    const auto kind_of_failure = [&]() -> std::optional<ErrorKind> {
        try {
            (void)receive(right.get(), packet);
            return std::nullopt;
        } catch (const Error& error) {
            return error.kind();
        }
    };
    EXPECT_EQ(kind_of_failure(), ErrorKind::unavailable);
    EXPECT_EQ(packet.text, "started");
    EXPECT_THAT(packet.fds, IsEmpty());
    EXPECT_EQ(kind_of_failure(), ErrorKind::unavailable);
    EXPECT_EQ(packet.text, "");
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_EQ(send(left.get(), "next", fds), Sent::yes);
    ASSERT_EQ(receive(right.get(), packet), Received::packet);
    EXPECT_EQ(packet.fds.size(), 2U);
}

// A7: a text that was cut in the middle of a character, or comes from inside a container.
TEST(Messages, WhatIsNotUtf8CanBeRead) {
    const Failure failure{.kind = "not_found", .os_error = 2, .message = "exec: \"caf\xc3"};
    EXPECT_EQ(decode<Failed>(encode(Failed{.error = failure})).error.message, "exec: \"caf\xef\xbf\xbd");
    EXPECT_EQ(decode<Exited>(encode(Exited{.error = "\xff"})).error, "\xef\xbf\xbd");
    EXPECT_EQ(decode<Reply>(encode(Reply{.seq = 3, .error = failure})).seq, 3U);
}

// F
TEST(Messages, AnotherVersionIsNamed) {
    EXPECT_NO_THROW(check_version(protocol_version, "gruad"));
    for (const int version : {0, -1, protocol_version + 1}) {
        try {
            check_version(version, "the monitor of abc");
            ADD_FAILURE() << version;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::unavailable);
            EXPECT_THAT(error.what(), testing::StartsWith(fmt::format("the monitor of abc speaks version {}", version)));
        }
    }
}

TEST(Socket, WithoutWaiting) {
    auto [left, right] = socket_pair();
    Packet packet;
    EXPECT_EQ(receive(right.get(), packet, true), Received::would_block);
    int sent = 0;
    while (send(left.get(), std::string(8192, 'x'), {}, true) == Sent::yes) ++sent;
    EXPECT_GT(sent, 0);
    EXPECT_EQ(send(left.get(), "x", {}, true), Sent::would_block);
    for (int i = 0; i < sent; ++i) EXPECT_EQ(receive(right.get(), packet, true), Received::packet);
    EXPECT_EQ(receive(right.get(), packet, true), Received::would_block);
    right = Fd();
    EXPECT_EQ(send(left.get(), "x"), Sent::peer_gone);
    EXPECT_EQ(receive(left.get(), packet), Received::closed);
}

TEST(Socket, WhatWasSentBeforeTheEndIsReadFirst) {
    auto [left, right] = socket_pair();
    send(left.get(), "last words");
    left = Fd();
    Packet packet;
    ASSERT_EQ(receive(right.get(), packet), Received::packet);
    EXPECT_EQ(packet.text, "last words");
    EXPECT_EQ(receive(right.get(), packet), Received::closed);
}

TEST(Socket, MalformedPackets) {
    const auto [left, right] = socket_pair();
    Packet packet;
    for (const std::string& bad : {std::string("x"), std::string("m"), "t" + std::string(20000, 'a')}) {
        ASSERT_EQ(::send(left.get(), bad.data(), bad.size(), 0), static_cast<ssize_t>(bad.size()));
        EXPECT_THROW(receive(right.get(), packet), Error);
    }
    send(left.get(), "good");
    EXPECT_EQ(receive(right.get(), packet), Received::packet);
}

class MonitorSocket : public testing::Test {
protected:
    MonitorSocket() {
        std::string path = fs::temp_directory_path() / "grua-socket-XXXXXX";
        folder_ = ::mkdtemp(path.data());
    }
    ~MonitorSocket() override { fs::remove_all(folder_); }
    std::string folder_;
};

TEST_F(MonitorSocket, ListensInAFolderWithALongPath) {
    const std::string folder = folder_ + "/" + std::string(200, 'a') + "/" + std::string(200, 'b');
    make_directories(folder);
    EXPECT_FALSE(connect_to_monitor(folder));
    const Fd listener = listen_in(folder);
    struct stat about{};
    ASSERT_EQ(::stat((folder + "/monitor.sock").c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 07777U, 0600U);
    EXPECT_FALSE(fs::exists(folder + "/monitor.sock.new"));
    const auto client = connect_to_monitor(folder);
    ASSERT_TRUE(client);
    const Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(server);
    EXPECT_TRUE(peer_is_trusted(server.get()));
    send(server.get(), "hello");
    Packet packet;
    ASSERT_EQ(receive(client->get(), packet), Received::packet);
    EXPECT_EQ(packet.text, "hello");
}

TEST_F(MonitorSocket, NobodyListens) {
    EXPECT_FALSE(connect_to_monitor(folder_ + "/missing"));
    EXPECT_FALSE(connect_to_monitor(folder_));
    {
        const Fd listener = listen_in(folder_);
    }
    EXPECT_TRUE(fs::exists(folder_ + "/monitor.sock"));
    EXPECT_FALSE(connect_to_monitor(folder_));
    // The next one takes the place of what is there.
    const Fd listener = listen_in(folder_);
    EXPECT_TRUE(connect_to_monitor(folder_));
    EXPECT_THROW(listen_in(folder_ + "/missing"), Error);
}

template <typename Message>
Message round_trip(const Message& message) {
    const std::string text = encode(message);
    EXPECT_EQ(decode<Header>(text).type, Message::name);
    const auto back = decode<Message>(text);
    EXPECT_EQ(encode(back), text);
    return back;
}

TEST(Messages, RoundTrip) {
    Launch launch;
    launch.id = "abc";
    launch.directory = "/run/\"x\"";
    launch.fds = {"control", "spec", "rootfs"};
    launch.log.max_size = -1;
    launch.open_stdin = true;
    const Launch launched = round_trip(launch);
    EXPECT_EQ(launched.version, protocol_version);
    EXPECT_EQ(launched.directory, launch.directory);
    EXPECT_EQ(launched.fds, launch.fds);
    EXPECT_EQ(launched.log.max_size, -1);
    EXPECT_TRUE(launched.open_stdin);

    const Attach attach{.seq = 7,
                        .exec_id = "e",
                        .use_stdin = true,
                        .multiplexed = false,
                        .detach_keys = "ctrl-x",
                        .early_input_hex = to_hex(std::string_view("\0\xff", 2))};
    EXPECT_EQ(round_trip(attach), attach);
    Exec exec;
    exec.seq = 8;
    exec.exec_id = "e";
    exec.process = boost::json::parse(R"({"args":["sh"],"cwd":"/"})");
    EXPECT_FALSE(round_trip(exec).attach);
    exec.attach = attach;
    EXPECT_EQ(round_trip(exec).attach, attach);
    EXPECT_EQ(round_trip(exec).process, exec.process);

    Exited exited;
    EXPECT_EQ(round_trip(exited), exited);
    exited = {.code = 137, .signal = 9, .oom_killed = true, .started_at = 1, .finished_at = 1767323045678901234, .error = "e"};
    EXPECT_EQ(round_trip(exited), exited);
    Hello hello;
    hello.id = "abc";
    hello.pid = 42;
    EXPECT_FALSE(round_trip(hello).exited);
    hello.exited = exited;
    hello.execs = {{.exec_id = "e", .pid = 43}};
    EXPECT_EQ(round_trip(hello).exited, exited);
    EXPECT_EQ(round_trip(hello).execs, hello.execs);

    round_trip(Resize{.seq = 1, .exec_id = "e", .rows = 65535, .columns = 1});
    round_trip(CloseStdin{.seq = 2});
    round_trip(ReopenLog{.seq = 3});
    round_trip(ExitSeen{});
    round_trip(Reply{.seq = 4, .error = Failure{.kind = "conflict", .os_error = 2, .message = "m"}, .pid = 1});
    round_trip(Started{.pid = 1, .started_at = 2});
    round_trip(Failed{.error = {.kind = "not_found", .message = "m"}});
    round_trip(ExecExited{.exec_id = "e", .code = 0});
    round_trip(Detached{.exec_id = "e"});
}

TEST(Messages, OfANewerPeer) {
    const auto hello =
        decode<Hello>(R"({"type":"hello","version":2,"id":"abc","pid":5,"mood":{"good":[1,2]},"execs":[{"exec_id":"e","x":1}]})");
    EXPECT_EQ(hello.version, 2);
    EXPECT_EQ(hello.pid, 5);
    EXPECT_THAT(hello.execs, ElementsAre(RunningExec{.exec_id = "e"}));
    // What an older peer leaves out has its default.
    const auto launch = decode<Launch>(R"({"type":"launch","id":"abc"})");
    EXPECT_EQ(launch.log.max_files, 5);
    EXPECT_EQ(decode<Header>(R"({"type":"dance","seq":3,"steps":[]})").seq, 3U);
}

TEST(Messages, WhatIsNone) {
    for (const char* bad : {"", "{", "[]", R"({"type":1})", R"({"type":"resize","seq":-1})", R"({"type":"resize","rows":65536})"})
        EXPECT_THROW(decode<Resize>(bad), Error) << bad;
}

TEST(Messages, ErrorsTravelWhole) {
    for (const ErrorKind kind : {ErrorKind::invalid_argument, ErrorKind::not_found, ErrorKind::conflict, ErrorKind::not_modified,
                                 ErrorKind::forbidden, ErrorKind::unavailable, ErrorKind::not_implemented, ErrorKind::system}) {
        const Error back = to_error(to_failure(Error(kind, "why", 13)));
        EXPECT_EQ(back.kind(), kind);
        EXPECT_STREQ(back.what(), "why");
        EXPECT_EQ(back.os_error(), 13);
    }
    EXPECT_EQ(to_error({.kind = "a new kind", .message = "m"}).kind(), ErrorKind::system);
}

TEST(Messages, Hexadecimal) {
    std::string all;
    for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
    EXPECT_EQ(from_hex(to_hex(all)), all);
    EXPECT_EQ(to_hex("\x01\xfe"), "01fe");
    EXPECT_EQ(from_hex(""), "");
    for (const char* bad : {"0", "0g", "0A", " 0"}) EXPECT_THROW(from_hex(bad), Error) << bad;
}

TEST_F(MonitorSocket, ExitFile) {
    EXPECT_FALSE(read_exit_file(folder_));
    const Exited exited{.code = 3, .finished_at = 5};
    replace_file(folder_ + "/exit.json", encode(exited));
    EXPECT_EQ(read_exit_file(folder_), exited);
}

}  // namespace
}  // namespace grua::monitor
