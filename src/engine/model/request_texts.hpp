// What a request may write in its texts. Names and addresses end up in files that are read by lines (hosts, hostname, resolv.conf), in
// paths and in logs, so no control character is in any text of a request but where a program is given it as it is; and nowhere a NUL,
// which the kernel takes for the end.
#pragma once

#include "engine/model/documents.hpp"

namespace grua::engine {

/// Each throws Error(invalid_argument) that names the field: "HostConfig.Dns[0]: it has a control character".
void check_texts(const ContainerConfig& config, const HostConfig& host_config, const NetworkingConfig& networking);
void check_texts(const ExecConfig& config);
void check_texts(const UpdateConfig& config);
/// Of a network that a container is connected to.
void check_texts(const EndpointSettings& settings);

}  // namespace grua::engine
