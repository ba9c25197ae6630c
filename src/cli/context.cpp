#include "cli/context.hpp"

#include "base/text.hpp"
#include "cli/daemon_start.hpp"
#include "cli/session.hpp"

#include <unistd.h>
#include <boost/json.hpp>
#include <cstdlib>
#include <iostream>

namespace grua::cli {

namespace {

[[noreturn]] void cannot_connect(const client::Endpoint& endpoint, const Error& error) {
    if (error.os_error() == EACCES) {
        throw Error(ErrorKind::unavailable,
                    fmt::format("permission denied while trying to connect to the grua daemon at {}", endpoint.text()), EACCES);
    }
    // TLS, ssh and who looks names up have said why.
    if (error.os_error() == 0) fail(ErrorKind::unavailable, "error during connect: {}", error.what());
    throw Error(ErrorKind::unavailable, fmt::format("Cannot connect to the grua daemon at {}. Is gruad running?", endpoint.text()),
                error.os_error());
}

}  // namespace

bool Context::may_start_daemon() const { return choice_.unsaid() && ::geteuid() == 0; }

client::Client* Context::running_daemon() {
    if (client_) return &*client_;
    client_.emplace(choice_.endpoint());
    try {
        client_->negotiate();
    } catch (const Error& error) {
        client_.reset();
        if (error.kind() != ErrorKind::unavailable) throw;
        return nullptr;
    }
    return &*client_;
}

client::Client& Context::daemon() {
    if (client_) return *client_;
    const client::Endpoint where = choice_.endpoint();
    const auto reach = [&] {
        client_.emplace(where);
        client_->negotiate();
    };
    try {
        reach_or_start(where, reach);
    } catch (const Error&) {
        client_.reset();
        throw;
    }
    return *client_;
}

client::Link Context::connect() {
    const client::Endpoint where = choice_.endpoint();
    client::Link link;
    reach_or_start(where, [&] { link = client::connect(where); });
    return link;
}

void Context::reach_or_start(const client::Endpoint& where, const std::function<void()>& reach) const {
    try {
        return reach();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::unavailable) throw;
        const bool nobody = error.os_error() == ENOENT || error.os_error() == ECONNREFUSED;
        if (!nobody || !may_start_daemon()) cannot_connect(where, error);
    }
    start_daemon(where);
    reach();
}

std::string error_text(const std::exception& error) {
    if (const auto* refused = dynamic_cast<const client::ApiError*>(&error))
        return fmt::format("Error response from daemon: {}", refused->what());
    return error.what();
}

int for_each_name(const std::vector<std::string>& names, const std::function<void(const std::string&)>& each) {
    int status = 0;
    for (const std::string& name : names) {
        try {
            each(name);
        } catch (const Error& error) {
            // Without a daemon every name would fail alike.
            if (error.kind() == ErrorKind::unavailable && !dynamic_cast<const client::ApiError*>(&error)) throw;
            fmt::print(stderr, "{}\n", error_text(error));
            status = 1;
        }
    }
    return status;
}

void print(std::string_view text) {
    if (!write_stream(STDOUT_FILENO, text)) throw ExitStatus{1};
}

std::string filters_argument(const std::vector<std::string>& filters) {
    if (filters.empty()) return {};
    boost::json::object out;
    for (const std::string& filter : filters) {
        if (filter.empty()) continue;
        const std::size_t equals = filter.find('=');
        if (equals == std::string::npos) {
            throw UsageError(
                fmt::format("invalid argument \"{}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)", filter));
        }
        const std::string name = to_lower(trim(filter.substr(0, equals)));
        Value& values = out[name];
        if (!values.is_object()) values = boost::json::object();
        values.get_object()[std::string(trim(filter.substr(equals + 1)))] = true;
    }
    return boost::json::serialize(out);
}

bool confirmed(std::string_view warning) {
    fmt::print("WARNING! {}\nAre you sure you want to continue? [y/N] ", warning);
    std::fflush(stdout);
    std::string answer;
    if (!std::getline(std::cin, answer)) return false;
    const std::string lower = to_lower(trim(answer));
    return lower == "y" || lower == "yes";
}

const Value& at(const Value& document, std::string_view member) {
    static const Value nothing;
    const auto* object = document.if_object();
    const Value* found = object ? object->if_contains(member) : nullptr;
    return found ? *found : nothing;
}

std::string text_at(const Value& document, std::string_view member) {
    const Value& found = at(document, member);
    return found.is_string() ? std::string(found.get_string()) : std::string();
}

std::int64_t number_at(const Value& document, std::string_view member) {
    const Value& found = at(document, member);
    if (found.is_int64()) return found.get_int64();
    if (found.is_uint64()) return static_cast<std::int64_t>(found.get_uint64());
    if (found.is_double()) return static_cast<std::int64_t>(found.get_double());
    return 0;
}

bool bool_at(const Value& document, std::string_view member) {
    const Value& found = at(document, member);
    return found.is_bool() && found.get_bool();
}

}  // namespace grua::cli
