#include "cli/daemon_choice.hpp"

#include "base/error.hpp"
#include "cli/docker_config.hpp"
#include "cli/docker_contexts.hpp"

#include <unistd.h>
#include <cstdlib>

namespace grua::cli {

namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

std::string certificate_folder() {
    const std::string folder = environment("DOCKER_CERT_PATH");
    return folder.empty() ? config_folder() : folder;
}

std::string chosen_context(const DaemonFlags& flags) {
    if (!flags.context.empty()) return flags.context;
    if (!flags.host.empty() || environment_host()) return std::string(default_context);
    if (std::string context = environment("DOCKER_CONTEXT"); !context.empty()) return context;
    if (std::string context = DockerConfig::current_context(); !context.empty()) return context;
    return std::string(default_context);
}

}  // namespace

const char* environment_host(const char** name) {
    for (const char* each : {"GRUA_HOST", "DOCKER_HOST"}) {
        const char* value = std::getenv(each);
        if (!value || !*value) continue;
        if (name) *name = each;
        return value;
    }
    return nullptr;
}

DaemonChoice::DaemonChoice(DaemonFlags flags) : flags_(std::move(flags)), context_(chosen_context(flags_)) {
    if (!flags_.host.empty() && !flags_.context.empty())
        fail(ErrorKind::invalid_argument, "conflicting options: cannot specify both --host and --context");
}

std::string DaemonChoice::host() const {
    if (!flags_.host.empty()) return flags_.host;
    if (const char* host = environment_host()) return host;
    return security() ? "tcp://localhost:2376" : default_host;
}

bool DaemonChoice::unsaid() const { return context_ == default_context && flags_.host.empty() && !environment_host() && !security(); }

std::optional<client::Security> DaemonChoice::security() const {
    const bool verify = flags_.tlsverify.value_or(!environment("DOCKER_TLS_VERIFY").empty());
    if (!verify && !flags_.tlsverify && !flags_.tls && environment("DOCKER_TLS").empty()) return std::nullopt;
    const auto file = [](const std::string& given, std::string_view otherwise) {
        if (!given.empty()) return given;
        const std::string path = fmt::format("{}/{}", certificate_folder(), otherwise);
        return ::access(path.c_str(), F_OK) == 0 ? path : std::string();
    };
    client::Security out{
        .files = {.authorities = {}, .certificate = file(flags_.tlscert, "cert.pem"), .key = file(flags_.tlskey, "key.pem")},
        .daemon = verify ? tls::Verify::yes : tls::Verify::no};
    // Not the system's authorities where the user's are missing.
    if (verify) out.files.authorities = flags_.tlscacert.empty() ? certificate_folder() + "/ca.pem" : flags_.tlscacert;
    return out;
}

client::Endpoint DaemonChoice::endpoint() const {
    if (context_ != default_context) return DockerContexts().endpoint(context_);
    client::Endpoint out = client::parse_endpoint(host());
    if (out.kind == client::Endpoint::Kind::tcp) out.security = security();
    return out;
}

}  // namespace grua::cli
