// login, logout and search: what a registry is told about who asks.
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/terminal.hpp"
#include "cli/units.hpp"

#include "base/files.hpp"
#include "base/text.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cstdlib>
#include <iostream>

namespace grua::cli {

namespace {

void check_login_flags(const Flags& flags) {
    const bool from_stdin = flags.given("password-stdin") || flags.text("password") == "-";
    if (from_stdin && flags.given("password") && flags.text("password") != "-")
        fail(ErrorKind::invalid_argument, "conflicting options: cannot specify both --password and --password-stdin");
    if (from_stdin && !flags.given("username"))
        fail(ErrorKind::invalid_argument, "the --password-stdin option requires --username to be set");
    if (flags.given("username") && flags.text("username").empty()) fail(ErrorKind::invalid_argument, "username is empty");
    if (flags.given("password") && flags.text("password").empty()) fail(ErrorKind::invalid_argument, "password is empty");
}

/// Without the line end that echo and editors add.
std::string password_from_stdin() {
    std::string text = read_all(STDIN_FILENO, "standard input");
    for (const std::string_view end : {"\r\n", "\n", "\r"}) {
        if (!text.ends_with(end)) continue;
        text.resize(text.size() - end.size());
        break;
    }
    if (trim(text).empty()) fail(ErrorKind::invalid_argument, "password is empty");
    return text;
}

void warn_about_environment() {
    const char* set = std::getenv("DOCKER_AUTH_CONFIG");
    if (set && *set) fmt::print(stderr, "WARNING: DOCKER_AUTH_CONFIG is set and takes precedence; unset it to use what login stores.\n");
}

std::string ask(const std::string& question) {
    print(question);
    std::string answer;
    std::getline(std::cin, answer);
    return std::string(trim(answer));
}

void ask_for(Credentials& credentials, const std::string& known_user) {
    if (credentials.username.empty()) {
        if (credentials.server_address == docker_hub_server)
            print("Log in with a Docker Hub account to push and pull its images. A personal access token may take the password's place.\n");
        credentials.username = ask(known_user.empty() ? "Username: " : fmt::format("Username ({}): ", known_user));
        if (credentials.username.empty()) credentials.username = known_user;
        if (credentials.username.empty()) fail(ErrorKind::invalid_argument, "error: username is required");
    }
    if (!credentials.password.empty()) return;
    {
        const HiddenInput hidden(STDIN_FILENO);
        credentials.password = ask("Password: ");
    }
    print("\n");
    if (credentials.password.empty()) fail(ErrorKind::invalid_argument, "error: password is required");
}

/// POST /auth; a token that the registry gives takes the password's place. Gives back the daemon's word.
std::string authenticate(client::Client& daemon, DockerConfig& config, Credentials credentials) {
    const Value body = credentials.to_json();
    const Value answer = daemon.post("/auth", &body);
    if (const std::string token = text_at(answer, "IdentityToken"); !token.empty()) {
        credentials.password.clear();
        credentials.identity_token = token;
    }
    try {
        config.store(credentials);
    } catch (Error& error) {
        error.add_context("error saving credentials");
        throw;
    }
    return text_at(answer, "Status");
}

constexpr std::array search_headings{Heading{"Name", "NAME"}, Heading{"Description", "DESCRIPTION"}, Heading{"StarCount", "STARS"},
                                     Heading{"IsOfficial", "OFFICIAL"}};

/// "host/term" is searched at that registry; all else at Docker Hub.
std::string searched_registry(const std::string& term) {
    const std::size_t slash = term.find('/');
    const std::string first = term.substr(0, slash);
    const bool hub = slash == std::string::npos || (first.find_first_of(".:") == std::string::npos && first != "localhost");
    return hub ? "docker.io" : first;
}

}  // namespace

int log_in(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    check_login_flags(flags);
    Credentials wanted{.username = std::string(trim(flags.text("username"))), .password = flags.text("password")};
    const bool from_stdin = flags.on("password-stdin") || wanted.password == "-";
    if (from_stdin)
        wanted.password = password_from_stdin();
    else if (!wanted.password.empty())
        fmt::print(stderr, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    warn_about_environment();

    const std::string server = given.arguments.empty() || given.arguments[0] == "docker.io" ? docker_hub_server : given.arguments[0];
    wanted.server_address = server == docker_hub_server ? server : registry_host(server);
    DockerConfig config = DockerConfig::load();
    Credentials stored;
    if (wanted.username.empty() && wanted.password.empty()) {
        try {
            stored = config.credentials(wanted.server_address);
        } catch (const Error&) {
            // What cannot be read is asked for; storing the answer tells why.
        }
    }
    if (!stored.username.empty() && !stored.password.empty()) {
        fmt::print(stderr, "Authenticating with existing credentials... [Username: {}]\n\n", stored.username);
        fmt::print(stderr, "To log in as somebody else, run 'grua logout' first, then 'grua login'.\n\n\n");
        stored.server_address = wanted.server_address;
        stored.identity_token.clear();
        try {
            print(authenticate(context.daemon(), config, stored) + "\n");
            return 0;
        } catch (const client::ApiError& error) {
            if (error.status() == 401)
                fmt::print(stderr, "Stored credentials invalid or expired\n");
            else
                fmt::print(stderr, "Login did not succeed, error: {}\n", error_text(error));
        }
    }
    if ((wanted.username.empty() || wanted.password.empty()) && !is_terminal(STDIN_FILENO))
        fail(ErrorKind::invalid_argument, "error: cannot perform an interactive login from a non-TTY device");
    ask_for(wanted, stored.username);
    if (const std::string status = authenticate(context.daemon(), config, wanted); !status.empty()) print(status + "\n");
    return 0;
}

int log_out(Context&, const Parsed& given) {
    warn_about_environment();
    const bool hub = given.arguments.empty();
    const std::string server = hub ? docker_hub_server : given.arguments[0];
    std::vector<std::string> keys{server};
    const std::string host = hub ? server : registry_host(server);
    // Older programs have stored a registry under one of its URLs.
    if (!hub) {
        for (const std::string& key : {host, "http://" + host, "https://" + host}) {
            if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
        }
    }
    print(fmt::format("Removing login credentials for {}\n", host));
    DockerConfig config = DockerConfig::load();
    std::string failures;
    std::size_t failed = 0;
    for (const std::string& key : keys) {
        try {
            config.erase(key);
        } catch (const Error& error) {
            failures += fmt::format("{}: {}\n", key, error.what());
            ++failed;
        }
    }
    if (failed == keys.size()) fmt::print(stderr, "WARNING: could not erase credentials:\n{}", failures);
    return 0;
}

int search_images(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::string& term = given.arguments[0];
    std::string auth;
    try {
        auth = DockerConfig::load().credentials(searched_registry(term)).header();
    } catch (const Error&) {
        // Searching mostly goes without.
        auth = Credentials{}.header();
    }
    client::Query query;
    query.add("term", term);
    query.add_if(flags.integer("limit") > 0, "limit", std::to_string(flags.integer("limit")));
    const std::string filters = filters_argument(flags.list("filter"));
    query.add_if(!filters.empty(), "filters", filters);
    const std::string answer =
        context.daemon().call({.method = "GET", .target = "/images/search" + query.text(), .headers = {{"X-Registry-Auth", auth}}});
    const Value found = boost::json::parse(answer);
    const std::string format = flags.text("format");
    const bool json = format == "json" || format.find("json .}}") != std::string::npos;
    std::vector<Value> rows;
    if (const auto* list = found.if_array()) {
        for (const Value& each : *list) {
            const std::string description = printable(text_at(each, "description"));
            const bool official = bool_at(each, "is_official");
            rows.push_back(boost::json::object{{"Name", printable(text_at(each, "name"))},
                                               {"Description", flags.on("no-trunc") ? description : ellipsis(description, 45)},
                                               {"StarCount", std::to_string(number_at(each, "star_count"))},
                                               {"IsOfficial", json ? (official ? "true" : "false") : (official ? "[OK]" : "")}});
        }
    }
    const Listing listing{.default_table = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}", .headings = search_headings};
    print(render_rows(listing, format, rows));
    return 0;
}

}  // namespace grua::cli
