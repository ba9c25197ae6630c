// gruad's command line and configuration file: dockerd's own names. What dockerd has and gruad does not is refused by name.
#pragma once

#include "api/services.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "images/gc.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::gruad {

inline constexpr const char* default_bridge_name = "grua0";

struct Options {
    std::vector<std::string> hosts;
    std::string data_root = "/var/lib/grua";
    std::string exec_root = "/run/grua";
    std::string bridge = default_bridge_name;  ///< "none": there is no default bridge.
    std::string bip;
    std::string bip6;
    std::string fixed_cidr;
    std::string fixed_cidr6;
    std::string default_gateway;
    std::string default_gateway6;
    std::vector<std::string> default_network_options;  ///< "bridge=com.docker.network.driver.mtu=1400"
    bool ipv6 = false;
    std::string pidfile;
    std::string config_file = "/etc/grua/daemon.json";
    std::string log_level = "info";
    std::string log_format = "text";
    std::string log_driver = "json-file";
    std::vector<std::string> log_options;  ///< "max-size=10m"
    bool live_restore = true;
    std::string group = "docker";
    std::optional<bool> tls;  ///< Not said: what tlsverify says.
    std::optional<bool> tlsverify;
    std::string tlscacert;  ///< Empty: ca.pem in $DOCKER_CERT_PATH or ~/.docker; the others alike.
    std::string tlscert;
    std::string tlskey;
    std::string init_path;
    std::string cgroup_parent = "/grua";
    std::string default_cgroupns_mode;
    std::string default_ipc_mode = "private";
    std::int64_t default_stop_timeout = 10;
    std::string default_shm_size = "64m";
    std::vector<std::string> default_ulimits;  ///< "nofile=1024:2048"
    std::vector<std::string> host_gateways;
    std::string min_api_version;  ///< In daemon.json only. Empty: the oldest that there is.
    std::vector<std::string> dns;
    std::vector<std::string> dns_options;
    std::vector<std::string> dns_search;
    std::vector<std::string> labels;
    std::vector<std::string> insecure_registries;
    std::vector<std::string> registry_mirrors;
    std::string http_proxy;
    std::string https_proxy;
    std::string no_proxy;
    std::int64_t mtu = 0;
    std::int64_t shutdown_timeout = 15;
    bool debug = false;
    bool ip_forward = true;
    bool ip_masq = true;
    bool icc = true;
    std::string layer_format = "tree";  ///< Of layers that come: tree or erofs.
    std::string ip;                     ///< Where ports are published that name no address.
    std::string publish_policy;         ///< docker or host-input.
    std::string host_dns;               ///< "127.0.0.153:53": where programs of the host are told containers' names.
    std::vector<std::string> default_address_pools;
    bool init = false;
    bool no_new_privileges = false;
    bool validate = false;
    bool rebuild = false;
    bool version = false;
    bool help = false;
    images::GcPolicy gc;             ///< In daemon.json only: "gc".
    std::vector<std::string> notes;  ///< On what was taken and has no effect.
};

/// `arguments` without the program's name. Reads the configuration file too. Throws Error(invalid_argument) or not_implemented
/// with the text to print.
Options parse_options(const std::vector<std::string>& arguments);

std::string help_text();

/// The name that our links and tables have, whether there is a default bridge or not.
std::string bridge_name(const Options& options);

/// "64m", "1g", "4096": bytes.
std::int64_t parse_size(const std::string& text);

/// "90s", "30m", "24h", "7d".
std::chrono::seconds parse_duration(const std::string& text);

/// Throws Error(invalid_argument) for what is no key=value.
std::map<std::string, std::string> log_options_of(const Options& options);

/// "nofile=1024:2048".
engine::Ulimit parse_ulimit(const std::string& text);

/// "1.30"; empty: the oldest that there is. Throws Error(invalid_argument) for what is not spoken.
json::Version parse_oldest_version(const std::string& text);

log::Level parse_level(const std::string& text);

}  // namespace grua::gruad
