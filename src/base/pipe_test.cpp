#include "base/pipe.hpp"

#include "base/files.hpp"

#include <gtest/gtest.h>
#include <csignal>

namespace grua {
namespace {

class PipeTest : public testing::Test {
protected:
    void SetUp() override { std::signal(SIGPIPE, SIG_IGN); }

    template <typename Produce, typename Consume>
    std::string run(Produce produce, Consume consume) {
        try {
            return through_pipe(produce, consume);
        } catch (const Error& error) {
            return error.what();
        }
    }
};

TEST_F(PipeTest, carries_more_than_a_pipe_holds) {
    const std::string sent(1 << 20, 'x');
    const auto got = run([&](int fd) { write_all(fd, sent, "pipe"); },
                         [](int fd, const auto& whole) {
                             std::string all = read_all(fd, "pipe", 1 << 21);
                             whole();
                             return all;
                         });
    EXPECT_EQ(got.size(), sent.size());
}

TEST_F(PipeTest, a_stream_that_breaks_off_is_not_whole) {
    const auto broken = [](int fd) {
        write_all(fd, "half", "pipe");
        fail(ErrorKind::system, "the disk is gone");
    };
    bool kept = false;
    const auto reader = [&](int fd, const auto& whole) {
        std::string all = read_all(fd, "pipe");
        whole();
        kept = true;
        return all;
    };
    EXPECT_EQ(run(broken, reader), "the disk is gone");
    EXPECT_FALSE(kept);
    // The reader's own complaint about the half is only the consequence.
    const auto picky = [](int fd, const auto&) -> std::string {
        fail(ErrorKind::invalid_argument, "{} is too short", read_all(fd, "pipe"));
    };
    EXPECT_EQ(run(broken, picky), "the disk is gone");
}

TEST_F(PipeTest, a_reader_that_fails_ends_the_writer) {
    const auto endless = [](int fd) {
        for (;;) write_all(fd, std::string(4096, 'x'), "pipe");
    };
    EXPECT_EQ(run(endless, [](int, const auto&) -> std::string { fail(ErrorKind::invalid_argument, "not a tar"); }), "not a tar");
    EXPECT_EQ(run(endless, [](int, const auto&) { return std::string("enough"); }), "enough");
    const auto longer = [](int fd) { write_all(fd, std::string(1 << 20, 'x'), "pipe"); };
    const auto ends_early = [](int, const auto& whole) {
        whole();
        return std::string("all");
    };
    EXPECT_EQ(run(longer, ends_early), "all");
}

}  // namespace
}  // namespace grua
