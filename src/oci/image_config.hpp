// The image configuration document (OCI image spec, config.md; Docker's has more members in `config`).
#pragma once

#include "base/codec.hpp"
#include "oci/digest.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace grua::oci {

/// HEALTHCHECK. Times in nanoseconds, 0 = inherit the default.
struct HealthConfig {
    std::vector<std::string> test;  ///< {} inherit, {"NONE"}, {"CMD", …}, {"CMD-SHELL", text}
    std::int64_t interval = 0;
    std::int64_t timeout = 0;
    std::int64_t start_period = 0;
    std::int64_t start_interval = 0;
    std::int64_t retries = 0;

    static constexpr auto fields() {
        return std::tuple{json::field("Test", &HealthConfig::test).omitted_when_empty(),
                          json::field("Interval", &HealthConfig::interval).omitted_when_empty(),
                          json::field("Timeout", &HealthConfig::timeout).omitted_when_empty(),
                          json::field("StartPeriod", &HealthConfig::start_period).omitted_when_empty(),
                          json::field("StartInterval", &HealthConfig::start_interval).omitted_when_empty(),
                          json::field("Retries", &HealthConfig::retries).omitted_when_empty()};
    }
    friend bool operator==(const HealthConfig&, const HealthConfig&) = default;
};

/// What a container of the image starts with unless told otherwise.
struct ImageRunConfig {
    std::string user;
    std::map<std::string, json::Value> exposed_ports;  ///< "80/tcp" → {}
    std::vector<std::string> env;
    std::optional<std::vector<std::string>> entrypoint;
    std::optional<std::vector<std::string>> cmd;
    std::map<std::string, json::Value> volumes;  ///< "/data" → {}
    std::string working_dir;
    std::map<std::string, std::string> labels;
    std::string stop_signal;
    std::optional<std::int64_t> stop_timeout;  ///< seconds
    std::optional<HealthConfig> healthcheck;
    std::vector<std::string> on_build;
    std::vector<std::string> shell;
    bool args_escaped = false;

    static constexpr auto fields() {
        return std::tuple{json::field("User", &ImageRunConfig::user).omitted_when_empty(),
                          json::field("ExposedPorts", &ImageRunConfig::exposed_ports).omitted_when_empty(),
                          json::field("Env", &ImageRunConfig::env).omitted_when_empty(),
                          json::field("Entrypoint", &ImageRunConfig::entrypoint).omitted_when_empty(),
                          json::field("Cmd", &ImageRunConfig::cmd).omitted_when_empty(),
                          json::field("Volumes", &ImageRunConfig::volumes).omitted_when_empty(),
                          json::field("WorkingDir", &ImageRunConfig::working_dir).omitted_when_empty(),
                          json::field("Labels", &ImageRunConfig::labels).omitted_when_empty(),
                          json::field("StopSignal", &ImageRunConfig::stop_signal).omitted_when_empty(),
                          json::field("StopTimeout", &ImageRunConfig::stop_timeout).omitted_when_empty(),
                          json::field("Healthcheck", &ImageRunConfig::healthcheck).omitted_when_empty(),
                          json::field("OnBuild", &ImageRunConfig::on_build).omitted_when_empty(),
                          json::field("Shell", &ImageRunConfig::shell).omitted_when_empty(),
                          json::field("ArgsEscaped", &ImageRunConfig::args_escaped).omitted_when_empty()};
    }
    friend bool operator==(const ImageRunConfig&, const ImageRunConfig&) = default;
};

struct RootfsInfo {
    std::string type;                   ///< "layers"
    std::vector<std::string> diff_ids;  ///< Digests of the uncompressed layers, the lowest first.

    static constexpr auto fields() {
        return std::tuple{json::field("type", &RootfsInfo::type), json::field("diff_ids", &RootfsInfo::diff_ids)};
    }
    friend bool operator==(const RootfsInfo&, const RootfsInfo&) = default;
};

struct HistoryEntry {
    std::string created;
    std::string created_by;
    std::string author;
    std::string comment;
    bool empty_layer = false;

    static constexpr auto fields() {
        return std::tuple{json::field("created", &HistoryEntry::created).omitted_when_empty(),
                          json::field("created_by", &HistoryEntry::created_by).omitted_when_empty(),
                          json::field("author", &HistoryEntry::author).omitted_when_empty(),
                          json::field("comment", &HistoryEntry::comment).omitted_when_empty(),
                          json::field("empty_layer", &HistoryEntry::empty_layer).omitted_when_empty()};
    }
    friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};

struct ImageConfig {
    std::string created;  ///< RFC 3339, may be empty
    std::string author;
    std::string comment;         ///< Docker
    std::string docker_version;  ///< Docker
    std::string architecture;
    std::string variant;
    std::string os;
    std::string os_version;
    ImageRunConfig config;
    RootfsInfo rootfs;
    std::vector<HistoryEntry> history;

    static constexpr auto fields() {
        return std::tuple{json::field("created", &ImageConfig::created).omitted_when_empty(),
                          json::field("author", &ImageConfig::author).omitted_when_empty(),
                          json::field("comment", &ImageConfig::comment).omitted_when_empty(),
                          json::field("docker_version", &ImageConfig::docker_version).omitted_when_empty(),
                          json::field("architecture", &ImageConfig::architecture),
                          json::field("variant", &ImageConfig::variant).omitted_when_empty(),
                          json::field("os", &ImageConfig::os),
                          json::field("os.version", &ImageConfig::os_version).omitted_when_empty(),
                          json::field("config", &ImageConfig::config),
                          json::field("rootfs", &ImageConfig::rootfs),
                          json::field("history", &ImageConfig::history).omitted_when_empty()};
    }
};

/// Bounds of a config document.
inline constexpr std::size_t image_config_size_limit = std::size_t{8} << 20U;
inline constexpr std::size_t layer_count_limit = 500;  // what overlayfs stacks

/// Parses and checks: rootfs of type "layers", valid diff IDs, at most layer_count_limit. Throws Error(invalid_argument).
ImageConfig parse_image_config(std::string_view json_text);

/// The rootfs's diff IDs as digests; parse_image_config has checked them.
std::vector<Digest> diff_ids(const ImageConfig& config);

}  // namespace grua::oci
