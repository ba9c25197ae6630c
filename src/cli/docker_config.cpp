#include "cli/docker_config.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "cli/context.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <boost/json.hpp>
#include <cstdlib>

namespace grua::cli {

namespace {

constexpr const char* auth_variable = "DOCKER_AUTH_CONFIG";
constexpr const char* token_user = "<token>";

/// "user:password" in base64.
std::pair<std::string, std::string> decode_auth(const std::string& text) {
    const auto decoded = base64_decode(text);
    const std::size_t colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon == std::string::npos || colon == 0) fail(ErrorKind::invalid_argument, "invalid auth configuration file");
    std::string password = decoded->substr(colon + 1);
    const std::size_t first = password.find_first_not_of('\0');
    if (first == std::string::npos) return {decoded->substr(0, colon), {}};
    return {decoded->substr(0, colon), password.substr(first, password.find_last_not_of('\0') - first + 1)};
}

Credentials entry_credentials(const std::string& server, const Value& entry) {
    Credentials out{.username = text_at(entry, "username"),
                    .password = text_at(entry, "password"),
                    .identity_token = text_at(entry, "identitytoken"),
                    .registry_token = text_at(entry, "registrytoken"),
                    .server_address = server};
    if (const std::string auth = text_at(entry, "auth"); !auth.empty()) std::tie(out.username, out.password) = decode_auth(auth);
    return out;
}

/// Nothing where no key is this server, or was written as a URL of it.
const boost::json::object::value_type* find_entry(const boost::json::object& auths, const std::string& server) {
    for (const auto& each : auths) {
        if (each.key() == server) return &each;
    }
    for (const auto& each : auths) {
        if (registry_host(each.key()) == server) return &each;
    }
    return nullptr;
}

boost::json::object parse_object(const std::string& text) {
    if (trim(text).empty()) return {};
    boost::system::error_code error;
    Value parsed = boost::json::parse(text, error);
    if (error) fail(ErrorKind::invalid_argument, "{}", error.message());
    if (!parsed.is_object()) fail(ErrorKind::invalid_argument, "it is no JSON object");
    return std::move(parsed.get_object());
}

boost::json::object environment_auths() {
    const char* text = std::getenv(auth_variable);
    if (!text || !*text) return {};
    try {
        const boost::json::object document = parse_object(text);
        const Value* auths = document.if_contains("auths");
        if (!auths || !auths->is_object()) return {};
        for (const auto& each : auths->get_object()) {
            if (text_at(each.value(), "auth").empty())
                fail(ErrorKind::invalid_argument, "DOCKER_AUTH_CONFIG environment variable is missing key `auth` for {}",
                     std::string_view(each.key()));
            entry_credentials(each.key(), each.value());
        }
        return auths->get_object();
    } catch (const Error& error) {
        fmt::print(stderr, "Failed to create credential store from DOCKER_AUTH_CONFIG:  {}\n", error.what());
        return {};
    }
}

/// Where a link leads to, also to what is not there yet.
std::string resolved(std::string path) {
    for (int links = 0; links < 40; ++links) {
        std::array<char, 4096> target;
        const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
        if (size <= 0) return path;
        const std::string_view next(target.data(), static_cast<std::size_t>(size));
        path = next.starts_with('/') ? std::string(next) : path.substr(0, path.rfind('/') + 1) + std::string(next);
    }
    fail(ErrorKind::invalid_argument, "{}: too many links", path);
}

}  // namespace

std::string config_folder() {
    if (const char* folder = std::getenv("DOCKER_CONFIG"); folder && *folder) return folder;
    const char* home = std::getenv("HOME");
    if (home && *home) return std::string(home) + "/.docker";
    // Not from the user database: a static program would have to load NSS for it.
    return ::geteuid() == 0 ? "/root/.docker" : "/.docker";
}

boost::json::object Credentials::to_json() const {
    boost::json::object out;
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) out[name] = value;
    };
    add("username", username);
    add("password", password);
    add("serveraddress", server_address);
    add("identitytoken", identity_token);
    add("registrytoken", registry_token);
    return out;
}

std::string Credentials::header() const { return base64url_encode(boost::json::serialize(to_json())); }

std::string registry_host(std::string_view server) {
    if (const std::size_t scheme = server.find("://"); scheme != std::string_view::npos) {
        server.remove_prefix(scheme + 3);
        const std::size_t path = server.find('/');
        const std::size_t user = server.substr(0, path).rfind('@');
        if (user != std::string_view::npos) server.remove_prefix(user + 1);
    }
    return std::string(server.substr(0, server.find('/')));
}

std::string config_key(const std::string& host) { return host == "docker.io" || host == "index.docker.io" ? docker_hub_server : host; }

DockerConfig DockerConfig::load() {
    DockerConfig out;
    out.path_ = config_folder() + "/config.json";
    try {
        out.document_ = parse_object(read_file(out.path_));
        if (const Value* auths = out.document_.if_contains("auths"); auths && auths->is_object()) {
            for (const auto& each : auths->get_object()) entry_credentials(each.key(), each.value());
        }
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) {
            out.broken_ = error.what();
            fmt::print(stderr, "WARNING: Error parsing config file ({}): {}\n", out.path_, error.what());
        }
    }
    out.environment_ = environment_auths();
    return out;
}

std::string DockerConfig::current_context() {
    try {
        return text_at(Value(parse_object(read_file(config_folder() + "/config.json"))), "currentContext");
    } catch (const Error&) {
        // Who needs what else is in it says so.
        return {};
    }
}

void DockerConfig::use_context(const std::string& name) {
    if (name.empty()) {
        document_.erase("currentContext");
    } else {
        document_["currentContext"] = name;
    }
    save();
}

std::string DockerConfig::helper_for(const std::string& server) const {
    const Value document = document_;
    if (const std::string helper = text_at(at(document, "credHelpers"), server); !helper.empty()) return helper;
    if (const std::string store = text_at(document, "credsStore"); !store.empty()) return store;
    const auto filled = [&](const char* member) {
        const auto* object = at(document, member).if_object();
        return object && !object->empty();
    };
    if (filled("auths") || filled("credHelpers")) return {};
    // Where nothing is said at all, docker takes the platform's keyring if its helper is installed.
    const std::string platform = detail::has_program("pass") ? "pass" : "secretservice";
    return detail::has_program("docker-credential-" + platform) ? platform : std::string();
}

Credentials DockerConfig::in_file(const std::string& server) const {
    const Value* auths = document_.if_contains("auths");
    const auto* found = auths && auths->is_object() ? find_entry(auths->get_object(), server) : nullptr;
    return found ? entry_credentials(found->key(), found->value()) : Credentials{};
}

Credentials DockerConfig::credentials(const std::string& server) const {
    const std::string key = config_key(server);
    if (const auto* found = find_entry(environment_, key)) return entry_credentials(found->key(), found->value());
    const std::string helper = helper_for(key);
    if (helper.empty()) return broken_.empty() ? in_file(key) : Credentials{};
    std::string answer;
    try {
        answer = detail::call_credential_helper(helper, "get", key);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found ||
            std::string_view(error.what()).find("not found in native keychain") == std::string_view::npos)
            throw;
        return {};
    }
    const Value parsed = while_doing("docker-credential-" + helper, [&] { return Value(parse_object(answer)); });
    Credentials out{.server_address = key};
    if (text_at(parsed, "Username") == token_user) {
        out.identity_token = text_at(parsed, "Secret");
    } else {
        out.username = text_at(parsed, "Username");
        out.password = text_at(parsed, "Secret");
    }
    return out;
}

boost::json::object& DockerConfig::auths() {
    Value& auths = document_["auths"];
    if (!auths.is_object()) auths = boost::json::object();
    return auths.get_object();
}

void DockerConfig::store(const Credentials& credentials) {
    const std::string& server = credentials.server_address;
    boost::json::object entry;
    const std::string helper = helper_for(config_key(server));
    if (!helper.empty()) {
        const bool token = !credentials.identity_token.empty();
        const boost::json::object told{{"ServerURL", server},
                                       {"Username", token ? token_user : credentials.username},
                                       {"Secret", token ? credentials.identity_token : credentials.password}};
        detail::call_credential_helper(helper, "store", boost::json::serialize(told) + "\n");
    } else {
        if (!credentials.username.empty() || !credentials.password.empty())
            entry["auth"] = base64_encode(credentials.username + ":" + credentials.password);
        if (!credentials.identity_token.empty()) entry["identitytoken"] = credentials.identity_token;
        if (!credentials.registry_token.empty()) entry["registrytoken"] = credentials.registry_token;
    }
    Value& present = auths()[server];
    if (present.is_object() && present.get_object() == entry) return;
    present = entry;
    save();
    if (helper.empty() && !credentials.password.empty()) {
        fmt::print(stderr,
                   "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. "
                   "See\nhttps://docs.docker.com/go/credential-store/\n\n",
                   path_);
    }
}

void DockerConfig::erase(const std::string& server) {
    const std::string helper = helper_for(config_key(server));
    if (!helper.empty()) detail::call_credential_helper(helper, "erase", server);
    if (const Value* present = document_.if_contains("auths"); !present || !present->is_object() || !present->get_object().contains(server))
        return;
    auths().erase(server);
    save();
}

std::vector<std::string> DockerConfig::servers() const {
    std::vector<std::string> out;
    for (const char* member : {"auths", "credHelpers"}) {
        const Value* servers = document_.if_contains(member);
        if (!servers || !servers->is_object()) continue;
        for (const auto& each : servers->get_object()) out.emplace_back(each.key());
    }
    return out;
}

std::vector<std::string> DockerConfig::prune_filters() const {
    std::vector<std::string> out;
    const Value* filters = document_.if_contains("pruneFilters");
    if (!filters || !filters->is_array()) return out;
    for (const Value& filter : filters->get_array()) {
        if (filter.is_string()) out.emplace_back(filter.get_string());
    }
    return out;
}

void DockerConfig::save() const {
    if (!broken_.empty()) fail(ErrorKind::conflict, "{} is left as it is, because it could not be read: {}", path_, broken_);
    const std::string folder = path_.substr(0, path_.rfind('/'));
    make_directories(folder, 0700);
    const std::string target = resolved(path_);
    std::string aside = target + ".XXXXXX";
    const Fd file{::mkostemp(aside.data(), O_CLOEXEC)};
    if (!file) fail_errno("create {}", aside);
    try {
        // Docker keeps the mode and the owner that the file has; a new one is the user's alone.
        struct stat present{};
        if (::stat(target.c_str(), &present) == 0) {
            if (::fchmod(file.get(), present.st_mode & 07777) != 0) fail_errno("chmod {}", aside);
            if (::fchown(file.get(), present.st_uid, present.st_gid) != 0 && errno != EPERM) fail_errno("chown {}", aside);
        }
        write_all(file.get(), pretty_json(document_, "\t"), aside);
        if (::fsync(file.get()) != 0) fail_errno("fsync {}", aside);
        if (::rename(aside.c_str(), target.c_str()) != 0) fail_errno("rename {}", target);
    } catch (const Error&) {
        ::unlink(aside.c_str());
        throw;
    }
}

}  // namespace grua::cli
