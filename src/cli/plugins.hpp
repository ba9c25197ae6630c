// Docker's CLI plugins: `grua compose` and `grua buildx` run Docker's own programs, and these speak to gruad.
#pragma once

#include "cli/daemon_choice.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace grua::cli {

/// Where docker-NAME is: in Docker's folders, the user's first. Nothing where it is in none of them, and for what is no name of a plugin.
std::optional<std::string> find_plugin(std::string_view name);

/// The folders, as one text for a message.
std::string plugin_folders_text();

/// Becomes the plugin: `words` from its name on. It speaks to the same daemon. Throws Error where it cannot be executed.
[[noreturn]] void run_plugin(const std::string& path, std::span<const std::string> words, const DaemonChoice& choice);

}  // namespace grua::cli
