#include "state.hpp"

#include "base/files.hpp"
#include "base/text.hpp"
#include "runtime/container.hpp"

#include <dirent.h>
#include <memory>

namespace grua::app {

void check_id(const std::string& id) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-' || c == '.';
    };
    if (id.empty()) fail(ErrorKind::invalid_argument, "container id cannot be empty");
    if (id == "." || id == ".." || id.size() > 1024 || !std::ranges::all_of(id, allowed))
        fail(ErrorKind::invalid_argument, "invalid container ID format");
}

void save(const std::string& root, const State& state) {
    replace_file(root + "/" + state.id + "/state.json", json::dump(state, {1, 0}), 0600);
}

State load(const std::string& root, const std::string& id) {
    check_id(id);
    try {
        return json::parse<State>(read_file(root + "/" + id + "/state.json", std::size_t{16} << 20U));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) fail(ErrorKind::not_found, "container does not exist");
        throw;
    }
}

std::vector<State> load_all(const std::string& root) {
    std::vector<State> all;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(root.c_str()), ::closedir};
    if (!directory) return all;
    while (const dirent* entry = ::readdir(directory.get())) {
        if (entry->d_name[0] == '.') continue;
        try {
            all.push_back(load(root, entry->d_name));
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::not_found) throw;  // Being deleted.
        }
    }
    std::ranges::sort(all, {}, &State::id);
    return all;
}

std::uint64_t start_time_of(pid_t pid) {
    try {
        const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
        const auto fields = split(std::string_view(stat).substr(stat.rfind(')') + 2), ' ');
        if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return 0;
        return parse_uint(fields[19]).value_or(0);
    } catch (const Error&) {
        return 0;  // Gone.
    }
}

linux::Cgroup cgroup_of(const State& state) {
    return linux::Cgroup::open(linux::CgroupMounts::detect(), linux::CgroupPath::parse(state.cgroup));
}

std::string status_of(const std::string& root, const State& state) {
    if (state.start_time == 0 || start_time_of(state.pid) != state.start_time) return "stopped";
    if (runtime::waits_for_start(root + "/" + state.id)) return "created";
    return cgroup_of(state).frozen() ? "paused" : "running";
}

}  // namespace grua::app
