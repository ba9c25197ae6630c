// A program of the host's that is run for its output: no shell, an environment that is given whole, a process group of its own that ends
// with it. Blocks: for a thread that may wait long.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

struct ChildProgram {
    std::string program;             ///< A path.
    std::vector<std::string> words;  ///< Without the program's own name.
    std::vector<std::string> environment;
    std::string folder = "/";         ///< In which it runs.
    int inherited = -1;               ///< A descriptor that it and its children have as long as they are there, as number 3; borrowed.
    std::chrono::seconds silence{0};  ///< It is ended where it prints nothing for so long; 0: it may be silent for ever.
    std::size_t output_limit = std::size_t{1} << 20U;                 ///< Bytes of its standard output; with more it is ended.
    std::function<void(int stream, std::string_view bytes)> printed;  ///< 1 and 2, as it comes; may be empty.
};

struct ChildOutcome {
    int status = 0;  ///< As waitpid() gives it.
    bool was_silent = false;
    bool was_too_loud = false;
    std::string output;  ///< Its standard output.
    std::string said;    ///< The end of its standard error.
};

/// The end of its standard error that is kept.
inline constexpr std::size_t said_limit = std::size_t{16} << 10U;

/// Until it and all that it has started in its group have ended. Throws Error: "context canceled" where it was told to stop, not_found
/// where there is no such program.
ChildOutcome run_child_program(const ChildProgram& what, const std::stop_token& stop);

/// Of a name without a slash: the first of the folders in `path` that has it. Empty where none has.
std::string find_program(const std::string& name, const std::string& path);

/// "exit status 128", "signal: killed"
std::string describe_status(int status);

}  // namespace grua::build
