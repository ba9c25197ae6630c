// How the API names the two forms of a stream of output; the frames themselves are base/stream_frames.hpp.
#pragma once

#include "base/stream_frames.hpp"

#include <string_view>

namespace grua::api {

inline constexpr std::string_view raw_stream = "application/vnd.docker.raw-stream";
inline constexpr std::string_view multiplexed_stream = "application/vnd.docker.multiplexed-stream";

}  // namespace grua::api
