// From an image to what the API shows of it; pure.
#pragma once

#include "api/wire/image.hpp"
#include "images/image_store.hpp"

namespace grua::api {

wire::ImageSummary image_summary(const images::Image& image);
wire::ImageInspect image_inspect_of(const images::Image& image);

}  // namespace grua::api
