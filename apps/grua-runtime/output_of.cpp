#include "output_of.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "linux/process.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>

namespace grua::app {

std::string output_of(const std::vector<std::string>& words) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("pipe");
    const Fd ours{ends[0]};
    Fd theirs{ends[1]};
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 1);
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error == ENOENT) fail(ErrorKind::not_found, "{}: executable file not found in $PATH", words.front());
    if (error != 0) fail(ErrorKind::system, "run {}: {}", words.front(), std::generic_category().message(error));
    theirs = Fd{};
    std::string output = read_all(ours.get(), words.front(), std::size_t{16} << 20U);
    const int status = linux::reap(pid);
    if (status != 0) fail(ErrorKind::system, "{} failed with status {}", words.front(), WIFEXITED(status) ? WEXITSTATUS(status) : status);
    return output;
}

}  // namespace grua::app
