#include "build/child_program.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace grua::build {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds time_to_end = 2s;  ///< After SIGTERM, before SIGKILL.
constexpr std::size_t piece_size = std::size_t{32} << 10U;
constexpr int pieces_at_once = 64;  ///< More than a pipe holds.
constexpr int inherited_number = 3;

struct Pipe {
    Fd reading;
    Fd writing;
};

Pipe make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("make a pipe");
    return {Fd{ends[0]}, Fd{ends[1]}};
}

class SpawnSettings {
public:
    SpawnSettings() {
        check(::posix_spawn_file_actions_init(&files));
        check(::posix_spawnattr_init(&attributes));
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;
    ~SpawnSettings() {
        ::posix_spawn_file_actions_destroy(&files);
        ::posix_spawnattr_destroy(&attributes);
    }
    static void check(int error) {
        if (error == 0) return;
        errno = error;
        fail_errno("start a program");
    }

    posix_spawn_file_actions_t files{};
    posix_spawnattr_t attributes{};
};

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> out;
    for (std::string& each : words) out.push_back(each.data());
    out.push_back(nullptr);
    return out;
}

pid_t spawn(const ChildProgram& what, int output, int error_output) {
    const Fd nothing{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    if (!nothing) fail_errno("open /dev/null");
    SpawnSettings settings;
    const auto check = &SpawnSettings::check;
    // In the child; the numbers below 3 are nobody's there.
    check(::posix_spawn_file_actions_adddup2(&settings.files, nothing.get(), STDIN_FILENO));
    check(::posix_spawn_file_actions_adddup2(&settings.files, output, STDOUT_FILENO));
    check(::posix_spawn_file_actions_adddup2(&settings.files, error_output, STDERR_FILENO));
    if (what.inherited >= 0) check(::posix_spawn_file_actions_adddup2(&settings.files, what.inherited, inherited_number));
    check(::posix_spawn_file_actions_addclosefrom_np(&settings.files, what.inherited >= 0 ? inherited_number + 1 : inherited_number));
    check(::posix_spawn_file_actions_addchdir_np(&settings.files, what.folder.c_str()));
    sigset_t signals;
    ::sigemptyset(&signals);
    check(::posix_spawnattr_setsigmask(&settings.attributes, &signals));
    ::sigfillset(&signals);
    check(::posix_spawnattr_setsigdefault(&settings.attributes, &signals));
    check(::posix_spawnattr_setpgroup(&settings.attributes, 0));
    check(::posix_spawnattr_setflags(&settings.attributes,
                                     static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP)));
    std::vector<std::string> words = what.words;
    words.insert(words.begin(), what.program);
    std::vector<std::string> environment = what.environment;
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, what.program.c_str(), &settings.files, &settings.attributes, pointers(words).data(),
                                    pointers(environment).data());
    if (error == 0) return pid;
    throw Error(error == ENOENT ? ErrorKind::not_found : ErrorKind::system,
                fmt::format("start {}: {}", what.program, std::generic_category().message(error)), error);
}

/// Where memory is short it is this one that ends, with what it has started, and no other.
void go_first(pid_t pid) {
    const Fd file{::open(fmt::format("/proc/{}/oom_score_adj", pid).c_str(), O_WRONLY | O_CLOEXEC)};
    if (file) static_cast<void>(!::write(file.get(), "1000", 4));
}

/// The program, until it has been waited for. Destroyed before, its group is killed.
class Child {
public:
    explicit Child(pid_t pid) : pid_(pid) {}
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (pid_ > 0) (void)reap();
    }

    void signal(int number) const noexcept { ::kill(-pid_, number); }

    /// While the leader is not waited for its number is its group's, and nobody else's.
    int reap() noexcept {
        signal(SIGKILL);
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return status;
    }

private:
    pid_t pid_;
};

/// What comes out of one of its pipes.
struct Stream {
    Fd pipe;
    int number;

    /// False at the end, and where there is nothing for now.
    bool read(std::string& out) {
        std::array<char, piece_size> piece{};
        const ssize_t count = ::read(pipe.get(), piece.data(), piece.size());
        if (count > 0) {
            out.assign(piece.data(), static_cast<std::size_t>(count));
            return true;
        }
        if (count == 0 || (errno != EAGAIN && errno != EINTR)) pipe = Fd{};
        return false;
    }
};

class Watch {
public:
    Watch(const ChildProgram& what, const std::stop_token& stop) : what_(what), stop_(stop) {}

    ChildOutcome run() {
        Pipe output = make_pipe();
        Pipe errors = make_pipe();
        const Fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (!wake) fail_errno("make an event descriptor");
        const std::stop_callback wakes(stop_, [&wake] {
            const std::uint64_t one = 1;
            (void)!::write(wake.get(), &one, sizeof one);
        });
        const pid_t pid = spawn(what_, output.writing.get(), errors.writing.get());
        Child child(pid);
        const Fd process = linux::open_pidfd(pid);
        go_first(pid);
        output.writing = Fd{};
        errors.writing = Fd{};
        std::array streams{Stream{std::move(output.reading), STDOUT_FILENO}, Stream{std::move(errors.reading), STDERR_FILENO}};
        for (const Stream& each : streams)
            if (::fcntl(each.pipe.get(), F_SETFL, O_NONBLOCK) != 0) fail_errno("make a pipe non-blocking");
        watch(child, process.get(), wake.get(), streams);
        outcome_.status = child.reap();
        for (Stream& each : streams) take(each);
        if (stop_.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
        return std::move(outcome_);
    }

private:
    void watch(const Child& child, int process, int wake, std::array<Stream, 2>& streams) {
        heard_ = Clock::now();
        std::optional<Clock::time_point> told_to_end;
        for (;;) {
            const auto now = Clock::now();
            outcome_.was_silent |= !told_to_end && what_.silence.count() > 0 && now - heard_ >= what_.silence;
            const bool is_over = stop_.stop_requested() || outcome_.was_silent || outcome_.was_too_loud;
            if (is_over && !told_to_end) {
                child.signal(SIGTERM);
                told_to_end = now;
            }
            if (told_to_end && now - *told_to_end >= time_to_end) return;  // It is killed.
            const auto due = told_to_end ? *told_to_end + time_to_end : heard_ + what_.silence;
            const bool waits_long = !told_to_end && what_.silence.count() == 0;
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - now).count();
            std::array<pollfd, 4> polls{pollfd{process, POLLIN, 0}, pollfd{told_to_end ? -1 : wake, POLLIN, 0},
                                        pollfd{streams[0].pipe.get(), POLLIN, 0}, pollfd{streams[1].pipe.get(), POLLIN, 0}};
            const int ready =
                ::poll(polls.data(), polls.size(), waits_long ? -1 : static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000)));
            if (ready < 0 && errno != EINTR) fail_errno("wait for a program");
            for (Stream& each : streams) take(each);
            // What else has the pipes, as a helper that went into the background, is not waited for.
            if ((polls[0].revents & POLLIN) != 0) return;
        }
    }

    void take(Stream& stream) {
        std::string bytes;
        for (int piece = 0; piece < pieces_at_once && stream.pipe && stream.read(bytes); ++piece) {
            heard_ = Clock::now();
            if (what_.printed) what_.printed(stream.number, bytes);
            if (stream.number == STDOUT_FILENO) {
                outcome_.was_too_loud |= bytes.size() > what_.output_limit - outcome_.output.size();
                if (!outcome_.was_too_loud) outcome_.output += bytes;
            } else {
                outcome_.said += bytes;
                if (outcome_.said.size() > said_limit) outcome_.said.erase(0, outcome_.said.size() - said_limit);
            }
        }
    }

    const ChildProgram& what_;
    const std::stop_token& stop_;
    ChildOutcome outcome_;
    Clock::time_point heard_;
};

}  // namespace

ChildOutcome run_child_program(const ChildProgram& what, const std::stop_token& stop) {
    if (stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
    return Watch(what, stop).run();
}

std::string find_program(const std::string& name, const std::string& path) {
    const auto is_program = [](const std::string& each) {
        struct stat about{};
        return ::stat(each.c_str(), &about) == 0 && S_ISREG(about.st_mode) && ::access(each.c_str(), X_OK) == 0;
    };
    if (name.contains('/')) return is_program(name) ? name : std::string();
    for (const std::string& folder : split(path, ':')) {
        if (!folder.starts_with('/')) continue;
        if (std::string each = folder + "/" + name; is_program(each)) return each;
    }
    return {};
}

std::string describe_status(int status) {
    if (WIFEXITED(status)) return fmt::format("exit status {}", WEXITSTATUS(status));
    const char* name = ::sigdescr_np(WTERMSIG(status));
    return fmt::format("signal: {}", name ? to_lower(name) : fmt::format("{}", WTERMSIG(status)));
}

}  // namespace grua::build
