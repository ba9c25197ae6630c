// What gruad is told about its host.
#pragma once

#include "images/gc.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace grua::engine {

struct Options {
    std::string data_root = "/var/lib/grua";
    std::string exec_root = "/run/grua";
    std::string cgroup_parent = "/grua";  ///< A container's cgroup is <cgroup_parent>/<id>.
    std::string runtime_path;             ///< grua-runtime; empty: beside this program, then $PATH.
    std::string init_path;                ///< grua-init for --init; empty: beside this program, then $PATH.
    bool init = false;                    ///< --init for all.
    bool no_new_privileges = false;
    std::vector<std::string> dns;
    std::vector<std::string> dns_search;
    std::vector<std::string> dns_options;
    std::string log_max_size = "10m";  ///< Defaults of --log-opt max-size and max-file.
    std::string log_max_file = "5";
    std::int64_t default_shm_size = 64 * 1024 * 1024;
    int shutdown_timeout = 15;
    images::GcPolicy gc;
};

}  // namespace grua::engine
