#include "network/container_files.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <algorithm>
#include <optional>
#include <string>

namespace grua::network {

namespace {

constexpr const char* resolved_stub = "127.0.0.53";
constexpr std::size_t longest_address = 128;  // An IPv6 address with a zone.

enum class Family { none, ipv4, ipv6 };

Family family(std::string_view address) {
    if (address.empty() || address.size() > longest_address || address.contains('\0')) return Family::none;
    const std::string text(address.substr(0, address.find('%')));
    in6_addr parsed{};
    if (::inet_pton(AF_INET, text.c_str(), &parsed) == 1) return text.size() == address.size() ? Family::ipv4 : Family::none;
    return ::inet_pton(AF_INET6, text.c_str(), &parsed) == 1 ? Family::ipv6 : Family::none;
}

bool is_loopback(std::string_view address) {
    if (family(address) == Family::ipv4) return address.starts_with("127.");
    in6_addr parsed{};
    return ::inet_pton(AF_INET6, std::string(address).c_str(), &parsed) == 1 && IN6_IS_ADDR_LOOPBACK(&parsed);
}

std::vector<std::string> words(std::string_view line) {
    std::vector<std::string> out;
    constexpr std::string_view blanks = " \t\r";
    for (auto start = line.find_first_not_of(blanks); start != std::string_view::npos;) {
        const auto end = line.find_first_of(blanks, start);
        out.emplace_back(line.substr(start, end - start));
        start = end == std::string_view::npos ? end : line.find_first_not_of(blanks, end);
    }
    return out;
}

/// A resolv.conf as resolv.conf(5) describes it.
struct Resolver {
    std::vector<std::string> nameservers, search, options, other;
};

Resolver parse_resolver(std::string_view text) {
    Resolver out;
    for (const std::string& line : split(text, '\n')) {
        const auto fields = words(line);
        if (fields.size() < 2 || fields[0].starts_with('#') || fields[0].starts_with(';')) continue;
        if (fields[0] == "nameserver") {
            if (family(fields[1]) != Family::none) out.nameservers.push_back(fields[1]);
        } else if (fields[0] == "search" || fields[0] == "domain") {
            out.search.assign(fields.begin() + 1, fields.end());  // The last of them counts.
        } else if (fields[0] == "options") {
            out.options.insert(out.options.end(), fields.begin() + 1, fields.end());
        } else {
            out.other.push_back(join(fields, " "));
        }
    }
    return out;
}

/// "name:address" or "name=address": the name and its addresses.
std::pair<std::string, std::vector<std::string>> extra_host(const std::string& text, const std::vector<std::string>& host_gateways) {
    auto cut = text.find('=');
    if (cut == std::string::npos) cut = text.find(':');
    const std::string name = text.substr(0, cut);
    if (cut == std::string::npos || name.empty() || name.find_first_of(": \t\r\n") != std::string::npos) {
        fail(ErrorKind::invalid_argument, "bad format for add-host: \"{}\"", text);
    }
    std::string address = text.substr(cut + 1);
    if (address == "host-gateway") {
        if (host_gateways.empty()) fail(ErrorKind::invalid_argument, "unable to derive the IP value for host-gateway");
        return {name, host_gateways};
    }
    if (address.size() > 2 && address.front() == '[' && address.back() == ']') address = address.substr(1, address.size() - 2);
    if (family(address) == Family::none) fail(ErrorKind::invalid_argument, "invalid IP address in add-host: \"{}\"", address);
    return {name, {address}};
}

void put_line(std::string& text, std::string_view keyword, const std::vector<std::string>& values) {
    if (!values.empty()) text += fmt::format("{} {}\n", keyword, join(values, " "));
}

}  // namespace

void check_extra_host(const std::string& text) { extra_host(text, {"0.0.0.0"}); }

std::string hosts_text(const HostsOptions& options) {
    if (!options.host_text.empty() && options.extra_hosts.empty()) return options.host_text;
    std::string text =
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::\tip6-localnet\n"
        "ff00::\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\n"
        "ff02::2\tip6-allrouters\n";
    for (const std::string& each : options.extra_hosts) {
        const auto [name, addresses] = extra_host(each, options.host_gateways);
        for (const std::string& address : addresses) text += fmt::format("{}\t{}\n", address, name);
    }
    for (const auto& [address, names] : options.linked) text += fmt::format("{}\t{}\n", address, names);
    for (const std::string& address : options.addresses) {
        if (options.domainname.empty()) {
            text += fmt::format("{}\t{}\n", address, options.hostname);
        } else {
            text += fmt::format("{0}\t{1}.{2} {1}\n", address, options.hostname, options.domainname);
        }
    }
    return text;
}

std::string hostname_text(std::string_view hostname) { return fmt::format("{}\n", hostname); }

std::string resolv_conf_text(std::string_view host_text, const ResolvOptions& options) {
    const bool overridden = !options.nameservers.empty() || !options.search.empty() || !options.options.empty();
    if (options.keep_loopback && !overridden) return std::string(host_text);

    Resolver resolver = parse_resolver(host_text);
    bool defaults = false;
    if (!options.nameservers.empty()) {
        for (const std::string& each : options.nameservers) {
            if (family(each) == Family::none) fail(ErrorKind::invalid_argument, "bad nameserver address \"{}\"", each);
        }
        resolver.nameservers = options.nameservers;
    } else if (!options.keep_loopback && !options.embedded) {
        std::erase_if(resolver.nameservers,
                      [&](const std::string& each) { return is_loopback(each) || (!options.ipv6 && family(each) == Family::ipv6); });
        if (resolver.nameservers.empty()) {
            defaults = true;
            resolver.nameservers = {"8.8.8.8", "8.8.4.4"};
            if (options.ipv6) resolver.nameservers.insert(resolver.nameservers.end(), {"2001:4860:4860::8888", "2001:4860:4860::8844"});
        }
    }
    if (!options.search.empty()) {
        resolver.search = options.search;
        std::erase(resolver.search, ".");
    }
    if (!options.options.empty()) resolver.options = options.options;
    if (options.embedded) {
        resolver.nameservers = {"127.0.0.11"};
        // A name without a dot is a container's first of all.
        if (std::ranges::none_of(resolver.options, [](const std::string& each) { return each.starts_with("ndots:"); }))
            resolver.options.emplace_back("ndots:0");
    }

    std::string text;
    for (const std::string& each : resolver.nameservers) text += fmt::format("nameserver {}\n", each);
    put_line(text, "search", resolver.search);
    put_line(text, "options", resolver.options);
    for (const std::string& each : resolver.other) text += each + "\n";
    if (defaults) text += "# The host names no server that a container can reach: these are the default ones. Choose others with --dns.\n";
    return text;
}

std::vector<std::string> nameservers(std::string_view text) { return parse_resolver(text).nameservers; }

std::string host_resolv_conf() {
    const auto read = [](const char* path) -> std::optional<std::string> {
        try {
            return read_file(path);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) log::warn("{}", error.what());
            return std::nullopt;
        }
    };
    std::string text = read(resolv_conf_path).value_or("");
    const auto servers = nameservers(text);
    if (servers.size() == 1 && servers[0] == resolved_stub) return read(resolved_conf_path).value_or(text);
    return text;
}

}  // namespace grua::network
