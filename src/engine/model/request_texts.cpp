#include "engine/model/request_texts.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace grua::engine {
namespace {

/// Below these a newline is the user's: what a program is given, what only people read, paths of which a kernel takes all bytes, and
/// profiles that are whole documents.
constexpr auto free_texts = std::to_array<std::string_view>({
    "Env",
    "Cmd",
    "Entrypoint",
    "Shell",
    "OnBuild",
    "Labels",
    "Healthcheck",
    "Volumes",
    "WorkingDir",
    "HostConfig.Binds",
    "HostConfig.Mounts",
    "HostConfig.Tmpfs",
    "HostConfig.SecurityOpt",
    "HostConfig.Annotations",
});

bool is_free(std::string_view path) {
    return std::ranges::any_of(free_texts, [&](std::string_view each) {
        return path.starts_with(each) && (path.size() == each.size() || path[each.size()] == '.' || path[each.size()] == '[');
    });
}

void check_text(const std::string& path, std::string_view text) {
    const auto refuse = [&](const char* what) { fail(ErrorKind::invalid_argument, "{}: it has a {} character", path, what); };
    if (text.contains('\0')) refuse("NUL");
    const auto controls = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
    if (std::ranges::any_of(text, controls) && !is_free(path)) refuse("control");
}

template <json::WireStruct T>
void check(const T& request, const std::string& place) {
    json::each_text(request, place, check_text);
}

}  // namespace

void check_texts(const ContainerConfig& config, const HostConfig& host_config, const NetworkingConfig& networking) {
    check(config, "");
    check(host_config, "HostConfig");
    check(networking, "NetworkingConfig");
}

void check_texts(const ExecConfig& config) { check(config, ""); }
void check_texts(const UpdateConfig& config) { check(config, ""); }
void check_texts(const EndpointSettings& settings) { check(settings, "EndpointConfig"); }

}  // namespace grua::engine
