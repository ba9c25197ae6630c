#include "engine/model/capability_set.hpp"

#include "linux/capabilities.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace grua::engine {
namespace {

constexpr std::array default_capabilities = {
    "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FSETID",  "CAP_FOWNER",           "CAP_MKNOD",      "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP",      "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",    "CAP_AUDIT_WRITE"};

std::string upper(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    return out;
}

}  // namespace

StringList normalize_capabilities(const StringList& names) {
    StringList out;
    for (const auto& each : names) {
        std::string name = upper(each);
        if (name == "ALL" || name == "CAP_ALL") {
            out.emplace_back("ALL");
            continue;
        }
        if (!name.starts_with("CAP_")) name.insert(0, "CAP_");
        if (!linux::capability_number(name)) fail(ErrorKind::invalid_argument, "unknown capability: \"{}\"", name);
        out.push_back(std::move(name));
    }
    return out;
}

StringList container_capabilities(const HostConfig& config, const StringList& all) {
    if (config.privileged) return all;
    const StringList add = normalize_capabilities(config.cap_add);
    const StringList drop = normalize_capabilities(config.cap_drop);
    const auto named = [](const StringList& list, const std::string& name) { return std::ranges::find(list, name) != list.end(); };
    std::set<std::string> chosen;
    if (named(add, "ALL"))
        chosen.insert(all.begin(), all.end());
    else if (!named(drop, "ALL"))
        chosen.insert(default_capabilities.begin(), default_capabilities.end());
    for (const auto& name : drop) chosen.erase(name);
    for (const auto& name : add)
        if (!named(add, "ALL")) chosen.insert(name);
    StringList out;
    for (const auto& name : all)
        if (chosen.contains(name)) out.push_back(name);
    return out;
}

}  // namespace grua::engine
