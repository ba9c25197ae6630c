// grua-runtime: the OCI runtime command, with runc's command line.
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "commands.hpp"
#include "linux/mounts.hpp"
#include "linux/process.hpp"
#include "oci/runtime_spec.hpp"
#include "options.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <csignal>
#include <cstdlib>

#include "monitor/launcher.hpp"

namespace grua::app {
namespace {

/// A container that makes our process execute /proc/self/exe again gets hold of this file (CVE-2019-5736). So the program goes on
/// from a detached read-only mount of itself: no descriptor that is reached through it can be opened for writing.
void protect_binary(char** arguments) {
    if (is_left_out("CVE-2019-5736")) return;
    struct statvfs about{};
    if (::statvfs("/proc/self/exe", &about) != 0) fail_errno("look at our own program");
    if ((about.f_flag & ST_RDONLY) != 0) return;
    const Fd copy = linux::copy_mount(AT_FDCWD, "/proc/self/exe", linux::Recursion::top_only);
    linux::change_mount(copy.get(), {.set = MOUNT_ATTR_RDONLY}, linux::Recursion::top_only, "our own program");
    ::execveat(copy.get(), "", arguments, environ, AT_EMPTY_PATH);
    fail_errno("go on from a read-only mount of our own program");
}

int run(int count, char** arguments) {
    const Options global = parse_options(count, arguments, 1, global_flags);
    const auto log_level = global.has("debug") ? log::Level::debug : log::Level::info;
    const bool json = global.value("log-format") == "json";
    Fd log;
    if (global.has("log")) {
        log = Fd{::open(global.value("log").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)};
        if (!log) fail_errno("open {}", global.value("log"));
    }
    log::configure(log_level, json ? log::Format::json : log::Format::text, log ? log.get() : 2);
    try {
        if (global.has("version")) {
            fmt::print("grua-runtime version {}\nspec: {}\n", GRUA_VERSION, oci::runtime_spec_version);
            return 0;
        }
        if (global.has("systemd-cgroup")) fail(ErrorKind::not_implemented, "not implemented: --systemd-cgroup");
        if (global.arguments.empty() || global.has("help")) {
            fmt::print("usage: grua-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND\n\ncommands:\n");
            for (const Command& each : commands()) fmt::print("  {:<10}{}\n", each.name, each.help);
            return global.has("help") ? 0 : 1;
        }
        for (const Command& each : commands()) {
            if (each.name != global.arguments.front()) continue;
            if (each.needs_protection) protect_binary(arguments);
            const Options options = parse_options(count, arguments, global.next, each.flags);
            return each.run({global.has("root") ? global.value("root") : "/run/grua-runtime"}, options);
        }
        fail(ErrorKind::invalid_argument, "no such command: {}", global.arguments.front());
    } catch (const Error& error) {
        log::error("{}", error.what());
        if (log) fmt::print(stderr, "{}\n", error.what());
        return global.arguments.empty() || global.arguments.front() != "exec" ? 1 : 255;
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
