#include "runtime/outcome.hpp"

#include "base/utf8.hpp"
#include "runtime/channel.hpp"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace grua::runtime {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

template <typename Body>
void in_a_child(Body&& body) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
        body();
        ::_exit(0);
    }
    ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(Outcome, IsWhatTheChildSaid) {
    const Outcome outcome;
    EXPECT_FALSE(outcome.failure());
    in_a_child([&] {
        outcome.about_to_execute("/bin/x");
        outcome.failed(Error{ErrorKind::not_found, "no such thing", ENOENT}, "rootfs");
    });
    EXPECT_TRUE(outcome.is_executing());
    const auto error = outcome.failure();
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), ErrorKind::not_found);
    EXPECT_EQ(error->os_error(), ENOENT);
    EXPECT_STREQ(error->what(), "rootfs: no such thing");
}

TEST(Outcome, ARefusedExecveNamesTheProgram) {
    const Outcome outcome;
    outcome.about_to_execute("/bin/\xff");
    EXPECT_FALSE(outcome.failure());
    outcome.execve_failed(ENOEXEC);
    EXPECT_STREQ(outcome.failure()->what(), "exec /bin/\uFFFD: exec format error");
    EXPECT_EQ(outcome.failure()->kind(), ErrorKind::forbidden);
}

// A7
TEST(Outcome, ATextIsUtf8HoweverItWasCut) {
    std::string text = "exec: \"";
    for (int i = 0; i < 40'000; ++i) text += "\xc3\xa4";
    for (const char* more : {"", "x", "\xff"}) {
        const Outcome outcome;
        outcome.failed(Error{ErrorKind::not_found, text + more + "\": executable file not found in $PATH"}, "");
        const std::string said = outcome.failure()->what();
        EXPECT_TRUE(is_valid_utf8(said));
        EXPECT_LE(said.size(), 8192U);
        EXPECT_THAT(said, StartsWith("exec: \""));
        EXPECT_THAT(said, EndsWith("executable file not found in $PATH"));
    }
    const Outcome bytes;
    bytes.failed(Error{ErrorKind::system, std::string(60'000, '\xff')}, "");
    EXPECT_TRUE(is_valid_utf8(bytes.failure()->what()));
}

// E1
TEST(Channel, WhatWasSaidIsHeardThoughSomethingWasLeftUnread) {
    auto [ours, theirs] = Channel::make();
    ours.send(Word::maps_written);
    theirs.send(Word::ready);
    theirs.close();
    const auto message = ours.receive();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->word, Word::ready);
    EXPECT_FALSE(ours.receive());
}

// A7: with no room for a descriptor the message comes without it.
TEST(Channel, ADescriptorThatDoesNotFitIsAnError) {
    auto [ours, theirs] = Channel::make();
    theirs.send(Word::terminal, 0);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{static_cast<rlim_t>(std::max(ours.fd(), theirs.fd())) + 1, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    std::vector<Fd> all;
    for (int fd = 0; (fd = ::dup(0)) >= 0;) all.emplace_back(fd);
    int error = 0;
    try {
        static_cast<void>(ours.receive());
    } catch (const Error& caught) {
        error = caught.os_error();
    }
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(error, EMFILE);
}

}  // namespace
}  // namespace grua::runtime
