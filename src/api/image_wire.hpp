// From an image to what the API shows of it, and what the image routes share.
#pragma once

#include "api/exchange.hpp"
#include "api/services.hpp"
#include "api/wire/image.hpp"
#include "images/image_store.hpp"

namespace grua::api {

wire::ImageSummary image_summary(const images::Image& image);
wire::ImageInspect image_inspect_of(const images::Image& image);
std::vector<wire::ManifestSummary> manifests_of(const Services& services, const images::Image& image);

/// Bytes of layers that each image has in common with others, by its ID.
asio::awaitable<std::map<std::string, std::int64_t>> shared_sizes(const Services& services, std::vector<images::ImagePtr> images);

/// An event of type "image".
void publish_image(const Services& services, std::string action, std::string id, std::string name);

/// "x" and "1" are "x:1", "x" and "sha256:…" are "x@sha256:…".
std::string reference_of(std::string_view repo, std::string_view tag);

/// A platform as Docker's clients send it: JSON, or os/architecture[/variant].
oci::Platform platform_of(std::string_view text);
std::vector<oci::Platform> platforms_of(const Exchange& exchange);

}  // namespace grua::api
