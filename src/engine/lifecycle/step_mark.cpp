#include "engine/lifecycle/step_mark.hpp"

#include "base/codec.hpp"
#include "base/files.hpp"
#include "engine/lifecycle/run_parts.hpp"

#include <optional>

namespace grua::engine {
namespace {

constexpr auto mark_name = "/step.json";
constexpr std::size_t longest_mark = std::size_t{64} << 10U;

struct Mark {
    std::string cgroup_path;  ///< It may have been asked for elsewhere than below the engine's own.
    template <typename Self = Mark>
    static json::Fields fields() {
        return json::Fields{json::field("cgroup_path", &Self::cgroup_path)};
    }
};

/// Nothing where there is none: then nothing was begun.
std::optional<Mark> read_mark(const std::string& live) {
    try {
        return json::parse<Mark>(read_file(live + mark_name, longest_mark));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return std::nullopt;
        throw;
    }
}

}  // namespace

void write_step_mark(const std::string& live, const std::string& cgroup_path) {
    replace_file(live + mark_name, json::dump(Mark{.cgroup_path = cgroup_path}, {1, 999}), 0600);
}

void end_leftover_step(tasks::Tasks& tasks, const std::string& live) {
    if (const auto mark = read_mark(live)) {
        // It answers when it has made what it was asked for, or could not: what runs is in the cgroup then. Let go of, it ends.
        const auto found = tasks.find(live, mark->cgroup_path);
        tasks.end_cgroup(mark->cgroup_path);
    }
    remove_tree(live);
}

}  // namespace grua::engine
