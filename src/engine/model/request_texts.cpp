#include "engine/model/request_texts.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>

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

template <typename T>
void check(const T& value, const std::string& path) {
    if constexpr (std::same_as<T, std::string>) {
        check_text(path, value);
    } else if constexpr (json::WireStruct<T>) {
        std::apply(
            [&](const auto&... each) {
                (check(value.*each.member, path.empty() ? std::string(each.name) : fmt::format("{}.{}", path, each.name)), ...);
            },
            T::fields());
    } else if constexpr (json::detail::is_optional<T>::value) {
        if (value) check(*value, path);
    } else if constexpr (json::detail::is_list<T>::value) {
        for (std::size_t at = 0; at < value.size(); ++at) check(value[at], fmt::format("{}[{}]", path, at));
    } else if constexpr (json::detail::is_map<T>::value) {
        for (const auto& [key, each] : value) {
            const std::string place = fmt::format("{}[{}]", path, printable(key));
            check_text(place, key);
            check(each, place);
        }
    }
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
