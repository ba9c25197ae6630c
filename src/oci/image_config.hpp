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

    template <typename Self = HealthConfig>
    static json::Fields fields() {
        return json::Fields{json::field("Test", &Self::test).omitted_when_empty(),
                            json::field("Interval", &Self::interval).omitted_when_empty(),
                            json::field("Timeout", &Self::timeout).omitted_when_empty(),
                            json::field("StartPeriod", &Self::start_period).omitted_when_empty(),
                            json::field("StartInterval", &Self::start_interval).omitted_when_empty(),
                            json::field("Retries", &Self::retries).omitted_when_empty()};
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

    template <typename Self = ImageRunConfig>
    static json::Fields fields() {
        return json::Fields{json::field("User", &Self::user).omitted_when_empty(),
                            json::field("ExposedPorts", &Self::exposed_ports).omitted_when_empty(),
                            json::field("Env", &Self::env).omitted_when_empty(),
                            json::field("Entrypoint", &Self::entrypoint).omitted_when_empty(),
                            json::field("Cmd", &Self::cmd).omitted_when_empty(),
                            json::field("Volumes", &Self::volumes).omitted_when_empty(),
                            json::field("WorkingDir", &Self::working_dir).omitted_when_empty(),
                            json::field("Labels", &Self::labels).omitted_when_empty(),
                            json::field("StopSignal", &Self::stop_signal).omitted_when_empty(),
                            json::field("StopTimeout", &Self::stop_timeout).omitted_when_empty(),
                            json::field("Healthcheck", &Self::healthcheck).omitted_when_empty(),
                            json::field("OnBuild", &Self::on_build).omitted_when_empty(),
                            json::field("Shell", &Self::shell).omitted_when_empty(),
                            json::field("ArgsEscaped", &Self::args_escaped).omitted_when_empty()};
    }
    friend bool operator==(const ImageRunConfig&, const ImageRunConfig&) = default;
};

struct RootfsInfo {
    std::string type;                   ///< "layers"
    std::vector<std::string> diff_ids;  ///< Digests of the uncompressed layers, the lowest first.

    template <typename Self = RootfsInfo>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("diff_ids", &Self::diff_ids)};
    }
    friend bool operator==(const RootfsInfo&, const RootfsInfo&) = default;
};

struct HistoryEntry {
    std::string created;
    std::string created_by;
    std::string author;
    std::string comment;
    bool empty_layer = false;

    template <typename Self = HistoryEntry>
    static json::Fields fields() {
        return json::Fields{
            json::field("created", &Self::created).omitted_when_empty(), json::field("created_by", &Self::created_by).omitted_when_empty(),
            json::field("author", &Self::author).omitted_when_empty(), json::field("comment", &Self::comment).omitted_when_empty(),
            json::field("empty_layer", &Self::empty_layer).omitted_when_empty()};
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

    template <typename Self = ImageConfig>
    static json::Fields fields() {
        return json::Fields{json::field("created", &Self::created).omitted_when_empty(),
                            json::field("author", &Self::author).omitted_when_empty(),
                            json::field("comment", &Self::comment).omitted_when_empty(),
                            json::field("docker_version", &Self::docker_version).omitted_when_empty(),
                            json::field("architecture", &Self::architecture),
                            json::field("variant", &Self::variant).omitted_when_empty(),
                            json::field("os", &Self::os),
                            json::field("os.version", &Self::os_version).omitted_when_empty(),
                            json::field("config", &Self::config),
                            json::field("rootfs", &Self::rootfs),
                            json::field("history", &Self::history).omitted_when_empty()};
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
