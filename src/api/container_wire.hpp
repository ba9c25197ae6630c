// From a container's record to what the API shows of it; pure.
#pragma once

#include "api/filters.hpp"
#include "api/wire/container.hpp"
#include "engine/model/record.hpp"

namespace grua::api {

wire::ContainerInspect inspect_of(const engine::ContainerRecord& record, json::Version version);
wire::ContainerSummary summary_of(const engine::ContainerRecord& record, Time now);

}  // namespace grua::api
