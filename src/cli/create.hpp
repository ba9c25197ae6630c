// What `run` and `create` are told, as the document that POST /containers/create takes. A pure function from flags to JSON (and the
// files that the flags name); testdata/create_requests.json has what the docker CLI sends for the same words.
#pragma once

#include "cli/flags.hpp"

#include <array>
#include <boost/json/value.hpp>
#include <span>
#include <string>

namespace grua::cli {

std::span<const Flag> create_flags();
std::span<const Flag> run_flags();

struct CreateRequest {
    boost::json::object body;
    std::string name;
    std::string platform;
};

struct ConsoleSize {
    unsigned rows = 0;
    unsigned columns = 0;
};

enum class Detached { yes, no };

/// Throws Error(invalid_argument) or UsageError with docker's text.
CreateRequest build_create_request(const Flags& flags, std::span<const std::string> arguments, Detached detached, ConsoleSize console);

namespace detail {

using boost::json::array;
using boost::json::object;
using boost::json::value;

/// --mount: one mount of HostConfig.Mounts.
object parse_mount(const std::string& text);

struct Volumes {
    array binds;
    object anonymous;
};
Volumes parse_volumes(std::span<const std::string> volumes);

struct Ports {
    object exposed;
    object bindings;
};
Ports parse_ports(std::span<const std::string> published, std::span<const std::string> exposed);

/// --device, --ulimit, --gpus and the block device limits.
object parse_device(const std::string& text);
bool is_cdi_name(std::string_view text);
array parse_ulimits(std::span<const std::string> texts);
object parse_gpus(const std::string& text);
object parse_weight_device(const std::string& text);
enum class Rate { bytes, operations };
object parse_throttle(const std::string& text, Rate rate);

struct NetworkChoice {
    std::string mode;
    object endpoints;
};
NetworkChoice parse_networks(const Flags& flags);

/// KEY=VALUE lines; a key without value takes it from the environment, or is left out where there is none.
std::vector<std::string> read_variables(const std::string& path, bool from_environment);

/// One line of CSV as Go reads it: "quoted, field",plain.
std::vector<std::string> split_csv(const std::string& text);

object pairs_to_map(std::span<const std::string> pairs);
array to_array(std::span<const std::string> texts);

/// Flags of a container's rates, and the members that carry them.
constexpr std::array network_limits{std::pair{"net-rate-in", "NetRateIn"}, std::pair{"net-rate-out", "NetRateOut"},
                                    std::pair{"net-burst", "NetBurst"}};
/// Null instead of an empty list.
value list_or_null(std::span<const std::string> texts);
/// "ALL" first, then CAP_… in order, each once.
value capabilities(std::span<const std::string> names);
object restart_policy(const std::string& text);
/// `a.b.c` for ranges like 80 or 80-90: first and last port.
std::pair<unsigned, unsigned> port_range(std::string_view text);

}  // namespace detail

}  // namespace grua::cli
