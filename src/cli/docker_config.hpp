// Docker's config.json, so that a login of docker is one of grua and the other way round: $DOCKER_CONFIG/config.json or
// ~/.docker/config.json, with passwords in it, in a credsStore or in credHelpers, and $DOCKER_AUTH_CONFIG before all of them.
//
// What is kept true: members that this program does not know stay in the file; a file that cannot be read is never written over.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

namespace grua::cli {

/// Docker Hub's key in the file.
inline constexpr const char* docker_hub_server = "https://index.docker.io/v1/";

struct Credentials {
    std::string username;
    std::string password;
    std::string identity_token;
    std::string registry_token;
    std::string server_address;

    friend bool operator==(const Credentials&, const Credentials&) = default;

    /// The API's AuthConfig: members without a value are left out.
    boost::json::object to_json() const;
    /// As X-Registry-Auth takes them.
    std::string header() const;
};

class DockerConfig {
public:
    /// Warns on standard error where there is one that cannot be read.
    static DockerConfig load();

    /// The context that `context use` has chosen; empty for none, and where the file cannot be read.
    static std::string current_context();
    /// Empty: none.
    void use_context(const std::string& name);

    const std::string& path() const noexcept { return path_; }

    /// `server` is a registry's host ("docker.io", "localhost:5000"). Empty ones where there are none. Throws Error where the
    /// credential helper fails.
    Credentials credentials(const std::string& server) const;
    /// Under `credentials.server_address`. Warns where the password is stored as it is.
    void store(const Credentials& credentials);
    void erase(const std::string& server);
    /// The registries with a login.
    std::vector<std::string> servers() const;
    /// "label=keep" and the like, for every prune.
    std::vector<std::string> prune_filters() const;

private:
    std::string helper_for(const std::string& server) const;
    Credentials in_file(const std::string& server) const;
    boost::json::object& auths();
    void save() const;

    std::string path_;
    boost::json::object document_;
    boost::json::object environment_;  ///< The auths of $DOCKER_AUTH_CONFIG.
    std::string broken_;               ///< Why the file could not be read.
};

/// $DOCKER_CONFIG, or ~/.docker.
std::string config_folder();

/// "https://host:5000/v2/" is "host:5000".
std::string registry_host(std::string_view server);

/// "docker.io" and "index.docker.io" are Docker Hub's key, all else is itself.
std::string config_key(const std::string& host);

namespace detail {
/// docker-credential-`helper` `action` with `input`: what it wrote. Throws Error with docker's text.
std::string call_credential_helper(const std::string& helper, const std::string& action, const std::string& input);
/// True where docker-credential-`helper` is in PATH.
bool has_program(const std::string& name);
}  // namespace detail

}  // namespace grua::cli
