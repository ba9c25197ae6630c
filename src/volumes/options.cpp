#include "volumes/options.hpp"

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "runtime/mount_options.hpp"

#include <arpa/inet.h>
#include <sys/mount.h>
#include <algorithm>
#include <array>

namespace grua::volumes {
namespace {

constexpr std::size_t text_limit = 4095;  // mount(2) takes a page.

std::string value_of(const OptionMap& options, const char* key) {
    const auto found = options.find(key);
    return found == options.end() ? std::string() : found->second;
}

bool is_on_network(std::string_view type) { return type == "nfs" || type == "nfs4" || type == "cifs" || type == "smb3"; }

bool is_address(const std::string& text) {
    std::array<unsigned char, sizeof(in6_addr)> unused{};
    return ::inet_pton(AF_INET, text.c_str(), unused.data()) == 1 || ::inet_pton(AF_INET6, text.c_str(), unused.data()) == 1;
}

/// "host" of "host:/path", "//host/share" and "//host:445/share".
std::string host_of(std::string_view device) {
    if (device.starts_with("//")) {
        device.remove_prefix(2);
        return std::string(device.substr(0, device.find_first_of(":/")));
    }
    const std::size_t end = device.starts_with('[') ? device.find(']') : device.find(":/");
    if (end == std::string_view::npos) return {};
    return std::string(device.starts_with('[') ? device.substr(1, end - 1) : device.substr(0, end));
}

/// What mount(2) would do to a mount that is there, or to another place than the volume's own.
void check_words(const runtime::MountOptions& parsed, const std::vector<std::string>& words) {
    const auto refuse = [](std::string_view word) {
        fail(ErrorKind::invalid_argument, "invalid option: \"o\": {:?} is not for a volume", word);
    };
    if (parsed.remount) refuse("remount");
    if (parsed.copy_up) refuse("tmpcopyup");
    if (parsed.id_mapped) refuse("idmap");
    if (parsed.below.set != 0 || parsed.below.clear != 0) refuse("a recursive flag");
    if (parsed.propagation == MS_UNBINDABLE) refuse("unbindable");  // No container could have it.
    for (const std::string& word : words) {
        const std::string_view name = std::string_view(word).substr(0, word.find('='));
        if (name == "move" || name == "source" || (name.empty() && !word.empty())) refuse(word);
    }
}

}  // namespace

std::optional<std::uint64_t> size_of(const OptionMap& options) {
    const auto found = options.find("size");
    if (found == options.end()) return std::nullopt;
    const auto size = parse_size(found->second, SizeUnit::of_1024);
    if (!size) fail(ErrorKind::invalid_argument, "invalid size: '{}'", found->second);
    if (*size == 0) return std::nullopt;
    return static_cast<std::uint64_t>(*size);
}

void check_options(const OptionMap& options) {
    for (const auto& [key, value] : options) {
        if (key != "type" && key != "o" && key != "device" && key != "size") fail(ErrorKind::invalid_argument, "invalid option: {:?}", key);
        if (value.size() > text_limit)
            fail(ErrorKind::invalid_argument, "invalid option: {:?}: it is longer than {} bytes", key, text_limit);
        const auto controls = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
        if (std::ranges::any_of(value, controls))
            fail(ErrorKind::invalid_argument, "invalid option: {:?}: it has a control character", key);
    }
    (void)size_of(options);
    const auto need = [&](const char* has, const char* needs) {
        if (options.contains(has) && !options.contains(needs)) fail(ErrorKind::invalid_argument, "missing required option: {:?}", needs);
    };
    need("o", "device");
    need("o", "type");
    need("type", "device");
    need("device", "type");
    const std::string device = value_of(options, "device");
    if (value_of(options, "type") == "cifs" && device.starts_with("//")) {
        const std::size_t end = device.find('/', 2);
        if (device.substr(2, end == std::string::npos ? end : end - 2).contains(':'))
            fail(ErrorKind::invalid_argument, "port not allowed in CIFS device URL, include 'port' in 'o='");
    }
    (void)mount_plan(options);
}

std::optional<MountPlan> mount_plan(const OptionMap& options) {
    if (!options.contains("type") && !options.contains("device")) return std::nullopt;
    MountPlan out;
    out.order.type = value_of(options, "type");
    out.order.device = value_of(options, "device");
    const std::vector<std::string> words = split(value_of(options, "o"), ',');
    const runtime::MountOptions parsed = runtime::parse_mount_options(words);
    check_words(parsed, words);
    out.order.is_bind = parsed.bind;
    out.order.recursion = parsed.recursive_bind ? linux::Recursion::recursive : linux::Recursion::top_only;
    out.order.attributes = parsed.top.set;
    out.propagation = parsed.propagation;
    out.propagation_recursion = parsed.propagation_recursion;
    if (out.order.is_bind) {
        if (!out.order.device.empty() && !out.order.device.starts_with('/'))
            fail(ErrorKind::invalid_argument, "invalid option: \"device\": a bind needs an absolute path, {:?} is none", out.order.device);
    } else {
        // The file system is not to write either: its device may be one that cannot be written to.
        if ((parsed.top.set & MOUNT_ATTR_RDONLY) != 0) out.order.settings.emplace_back("ro", "");
        for (const std::string& word : parsed.filesystem) {
            const std::size_t equals = word.find('=');
            out.order.settings.emplace_back(word.substr(0, equals), equals == std::string::npos ? "" : word.substr(equals + 1));
        }
    }
    std::vector<std::string> shown;
    for (const std::string& word : words) {
        const std::string name = word.substr(0, word.find('='));
        shown.push_back(name == "password" || name == "pass" || name == "password2" ? name + "=********" : word);
        if (is_on_network(out.order.type) && (name == "addr" || name == "ip") && word.size() > name.size() + 1) {
            out.server = word.substr(name.size() + 1);
            out.has_name = !is_address(out.server);
        }
    }
    out.shown = join(shown, ",");
    if (out.server.empty() && is_on_network(out.order.type)) {
        out.server = host_of(out.order.device);
        out.has_name = out.order.type == "cifs" && !out.server.empty() && !is_address(out.server);
    }
    return out;
}

void set_address(MountPlan& plan, const std::string& address) {
    const std::string in_device = "//" + plan.server;
    if (plan.order.type == "cifs" && plan.order.device.starts_with(in_device)) plan.order.device.replace(2, plan.server.size(), address);
    for (auto& [name, value] : plan.order.settings)
        if (name == "addr" || name == "ip") value = address;
}

}  // namespace grua::volumes
