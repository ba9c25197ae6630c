// What is known of one container, as a value that never changes.
//
// The engine keeps a shared_ptr<const ContainerRecord> per container and replaces it with each change; a reader that
// holds one can print it at leisure on any thread. What the store keeps of it, with a version of its own, is in stored_record.hpp.
#pragma once

#include "base/prepared.hpp"
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

enum class HealthStatus { none, starting, healthy, unhealthy };
std::string_view to_string(HealthStatus status) noexcept;
std::optional<HealthStatus> parse_health(std::string_view text) noexcept;

}  // namespace grua::engine

template <>
struct grua::json::Text<grua::engine::HealthStatus> {
    static constexpr const char* expected = "a health status";
    static std::string write(grua::engine::HealthStatus status) { return std::string(grua::engine::to_string(status)); }
    static std::optional<grua::engine::HealthStatus> read(std::string_view text) { return grua::engine::parse_health(text); }
};

template <>
struct grua::json::Text<grua::engine::Status> {
    static constexpr const char* expected = "a status";
    static std::string write(grua::engine::Status status) { return std::string(grua::engine::to_string(status)); }
    static std::optional<grua::engine::Status> read(std::string_view text) { return grua::engine::parse_status(text); }
};

namespace grua::engine {

struct HealthResult {
    Time start{};
    Time end{};
    int exit_code = 0;   ///< -1: it took too long, or could not be started.
    std::string output;  ///< UTF-8.

    template <typename Self = HealthResult>
    static json::Fields fields() {
        return json::Fields{field("Start", &Self::start), field("End", &Self::end), field("ExitCode", &Self::exit_code),
                            field("Output", &Self::output)};
    }
    bool operator==(const HealthResult&) const = default;
};

struct Health {
    HealthStatus status = HealthStatus::none;  ///< None: nothing is checked.
    std::int64_t failing_streak = 0;
    std::shared_ptr<const std::vector<HealthResult>> log;  ///< The last five; not stored.

    template <typename Self = Health>
    static json::Fields fields() {
        return json::Fields{field("status", &Self::status), field("failing_streak", &Self::failing_streak)};
    }
    bool operator==(const Health&) const = default;
};

struct State {
    Status status = Status::created;
    pid_t pid = 0;  ///< On the host; 0 where nothing runs.
    int exit_code = 0;
    bool oom_killed = false;
    std::string error;  ///< Why the last start failed, or why an exit status is unknown.
    Time started_at{};
    Time finished_at{};
    Health health;

    template <typename Self = State>
    static json::Fields fields() {
        return json::Fields{field("status", &Self::status),
                            field("error", &Self::error),
                            field("started_at", &Self::started_at),
                            field("finished_at", &Self::finished_at),
                            field("pid", &Self::pid),
                            field("exit_code", &Self::exit_code),
                            field("oom_killed", &Self::oom_killed),
                            field("health", &Self::health).omitted_when_empty()};
    }
    bool operator==(const State&) const = default;
};

/// What inspect does not show of a mount.
struct MountDetail {
    std::string subpath;             ///< Of the volume or the image; relative.
    std::string image_id;            ///< Of a mount of type "image".
    std::vector<std::string> chain;  ///< Its diff IDs, lowest first.
    bool create_source = false;      ///< -v makes a missing folder on the host, --mount does not.
    std::optional<BindOptions> bind;
    std::optional<TmpfsOptions> tmpfs;

    template <typename Self = MountDetail>
    static json::Fields fields() {
        return json::Fields{
            field("subpath", &Self::subpath).omitted_when_empty(), field("image_id", &Self::image_id).omitted_when_empty(),
            field("chain", &Self::chain).omitted_when_empty(),     field("create_source", &Self::create_source).omitted_when_empty(),
            field("bind", &Self::bind).omitted_when_empty(),       field("tmpfs", &Self::tmpfs).omitted_when_empty()};
    }
    bool operator==(const MountDetail&) const = default;
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
    std::map<std::string, MountDetail> mount_details;  ///< By destination, where there is something to say.
    std::vector<std::string> anonymous_volumes;        ///< Names; removed with the container where that is asked.
    State state;
    int restart_count = 0;
    std::string apparmor_profile;    ///< Of its last start, or of its creation.
    bool stopped_by_user = false;    ///< unless-stopped does not start these again.
    std::vector<std::string> chain;  ///< The image's diff IDs, lowest first.

    std::string log_path;
    std::string hostname_path;
    std::string hosts_path;
    std::string resolv_conf_path;

    std::vector<std::string> exec_ids;  ///< Execs that exist now; not stored.

    Prepared prepared;  ///< What readers made of it.

    /// All that is stored but `state`.
    template <typename Self = ContainerRecord>
    static json::Fields fields() {
        return json::Fields{field("id", &Self::id),
                            field("name", &Self::name),
                            field("created", &Self::created),
                            field("image_id", &Self::image_id),
                            field("image_manifest", &Self::image_manifest),
                            field("platform", &Self::platform),
                            field("path", &Self::path),
                            field("args", &Self::args),
                            field("config", &Self::config),
                            field("host_config", &Self::host_config),
                            field("networks", &Self::networks),
                            field("desired_macs", &Self::desired_macs),
                            field("links", &Self::links).omitted_when_empty(),
                            field("interfaces", &Self::interfaces),
                            field("ports", &Self::ports),
                            field("sandbox_id", &Self::sandbox_id),
                            field("mounts", &Self::mounts),
                            field("mount_details", &Self::mount_details).omitted_when_empty(),
                            field("anonymous_volumes", &Self::anonymous_volumes),
                            field("restart_count", &Self::restart_count),
                            field("apparmor_profile", &Self::apparmor_profile).omitted_when_empty(),
                            field("stopped_by_user", &Self::stopped_by_user),
                            field("chain", &Self::chain),
                            field("log_path", &Self::log_path),
                            field("hostname_path", &Self::hostname_path),
                            field("hosts_path", &Self::hosts_path),
                            field("resolv_conf_path", &Self::resolv_conf_path)};
    }
    bool operator==(const ContainerRecord&) const = default;
};

/// What is known of a mount beside what inspect shows; also of a record of before there were details.
MountDetail detail_of(const ContainerRecord& record, const std::string& destination);

/// Whether it has a mount of this image.
bool has_mounted(const ContainerRecord& record, std::string_view image_id);

/// Of the volumes that it has mounted, each once.
StringList volume_names(const ContainerRecord& record);

using RecordPtr = std::shared_ptr<const ContainerRecord>;

/// The text that `docker ps` shows: "Up 2 minutes (Paused)", "Exited (0) 3 seconds ago", "Created".
std::string status_text(const State& state, Time now);

}  // namespace grua::engine
