#include "registry/rules.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>

namespace grua::registry {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t file_limit = std::size_t{4} << 20U;
constexpr unsigned byte_bits = 8;

std::string host_of(std::string_view authority) {
    if (authority.starts_with('[')) {
        const std::size_t close = authority.find(']');
        return std::string(authority.substr(1, close == std::string_view::npos ? close : close - 1));
    }
    return std::string(authority.substr(0, authority.find(':')));
}

/// An address as 16 bytes, IPv4 mapped into IPv6.
std::optional<std::array<unsigned char, 16>> parse_address(const std::string& text) {
    std::array<unsigned char, 16> out{};
    if (::inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
    in_addr four{};
    if (::inet_pton(AF_INET, text.c_str(), &four) != 1) return std::nullopt;
    out.fill(0);
    out[10] = out[11] = 0xff;
    std::memcpy(out.data() + 12, &four, sizeof(four));
    return out;
}

/// True where `network` is a CIDR that has `address`.
bool contains(const std::string& network, const std::array<unsigned char, 16>& address) {
    const std::size_t slash = network.find('/');
    if (slash == std::string::npos) return false;
    const auto base = parse_address(network.substr(0, slash));
    auto bits = parse_uint(std::string_view(network).substr(slash + 1));
    if (!base || !bits) return false;
    if (network.find(':') == std::string::npos) *bits += 96;
    if (*bits > 128) return false;
    for (unsigned bit = 0; bit < *bits; ++bit) {
        const unsigned mask = 0x80U >> (bit % byte_bits);
        if (((*base)[bit / byte_bits] ^ address[bit / byte_bits]) & mask) return false;
    }
    return true;
}

std::vector<std::array<unsigned char, 16>> addresses_of(const std::string& host) {
    if (const auto literal = parse_address(host)) return {*literal};
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, &::freeaddrinfo};
    std::vector<std::array<unsigned char, 16>> out;
    for (const addrinfo* each = found; each; each = each->ai_next) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        if (::getnameinfo(each->ai_addr, each->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) continue;
        if (const auto address = parse_address(text.data())) out.push_back(*address);
    }
    return out;
}

std::string joined(std::string_view path, std::string_view rest) {
    while (rest.starts_with('/')) rest.remove_prefix(1);
    if (path.empty()) return std::string(rest);
    return rest.empty() ? std::string(path) : fmt::format("{}/{}", path, rest);
}

/// What is left of `name` behind the rule's prefix; a wildcard stands for the whole host.
std::string_view behind(std::string_view name, std::string_view prefix) {
    if (prefix.starts_with("*.")) return name.substr(std::min(name.find('/'), name.size()));
    return name.substr(prefix.size());
}

[[noreturn]] void fail_blocked(std::string_view what, const Rule& rule) {
    fail(ErrorKind::forbidden, "registry {} is blocked by the rule \"{}\" in {}", what, rule.prefix, rule.source);
}

}  // namespace

std::optional<std::string> read_if_there(const std::string& path) {
    try {
        return read_file(path, file_limit);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return std::nullopt;
        throw;
    }
}

bool has_prefix(std::string_view name, std::string_view prefix) {
    if (prefix.starts_with("*.")) {
        const std::string_view host = name.substr(0, name.find_first_of("/:"));
        return host.size() > prefix.size() - 1 && host.ends_with(prefix.substr(1));
    }
    return name.starts_with(prefix) && (name.size() == prefix.size() || name[prefix.size()] == '/');
}

Location parse_location(std::string_view text) {
    Location out;
    const bool has_scheme = text.find("://") != std::string_view::npos;
    if (text.empty() || text.find_first_of("?#") != std::string_view::npos) {
        fail(ErrorKind::invalid_argument, "\"{}\" is not [http[s]://]host[:port][/path]", text);
    }
    const Url url = Url::parse(has_scheme ? std::string(text) : fmt::format("https://{}", text));
    if (has_scheme) out.scheme = url.scheme;
    out.authority = url.authority();
    // Without a scheme the port stays as it was written: http may follow.
    if (!has_scheme && text.substr(0, text.find('/')).ends_with(":443")) out.authority += ":443";
    out.path = url.path;
    while (out.path.starts_with('/')) out.path.erase(0, 1);
    while (out.path.ends_with('/')) out.path.pop_back();
    return out;
}

Url Endpoint::base() const { return Url::parse(fmt::format("{}://{}{}/", scheme, location.authority, location.api)); }

Url Endpoint::url(std::string_view tail) const {
    Url url = Url::parse(fmt::format("{}://{}{}/{}/{}", scheme, location.authority, location.api, repository, tail));
    if (location.namespace_query) url.add_query("ns", name_space);
    return url;
}

Rules::Rules(const Options& options) : limits_(options.limits) {
    const std::string own = options.config_directory + "/registries.toml";
    if (const auto text = read_if_there(own)) {
        RuleFile file = parse_registries_toml(*text, own, options.limits);
        limits_ = file.limits;
        own_ = std::move(file.rules);
        aliases_ = std::move(file.aliases);
    }
    if (!options.containerd_directory.empty()) load_containerd(options.containerd_directory);
    if (!options.containers_directory.empty()) load_containers(options.containers_directory);

    for (const std::string& each : options.mirrors) {
        if (!each.starts_with("http://") && !each.starts_with("https://")) {
            fail(ErrorKind::invalid_argument, "invalid mirror: no scheme specified for \"{}\": must use either 'https://' or 'http://'",
                 each);
        }
        Location mirror = while_doing("invalid mirror", [&] { return parse_location(each); });
        if (!mirror.path.empty()) mirror.api = fmt::format("/{}/v2", std::exchange(mirror.path, {}));
        mirror.push = false;
        docker_mirrors_.push_back(std::move(mirror));
    }
    for (std::string each : options.insecure_registries) {
        if (const std::size_t scheme = each.find("://"); scheme != std::string::npos) each.erase(0, scheme + 3);
        insecure_.push_back(to_lower(each));
    }
}

void Rules::load_containerd(const std::string& directory) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator{directory, error}) {
        const std::string path = entry.path() / "hosts.toml";
        const auto text = read_if_there(path);
        if (!text) continue;
        std::string host = entry.path().filename();
        // "host_5000_" is how containerd spells a port where a colon cannot be.
        if (host.ends_with('_')) {
            host.pop_back();
            if (const std::size_t last = host.rfind('_'); last != std::string::npos) host[last] = ':';
        }
        containerd_.emplace(host, parse_hosts_toml(*text, path, host));
    }
}

void Rules::load_containers(const std::string& directory) {
    std::vector<std::string> files{directory + "/registries.conf"};
    std::error_code error;
    std::vector<std::string> more;
    for (const auto& entry : fs::directory_iterator{directory + "/registries.conf.d", error}) {
        if (entry.path().extension() == ".conf") more.push_back(entry.path());
    }
    std::ranges::sort(more);
    files.insert(files.end(), more.begin(), more.end());
    std::map<std::string, std::string> aliases;
    for (const std::string& path : files) {
        const auto text = read_if_there(path);
        if (!text) continue;
        RuleFile file = parse_registries_conf(*text, path);
        // A later file's rule of the same prefix, and its alias, replace the earlier one.
        for (Rule& rule : file.rules) {
            std::erase_if(containers_, [&](const Rule& old) { return old.prefix == rule.prefix; });
            containers_.push_back(std::move(rule));
        }
        for (auto& [name, target] : file.aliases) aliases.insert_or_assign(name, std::move(target));
    }
    aliases_.merge(aliases);  // our own file's stay
}

const Rule* Rules::find(const std::vector<Rule>& rules, std::string_view name) const {
    // A host that is blocked without a port is blocked on each.
    std::string any_port{name};
    if (const std::size_t slash = std::min(name.find('/'), name.size()), colon = name.rfind(':', slash); colon != std::string_view::npos) {
        any_port.erase(colon, slash - colon);
    }
    const Rule* best = nullptr;
    for (const Rule& rule : rules) {
        const bool matches = has_prefix(name, rule.prefix) || (rule.blocked && has_prefix(any_port, rule.prefix));
        if (matches && (!best || rule.prefix.size() > best->prefix.size())) best = &rule;
    }
    return best;
}

void Rules::check_host(std::string_view authority) const {
    const std::string_view domain = authority == hub_registry || authority == hub_index ? hub_domain : authority;
    for (const auto* rules : {&own_, &containers_}) {
        // A rule that names the host alone is about the host; one with a path is about a name.
        for (const std::string_view name : {authority, domain}) {
            if (const Rule* rule = find(*rules, name); rule && rule->blocked) fail_blocked(authority, *rule);
        }
    }
}

std::optional<std::string> Rules::alias(std::string_view name) const {
    const std::size_t end = std::min(name.find_first_of(":@"), name.size());
    const auto found = aliases_.find(std::string(name.substr(0, end)));
    if (found == aliases_.end()) return std::nullopt;
    return found->second + std::string(name.substr(end));
}

bool Rules::is_insecure(const std::string& authority) const {
    const std::string host = host_of(authority);
    bool networks = false;
    for (const std::string& each : insecure_) {
        if (each == authority || each == host) return true;
        networks |= each.find('/') != std::string::npos;
    }
    if (to_lower(host) == "localhost") return true;
    const auto literal = parse_address(host);
    // A name is looked up only where an answer can matter.
    if (!literal && !networks) return false;
    for (const auto& address : addresses_of(host)) {
        if (contains("127.0.0.0/8", address) || contains("::1/128", address)) return true;
        if (std::ranges::any_of(insecure_, [&](const std::string& each) { return contains(each, address); })) return true;
    }
    return false;
}

std::vector<Endpoint> Rules::endpoints(const oci::Reference& reference, Operation operation) const {
    const std::string name = reference.name();
    const Rule* own = find(own_, name);
    const Rule* containers = find(containers_, name);
    for (const Rule* each : {own, containers}) {
        if (each && each->blocked) fail_blocked(reference.domain(), *each);
    }
    const Rule* rule = own;
    if (!rule) {
        const auto exact = containerd_.find(reference.domain());
        const auto found = exact != containerd_.end() ? exact : containerd_.find("_default");
        if (found != containerd_.end()) rule = &found->second;
    }
    if (!rule) rule = containers;

    std::vector<Endpoint> out;
    const auto add = [&](Location location, std::string repository, bool is_mirror) {
        Endpoint endpoint{std::move(location), {}, std::move(repository), reference.domain(), is_mirror};
        if (endpoint.location.authority == hub_domain || endpoint.location.authority == hub_index)
            endpoint.location.authority = hub_registry;
        Location& to = endpoint.location;
        // A mirror, or where a rule leads to, may be what another rule blocks.
        const std::string_view domain = to.authority == hub_registry ? hub_domain : std::string_view(to.authority);
        const std::string there = fmt::format("{}/{}", domain, endpoint.repository);
        for (const auto* rules : {&own_, &containers_}) {
            if (const Rule* found = find(*rules, there); found && found->blocked) fail_blocked(to.authority, *found);
        }
        if (to.scheme.empty() && !to.insecure) to.insecure = is_insecure(to.authority);
        to.tls.skip_verify |= to.insecure;
        endpoint.scheme = to.scheme.empty() ? "https" : to.scheme;
        out.push_back(endpoint);
        if (to.scheme.empty() && to.insecure) {
            endpoint.scheme = "http";
            out.push_back(std::move(endpoint));
        }
    };

    const bool containerd = rule && rule != own && rule != containers;
    const std::string_view rest =
        rule && !containerd ? behind(name, rule->prefix) : std::string_view(name).substr(reference.domain().size());
    const bool by_digest = reference.digest().has_value();
    const std::vector<Location> none;
    const std::vector<Location>& from_docker = reference.domain() == hub_domain ? docker_mirrors_ : none;
    for (const Location& mirror : rule ? rule->mirrors : from_docker) {
        const bool able = operation == Operation::push      ? mirror.push
                          : operation == Operation::resolve ? mirror.resolve
                                                            : operation == Operation::pull && mirror.pull;
        if (!able || (mirror.by == PullBy::digest && !by_digest) || (mirror.by == PullBy::tag && by_digest)) continue;
        add(mirror, joined(mirror.path, rest), true);
    }
    const bool reads = operation == Operation::resolve || operation == Operation::pull;
    if (rule && rule->mirrors_only && reads) return out;
    if (rule && rule->location) {
        add(*rule->location, joined(rule->location->path, rest), false);
    } else {
        Location location;
        location.authority = reference.domain();
        add(std::move(location), reference.path(), false);
    }
    return out;
}

}  // namespace grua::registry
