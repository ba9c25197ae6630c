// The processes of a container as ps would list them, from /proc alone. No program runs for it, neither of the host nor of
// the container (CVE-2022-1227 is what happens where one does).
#pragma once

#include <sys/types.h>
#include <string>
#include <string_view>
#include <vector>

namespace grua::tasks {

struct ProcessTable {
    std::vector<std::string> titles;
    std::vector<std::vector<std::string>> processes;
};

/// `ps_args`: empty or "-ef", "-e" …, "aux" and the like, "-o pid,comm,…". Throws Error(invalid_argument) for what it cannot read.
ProcessTable process_table(const std::vector<pid_t>& pids, std::string_view ps_args);

}  // namespace grua::tasks
