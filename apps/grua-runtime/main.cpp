// grua-runtime: the OCI runtime command, with runc's command line.
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/test_points.hpp"
#include "commands.hpp"
#include "linux/mounts.hpp"
#include "linux/process.hpp"
#include "oci/runtime_spec.hpp"
#include "rootless.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <algorithm>

#include "monitor/launcher.hpp"

namespace grua::app {
namespace {

constexpr OptionRule global_options[] = {
    {"root"},
    {"log"},
    {"log-format"},
    {.name = "debug", .kind = OptionKind::boolean},
    {"rootless"},
    {.name = "systemd-cgroup", .kind = OptionKind::boolean},
    {"version", 'v', OptionKind::boolean},
    {.name = "criu", .kind = OptionKind::not_implemented},
};

/// In memory, for who may not mount.
Fd sealed_copy() {
    constexpr int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    const Fd own{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    if (!own) fail_errno("open our own program");
    if ((::fcntl(own.get(), F_GET_SEALS) & F_SEAL_WRITE) != 0 && ::fcntl(own.get(), F_GET_SEALS) > 0) return {};
    Fd copy{::memfd_create("grua-runtime", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!copy) fail_errno("memfd_create");
    for (;;) {
        const ssize_t copied = ::sendfile(copy.get(), own.get(), nullptr, std::size_t{1} << 30U);
        if (copied < 0) fail_errno("copy our own program");
        if (copied == 0) break;
    }
    if (::fcntl(copy.get(), F_ADD_SEALS, seals) != 0) fail_errno("seal the copy of our own program");
    return copy;
}

/// A container that makes our process execute /proc/self/exe again gets hold of this file (CVE-2019-5736). So the program goes on
/// from a detached read-only mount of itself, or a sealed copy: no descriptor that is reached through it can be opened for writing.
void protect_binary(char** arguments) {
    if (is_left_out("CVE-2019-5736")) return;
    struct statvfs about{};
    if (::statvfs("/proc/self/exe", &about) != 0) fail_errno("look at our own program");
    if ((about.f_flag & ST_RDONLY) != 0) return;
    Fd copy;
    try {
        copy = linux::copy_mount(AT_FDCWD, "/proc/self/exe", linux::Recursion::top_only);
        linux::change_mount(copy.get(), {.set = MOUNT_ATTR_RDONLY}, linux::Recursion::top_only, "our own program");
    } catch (const Error& error) {
        if (error.os_error() != EPERM) throw;
        copy = sealed_copy();
        if (!copy) return;
    }
    ::execveat(copy.get(), "", arguments, environ, AT_EMPTY_PATH);
    fail_errno("go on from a copy of our own program that nobody can change");
}

void print_help() {
    fmt::print(
        "usage: grua-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--rootless true|false|auto] "
        "COMMAND\n\ncommands:\n");
    for (const Command& each : commands()) fmt::print("  {:<11}{:<22}{}\n", each.name, each.words, each.help);
}

void print_help(const Command& command) {
    fmt::print("usage: grua-runtime {} [OPTIONS] {}\n\n{}\n", command.name, command.words, command.help);
    if (!command.options.empty()) fmt::print("\noptions:\n");
    for (const OptionRule& each : command.options) {
        if (each.kind == OptionKind::not_implemented) continue;
        fmt::print("  {}--{}{}\n", each.letter != 0 ? fmt::format("-{}, ", each.letter) : "    ", each.name,
                   each.kind == OptionKind::boolean ? "" : " VALUE");
    }
}

Rootless rootless_of(const Options& global) {
    const std::string text = global.given("rootless") ? global.text("rootless") : "auto";
    if (text == "auto") return Rootless::automatic;
    const auto value = parse_bool(text);
    if (!value) fail(ErrorKind::invalid_argument, "--rootless {}: true, false or auto is expected", text);
    return *value ? Rootless::yes : Rootless::no;
}

Options options_of(const Command& command, std::span<const std::string> words) {
    Options options{command.options, parse_command_line(command.options, words, command.options_end)};
    if (options.help()) return options;
    const std::size_t given = options.arguments().size();
    if (given < command.count.least) fail(ErrorKind::invalid_argument, "{} is missing", given == 0 ? "the container's ID" : command.words);
    if (given > command.count.most) fail(ErrorKind::invalid_argument, "unexpected argument {:?}", options.arguments()[command.count.most]);
    return options;
}

int run_command(const Command& command, const Options& global, std::span<const std::string> words, char** arguments) {
    const Options options = while_doing(command.name, [&] { return options_of(command, words); });
    if (options.help()) {
        print_help(command);
        return 0;
    }
    if (command.needs_protection) protect_binary(arguments);
    return command.run({global.given("root") ? global.text("root") : default_root(), rootless_of(global)}, options);
}

int run(int count, char** arguments) {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    const Options global{global_options, parse_command_line(global_options, words, OptionsEnd::at_first_argument)};
    const std::string format = global.given("log-format") ? global.text("log-format") : "text";
    if (format != "text" && format != "json") fail(ErrorKind::invalid_argument, "--log-format {}: text or json is expected", format);
    Fd log;
    if (global.given("log")) {
        log = Fd{::open(global.text("log").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)};
        if (!log) fail_errno("open {}", global.text("log"));
    }
    log::configure(global.on("debug") ? log::Level::debug : log::Level::info, format == "json" ? log::Format::json : log::Format::text,
                   log ? log.get() : 2);
    const std::string_view name = global.arguments().empty() ? std::string_view{} : global.arguments().front();
    try {
        if (global.on("version")) {
            fmt::print("grua-runtime version {}\nspec: {}\n", GRUA_VERSION, oci::runtime_spec_version);
            return 0;
        }
        if (global.on("systemd-cgroup")) fail(ErrorKind::not_implemented, "not implemented: --systemd-cgroup");
        if (name.empty() || global.help() || name == "help") {
            print_help();
            return name.empty() && !global.help() ? 1 : 0;
        }
        const auto found = std::ranges::find(commands(), name, &Command::name);
        if (found == commands().end()) fail(ErrorKind::invalid_argument, "no such command: {}", name);
        return run_command(*found, global, std::span(global.arguments()).subspan(1), arguments);
    } catch (const Error& error) {
        log::error("{}", error.what());
        if (log) fmt::print(stderr, "{}\n", error.what());
        return name == "exec" ? 255 : 1;
    }
}

}  // namespace
}  // namespace grua::app

int main(int count, char** arguments) {
    if (!grua::is_left_out("CVE-2019-5736")) ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (count == 2 && std::string_view(arguments[1]) == "launcher") return grua::monitor::launcher_main(3);
    try {
        return grua::app::run(count, arguments);
    } catch (const std::exception& error) {
        fmt::print(stderr, "grua-runtime: {}\n", error.what());
        return 1;
    }
}
