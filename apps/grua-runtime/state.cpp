#include "state.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "linux/process.hpp"
#include "runtime/container.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <algorithm>
#include <memory>

namespace grua::app {

namespace {

bool is_id(std::string_view text) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-' || c == '.';
    };
    return !text.empty() && text != "." && text != ".." && text.size() <= 1024 && std::ranges::all_of(text, allowed);
}

}  // namespace

void check_id(const std::string& id) {
    if (id.empty()) fail(ErrorKind::invalid_argument, "container id cannot be empty");
    if (!is_id(id)) fail(ErrorKind::invalid_argument, "invalid container ID format");
}

NewFolder::NewFolder(std::string root, std::string id) : root_(std::move(root)), id_(std::move(id)) {
    check_id(id_);
    grua::make_directories(root_, 0711);
    const std::string path = root_ + "/" + id_;
    if (::mkdir(path.c_str(), 0700) != 0) {
        if (errno == EEXIST) fail(ErrorKind::conflict, "container with given ID already exists");
        fail_errno("create {}", path);
    }
    lock_ = Fd{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!lock_ || ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
        lock_ = Fd{};
        fail(ErrorKind::conflict, "container {} is being deleted", id_);  // As a leftover, in the moment since mkdir.
    }
}

NewFolder::~NewFolder() {
    if (!lock_) return;
    try {
        remove_folder(root_, id_);
    } catch (const Error& error) {
        log::warn("{}", error.what());
    }
}

void remove_folder(const std::string& root, const std::string& id) {
    const std::string directory = root + "/" + id;
    for (const char* name : {"/exec.fifo", "/state.json"}) {
        if (::unlink((directory + name).c_str()) != 0 && errno != ENOENT) fail_errno("remove {}{}", directory, name);
    }
    if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) fail_errno("remove {}", directory);
}

bool remove_leftover(const std::string& root, const std::string& id) {
    check_id(id);
    const Fd folder{::open((root + "/" + id).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)};
    if (!folder) return false;
    if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) fail(ErrorKind::conflict, "container {} is being created", id);
    if (find(root, id)) return false;  // Finished meanwhile.
    remove_folder(root, id);
    return true;
}

void save(const std::string& root, const State& state) {
    replace_file(root + "/" + state.id + "/state.json", json::dump(state, {1, 0}), 0600);
}

std::optional<State> find(const std::string& root, const std::string& id) {
    check_id(id);
    try {
        return json::parse<State>(read_file(root + "/" + id + "/state.json", std::size_t{16} << 20U));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return std::nullopt;
        throw;
    }
}

State load(const std::string& root, const std::string& id) {
    auto state = find(root, id);
    if (!state) fail(ErrorKind::not_found, "container does not exist");
    return std::move(*state);
}

std::vector<State> load_all(const std::string& root) {
    std::vector<State> all;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(root.c_str()), ::closedir};
    if (!directory) return all;
    while (const dirent* entry = ::readdir(directory.get())) {
        if (entry->d_name[0] == '.' || !is_id(entry->d_name)) continue;
        if (auto state = find(root, entry->d_name)) all.push_back(std::move(*state));  // Else it is being made or deleted.
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

Fd open_init(const State& state) {
    if (state.start_time == 0 || state.pid <= 0) return {};
    try {
        // Looked at after it is held: then it cannot become another one's.
        Fd pidfd = linux::open_pidfd(state.pid);
        return start_time_of(state.pid) == state.start_time ? std::move(pidfd) : Fd{};
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return {};
        throw;
    }
}

linux::Cgroup cgroup_of(const State& state) {
    if (state.cgroup.empty()) return linux::Cgroup::none();
    const auto path = linux::CgroupPath::parse(state.cgroup);
    try {
        return linux::Cgroup::open(linux::CgroupMounts::detect(), path);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return linux::Cgroup::none();  // Removed by somebody.
        throw;
    }
}

std::string status_of(const std::string& root, const State& state) {
    if (!open_init(state)) return "stopped";
    if (cgroup_of(state).frozen()) return "paused";
    return runtime::waits_for_start(root + "/" + state.id) ? "created" : "running";
}

}  // namespace grua::app
