// Which daemon a command speaks to: --host, --context, the environment, Docker's current context, in docker's order.
#pragma once

#include "client/endpoint.hpp"

#include <optional>
#include <string>

namespace grua::cli {

/// The command line's global options.
struct DaemonFlags {
    std::string host;
    std::string context;
    bool tls = false;
    std::optional<bool> tlsverify;
    std::string tlscacert;
    std::string tlscert;
    std::string tlskey;
};

class DaemonChoice {
public:
    /// Throws Error(invalid_argument) for options that contradict each other.
    explicit DaemonChoice(DaemonFlags flags);

    /// The context's name, "default" for what options and environment say.
    const std::string& context() const noexcept { return context_; }
    /// The address of the default context, as it was written.
    std::string host() const;
    /// True where nothing at all was said: the daemon of this machine.
    bool unsaid() const;
    /// TLS of the default context.
    std::optional<client::Security> security() const;

    client::Endpoint endpoint() const;

    const DaemonFlags& flags() const noexcept { return flags_; }

private:
    DaemonFlags flags_;
    std::string context_;
};

/// DOCKER_HOST or GRUA_HOST; null where none is set. Which: `name`.
const char* environment_host(const char** name = nullptr);

/// Where a daemon listens when nothing else is said.
inline constexpr const char* default_host = "unix:///run/grua/grua.sock";

}  // namespace grua::cli
