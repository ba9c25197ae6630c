#include "listeners.hpp"

#include "base/error.hpp"
#include "base/log.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace grua::gruad {
namespace {

std::string certificate_folder() {
    if (const char* folder = std::getenv("DOCKER_CERT_PATH"); folder && *folder) return folder;
    if (const char* folder = std::getenv("DOCKER_CONFIG"); folder && *folder) return folder;
    const char* home = std::getenv("HOME");
    return std::string(home && *home ? home : "/root") + "/.docker";
}

tls::Files files_of(const Options& options) {
    const auto named = [](const std::string& given, std::string_view otherwise) {
        return given.empty() ? fmt::format("{}/{}", certificate_folder(), otherwise) : given;
    };
    return {.authorities = named(options.tlscacert, "ca.pem"),
            .certificate = named(options.tlscert, "cert.pem"),
            .key = named(options.tlskey, "key.pem")};
}

/// Those of `sockets` that the address means.
std::vector<Fd> chosen(const api::Address& address, std::vector<Fd>& sockets) {
    if (sockets.empty())
        fail(ErrorKind::invalid_argument, "{}: no sockets found via socket activation: make sure the service was started by systemd",
             address.text());
    std::vector<Fd> out;
    if (address.descriptor == 0) {
        for (Fd& each : sockets) {
            if (each) out.push_back(std::move(each));
        }
        return out;
    }
    const auto index = static_cast<std::size_t>(address.descriptor - 3);
    if (index >= sockets.size())
        fail(ErrorKind::invalid_argument, "{}: too few socket activated files passed in by systemd", address.text());
    if (!sockets[index]) fail(ErrorKind::invalid_argument, "{}: another --host has it already", address.text());
    out.push_back(std::move(sockets[index]));
    return out;
}

}  // namespace

api::Protection protection_of(const Options& options) {
    // Whoever says anything about --tlsverify wants TLS, as with dockerd, and whoever wants TLS wants to know who comes.
    const bool on = options.tlsverify.has_value() || options.tls.value_or(false);
    if (!on) return api::Protection::none;
    return options.tlsverify.value_or(true) ? api::Protection::mutual : api::Protection::server_only;
}

std::optional<tls::Context> tls_context(const Options& options) {
    const api::Protection protection = protection_of(options);
    if (protection == api::Protection::none) {
        for (const auto& [name, value] :
             {std::pair{"tlscacert", &options.tlscacert}, std::pair{"tlscert", &options.tlscert}, std::pair{"tlskey", &options.tlskey}}) {
            if (!value->empty())
                fail(ErrorKind::invalid_argument, "--{} {}: without --tls or --tlsverify nothing is encrypted", name, *value);
        }
        return std::nullopt;
    }
    return while_doing("TLS", [&] {
        return tls::Context::server(files_of(options), protection == api::Protection::mutual ? tls::Verify::yes : tls::Verify::no);
    });
}

void warn_of_dates(const Options& options) {
    const tls::Files files = files_of(options);
    std::vector<std::string> paths{files.certificate};
    if (protection_of(options) == api::Protection::mutual) paths.push_back(files.authorities);
    for (const std::string& path : paths) {
        if (const std::string dates = tls::dates_of(path); !dates.empty())
            log::error("TLS: {}: clients that verify it are not let in", dates);
    }
}

std::vector<api::Address> addresses_of(const Options& options) {
    std::vector<api::Address> out;
    for (const std::string& host : options.hosts) {
        api::Address address = api::parse_address(host, protection_of(options));
        if (std::ranges::find(out, address.text(), &api::Address::text) == out.end()) out.push_back(std::move(address));
    }
    if (out.empty()) out.push_back(api::parse_address("unix:///run/grua/grua.sock"));
    return out;
}

std::vector<api::Listening> open_listeners(const std::vector<api::Address>& addresses, const Options& options, std::vector<Fd> inherited) {
    const api::Protection protection = protection_of(options);
    std::vector<api::Listening> out;
    for (const api::Address& address : addresses) {
        if (address.family == api::Address::Family::inherited) {
            for (Fd& socket : chosen(address, inherited)) out.push_back(api::adopt(std::move(socket), protection));
        } else {
            out.push_back(api::listen_on(address, options.group));
        }
    }
    for (const api::Listening& each : out) {
        if (each.tcp && protection != api::Protection::mutual)
            log::warn("{}: every user of this machine who can reach it is root here", each.name);
    }
    if (const auto left = std::ranges::count_if(inherited, [](const Fd& each) { return static_cast<bool>(each); }); left > 0)
        log::warn("systemd listens on {} sockets of this service that no --host fd:// asks for: they are not served", left);
    return out;
}

}  // namespace grua::gruad
