// Man pages from the table of commands: one for grua and one for each command.
#include "cli/handlers.hpp"
#include "cli/help.hpp"

#include "base/files.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace grua::cli {

namespace {

/// roff's own characters.
std::string escaped(std::string_view text) {
    std::string out;
    bool line_start = true;
    for (const char c : text) {
        if (line_start && (c == '.' || c == '\'')) out += "\\&";
        if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else
            out += c;
        line_start = c == '\n';
    }
    return out;
}

std::string head(const std::string& name, std::string_view brief) {
    std::string title = name;
    for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return fmt::format(".TH {} 1 \"\" \"grua {}\" \"grua\"\n.SH NAME\n{} \\- {}\n", title, GRUA_VERSION, escaped(name), escaped(brief));
}

std::string flag_entry(const Flag& flag) {
    std::string label;
    if (flag.letter) label += fmt::format("\\fB\\-{}\\fR, ", flag.letter);
    label += fmt::format("\\fB\\-\\-{}\\fR", escaped(flag.name));
    if (const std::string_view value = value_name(flag); !value.empty())
        label += fmt::format("{}\\fI{}\\fR", value.starts_with("[=") ? "" : " ", escaped(value));
    std::string help = flag.help;
    if (*flag.fallback && std::string_view(flag.fallback) != "-1") help += fmt::format(" (default {})", flag.fallback);
    return fmt::format(".TP\n{}\n{}\n", label, escaped(help));
}

std::string page_name(const char* command) {
    std::string name = std::string("grua-") + command;
    std::ranges::replace(name, ' ', '-');
    return name;
}

std::string command_page(const Command& command) {
    std::string out = head(page_name(command.names[0]), command.brief);
    out += fmt::format(".SH SYNOPSIS\n\\fBgrua {}\\fR {}\n.SH DESCRIPTION\n{}.\n", escaped(command.names[0]), escaped(command.usage),
                       escaped(command.brief));
    if (*command.details) out += std::string(".PP\n") + escaped(command.details) + "\n";
    for (const auto& [name, flags] : grouped_flags(command)) {
        std::string title = name;
        for (char& c : title) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        out += ".SH \"" + title + "\"\n";
        for (const Flag* flag : flags) out += flag_entry(*flag);
    }
    if (*command.examples) out += std::string(".SH EXAMPLES\n.nf\n") + escaped(command.examples) + "\n.fi\n";
    std::vector<std::string> aliases;
    for (const char* name : command.names) {
        if (name && name != command.names[0]) aliases.push_back(std::string("grua ") + name);
    }
    if (!aliases.empty()) out += ".SH \"ALSO CALLED\"\n" + escaped(join(aliases, ", ")) + "\n";
    return out + ".SH \"SEE ALSO\"\n\\fBgrua\\fR(1)\n";
}

std::string program_page() {
    std::string out = head("grua", "run programs in containers");
    out +=
        ".SH SYNOPSIS\n\\fBgrua\\fR [OPTIONS] COMMAND\n.SH DESCRIPTION\nThe command line of the grua container engine. It speaks the "
        "Docker Engine API to gruad, "
        "or to any daemon that serves it, and takes docker's commands and options. As root, and where no daemon is named, it starts gruad "
        "when none runs.\n.SH OPTIONS\n";
    for (const Flag& flag : global_flags()) out += flag_entry(flag);
    out += ".SH COMMANDS\n";
    for (const Command& command : commands()) {
        if (!command.hidden) out += fmt::format(".TP\n\\fB{}\\fR(1)\n{}\n", escaped(page_name(command.names[0])), escaped(command.brief));
    }
    out +=
        ".SH ENVIRONMENT\n.TP\n\\fBGRUA_HOST\\fR, \\fBDOCKER_HOST\\fR\nThe daemon to speak to, the first that is "
        "set.\n.TP\n\\fBDOCKER_API_VERSION\\fR\nThe API version to use instead of the "
        "newest that both sides know.\n.TP\n\\fBDOCKER_CONFIG\\fR\nThe folder of config.json, with what login stores; "
        "~/.docker if not set.\n.TP\n\\fBDOCKER_AUTH_CONFIG\\fR\nCredentials as in config.json, which go before those "
        "there.\n.TP\n\\fBDOCKER_DEFAULT_PLATFORM\\fR\nThe platform for run, create and pull where --platform is not "
        "given.\n.TP\n\\fBNO_COLOR\\fR\nNo colours.\n";
    return out +
           ".SH \"EXIT STATUS\"\n\\fBrun\\fR, \\fBstart \\-a\\fR, \\fBattach\\fR and \\fBexec\\fR end with the status of the process. 125: "
           "grua or the daemon failed; 126: the command "
           "cannot be executed; 127: it was not found. Other commands end with 0 or 1.\n";
}

}  // namespace

int generate_files(Context&, const Parsed& given) {
    const std::string& folder = given.arguments[0];
    make_directories(folder);
    replace_file(folder + "/grua.1", program_page());
    for (const Command& command : commands()) {
        if (!command.hidden) replace_file(folder + "/" + page_name(command.names[0]) + ".1", command_page(command));
    }
    return 0;
}

}  // namespace grua::cli
