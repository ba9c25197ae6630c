// Docker's stats document from two samples; pure.
#pragma once

#include "engine/model/record.hpp"
#include "engine/watch/stats.hpp"

#include <string>

namespace grua::api {

/// `before` may be empty (its time is Time{}): clients then take rates from zero, as after the first of Docker's samples.
std::string stats_json(const engine::ContainerRecord& record, const engine::StatsSample& sample, const engine::StatsSample& before);

}  // namespace grua::api
