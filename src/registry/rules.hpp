// Where a name is fetched from: what the configuration files say, and the hosts that follow from it.
//
// Four sources, the first that has a rule for a name decides its hosts: our registries.toml, containerd's hosts.toml, containers'
// registries.conf, Docker's registry-mirrors. A block in any of them blocks. docs/registries.md is their description.
#pragma once

#include "oci/reference.hpp"
#include "registry/client.hpp"
#include "registry/url.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::registry {

/// Which requests a mirror takes.
enum class PullBy { all, digest, tag };

struct TlsFiles {
    std::vector<std::string> authorities;                           ///< paths of PEM files
    std::vector<std::pair<std::string, std::string>> certificates;  ///< client certificate and key; the key may be in the first
    bool skip_verify = false;
};

/// A host as a rule names it: [scheme://]host[:port][/path].
struct Location {
    std::string scheme;  ///< empty: https, and http after it where the host is insecure
    std::string authority;
    std::string path;  ///< before the repository's name: "hub" of "mirror:5000/hub"
    std::string api = "/v2";
    bool insecure = false;
    bool pull = true;
    bool resolve = true;
    bool push = true;
    bool namespace_query = false;  ///< containerd's ?ns=docker.io
    PullBy by = PullBy::all;
    Credentials credentials;
    TlsFiles tls;
    std::vector<std::string> headers;
};

struct Rule {
    std::string prefix;  ///< host[/path], "*.example.com"
    std::string source;  ///< the file
    bool blocked = false;
    bool mirrors_only = false;
    std::optional<Location> location;  ///< where it differs from the prefix
    std::vector<Location> mirrors;
};

struct RuleFile {
    std::vector<Rule> rules;
    std::map<std::string, std::string> aliases;
    Limits limits;
};

/// Our registries.toml: what is not known in it is an error. Throws Error(invalid_argument) with file, line and reason.
/// `otherwise` holds for limits that it does not name.
RuleFile parse_registries_toml(std::string_view text, const std::string& file, const Limits& otherwise = {});

/// containers' registries.conf (version 2); what is not known is ignored.
RuleFile parse_registries_conf(std::string_view text, const std::string& file);

/// containerd's hosts.toml of the registry `host`.
Rule parse_hosts_toml(std::string_view text, const std::string& file, const std::string& host);

/// `text` of a configuration file as a Location. Throws invalid_argument.
Location parse_location(std::string_view text);

/// A configuration file's text; nothing where there is none.
std::optional<std::string> read_if_there(const std::string& path);

/// One host that is asked for one repository.
struct Endpoint {
    Location location;
    std::string scheme;
    std::string repository;  ///< as it is called there
    std::string name_space;  ///< for the ns query
    bool is_mirror = false;

    /// <scheme>://<host>/v2/<repository>/<tail>
    Url url(std::string_view tail) const;
    Url base() const;  ///< …/v2/
    const std::string& authority() const noexcept { return location.authority; }
};

/// `account` is about users, and of the registry itself: no mirror is asked.
enum class Operation { resolve, pull, push, account };

class Rules {
public:
    explicit Rules(const Options& options);

    /// The hosts for `reference` in their order. Throws forbidden where a rule blocks it.
    std::vector<Endpoint> endpoints(const oci::Reference& reference, Operation operation) const;

    /// Throws forbidden where a rule blocks this host[:port], whatever is asked of it.
    void check_host(std::string_view authority) const;

    std::optional<std::string> alias(std::string_view name) const;
    bool is_insecure(const std::string& authority) const;
    const Limits& limits() const noexcept { return limits_; }

private:
    const Rule* find(const std::vector<Rule>& rules, std::string_view name) const;
    void load_containers(const std::string& directory);
    void load_containerd(const std::string& directory);

    std::vector<Rule> own_;
    std::map<std::string, Rule> containerd_;  ///< by host; "_default" for the rest
    std::vector<Rule> containers_;
    std::vector<Location> docker_mirrors_;
    std::map<std::string, std::string> aliases_;
    std::vector<std::string> insecure_;
    Limits limits_;
};

/// The host that speaks for docker.io.
inline constexpr std::string_view hub_domain = "docker.io";
inline constexpr std::string_view hub_index = "index.docker.io";
inline constexpr std::string_view hub_registry = "registry-1.docker.io";

/// True for "docker.io" and "docker.io/library" of "docker.io/library/redis", and "*.example.com" of "a.example.com/x".
bool has_prefix(std::string_view name, std::string_view prefix);

}  // namespace grua::registry
