#include "cli/cli.hpp"

#include "cli/command.hpp"
#include "cli/context.hpp"
#include "cli/help.hpp"
#include "cli/plugins.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <new>
#include <optional>

namespace grua::cli {

namespace {

struct Found {
    const Command* command = nullptr;
    std::string name;
    std::size_t words = 0;  ///< How many of the words are its name.
};

/// More words before fewer: "container ls" is not "container".
std::optional<Found> find_command(std::span<const std::string> words) {
    for (std::size_t count = std::min(longest_name, words.size()); count > 0; --count) {
        const std::string name = join({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count)}, " ");
        for (const Command& command : commands()) {
            for (const char* each : command.names) {
                if (each && name == each) return Found{&command, name, count};
            }
        }
    }
    return std::nullopt;
}

/// "builder history" before "builder".
const Group* find_group(std::span<const std::string> words) {
    for (std::size_t count = std::min(longest_name, words.size()); count > 0; --count) {
        const std::string name = join({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(count)}, " ");
        for (const Group& group : groups())
            if (group.name == name) return &group;
    }
    return nullptr;
}

std::size_t words_of(const Group& group) { return split(group.name, ' ').size(); }

/// What docker has and grua does not yet: said as such, so that nobody looks for a typing error.
struct NotBuilt {
    std::string_view name;     ///< Of a command, or of a flag behind its command's.
    std::string_view instead;  ///< What to use.
};
constexpr std::string_view no_swarm = "the containers, networks and volumes of one host";
constexpr std::array not_built{
    NotBuilt{"plugin", "what is built in; plugins of volumes, networks and logs are not fetched"},
    NotBuilt{"service", no_swarm},
    NotBuilt{"stack", no_swarm},
    NotBuilt{"swarm", no_swarm},
    NotBuilt{"node", no_swarm},
    NotBuilt{"secret", "secrets of a compose file, or a mount of a file"},
    NotBuilt{"config", "configs of a compose file, or a mount of a file"},
    NotBuilt{"manifest", "docker manifest, which asks the registry itself"},
    NotBuilt{"trust", "the policy of signatures (docs/registries.md)"},
    NotBuilt{"checkpoint", "grua pause, or grua commit for the files"},
    NotBuilt{"volume update", "grua volume create; only volumes of a swarm are updated"},
};
constexpr std::string_view no_cluster_volume = "-o, the options of the local driver; only volumes of a swarm have it";
constexpr std::string_view build_limits = "--cgroup-parent, a cgroup with these limits";
constexpr std::array not_built_flags{
    NotBuilt{"network create --ingress", "-p, which publishes ports on this host; only networks of a swarm have it"},
    NotBuilt{"volume ls --cluster", "grua volume ls; only volumes of a swarm are of a cluster"},
    NotBuilt{"volume create --availability", no_cluster_volume},
    NotBuilt{"volume create --group", no_cluster_volume},
    NotBuilt{"volume create --limit-bytes", "-o o=size=…"},
    NotBuilt{"volume create --required-bytes", no_cluster_volume},
    NotBuilt{"volume create --scope", no_cluster_volume},
    NotBuilt{"volume create --secret", no_cluster_volume},
    NotBuilt{"volume create --sharing", no_cluster_volume},
    NotBuilt{"volume create --topology-preferred", no_cluster_volume},
    NotBuilt{"volume create --topology-required", no_cluster_volume},
    NotBuilt{"volume create --type", "-o type=…"},
    NotBuilt{" --log-level", "--debug"},
    NotBuilt{"build --compress", "a registry or a mirror nearer to the engine; a context is sent by its differences only"},
    NotBuilt{"build --cpu-period", build_limits},
    NotBuilt{"build --cpu-quota", build_limits},
    NotBuilt{"build --cpu-shares", build_limits},
    NotBuilt{"build -c", build_limits},
    NotBuilt{"build --cpuset-cpus", build_limits},
    NotBuilt{"build --cpuset-mems", build_limits},
    NotBuilt{"build --isolation", "nothing; there is one kind of isolation on Linux"},
    NotBuilt{"build --memory", build_limits},
    NotBuilt{"build -m", build_limits},
    NotBuilt{"build --memory-swap", build_limits},
    NotBuilt{"build --security-opt", "RUN --security=insecure with --allow security.insecure"},
    NotBuilt{"build --squash", "several stages, and COPY --from of the last one's result"},
};

/// Throws Error(not_implemented) where one of `words` is a flag that docker's `command` has and grua's has not.
void refuse_not_built_flags(std::string_view command, std::span<const std::string> words) {
    for (const std::string& word : words) {
        if (word == "--") return;
        const std::string flag = word.substr(0, word.find('='));
        for (const NotBuilt& each : not_built_flags) {
            if (each.name == fmt::format("{} {}", command, flag))
                fail(ErrorKind::not_implemented, "not implemented: {}; use {}", flag, each.instead);
        }
    }
}

constexpr std::array docker_plugins{"compose", "buildx"};

int unknown_command(std::span<const std::string> words, std::size_t known) {
    const std::string given = join({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(known + 1)}, " ");
    for (const NotBuilt& each : not_built) {
        if (each.name != given) continue;
        fmt::print(stderr, "grua: not implemented: grua {}; use {}\n", given, each.instead);
        return 1;
    }
    if (std::ranges::find(docker_plugins, given) != docker_plugins.end()) {
        fmt::print(stderr, "grua: grua {0} runs Docker's plugin, and docker-{0} is in none of {1}\n", given, plugin_folders_text());
        return 1;
    }
    std::vector<std::string> names;
    for (const Command& command : commands()) {
        for (const char* each : command.names) {
            if (each && !command.hidden) names.emplace_back(each);
        }
    }
    for (const Group& group : groups()) {
        if (*group.brief) names.emplace_back(group.name);
    }
    std::string text = fmt::format("grua: unknown command: grua {}\n", given);
    if (const std::string near = nearest(given, names); !near.empty()) text += fmt::format("\nDid you mean 'grua {}'?\n", near);
    const std::string help = join({words.begin(), words.begin() + static_cast<std::ptrdiff_t>(known)}, " ");
    fmt::print(stderr, "{}\nRun 'grua{}{} --help' for more information\n", text, help.empty() ? "" : " ", help);
    return 1;
}

int show_help(std::span<const std::string> words) {
    if (words.empty()) {
        print(program_help());
        return 0;
    }
    if (const auto found = find_command(words)) {
        print(command_help(*found->command));
        return 0;
    }
    if (const Group* group = find_group(words)) {
        if (words.size() > words_of(*group)) return unknown_command(words, words_of(*group));
        print(group_help(*group));
        return 0;
    }
    return unknown_command(words, 0);
}

int wrong_count(const Found& found) {
    const Command& command = *found.command;
    const auto plural = [](std::size_t count) { return fmt::format("{} argument{}", count, count == 1 ? "" : "s"); };
    std::string wanted;
    if (command.most == 0)
        wanted = fmt::format("'grua {}' accepts no arguments", found.name);
    else if (command.least == command.most)
        wanted = fmt::format("'grua {}' requires {}", found.name, plural(command.least));
    else if (command.most == any_number)
        wanted = fmt::format("'grua {}' requires at least {}", found.name, plural(command.least));
    else
        wanted = fmt::format("'grua {}' requires at least {} and at most {}", found.name, command.least, plural(command.most));
    fmt::print(stderr, "grua: {}\n\n{}\n\nRun 'grua {} --help' for more information\n", wanted, usage_line(command), found.name);
    return 1;
}

int run_command(Context& context, const Found& found, std::span<const std::string> words) {
    const Command& command = *found.command;
    refuse_not_built_flags(command.names[0], words);
    Parsed parsed;
    try {
        parsed = parse_flags(command.flags, words, command.interspersed);
    } catch (const UsageError& error) {
        fmt::print(stderr, "{}\n\n{}\n\nRun 'grua {} --help' for more information\n", error.what(), usage_line(command), found.name);
        return error.status();
    }
    if (parsed.help) {
        print(command_help(command));
        return 0;
    }
    if (parsed.arguments.size() < command.least || parsed.arguments.size() > command.most) return wrong_count(found);
    for (const std::string& warning : parsed.warnings) fmt::print(stderr, "{}\n", warning);
    try {
        return command.run(context, parsed);
    } catch (const UsageError& error) {
        fmt::print(stderr, "{}\n\n{}\n\nRun 'grua {} --help' for more information\n", error.what(), usage_line(command), found.name);
        return error.status();
    }
}

DaemonFlags daemon_flags(const Flags& given) {
    return {.host = given.text("host"),
            .context = given.text("context"),
            .tls = given.on("tls"),
            .tlsverify = given.given("tlsverify") ? std::optional(given.on("tlsverify")) : std::nullopt,
            .tlscacert = given.text("tlscacert"),
            .tlscert = given.text("tlscert"),
            .tlskey = given.text("tlskey")};
}

}  // namespace

int run(std::span<const std::string> words) {
    try {
        const std::array tables{global_flags()};
        Parsed global;
        try {
            global = parse_flags(tables, words, Interspersed::no);
        } catch (const UsageError& error) {
            refuse_not_built_flags("", words);
            fmt::print(stderr, "{}\n\nUsage:  grua [OPTIONS] COMMAND\n\nRun 'grua --help' for more information\n", error.what());
            return 125;
        }
        const std::span<const std::string> rest = global.arguments;
        if (global.flags.on("version")) {
            print(fmt::format("grua version {}\n", GRUA_VERSION));
            return 0;
        }
        if (global.help || rest.empty()) {
            print(program_help());
            return 0;
        }
        if (rest[0] == "help") return show_help(rest.subspan(1));
        if (global.flags.given("config")) ::setenv("DOCKER_CONFIG", global.flags.text("config").c_str(), 1);
        Context context(DaemonChoice(daemon_flags(global.flags)), global.flags.on("debug"));
        const auto found = find_command(rest);
        if (found) return run_command(context, *found, rest.subspan(found->words));
        const Group* group = find_group(rest);
        if (!group) {
            if (const auto plugin = find_plugin(rest[0])) run_plugin(*plugin, rest, context.choice());
            return unknown_command(rest, 0);
        }
        const std::size_t named = words_of(*group);
        if (rest.size() == named || rest[named] == "--help" || rest[named] == "-h") return show_help(rest.first(named));
        return unknown_command(rest, named);
    } catch (const ExitStatus& exit) {
        return exit.status;
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "grua: out of memory\n");
        return 1;
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error_text(error));
        return 1;
    }
}

}  // namespace grua::cli
