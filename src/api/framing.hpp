// What attach is asked for, and how the API names the two forms of a stream of output; the frames themselves are base/stream_frames.hpp.
#pragma once

#include "api/query.hpp"
#include "base/stream_frames.hpp"
#include "engine/watch.hpp"

#include <string_view>

namespace grua::api {

/// What attach is asked for in its query.
engine::AttachOptions attach_options(const Query& query);

inline constexpr std::string_view raw_stream = "application/vnd.docker.raw-stream";
inline constexpr std::string_view multiplexed_stream = "application/vnd.docker.multiplexed-stream";

}  // namespace grua::api
