// One program's streams and clients, over pipes: no process is needed.
#include "monitor/program.hpp"

#include "base/error.hpp"
#include "monitor/detach_keys.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <cstdlib>
#include <filesystem>

namespace grua::monitor {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(DetachKeys, Parse) {
    EXPECT_EQ(parse_detach_keys(default_detach_keys), "\x10\x11");
    EXPECT_EQ(parse_detach_keys("a"), "a");
    EXPECT_EQ(parse_detach_keys("ctrl-a,b,ctrl-Z"),
              "\x01"
              "b\x1a");
    EXPECT_EQ(parse_detach_keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_"), std::string("\0\x1b\x1c\x1d\x1e\x1f", 6));
    EXPECT_EQ(parse_detach_keys("DEL"), "\x7f");
    for (const char* bad : {"", "a,", "ab", "ctrl-", "ctrl-1", "ctrl-ab", "alt-a", "ctrl-a ctrl-b", "\xff", "a,\xc3"})
        EXPECT_THROW(parse_detach_keys(bad), Error) << bad;
}

/// What goes to the program of what is typed in these reads; "!" behind it where the keys were complete.
std::string typed(std::string_view keys, const std::vector<std::string>& reads) {
    DetachMatcher matcher{std::string(keys)};
    std::string out;
    for (const auto& each : reads)
        if (matcher.feed(each, out)) return out + "!";
    return out;
}

TEST(DetachKeys, AreFoundInWhatIsTyped) {
    EXPECT_EQ(typed("pq", {"abc"}), "abc");
    EXPECT_EQ(typed("pq", {"abpqc"}), "ab!");
    EXPECT_EQ(typed("pq", {"abp", "qc"}), "ab!");
    EXPECT_EQ(typed("pq", {"p", "", "q"}), "!");
    EXPECT_EQ(typed("pq", {"p"}), "");
    EXPECT_EQ(typed("pq", {"p", "x"}), "px");
    EXPECT_EQ(typed("pq", {"ppq"}), "p!");
    EXPECT_EQ(typed("pq", {"p", "p", "x"}), "ppx");
    EXPECT_EQ(typed("pq", {"xq"}), "xq");
    EXPECT_EQ(typed("abc", {"ab", "ab", "c"}), "ab!");
    EXPECT_EQ(typed("a", {"xax"}), "x!");
    EXPECT_EQ(typed("", {"anything"}), "anything");
}

/// A program whose streams are pipes, and whose clients are socket pairs.
class ProgramTest : public testing::Test {
protected:
    ProgramTest() {
        std::string path = fs::temp_directory_path() / "grua-program-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        out_ = add_output(Stream::standard_output);
        err_ = add_output(Stream::standard_error);
    }
    ~ProgramTest() override { fs::remove_all(folder_); }

    Fd add_output(Stream stream) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
        program_.outputs.push_back({.fd = Fd(ends[0]), .stream = stream});
        return Fd(ends[1]);
    }
    Fd open_input() {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
        program_.input = Fd(ends[1]);
        return Fd(ends[0]);
    }
    Fd attach(const Attach& wish) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
        program_.attach(wish, Fd(ends[0]), folder_ + "/log");
        return Fd(ends[1]);
    }
    static void write(const Fd& fd, std::string_view bytes) {
        ASSERT_EQ(::write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }
    /// What is there now; with "$" behind it at the end of the stream.
    static std::string read(const Fd& fd) {
        std::string out;
        std::array<char, 4096> bytes{};
        for (;;) {
            ssize_t got = ::recv(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
            if (got < 0 && errno == ENOTSOCK) got = ::read(fd.get(), bytes.data(), bytes.size());
            if (got < 0) return out;
            if (got == 0) return out + "$";
            out.append(bytes.data(), static_cast<std::size_t>(got));
        }
    }
    void turn() {
        for (Output& output : program_.outputs)
            if (!program_.stalled() && output.fd) program_.read_output(output);
        for (const auto& client : program_.clients) {
            if (client->ends_at > 0) {
                Program::drop_input(*client);
                continue;
            }
            if (client->reads) program_.read_client(*client);
            program_.write_client(*client);
        }
        program_.sweep();
    }

    std::string folder_;
    Program program_;
    Fd out_;
    Fd err_;
};

const Attach both{.use_stdout = true, .use_stderr = true};

TEST_F(ProgramTest, FramesOfDockersStreamFormat) {
    Fd client = attach(both);
    write(out_, "hello\n");
    turn();
    write(err_, std::string(258, 'e'));
    turn();
    EXPECT_EQ(read(client), std::string("\1\0\0\0\0\0\0\6", 8) + "hello\n" + std::string("\2\0\0\0\0\0\1\2", 8) + std::string(258, 'e'));
    program_.end_outputs();
    turn();
    EXPECT_EQ(read(client), "$");
    EXPECT_TRUE(program_.drained());
    // What it sends now is nobody's, and its socket is closed after it has closed its own.
    write(client, "late");
    turn();
    EXPECT_EQ(program_.clients.size(), 1U);
    client = Fd();
    turn();
    EXPECT_THAT(program_.clients, IsEmpty());
}

TEST_F(ProgramTest, EachClientGetsWhatItWants) {
    const Fd raw = attach({.use_stdout = true, .multiplexed = false});
    const Fd errors = attach({.use_stderr = true, .multiplexed = false});
    const Fd nothing = attach({});
    write(out_, "out");
    write(err_, "err");
    turn();
    EXPECT_EQ(read(raw), "out");
    EXPECT_EQ(read(errors), "err");
    EXPECT_EQ(read(nothing), "");
}

TEST_F(ProgramTest, LogsFirstThenWhatComesWithoutAGap) {
    LogWriter log(folder_ + "/log", {});
    program_.log = &log;
    write(out_, "1\n2\nunfin");
    turn();
    const Fd client = attach({.use_stdout = true, .use_stderr = true, .multiplexed = false, .logs = true});
    const Fd only_logs = attach({.use_stdout = true, .multiplexed = false, .logs = true, .stream = false});
    write(out_, "ished\n3\n");
    turn();
    turn();
    write(out_, "4\n");
    turn();
    EXPECT_EQ(read(client), "1\n2\nunfinished\n3\n4\n");
    EXPECT_EQ(read(only_logs), "1\n2\nunfinished\n3\n$");
}

// C1: a client that had left was read a megabyte of the log first, and the program's output waited.
TEST_F(ProgramTest, ALogIsReadInPieces) {
    LogWriter log(folder_ + "/log", {});
    program_.log = &log;
    std::string all;
    for (int i = 0; i < 50'000; ++i) all += fmt::format("{}\n", i);
    for (std::size_t at = 0; at < all.size(); at += 4096) {
        write(out_, all.substr(at, 4096));
        turn();
    }
    const Fd client = attach({.use_stdout = true, .multiplexed = false, .logs = true});
    const Fd errors_only = attach({.use_stderr = true, .multiplexed = false, .logs = true});
    program_.write_client(*program_.clients[0]);
    program_.write_client(*program_.clients[1]);
    EXPECT_TRUE(program_.clients[0]->replay);
    EXPECT_TRUE(program_.clients[1]->replay) << "a log of which nothing is wanted is one all the same";
    std::string got = read(client);
    EXPECT_LT(got.size(), 100'000U);
    for (int i = 0; i < 1000 && got.size() < all.size(); ++i) {
        turn();
        got += read(client);
    }
    EXPECT_EQ(got, all);
}

TEST_F(ProgramTest, ASlowClientMakesTheProgramWait) {
    const Fd client = attach({.use_stdout = true, .multiplexed = false});
    const std::string block(4096, 'x');
    std::size_t written = 0;
    for (int i = 0; i < 4096; ++i) {
        turn();
        const ssize_t got = ::write(out_.get(), block.data(), block.size());
        if (got < 0) break;
        written += static_cast<std::size_t>(got);
    }
    EXPECT_TRUE(program_.stalled());
    EXPECT_GE(written, client_buffer);
    EXPECT_LT(written, 3 * client_buffer);
    std::size_t got = 0;
    for (int i = 0; i < 1000 && got < written; ++i) {
        got += read(client).size();
        turn();
    }
    EXPECT_EQ(got, written);
    EXPECT_FALSE(program_.stalled());
}

TEST_F(ProgramTest, InputComesFromTheClient) {
    const Fd stdin_end = open_input();
    Attach wish{.use_stdin = true, .early_input_hex = to_hex("early ")};
    Fd client = attach(wish);
    write(client, "late");
    turn();
    EXPECT_EQ(read(stdin_end), "early late");
    // The client's end is the program's only where that is asked for.
    client = Fd();
    turn();
    EXPECT_EQ(read(stdin_end), "");
    program_.close_stdin_with_client = true;
    client = attach({.use_stdin = true});
    write(client, "last");
    ::shutdown(client.get(), SHUT_WR);
    turn();
    EXPECT_EQ(read(stdin_end), "last$");
}

TEST_F(ProgramTest, DetachKeysLeaveATerminal) {
    const Fd stdin_end = open_input();
    program_.terminal = true;
    Fd client = attach({.use_stdin = true, .use_stdout = true, .multiplexed = false, .detach_keys = "x,y"});
    write(client, "ab");
    write(client, "x");
    turn();
    EXPECT_THAT(program_.detached(), IsEmpty());
    write(client, "yc");
    turn();
    EXPECT_THAT(program_.detached(), ElementsAre(""));
    EXPECT_EQ(read(stdin_end), "ab");
    turn();
    EXPECT_EQ(read(client), "$");
    client = Fd();
    turn();
    EXPECT_THAT(program_.clients, IsEmpty());
}

TEST_F(ProgramTest, UnknownDetachKeysAreRefused) {
    EXPECT_THROW(attach({.detach_keys = "ctrl-"}), Error);
    EXPECT_THAT(program_.clients, IsEmpty());
}

}  // namespace
}  // namespace grua::monitor
