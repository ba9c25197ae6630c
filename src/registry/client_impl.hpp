// What client.hpp hides.
#pragma once

#include "registry/client.hpp"
#include "registry/session.hpp"

namespace grua::registry {

struct Client::Impl {
    explicit Impl(const Options& options) : core(options) {}

    Core core;
};

inline constexpr std::string_view pull_action = "pull";
inline constexpr std::string_view push_actions = "pull,push";

/// What is asked for in `Accept` where a manifest is wanted.
std::string accept_manifests();

/// Checks a manifest's document against what its answer says it is, and names its media type. Throws Failure(invalid_argument).
std::string checked_media_type(std::string_view content_type, std::string_view document, const oci::Reference& reference);

}  // namespace grua::registry
