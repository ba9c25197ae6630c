// The words of POST /build.
#pragma once

#include "api/query.hpp"
#include "base/codec.hpp"
#include "build/classic_request.hpp"

#include <string_view>

namespace grua::api {

/// Checked. `registry_config`: the header X-Registry-Config. Throws Error with dockerd's texts.
build::ClassicRequest build_request_of(const Query& query, std::string_view registry_config, json::Version version);

}  // namespace grua::api
