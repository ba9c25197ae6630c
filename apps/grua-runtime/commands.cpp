#include "commands.hpp"

#include "exec.hpp"
#include "inspect.hpp"
#include "lifecycle.hpp"
#include "run.hpp"
#include "update.hpp"

namespace grua::app {
namespace {

using enum OptionKind;

constexpr OptionRule create_options[] = {
    {"bundle", 'b'},
    {"console-socket"},
    {"pidfd-socket"},
    {"pid-file"},
    {.name = "no-pivot", .kind = boolean},
    {.name = "no-new-keyring", .kind = boolean},
    {.name = "preserve-fds", .kind = unsigned_integer},
};
constexpr OptionRule run_options[] = {
    {"bundle", 'b'},
    {"console-socket"},
    {"pidfd-socket"},
    {"pid-file"},
    {.name = "no-pivot", .kind = boolean},
    {.name = "no-new-keyring", .kind = boolean},
    {.name = "preserve-fds", .kind = unsigned_integer},
    {"detach", 'd', boolean},
    {.name = "keep", .kind = boolean},
    {.name = "no-subreaper", .kind = boolean},
};
constexpr OptionRule exec_options[] = {
    {"console-socket"},
    {"pidfd-socket"},
    {"cwd"},
    {"env", 'e', list},
    {"tty", 't', boolean},
    {"user", 'u'},
    {"additional-gids", 'g', list},
    {"process", 'p'},
    {"detach", 'd', boolean},
    {"pid-file"},
    {"process-label"},
    {"apparmor"},
    {.name = "no-new-privs", .kind = boolean},
    {"cap", 'c', list},
    {.name = "preserve-fds", .kind = unsigned_integer},
    {.name = "ignore-paused", .kind = boolean},
    {.name = "cgroup", .kind = list},
};
constexpr OptionRule kill_options[] = {{"all", 'a', boolean}};
constexpr OptionRule delete_options[] = {{"force", 'f', boolean}};
constexpr OptionRule list_options[] = {{"format", 'f'}, {"quiet", 'q', boolean}};
constexpr OptionRule ps_options[] = {{"format", 'f'}};
constexpr OptionRule spec_options[] = {{"bundle", 'b'}, {.name = "rootless", .kind = boolean}};
constexpr OptionRule events_options[] = {{.name = "stats", .kind = boolean}, {"interval"}};
constexpr OptionRule checkpoint_options[] = {{"image-path"}, {"work-path"}, {"bundle", 'b'}, {"detach", 'd', boolean}};

constexpr WordCount none{0, 0};
constexpr WordCount id{1, 1};
constexpr OptionsEnd anywhere = OptionsEnd::at_double_dash;

int not_implemented_checkpoint(const Context&, const Options&) { fail(ErrorKind::not_implemented, "not implemented: checkpoint"); }
int not_implemented_restore(const Context&, const Options&) { fail(ErrorKind::not_implemented, "not implemented: restore"); }

constexpr Command table[] = {
    {"create", "ID", "create a container", create_options, id, anywhere, true, create},
    {"start", "ID", "execute the program of a created container", {}, id, anywhere, false, start},
    {"run", "ID", "create and start a container", run_options, id, anywhere, true, run},
    {"exec",
     "ID PROGRAM [ARG...]",
     "run a further process in a container",
     exec_options,
     {1, any_number},
     OptionsEnd::at_second_argument,
     true,
     exec},
    {"state", "ID", "print the state of a container", {}, id, anywhere, false, state_command},
    {"list", "", "list containers", list_options, none, anywhere, false, list_command},
    {"ps",
     "ID [OPTIONS OF PS]",
     "list the processes of a container",
     ps_options,
     {1, any_number},
     OptionsEnd::at_first_argument,
     false,
     ps},
    {"kill", "ID [SIGNAL]", "send a signal (SIGTERM) to a container's init", kill_options, {1, 2}, anywhere, false, kill_command},
    {"delete", "ID", "delete a container", delete_options, id, anywhere, false, delete_command},
    {"pause", "ID", "stop all processes of a container", {}, id, anywhere, false, pause},
    {"resume", "ID", "let them go on", {}, id, anywhere, false, resume},
    {"update", "ID", "change the limits of a container", update_options, id, anywhere, false, update},
    {"events", "ID", "print a container's statistics and what happens to it", events_options, id, anywhere, false, events},
    {"spec", "", "write a config.json to begin with", spec_options, none, anywhere, false, spec},
    {"features", "", "print what this runtime can do", {}, none, anywhere, false, features},
    {"checkpoint", "ID", "not implemented", checkpoint_options, {0, any_number}, anywhere, false, not_implemented_checkpoint},
    {"restore", "ID", "not implemented", checkpoint_options, {0, any_number}, anywhere, false, not_implemented_restore},
};

}  // namespace

std::span<const Command> commands() { return table; }

}  // namespace grua::app
