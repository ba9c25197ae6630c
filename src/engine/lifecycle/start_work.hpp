// What the steps of one start share.
#pragma once

#include "engine/lifecycle/lifecycle.hpp"
#include "engine/lifecycle/steps.hpp"

#include <optional>
#include <set>

namespace grua::engine {

struct StartWork : AtStep {
    StartWork(std::shared_ptr<Lifecycle> engine, ContainerPtr whose, const ContainerRecord& before)
        : keeps(std::move(engine)), life(*keeps), container(std::move(whose)), next(before) {}

    std::shared_ptr<Lifecycle> keeps;
    Lifecycle& life;
    ContainerPtr container;  ///< The loop's.
    StartReason reason = StartReason::asked;
    ContainerRecord next;  ///< The one copy; it becomes the record when the program runs.
    Owned owned;

    std::string cgroup_path;
    std::string live;
    std::string hostname;
    bool with_init = false;
    LinkedHosts linked;
    StringList linked_environment;
    std::set<std::string> joined;  ///< Kinds of namespaces of other containers.
    Fd memory_of;                  ///< A process whose /dev/shm it will have.
    Fd sysfs;                      ///< Of the network namespace, until the container has its own.
    tasks::TaskSpec spec;
    std::optional<tasks::Draft> draft;
    bool in_own_words = false;  ///< What fails now is told as it is.
    bool called_off = false;
};

}  // namespace grua::engine
