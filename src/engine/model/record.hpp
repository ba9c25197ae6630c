// What is known of one container, as a value that never changes.
//
// The engine keeps a shared_ptr<const ContainerRecord> per container and replaces it with each change; a reader that
// holds one can print it at leisure on any thread. The record is also the stored form: to_json/from_json.
#pragma once

#include "base/text.hpp"
#include "engine/model/documents.hpp"

#include <sys/types.h>
#include <memory>

namespace grua::engine {

enum class Status { created, running, paused, restarting, exited, removing, dead };

/// As the API spells it: "created", "running", …
std::string_view to_string(Status status) noexcept;
std::optional<Status> parse_status(std::string_view text) noexcept;

inline bool is_running(Status status) noexcept { return status == Status::running || status == Status::paused; }

enum class Health { none, starting, healthy, unhealthy };
std::string_view to_string(Health health) noexcept;

struct State {
    Status status = Status::created;
    pid_t pid = 0;  ///< On the host; 0 where nothing runs.
    int exit_code = 0;
    bool oom_killed = false;
    std::string error;  ///< Why the last start failed, or why an exit status is unknown.
    Time started_at{};
    Time finished_at{};
    Health health = Health::none;

    bool operator==(const State&) const = default;
};

struct ContainerRecord {
    std::string id;
    std::string name;  ///< Without the slash that the API puts in front.
    Time created{};
    std::string image_id;  ///< "sha256:…"
    std::string image_manifest;
    std::string platform = "linux";
    std::string path;        ///< The program, argv[0].
    StringList args;         ///< The rest of argv.
    ContainerConfig config;  ///< Merged with the image's.
    HostConfig host_config;
    std::map<std::string, EndpointSettings> networks;       ///< By network name.
    StringMap desired_macs;                                 ///< As asked for, by network name.
    StringMap links;                                        ///< Of the default bridge: the ID of a container by its alias.
    StringMap interfaces;                                   ///< Their names in the container while it runs, by network name.
    std::map<std::string, std::vector<PortBinding>> ports;  ///< Published while it runs; key: "80/tcp".
    std::string sandbox_id;
    std::vector<MountPoint> mounts;
    std::vector<std::string> anonymous_volumes;  ///< Names; removed with the container where that is asked.
    State state;
    int restart_count = 0;
    bool stopped_by_user = false;    ///< unless-stopped does not start these again.
    std::vector<std::string> chain;  ///< The image's diff IDs, lowest first.

    std::string log_path;
    std::string hostname_path;
    std::string hosts_path;
    std::string resolv_conf_path;

    std::vector<std::string> exec_ids;  ///< Execs that exist now; not stored.

    bool operator==(const ContainerRecord&) const = default;
};

using RecordPtr = std::shared_ptr<const ContainerRecord>;

std::string to_json(const ContainerRecord& record);

/// Throws Error(invalid_argument) where the text is not a record.
ContainerRecord record_from_json(std::string_view text);

/// The text that `docker ps` shows: "Up 2 minutes (Paused)", "Exited (0) 3 seconds ago", "Created".
std::string status_text(const State& state, Time now);

}  // namespace grua::engine
