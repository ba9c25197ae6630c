// From an image to what the API shows of it, and what the image routes share.
#pragma once

#include "api/exchange.hpp"
#include "api/services.hpp"
#include "api/wire/image.hpp"
#include "engine/image_service.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::api {

wire::ImageSummary image_summary(const engine::Image& image, json::Version version);
wire::ImageInspect image_inspect_of(const engine::Image& image, json::Version version);

// The same as JSON, made once for each image and version and kept with the image.
void append_image_summary(std::string& out, const engine::Image& image, json::Version version, std::int64_t containers);
Prepared::Text image_inspect_text(const engine::Image& image, json::Version version);

std::vector<wire::ManifestSummary> manifests_of(const Services& services, const engine::Image& image);

/// A platform as Docker's clients send it: JSON, or os/architecture[/variant].
oci::Platform platform_of(std::string_view text);
std::vector<oci::Platform> platforms_of(const Exchange& exchange);

}  // namespace grua::api
