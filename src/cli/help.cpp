#include "cli/help.hpp"

#include "base/text.hpp"
#include "cli/terminal.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <algorithm>

namespace grua::cli {

namespace {

std::string heading(std::string_view text) {
    const bool paint = may_paint(STDOUT_FILENO);
    return fmt::format("{}{}:{}\n", paint ? "\x1b[1m" : "", text, paint ? "\x1b[0m" : "");
}

/// Breaks a help text at spaces, further lines under the first.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
    std::string out;
    std::size_t column = 0;
    for (const std::string& word : split(text, ' ')) {
        if (column > 0 && column + 1 + word.size() > width) {
            out += "\n" + std::string(indent, ' ');
            column = 0;
        }
        if (column > 0) {
            out += ' ';
            ++column;
        }
        out += word;
        column += word.size();
    }
    return out;
}

std::string flag_label(const Flag& flag) {
    std::string label = flag.letter ? fmt::format("  -{}, --{}", flag.letter, flag.name) : fmt::format("      --{}", flag.name);
    if (const std::string_view value = value_name(flag); !value.empty())
        label += fmt::format("{}{}", value.starts_with("[=") ? "" : " ", value);
    return label;
}

std::string flag_lines(const std::vector<const Flag*>& flags, std::size_t width) {
    std::string out;
    for (const Flag* flag : flags) {
        const std::string label = flag_label(*flag);
        std::string help = flag->help;
        const std::string_view fallback = flag->fallback;
        if (!fallback.empty() && fallback != "-1") help += fmt::format(" (default {})", fallback);
        const std::size_t columns = std::max<std::size_t>(terminal_size().columns, 80);
        out += fmt::format("{:<{}}  {}\n", label, width, wrapped(help, width + 2, columns - width - 2));
    }
    return out;
}

std::string brief_line(std::string_view name, std::string_view brief) { return fmt::format("  {:<11} {}\n", name, brief); }

bool is_top_level(const Command& command) { return std::string_view(command.names[0]).find(' ') == std::string_view::npos; }

}  // namespace

std::string usage_line(const Command& command) { return fmt::format("Usage:  grua {} {}", command.names[0], command.usage); }

std::vector<std::pair<std::string, std::vector<const Flag*>>> grouped_flags(const Command& command) {
    std::vector<std::pair<std::string, std::vector<const Flag*>>> out;
    for (const auto& table : command.flags) {
        for (const Flag& flag : table) {
            if (flag.hidden) continue;
            const std::string name = *flag.group ? std::string(flag.group) + " options" : "Options";
            auto found = std::ranges::find(out, name, [](const auto& each) { return each.first; });
            if (found == out.end()) found = out.insert(out.end(), {name, {}});
            found->second.push_back(&flag);
        }
    }
    return out;
}

std::string command_help(const Command& command) {
    std::string out = usage_line(command) + "\n\n" + command.brief + "\n";
    if (*command.details) out += std::string("\n") + command.details + "\n";
    std::vector<std::string> aliases;
    for (const char* name : command.names) {
        if (name) aliases.push_back(std::string("grua ") + name);
    }
    if (aliases.size() > 1) out += "\n" + heading("Aliases") + "  " + join(aliases, ", ") + "\n";
    const auto flags = grouped_flags(command);
    std::size_t width = 0;
    for (const auto& [name, list] : flags) {
        for (const Flag* flag : list) width = std::max(width, flag_label(*flag).size());
    }
    for (const auto& [name, list] : flags) out += "\n" + heading(name) + flag_lines(list, width);
    if (*command.examples) {
        out += "\n" + heading("Examples");
        for (const std::string& line : split(command.examples, '\n')) out += "  " + line + "\n";
    }
    return out;
}

std::string group_help(const Group& group) {
    std::string out = fmt::format("Usage:  grua {} COMMAND\n\n{}\n\n{}", group.name, group.brief, heading("Commands"));
    const std::string prefix = std::string(group.name) + " ";
    std::vector<std::pair<std::string, const char*>> lines;
    for (const Command& command : commands()) {
        for (const char* name : command.names) {
            if (!name || !std::string_view(name).starts_with(prefix)) continue;
            std::string rest = std::string(name).substr(prefix.size());
            if (!rest.contains(' ')) lines.emplace_back(std::move(rest), command.brief);
            break;
        }
    }
    for (const Group& inner : groups()) {
        if (std::string_view(inner.name).starts_with(prefix)) lines.emplace_back(inner.name + prefix.size(), inner.brief);
    }
    std::ranges::sort(lines);
    for (const auto& [name, brief] : lines) out += brief_line(name, brief);
    return out + fmt::format("\nRun 'grua {} COMMAND --help' for more about a command.\n", group.name);
}

std::string program_help() {
    std::string out = "Usage:  grua [OPTIONS] COMMAND\n\nContainers: run programs in their own view of the machine, with limits.\n\n" +
                      heading("Commands");
    for (const Command& command : commands()) {
        if (is_top_level(command) && !command.hidden) out += brief_line(command.names[0], command.brief);
    }
    out += "\n" + heading("Management commands");
    for (const Group& group : groups()) {
        if (*group.brief && !std::string_view(group.name).contains(' ')) out += brief_line(group.name, group.brief);
    }
    out += "\n" + heading("Options");
    std::vector<const Flag*> flags;
    std::size_t width = 0;
    for (const Flag& flag : global_flags()) {
        flags.push_back(&flag);
        width = std::max(width, flag_label(flag).size());
    }
    out += flag_lines(flags, width);
    out += "\n" + heading("Environment");
    out +=
        "  GRUA_HOST      Daemon to speak to; DOCKER_HOST where that is not set\n  DOCKER_CONFIG  Folder of config.json, for login; "
        "~/.docker where that is not set\n  NO_COLOR       No colours\n";
    out += "\n" + heading("A first tour") +
           "  grua pull debian:12         an image from a registry\n  grua load -i image.tar      an image from a file\n  grua run --rm "
           "IMAGE date    a program in a container\n  grua run -it "
           "--rm IMAGE sh  a shell in one\n";
    return out + "\nRun 'grua COMMAND --help' for more about a command.\n";
}

}  // namespace grua::cli
