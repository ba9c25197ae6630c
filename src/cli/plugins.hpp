// Docker's CLI plugins: `grua compose` and `grua buildx` run Docker's own programs, and these speak to gruad.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace grua::cli {

/// Where docker-NAME is: in Docker's folders, the user's first. Nothing where it is in none of them, and for what is no name of a plugin.
std::optional<std::string> find_plugin(std::string_view name);

/// The folders, as one text for a message.
std::string plugin_folders_text();

/// Becomes the plugin: `words` from its name on. `host` is the daemon's address for it. Throws Error where it cannot be executed.
[[noreturn]] void run_plugin(const std::string& path, std::span<const std::string> words, const std::string& host);

}  // namespace grua::cli
