// From a container's record to what its monitor is told of its log. Pure, but for the name of this host.
#pragma once

#include "engine/model/record.hpp"
#include "monitor/log_spec.hpp"

#include <map>
#include <string>

namespace grua::engine {

/// Throws Error for what a start would fail at: a driver, an option, an expression or a template that is none. Looks at the disk.
void check_log_config(const LogConfig& config);

/// Where what the container writes is kept on this host, in its folder; empty where it is not.
std::string log_path(const LogConfig& config, const std::string& folder, const std::string& id);

/// In which form it is there.
monitor::LogFormat log_format(const ContainerRecord& record);

/// Names of hosts are not looked up. Throws Error.
monitor::LogSpec log_spec(const ContainerRecord& record);

}  // namespace grua::engine
