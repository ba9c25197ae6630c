#include "cli/plugins.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/docker_config.hpp"
#include "cli/docker_contexts.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace grua::cli {
namespace {

constexpr std::array system_folders{"/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins",
                                    "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins"};

std::vector<std::string> folders() {
    std::vector<std::string> out{config_folder() + "/cli-plugins"};
    out.insert(out.end(), system_folders.begin(), system_folders.end());
    return out;
}

bool is_plugin_name(std::string_view name) {
    const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
    return !name.empty() && is_letter(name.front()) &&
           std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

/// docker's global options are a plugin's, too.
std::vector<std::string> tls_options(const DaemonFlags& flags) {
    std::vector<std::string> out;
    if (flags.tls) out.emplace_back("--tls");
    if (flags.tlsverify) out.push_back(fmt::format("--tlsverify={}", *flags.tlsverify));
    for (const auto& [name, value] :
         {std::pair{"tlscacert", &flags.tlscacert}, std::pair{"tlscert", &flags.tlscert}, std::pair{"tlskey", &flags.tlskey}})
        if (!value->empty()) out.push_back(fmt::format("--{}={}", name, *value));
    return out;
}

}  // namespace

std::optional<std::string> find_plugin(std::string_view name) {
    if (!is_plugin_name(name)) return std::nullopt;
    for (const std::string& folder : folders()) {
        const std::string path = fmt::format("{}/docker-{}", folder, name);
        std::error_code ignored;
        if (std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0) return path;
    }
    return std::nullopt;
}

std::string plugin_folders_text() { return join(folders(), ", "); }

void run_plugin(const std::string& path, std::span<const std::string> words, const DaemonChoice& choice) {
    if (choice.context() == default_context) {
        // A context that was chosen before would lead elsewhere.
        ::setenv("DOCKER_HOST", choice.host().c_str(), 1);
        ::unsetenv("DOCKER_CONTEXT");
    } else {
        ::unsetenv("DOCKER_HOST");
        ::setenv("DOCKER_CONTEXT", choice.context().c_str(), 1);
    }
    ::setenv("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "grua", 1);
    const std::vector<std::string> tls = tls_options(choice.flags());
    std::vector<char*> arguments{const_cast<char*>(path.c_str())};
    for (const std::string& option : tls) arguments.push_back(const_cast<char*>(option.c_str()));
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execv(path.c_str(), arguments.data());
    fail_errno("execute {}", path);
}

}  // namespace grua::cli
