#include "cli/create.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "cli/units.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <set>

namespace grua::cli::detail {

namespace {

template <typename... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
    fail(ErrorKind::invalid_argument, format, std::forward<Args>(args)...);
}

std::pair<std::string, std::string> cut(const std::string& text, char at) {
    const std::size_t found = text.find(at);
    if (found == std::string::npos) return {text, {}};
    return {text.substr(0, found), text.substr(found + 1)};
}

std::string absolute(const std::string& path) { return std::filesystem::absolute(path).lexically_normal().string(); }

/// Go's path.Clean for what matters here.
std::string clean(const std::string& path) {
    std::string out = std::filesystem::path(path).lexically_normal().string();
    if (out.size() > 1 && out.ends_with('/')) out.pop_back();
    return out;
}

bool mount_bool(const std::string& key, const std::string& value, bool has_value) {
    if (!has_value || value == "1" || value == "true") return true;
    if (value == "0" || value == "false") return false;
    bad("invalid value for '{}': invalid boolean value (\"{}\"): must be one of \"true\", \"1\", \"false\", or \"0\" (default \"true\")",
        key, value);
}

object& sub(object& parent, const char* name) {
    value& slot = parent[name];
    if (!slot.is_object()) slot = object();
    return slot.get_object();
}

void check_mount(const object& mount) {
    const std::string type(mount.at("Type").as_string());
    const auto only = [&](const char* options, const char* prefix, const char* wanted) {
        if (mount.contains(options) && type != wanted) bad("cannot mix '{}-*' options with mount type '{}'", prefix, type);
    };
    if (type.empty()) bad("type is required");
    only("BindOptions", "bind", "bind");
    only("VolumeOptions", "volume", "volume");
    only("ImageOptions", "image", "image");
    only("TmpfsOptions", "tmpfs", "tmpfs");
    const value* bind = mount.if_contains("BindOptions");
    if (!bind) return;
    const object& options = bind->as_object();
    if (options.contains("ReadOnlyNonRecursive") && !mount.contains("ReadOnly")) {
        bad("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction");
    }
    if (options.contains("ReadOnlyForceRecursive")) {
        if (!mount.contains("ReadOnly")) bad("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction");
        const value* propagation = options.if_contains("Propagation");
        if (!propagation || *propagation != value("rprivate")) {
            bad("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction");
        }
    }
}

void set_flag(object& options, const char* name, bool on) {
    if (on) options[name] = true;
}

void bind_recursive(object& mount, const std::string& text) {
    if (text == "enabled") return;
    object& bind = sub(mount, "BindOptions");
    if (text == "disabled")
        bind["NonRecursive"] = true;
    else if (text == "writable")
        bind["ReadOnlyNonRecursive"] = true;
    else if (text == "readonly")
        bind["ReadOnlyForceRecursive"] = true;
    else
        bad("invalid value for bind-recursive: {} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")", text);
}

void add_pair(object& parent, const char* name, const std::string& pair) {
    const auto [key, text] = cut(pair, '=');
    if (!key.empty()) sub(parent, name)[key] = text;
}

/// One key of --mount.
void set_mount_option(object& mount, const std::string& key, const std::string& text, bool has_value, const std::string& field) {
    if (key == "type")
        mount["Type"] = to_lower(text);
    else if (key == "source" || key == "src")
        mount["Source"] = text.starts_with('.') ? absolute(text) : text;
    else if (key == "target" || key == "dst" || key == "destination")
        mount["Target"] = text;
    else if (key == "readonly" || key == "ro")
        set_flag(mount, "ReadOnly", mount_bool(key, text, has_value));
    else if (key == "consistency")
        mount["Consistency"] = to_lower(text);
    else if (key == "bind-propagation")
        sub(mount, "BindOptions")["Propagation"] = to_lower(text);
    else if (key == "bind-nonrecursive")
        set_flag(sub(mount, "BindOptions"), "NonRecursive", mount_bool(key, text, has_value));
    else if (key == "bind-recursive")
        bind_recursive(mount, text);
    else if (key == "bind-create-src")
        set_flag(sub(mount, "BindOptions"), "CreateMountpoint", mount_bool(key, text, has_value));
    else if (key == "volume-subpath")
        sub(mount, "VolumeOptions")["Subpath"] = text;
    else if (key == "volume-nocopy")
        set_flag(sub(mount, "VolumeOptions"), "NoCopy", mount_bool(key, text, has_value));
    else if (key == "volume-label")
        add_pair(sub(mount, "VolumeOptions"), "Labels", text);
    else if (key == "volume-driver")
        sub(sub(mount, "VolumeOptions"), "DriverConfig")["Name"] = text;
    else if (key == "volume-opt")
        add_pair(sub(sub(mount, "VolumeOptions"), "DriverConfig"), "Options", text);
    else if (key == "image-subpath")
        sub(mount, "ImageOptions")["Subpath"] = text;
    else if (key == "tmpfs-size") {
        try {
            sub(mount, "TmpfsOptions")["SizeBytes"] = parse_size(text);
        } catch (const Error&) {
            bad("invalid value for {}: {}", key, text);
        }
    } else if (key == "tmpfs-mode") {
        char* end = nullptr;
        const unsigned long mode = std::strtoul(text.c_str(), &end, 8);
        if (*end || mode > 0xFFFFFFFFUL) bad("invalid value for {}: {}", key, text);
        sub(mount, "TmpfsOptions")["Mode"] = mode;
    } else {
        bad("unexpected key '{}' in '{}'", key, field);
    }
}

bool device_mode(std::string_view mode) {
    std::set<char> seen;
    return !mode.empty() && std::ranges::all_of(mode, [&](char c) { return (c == 'r' || c == 'w' || c == 'm') && seen.insert(c).second; });
}

std::int64_t gpu_count(const std::string& text) {
    if (text == "all") return -1;
    const auto count = parse_int(text);
    if (!count) bad("invalid count ({}): value must be either \"all\" or an integer: invalid syntax", text);
    return *count;
}

}  // namespace

std::vector<std::string> split_csv(const std::string& text) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted) {
            if (c != '"') {
                fields.back() += c;
            } else if (i + 1 < text.size() && text[i + 1] == '"') {
                fields.back() += text[++i];
            } else {
                quoted = false;
            }
        } else if (c == '"' && fields.back().empty()) {
            quoted = true;
        } else if (c == '"') {
            bad("parse error on line 1, column {}: bare \" in non-quoted-field", i + 1);
        } else if (c == ',') {
            fields.emplace_back();
        } else {
            fields.back() += c;
        }
    }
    if (quoted) bad("parse error on line 1, column {}: extraneous or missing \" in quoted-field", text.size() + 1);
    return fields;
}

object parse_mount(const std::string& given) {
    const std::string text(trim(given));
    if (text.empty()) bad("value is empty");
    object mount{{"Type", "volume"}};
    for (const std::string& field : split_csv(text)) {
        const bool has_value = field.find('=') != std::string::npos;
        const auto [raw_key, content] = cut(field, '=');
        if (std::string(trim(raw_key)) != raw_key)
            bad("invalid option '{}' in '{}': option should not have whitespace", trim(raw_key), field);
        if (has_value && trim(content).empty()) bad("invalid value for '{}': value is empty", raw_key);
        if (has_value && std::string(trim(content)) != content)
            bad("invalid value for '{}' in '{}': value should not have whitespace", raw_key, field);
        const std::string key = to_lower(raw_key);
        const bool may_stand_alone =
            key == "readonly" || key == "ro" || key == "volume-nocopy" || key == "bind-nonrecursive" || key == "bind-create-src";
        if (!has_value && !may_stand_alone) bad("invalid field '{}' must be a key=value pair", field);
        set_mount_option(mount, key, content, has_value, field);
    }
    check_mount(mount);
    // Docker's client sends an empty driver beside a sub-path.
    if (value* options = mount.if_contains("VolumeOptions"); options && options->as_object().contains("Subpath"))
        sub(options->as_object(), "DriverConfig");
    return mount;
}

Volumes parse_volumes(std::span<const std::string> volumes) {
    Volumes out;
    for (const std::string& spec : volumes) {
        if (spec.empty()) bad("invalid empty volume spec");
        if (spec.size() <= 2) {
            out.anonymous[spec] = object();
            continue;
        }
        const std::vector<std::string> parts = split(spec, ':');
        if (std::ranges::any_of(parts, &std::string::empty)) bad("invalid spec: {}: empty section between colons", spec);
        if (parts.size() > 3) bad("invalid spec: {}: too many colons", spec);
        if (parts.size() == 1) {
            out.anonymous[spec] = object();
            continue;
        }
        std::string bind = spec;
        if (parts[0].starts_with('.')) bind = absolute(parts[0]) + spec.substr(parts[0].size());
        if (std::ranges::find(out.binds, value(bind)) == out.binds.end()) out.binds.emplace_back(std::move(bind));
    }
    return out;
}

std::pair<unsigned, unsigned> port_range(std::string_view text) {
    const std::size_t dash = text.find('-');
    const auto first = parse_uint(text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_uint(text.substr(dash + 1));
    if (!first || !last || *first > 65535 || *last > 65535 || *last < *first) bad("invalid port range: {}", text);
    return {static_cast<unsigned>(*first), static_cast<unsigned>(*last)};
}

namespace {

/// name=value pairs of --publish become address:host:container/protocol.
std::string plain_publish(const std::string& text) {
    if (text.find('=') == std::string::npos) return text;
    std::string published;
    std::string target;
    std::string protocol = "tcp";
    for (const std::string& field : split(text, ',')) {
        const auto [key, content] = cut(field, '=');
        if (field.find('=') == std::string::npos || key.empty())
            bad("invalid publish opts format (should be name=value but got '{}')", field);
        if (key == "published")
            published = content;
        else if (key == "target")
            target = content;
        else if (key == "protocol")
            protocol = content;
    }
    return fmt::format("{}:{}/{}", published, target, protocol);
}

std::pair<std::string, std::string> split_protocol(const std::string& text) {
    auto [port, protocol] = cut(text, '/');
    if (text.find('/') == std::string::npos) protocol = "tcp";
    protocol = to_lower(protocol);
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") bad("invalid proto: {}", protocol);
    return {port, protocol};
}

void publish(const std::string& given, Ports& out) {
    const std::string text = plain_publish(given);
    const auto [rest, protocol] = split_protocol(text);
    // The last two parts are ports; what stands before them, an IPv6 address in brackets too, is the address.
    std::string container = rest;
    std::string host;
    std::string address;
    if (const std::size_t colon = rest.rfind(':'); colon != std::string::npos) {
        container = rest.substr(colon + 1);
        host = rest.substr(0, colon);
        if (const std::size_t second = host.rfind(':'); second != std::string::npos) {
            address = host.substr(0, second);
            host = host.substr(second + 1);
        }
    }
    if (address.starts_with('[') && address.ends_with(']')) address = address.substr(1, address.size() - 2);
    if (container.empty()) bad("no port specified: {}<empty>", given);
    const auto checked = [&](const std::string& ports, const char* which) {
        try {
            return port_range(ports);
        } catch (const Error&) {
            bad("invalid {}: {}", which, ports);
        }
    };
    const auto [first, last] = checked(container, "containerPort");
    const bool has_host = !host.empty();
    const auto [host_first, host_last] = has_host ? checked(host, "hostPort") : std::pair{0U, 0U};
    const bool one_of_range = has_host && first == last && host_first != host_last;
    if (has_host && !one_of_range && last - first != host_last - host_first)
        bad("invalid ranges specified for container and host Ports: {} and {}", container, host);
    for (unsigned port = first; port <= last; ++port) {
        const std::string key = fmt::format("{}/{}", port, protocol);
        std::string host_port;
        if (one_of_range)
            host_port = fmt::format("{}-{}", host_first, host_last);
        else if (has_host)
            host_port = std::to_string(host_first + (port - first));
        out.exposed[key] = object();
        value& list = out.bindings[key];
        if (!list.is_array()) list = array();
        list.get_array().push_back(object{{"HostIp", address}, {"HostPort", host_port}});
    }
}

}  // namespace

Ports parse_ports(std::span<const std::string> published, std::span<const std::string> exposed) {
    Ports out;
    for (const std::string& each : published) publish(each, out);
    for (const std::string& each : exposed) {
        const auto [range, protocol] = split_protocol(each);
        if (range.find(':') != std::string::npos) bad("invalid port format for --expose: {}", each);
        std::pair<unsigned, unsigned> ports;
        try {
            ports = port_range(range);
        } catch (const Error&) {
            bad("invalid range format for --expose: {}", each);
        }
        for (unsigned port = ports.first; port <= ports.second; ++port) out.exposed[fmt::format("{}/{}", port, protocol)] = object();
    }
    return out;
}

bool is_cdi_name(std::string_view text) {
    const std::size_t slash = text.find('/');
    const std::size_t equals = text.find('=');
    return slash != std::string_view::npos && slash > 0 && equals != std::string_view::npos && equals > slash + 1 &&
           equals + 1 < text.size();
}

object parse_device(const std::string& text) {
    const std::vector<std::string> parts = split(text, ':');
    if (parts.size() > 3 || parts[0].empty()) bad("bad format for path: {}", text);
    std::string inside = parts[0];
    std::string permissions = "rwm";
    if (parts.size() >= 2) {
        if (parts.size() == 2 && device_mode(parts[1]))
            permissions = parts[1];
        else
            inside = parts[1];
    }
    if (parts.size() == 3) {
        if (!device_mode(parts[2])) bad("bad mode specified: {}", parts[2]);
        permissions = parts[2];
    }
    if (!inside.starts_with('/')) bad("{} is not an absolute path", inside);
    const std::string outside = parts.size() == 1 ? clean(parts[0]) : parts[0];
    return {{"PathOnHost", outside}, {"PathInContainer", clean(inside)}, {"CgroupPermissions", permissions}};
}

array parse_ulimits(std::span<const std::string> texts) {
    std::map<std::string, object> found;
    for (const std::string& text : texts) {
        const auto [name, limits] = cut(text, '=');
        if (text.find('=') == std::string::npos) bad("invalid ulimit argument: {}", text);
        static const std::set<std::string> known{"core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue", "nice",
                                                 "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack"};
        if (!known.contains(name)) bad("invalid ulimit type: {}", name);
        const auto [soft_text, hard_text] = cut(limits, ':');
        const auto soft = parse_int(soft_text);
        const auto hard = limits.find(':') == std::string::npos ? soft : parse_int(hard_text);
        if (!soft || !hard) bad("strconv.ParseInt: parsing \"{}\": invalid syntax", !soft ? soft_text : hard_text);
        if (*hard != -1 && (*soft == -1 || *soft > *hard))
            bad("ulimit soft limit must be less than or equal to hard limit: {} > {}", *soft, *hard);
        found[name] = object{{"Name", name}, {"Hard", *hard}, {"Soft", *soft}};
    }
    array out;
    for (auto& [name, limit] : found) out.push_back(std::move(limit));
    return out;
}

object parse_gpus(const std::string& text) {
    object request{
        {"Driver", ""}, {"Count", 0}, {"DeviceIDs", nullptr}, {"Capabilities", array{value(array{"gpu"})}}, {"Options", object()}};
    std::set<std::string> seen;
    for (const std::string& field : split_csv(text)) {
        const auto [key, content] = cut(field, '=');
        if (!seen.insert(key).second) bad("gpu request key '{}' can be specified only once", key);
        if (field.find('=') == std::string::npos) {
            seen.insert("count");
            request["Count"] = gpu_count(key);
        } else if (key == "driver") {
            request["Driver"] = content;
        } else if (key == "count") {
            request["Count"] = gpu_count(content);
        } else if (key == "device") {
            request["DeviceIDs"] = to_array(split(content, ','));
        } else if (key == "capabilities") {
            array names = to_array(split(content, ','));
            names.emplace_back("gpu");
            request["Capabilities"] = array{value(std::move(names))};
        } else if (key == "options") {
            request["Options"] = pairs_to_map(split_csv(content));
        } else {
            bad("unexpected key '{}' in '{}'", key, field);
        }
    }
    if (!seen.contains("count") && request["DeviceIDs"].is_null()) request["Count"] = 1;
    return request;
}

object parse_weight_device(const std::string& text) {
    const auto [path, weight_text] = cut(text, ':');
    if (path.empty() || text.find(':') == std::string::npos) bad("bad format: {}", text);
    if (!path.starts_with("/dev/")) bad("bad format for device path: {}", text);
    const auto weight = parse_uint(weight_text);
    if (!weight || (*weight > 0 && (*weight < 10 || *weight > 1000))) bad("invalid weight for device: {}", text);
    return {{"Path", path}, {"Weight", *weight}};
}

object parse_throttle(const std::string& text, Rate kind) {
    const auto [path, rate_text] = cut(text, ':');
    if (path.empty() || text.find(':') == std::string::npos) bad("bad format: {}", text);
    if (!path.starts_with("/dev/")) bad("bad format for device path: {}", text);
    if (kind == Rate::operations) {
        const auto rate = parse_uint(rate_text);
        if (!rate)
            bad("invalid rate for device: {}. The correct format is <device-path>:<number>. Number must be a positive integer", text);
        return {{"Path", path}, {"Rate", *rate}};
    }
    std::int64_t rate = -1;
    try {
        rate = parse_size(rate_text);
    } catch (const Error&) {
        rate = -1;
    }
    if (rate < 0) {
        bad("invalid rate for device: {}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is "
            "optional and can be kb, mb, or gb",
            text);
    }
    return {{"Path", path}, {"Rate", rate}};
}

std::vector<std::string> read_variables(const std::string& path, bool from_environment) {
    std::string content;
    try {
        content = read_file(path, std::size_t{16} << 20U);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) bad("open {}: no such file or directory", path);
        throw;
    }
    if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
    std::vector<std::string> out;
    for (std::string line : split(content, '\n')) {
        if (line.ends_with('\r')) line.pop_back();
        line.erase(0, std::min(line.size(), line.find_first_not_of(" \t")));
        if (line.empty() || line.starts_with('#')) continue;
        const auto [name, content_of] = cut(line, '=');
        if (name.empty()) bad("no variable name on line '{}'", line);
        if (name.find_first_of(" \t") != std::string::npos) bad("variable '{}' contains whitespaces", name);
        if (line.find('=') != std::string::npos) {
            out.push_back(line);
        } else if (!from_environment) {
            out.push_back(line);
        } else if (const char* here = std::getenv(name.c_str())) {
            out.push_back(name + "=" + here);
        }
    }
    return out;
}

object pairs_to_map(std::span<const std::string> pairs) {
    object out;
    for (const std::string& pair : pairs) {
        const auto [key, content] = cut(pair, '=');
        out[key] = content;
    }
    return out;
}

array to_array(std::span<const std::string> texts) {
    array out;
    for (const std::string& each : texts) out.emplace_back(each);
    return out;
}

value list_or_null(std::span<const std::string> texts) {
    if (texts.empty()) return nullptr;
    return to_array(texts);
}

value capabilities(std::span<const std::string> names) {
    if (names.empty()) return nullptr;
    std::set<std::string> found;
    for (const std::string& name : names) {
        std::string upper;
        for (const char c : trim(name)) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        if (upper != "ALL" && !upper.starts_with("CAP_")) upper.insert(0, "CAP_");
        found.insert(upper);
    }
    array out;
    for (const std::string& name : found) out.emplace_back(name);
    return out;
}

object restart_policy(const std::string& text) {
    const auto [name, count] = cut(text, ':');
    if (text.find(':') != std::string::npos && name.empty()) bad("invalid restart policy format: no policy provided before colon");
    std::int64_t retries = 0;
    if (!count.empty()) {
        const auto number = parse_int(count);
        if (!number) bad("invalid restart policy format: maximum retry count must be an integer");
        retries = *number;
    }
    return {{"Name", name}, {"MaximumRetryCount", retries}};
}

}  // namespace grua::cli::detail
