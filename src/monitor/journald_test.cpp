// In a mount namespace of its own with a journald of its own: /run/systemd/journal/socket is what the driver uses.
#include "monitor/journald.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "monitor/test_log_host.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <array>
#include <functional>
#include <map>
#include <thread>

namespace grua::monitor {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(JournaldEntry, IsItsNativeProtocol) {
    std::string fields;
    append_journald_field(fields, "CONTAINER_ID", "abc");
    append_journald_field(fields, "X", "two\nlines");
    EXPECT_EQ(fields, std::string("CONTAINER_ID=abc\nX\n\x09\0\0\0\0\0\0\0two\nlines\n", 37));
    const Time time{std::chrono::seconds(1'767'323'045)};
    EXPECT_EQ(journald_entry("A=b\n", {.text = "hello", .time = time}, 7),
              "A=b\nMESSAGE=hello\nPRIORITY=6\nSYSLOG_TIMESTAMP=2026-01-02T03:04:05Z\nCONTAINER_LOG_ORDINAL=7\n");
    PartialMark mark{.id = "p", .ordinal = 2, .last = false};
    EXPECT_EQ(journald_entry("", {.stream = Stream::standard_error, .text = "x", .time = time, .part = &mark}, 8),
              "MESSAGE=x\nPRIORITY=3\nSYSLOG_TIMESTAMP=2026-01-02T03:04:05Z\nCONTAINER_LOG_ORDINAL=8\nCONTAINER_PARTIAL_ID=p\n"
              "CONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=false\nCONTAINER_PARTIAL_MESSAGE=true\n");
    mark.last = true;
    EXPECT_FALSE(journald_entry("", {.text = "x", .time = time, .part = &mark}, 9).contains("PARTIAL_MESSAGE"));
}

TEST(JournaldEntry, Names) {
    EXPECT_EQ(journald_name("com.example-label"), "COM_EXAMPLE_LABEL");
    EXPECT_EQ(journald_name("__x9"), "X9");
    EXPECT_EQ(journald_name("é"), "");
    EXPECT_EQ(journald_name("_"), "");
    EXPECT_EQ(journald_name(std::string(100, 'a')).size(), 64U);
}

Fd serve() {
    (void)::unlink(journald_socket);
    Fd out(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string_view(journald_socket).copy(address.sun_path, sizeof address.sun_path - 1);
    if (::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) fail_errno("bind");
    return out;
}

/// Of the next entry, whichever way it comes.
std::string next_entry(const Fd& from) {
    std::array<char, 1 << 18> bytes{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(from.get(), &message, MSG_CMSG_CLOEXEC);
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        const Fd file(fd);
        constexpr int sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
        if (::fcntl(file.get(), F_GET_SEALS) != sealed) return "not sealed";
        ::lseek(file.get(), 0, SEEK_SET);
        return read_all(file.get(), "an entry", 1 << 24);
    }
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

/// What `body` says is the status of a process that has a /run of its own; 0 where all holds.
void in_own_run(const std::function<void()>& body) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        if (::unshare(CLONE_NEWNS) < 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
            ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) < 0)
            ::_exit(2);
        make_directories("/run/systemd/journal");
        body();
        ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST(Journald, Sends) {
    in_own_run([] {
        const Fd journal = serve();
        TestLogHost host;
        Journald driver(host, {{"CONTAINER_ID", "abc"}, {"", "left out"}});
        driver.log({.text = "one"});
        driver.log({.text = std::string_view("\0\xff", 2)});
        EXPECT_TRUE(next_entry(journal).starts_with("CONTAINER_ID=abc\nMESSAGE=one\nPRIORITY=6\n"));
        EXPECT_TRUE(next_entry(journal).contains(std::string("MESSAGE=\0\xff\n", 11)));
        EXPECT_THAT(host.news, IsEmpty());
    });
}

TEST(Journald, WhatIsTooLongForADatagramComesAsAFile) {
    in_own_run([] {
        const Fd journal = serve();
        TestLogHost host;
        const std::string value(3 << 20, 'x');
        Journald driver(host, {{"LABEL", value}});
        driver.log({.text = "one"});
        EXPECT_TRUE(next_entry(journal).starts_with("LABEL=" + value + "\nMESSAGE=one\n"));
    });
}

TEST(Journald, OneThatIsAwayIsWaitedForAndToldOnce) {
    in_own_run([] {
        TestLogHost host;
        Journald driver(host, {});
        Fd journal;
        int waits = 0;
        host.at_wait = [&] {
            if (++waits == 3) journal = serve();
        };
        driver.log({.text = "one"});
        EXPECT_TRUE(next_entry(journal).contains("MESSAGE=one\n"));
        journal = {};
        waits = 0;
        driver.log({.text = "two"});
        EXPECT_TRUE(next_entry(journal).contains("MESSAGE=two\n"));
        EXPECT_THAT(host.news,
                    ElementsAre("journald is away: /run/systemd/journal/socket: No such file or directory", "journald is there again",
                                "journald is away: /run/systemd/journal/socket: Connection refused", "journald is there again"));
        EXPECT_EQ(driver.lost(), 0U);
        journal = {};
        host.at_wait = {};
        host.end = {};
        driver.log({.text = "three"});
        EXPECT_EQ(driver.lost(), 1U);
    });
}

TEST(Journald, AFullQueueIsWaitedFor) {
    in_own_run([] {
        const Fd journal = serve();
        TestLogHost host;
        Journald driver(host, {});
        std::size_t got = 0;
        std::jthread reading([&] {
            std::this_thread::sleep_for(200ms);
            while (!next_entry(journal).contains("MESSAGE=last")) ++got;
        });
        for (int i = 0; i < 2000; ++i) driver.log({.text = "x"});
        driver.log({.text = "last"});
        reading.join();
        EXPECT_EQ(got, 2000U);
        EXPECT_THAT(host.news, IsEmpty());
    });
}

}  // namespace
}  // namespace grua::monitor
