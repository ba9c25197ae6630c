// What gruad is told about its host.
#pragma once

#include "images/gc.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace grua::engine {

struct Options {
    std::string data_root = "/var/lib/grua";
    std::string exec_root = "/run/grua";
    std::string cgroup_parent = "/grua";  ///< A container's cgroup is <cgroup_parent>/<id>.
    std::string runtime_path;             ///< grua-runtime; empty: beside this program, then $PATH.
    std::string log_program_path;         ///< grua-log, likewise.
    std::string init_path;                ///< grua-init for --init; empty: beside this program, then $PATH.
    bool init = false;                    ///< --init for all.
    bool no_new_privileges = false;
    std::vector<std::string> dns;
    std::vector<std::string> dns_search;
    std::vector<std::string> dns_options;
    std::string log_driver = "json-file";  ///< Of containers that ask for none.
    std::map<std::string, std::string> log_options{{"max-size", "10m"},
                                                   {"max-file", "5"}};  ///< Of the same driver, where they do not say it.
    std::string cgroupns_mode;               ///< Of containers that ask for none; empty: private with cgroup v2, else host.
    std::string ipc_mode = "private";        ///< Likewise; or shareable.
    std::int64_t default_stop_timeout = 10;  ///< Seconds.
    bool default_bridge = true;              ///< There is a network "bridge"; else containers that ask for none have none.
    std::vector<std::string> host_gateways;  ///< What `host-gateway` means in extra hosts; empty: the default bridge.
    bool live_restore = true;                ///< Containers go on when the engine shuts down.
    std::int64_t default_shm_size = 64 * 1024 * 1024;
    int shutdown_timeout = 15;
    images::GcPolicy gc;
};

}  // namespace grua::engine
