// What a command gets: the daemon, lazily connected and started where that is allowed, and the ways to say how it went.
#pragma once

#include "cli/command.hpp"
#include "cli/daemon_choice.hpp"
#include "cli/template.hpp"
#include "client/client.hpp"

#include <functional>
#include <optional>
#include <string>

namespace grua::cli {

/// The command has failed and everything is said.
struct ExitStatus {
    int status = 1;
};

class Context {
public:
    explicit Context(DaemonChoice choice, bool debug) : choice_(std::move(choice)), debug_(debug) {}

    /// Connected. Throws Error(unavailable) with "Cannot connect to the grua daemon at …".
    client::Client& daemon();
    /// Nothing where nobody answers; starts no daemon.
    client::Client* running_daemon();
    bool debug() const noexcept { return debug_; }
    const DaemonChoice& choice() const noexcept { return choice_; }

    /// Connects without speaking to the daemon, which is started where that is allowed. Throws as daemon() does.
    client::Link connect();

private:
    bool may_start_daemon() const;
    /// `reach`, and once more where nobody was there and a daemon was started.
    void reach_or_start(const client::Endpoint& where, const std::function<void()>& reach) const;

    DaemonChoice choice_;
    bool debug_;
    std::optional<client::Client> client_;
};

/// The text that docker shows for an error: a daemon's is "Error response from daemon: …".
std::string error_text(const std::exception& error);

/// Runs `each` for every name; an error is told and the others go on. 1 where one failed.
int for_each_name(const std::vector<std::string>& names, const std::function<void(const std::string&)>& each);

/// Writes to standard output at once. Ends the program quietly where nobody reads.
void print(std::string_view text);

/// --filter name=value, many times, as the API's JSON; empty where there is none. Throws Error(invalid_argument).
std::string filters_argument(const std::vector<std::string>& filters);

/// "Are you sure? [y/N]": false for anything but yes.
bool confirmed(std::string_view warning);

/// Members of documents, with a default where they are missing.
std::string text_at(const Value& document, std::string_view member);
std::int64_t number_at(const Value& document, std::string_view member);
bool bool_at(const Value& document, std::string_view member);
const Value& at(const Value& document, std::string_view member);  ///< Null where it is missing.

}  // namespace grua::cli
