// Docker's store of contexts, $DOCKER_CONFIG/contexts: which daemons there are, how they are reached, and the certificates for that. A
// context of docker is one of grua and the other way round; what this program does not know of one stays as it is.
#pragma once

#include "client/endpoint.hpp"

#include <boost/json/object.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::cli {

inline constexpr std::string_view default_context = "default";

/// For each endpoint ("docker") its files: "ca.pem", "cert.pem", "key.pem".
using TlsMaterial = std::map<std::string, std::map<std::string, std::string>>;

struct DockerContext {
    std::string name;
    boost::json::object document;  ///< meta.json

    std::string description() const;
    void describe(std::string_view text);
    std::string host() const;
    bool skip_verify() const;
    void set_host(std::string_view host, bool skip_verify);
};

class DockerContexts {
public:
    DockerContexts();
    explicit DockerContexts(std::string folder) : folder_(std::move(folder)) {}

    /// By name. Throws Error where one cannot be read.
    std::vector<DockerContext> list() const;
    /// Throws Error(not_found) with docker's text.
    DockerContext find(const std::string& name) const;
    bool has(const std::string& name) const;
    TlsMaterial material(const std::string& name) const;

    /// New or changed. Without `material` that stays as it is.
    void write(const DockerContext& context, const std::optional<TlsMaterial>& material);
    void remove(const std::string& name);

    /// How to get to its daemon.
    client::Endpoint endpoint(const std::string& name) const;

    std::string metadata_path(const std::string& name) const;
    std::string tls_path(const std::string& name) const;

private:
    std::string folder_;
};

/// Throws Error(invalid_argument) with docker's text.
void check_context_name(const std::string& name);

}  // namespace grua::cli
