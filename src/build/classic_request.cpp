#include "build/classic_request.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "build/dockerfile/source.hpp"
#include "oci/platform.hpp"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace grua::build {
namespace {

bool is_web_address(std::string_view text) { return text.starts_with("http://") || text.starts_with("https://"); }

bool is_git_address(std::string_view text) {
    for (const std::string_view scheme : {"git://", "github.com/", "git@"})
        if (text.starts_with(scheme)) return true;
    return is_web_address(text) && text.substr(0, text.find('#')).ends_with(".git");
}

void check_remote(const ClassicRequest& request) {
    const std::string& remote = request.remote;
    if (remote.empty() || is_git_address(remote) || is_web_address(remote)) return;
    if (request.version == ClassicVersion::trace) {
        if (request.has_session_context()) {
            if (request.session.empty()) fail(ErrorKind::invalid_argument, "remote={} needs a session", remote);
            return;
        }
        if (request.wants_upload()) {
            if (request.id.empty()) fail(ErrorKind::invalid_argument, "remote={} needs a buildid", remote);
            return;
        }
        // Of what there is besides the front end says whether it can be fetched.
        if (remote.contains("://")) return;
    }
    if (request.has_session_context())
        fail(ErrorKind::invalid_argument,
             "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead");
    fail(ErrorKind::invalid_argument, "remoteURL ({}) could not be recognized as URL", remote);
}

void check_network(const ClassicRequest& request) {
    const std::string& mode = request.network_mode;
    if (mode.empty() || mode == "default" || mode == "host" || mode == "none") return;
    if (request.version == ClassicVersion::trace)
        fail(ErrorKind::invalid_argument, "network mode {} not supported by buildkit", dockerfile::in_quotes(mode));
    if (mode != "bridge") fail(ErrorKind::not_implemented, "not implemented: networkmode {}", mode);
}

void check_outputs(const ClassicRequest& request) {
    if (request.outputs.empty()) return;
    if (request.version == ClassicVersion::lines) fail(ErrorKind::invalid_argument, "outputs are of version=2 (BuildKit)");
    if (request.outputs.size() > 1) fail(ErrorKind::invalid_argument, "multiple outputs not supported");
}

/// "host=address", as the front end has them.
std::string host_entry(const std::string& text) {
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size() || text.find_first_of(",=") != std::string::npos)
        fail(ErrorKind::invalid_argument, "invalid host {}", text);
    return text.substr(0, colon) + "=" + text.substr(colon + 1);
}

/// The host that a key of config.json means: "https://index.docker.io/v1/" is the Hub's.
std::string host_of_key(std::string_view key) {
    for (const std::string_view scheme : {"https://", "http://"})
        if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
    const std::string_view host = key.substr(0, key.find('/'));
    return std::string(host == "index.docker.io" || host == "registry-1.docker.io" ? "docker.io" : host);
}

}  // namespace

std::map<std::string, registry::Credentials, std::less<>> read_registry_config(std::string_view header) {
    std::map<std::string, registry::Credentials, std::less<>> out;
    const auto text = base64_decode_any(header);
    boost::system::error_code wrong;
    const boost::json::value all = text && !text->empty() ? boost::json::parse(*text, wrong) : boost::json::value{};
    if (wrong || !all.is_object()) return out;
    for (const auto& [key, value] : all.get_object()) {
        try {
            out[host_of_key(key)] = registry::parse_auth_body(boost::json::serialize(value));
        } catch (const Error&) {
            // As if it were not there: see the header.
        }
    }
    return out;
}

std::vector<oci::Reference> names_of(const ClassicRequest& request) {
    std::vector<oci::Reference> out;
    for (const std::string& each : request.names) {
        if (each.empty()) continue;
        const oci::Reference name = oci::Reference::parse(each);
        if (name.digest()) fail(ErrorKind::invalid_argument, "build tag cannot contain a digest");
        oci::Reference tagged = name.with_default_tag();
        if (std::ranges::find(out, tagged) == out.end()) out.push_back(std::move(tagged));
    }
    return out;
}

std::string hosts_of(const ClassicRequest& request) {
    std::vector<std::string> out;
    for (const std::string& each : request.extra_hosts) out.push_back(host_entry(each));
    return join(out, ",");
}

std::string ulimits_of(const ClassicRequest& request) {
    std::vector<std::string> out;
    for (const engine::Ulimit& each : request.ulimits) {
        if (each.name.empty() || each.name.find_first_of(",=:") != std::string::npos)
            fail(ErrorKind::invalid_argument, "error reading ulimit settings: invalid ulimit type: {}", each.name);
        out.push_back(fmt::format("{}={}:{}", each.name, each.soft, each.hard));
    }
    return join(out, ",");
}

void check(const ClassicRequest& request) {
    check_remote(request);
    check_network(request);
    check_outputs(request);
    (void)names_of(request);
    (void)hosts_of(request);
    (void)ulimits_of(request);
    if (!request.platform.empty()) (void)oci::Platform::parse(request.platform);
    if (request.shm_size < 0) fail(ErrorKind::invalid_argument, "SHM size can not be less than 0");
    const auto check_sign = [](std::int64_t value, const char* name) {
        if (value < 0) fail(ErrorKind::invalid_argument, "{}: {} is less than 0", name, value);
    };
    check_sign(request.limits.memory, "memory");
    check_sign(request.limits.cpu_shares, "cpushares");
    check_sign(request.limits.cpu_period, "cpuperiod");
}

}  // namespace grua::build
