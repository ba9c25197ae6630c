// What the command line keeps of a container between calls: <root>/<id>/state.json.
#pragma once

#include "base/fd.hpp"
#include "linux/cgroup.hpp"
#include "oci/runtime_spec.hpp"

#include <sys/types.h>
#include <optional>
#include <string>
#include <vector>

namespace grua::app {

struct State {
    std::string id;
    std::string bundle;
    std::string created;
    std::string cgroup;  ///< Empty where none could be made: an ordinary user's container.
    pid_t pid = 0;
    std::uint64_t start_time = 0;  ///< Field 22 of /proc/<pid>/stat: a pid that was given anew has another.
    oci::RuntimeSpec spec;
    template <typename Self = State>
    static json::Fields fields() {
        return json::Fields{json::field("id", &Self::id),           json::field("bundle", &Self::bundle),
                            json::field("created", &Self::created), json::field("cgroup", &Self::cgroup),
                            json::field("pid", &Self::pid),         json::field("startTime", &Self::start_time),
                            json::field("spec", &Self::spec)};
    }
};

/// Throws Error(invalid_argument) for an ID that could be a path.
void check_id(const std::string& id);

/// The folder of a container that is being made: nobody else makes or removes it meanwhile. It goes again, with all in it, unless
/// keep() is called.
class NewFolder {
public:
    /// Throws Error(conflict) where there is one already.
    NewFolder(std::string root, std::string id);
    NewFolder(const NewFolder&) = delete;
    NewFolder& operator=(const NewFolder&) = delete;
    ~NewFolder();

    void keep() noexcept { lock_ = Fd{}; }

private:
    std::string root_;
    std::string id_;
    Fd lock_;
};

void remove_folder(const std::string& root, const std::string& id);

/// A folder without a state is what a create left that was killed. False where there is none; throws Error(conflict) where the
/// container is being made just now.
bool remove_leftover(const std::string& root, const std::string& id);

void save(const std::string& root, const State& state);
std::optional<State> find(const std::string& root, const std::string& id);
/// Throws Error(not_found): "container does not exist".
State load(const std::string& root, const std::string& id);
std::vector<State> load_all(const std::string& root);

/// 0 where there is no such process.
std::uint64_t start_time_of(pid_t pid);
/// A pidfd of the container's init; empty where it has ended.
Fd open_init(const State& state);
/// created, running, paused or stopped.
std::string status_of(const std::string& root, const State& state);
linux::Cgroup cgroup_of(const State& state);

}  // namespace grua::app
