// runc's way of writing options: --name value, --name=value, -n value; they end at the first argument.
#pragma once

#include "base/error.hpp"

#include <map>
#include <span>
#include <string>
#include <vector>

namespace grua::app {

struct Flag {
    std::string_view name;
    char letter;
    bool takes_value;
};

struct Options {
    std::map<std::string, std::vector<std::string>, std::less<>> values;
    std::vector<std::string> arguments;
    int next = 0;  ///< Index after the first argument.

    bool has(std::string_view name) const { return values.contains(name); }
    std::string value(std::string_view name) const {
        const auto found = values.find(name);
        return found == values.end() ? std::string{} : found->second.back();
    }
    std::vector<std::string> all(std::string_view name) const {
        const auto found = values.find(name);
        return found == values.end() ? std::vector<std::string>{} : found->second;
    }
};

inline constexpr Flag global_flags[] = {
    {"root", 0, true},    {"log", 0, true},        {"log-format", 0, true}, {"debug", 0, false},
    {"help", 'h', false}, {"version", 'v', false}, {"rootless", 0, true},   {"systemd-cgroup", 0, false}};

inline Options parse_options(int count, char** arguments, int from, std::span<const Flag> flags) {
    Options out;
    int i = from;
    for (; i < count; ++i) {
        std::string_view text = arguments[i];
        if (text == "--") {
            ++i;
            break;
        }
        if (text.size() < 2 || text[0] != '-') break;
        const bool is_long = text.starts_with("--");
        std::string_view name = text.substr(is_long ? 2 : 1);
        const std::size_t equals = name.find('=');
        const std::string_view given = equals == std::string_view::npos ? std::string_view{} : name.substr(equals + 1);
        name = name.substr(0, equals);
        const Flag* found = nullptr;
        for (const Flag& flag : flags) {
            if (flag.name == name || (name.size() == 1 && flag.letter != 0 && flag.letter == name[0])) found = &flag;
        }
        if (!found) fail(ErrorKind::invalid_argument, "flag provided but not defined: -{}", name);
        std::string& value = out.values[std::string(found->name)].emplace_back(given);
        if (!found->takes_value) {
            if (given == "false") out.values.erase(std::string(found->name));
        } else if (equals == std::string_view::npos) {
            if (++i >= count) fail(ErrorKind::invalid_argument, "flag needs an argument: -{}", name);
            value = arguments[i];
        }
    }
    out.next = i + 1;
    for (; i < count; ++i) out.arguments.emplace_back(arguments[i]);
    return out;
}

}  // namespace grua::app
