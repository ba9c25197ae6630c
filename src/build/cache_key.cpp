#include "build/cache_key.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <set>

namespace grua::build {
namespace {

constexpr std::string_view version = "2";  ///< Another one where an operation gives something else than before.

/// As a Dockerfile has it that says nothing else: "/root/.cache", or with its namespace "ns//root/.cache".
bool is_usual(const pb::CacheOpt& cache, std::string_view destination) {
    if (cache.sharing() != pb::CACHE_SHARING_OPT_SHARED) return false;
    const std::string_view id = cache.id();
    return id == destination || (id.contains('/') && id.substr(id.find('/') + 1) == destination);
}

/// What says nothing of the result is left out, as BuildKit does: proxies that a build happens to run behind, addresses of hosts, limits,
/// and which of several caches is mounted.
void forget_surroundings(pb::ExecOp& exec) {
    pb::Meta& meta = *exec.mutable_meta();
    meta.clear_proxy_env();
    meta.clear_cgroupparent();
    for (pb::HostIP& each : *meta.mutable_extrahosts()) each.clear_ip();
    for (pb::Mount& mount : *exec.mutable_mounts()) {
        mount.clear_resultid();
        if (!mount.has_cacheopt() || is_usual(mount.cacheopt(), mount.dest())) continue;
        mount.mutable_cacheopt()->clear_id();
        mount.mutable_cacheopt()->clear_sharing();
    }
}

/// What a mount may change stays with the step only where it comes out of it: then it comes out with all that is beside it, so it counts
/// whole.
bool counts_by_content(const pb::Mount& mount) {
    if (mount.dest() == "/" || mount.contentcache() == pb::MOUNT_CONTENT_CACHE_OFF) return false;
    return mount.output() < 0 || mount.readonly() || mount.selector().empty() || mount.selector() == "/";
}

bool is_input(std::int64_t number, const std::vector<InputUse>& inputs) {
    return number >= 0 && number < static_cast<std::int64_t>(inputs.size());
}

void plan_exec(const pb::ExecOp& exec, std::vector<InputUse>& inputs) {
    std::set<std::int64_t> whole;
    for (const pb::Mount& mount : exec.mounts()) {
        if (!is_input(mount.input(), inputs)) continue;
        if (!counts_by_content(mount)) {
            whole.insert(mount.input());
            continue;
        }
        InputUse& use = inputs[static_cast<std::size_t>(mount.input())];
        use.by_content = true;
        use.selections.push_back({.path = mount.selector().empty() ? "/" : mount.selector(), .follows_links = true});
    }
    for (const std::int64_t each : whole) inputs[static_cast<std::size_t>(each)] = {};
}

void plan_files(const pb::FileOp& files, std::vector<InputUse>& inputs) {
    const auto count = static_cast<std::int64_t>(inputs.size());
    std::set<std::int64_t> whole;
    const auto needs_names = [&](const pb::ChownOpt& owner) {
        for (const pb::UserOpt* each : {&owner.user(), &owner.group()})
            if (each->has_byname() && each->byname().input() >= 0 && each->byname().input() < count) whole.insert(each->byname().input());
    };
    for (const pb::FileAction& action : files.actions()) {
        if (action.input() >= 0 && action.input() < count) whole.insert(action.input());
        if (action.has_copy()) {
            const pb::FileActionCopy& copy = action.copy();
            needs_names(copy.owner());
            if (action.secondaryinput() < 0 || action.secondaryinput() >= count) continue;
            InputUse& use = inputs[static_cast<std::size_t>(action.secondaryinput())];
            use.by_content = true;
            use.selections.push_back({.path = copy.src(),
                                      .is_wildcard = copy.allowwildcard(),
                                      .follows_links = copy.followsymlink(),
                                      .include = {copy.include_patterns().begin(), copy.include_patterns().end()},
                                      .exclude = {copy.exclude_patterns().begin(), copy.exclude_patterns().end()}});
        }
        if (action.has_mkdir()) needs_names(action.mkdir().owner());
        if (action.has_mkfile()) needs_names(action.mkfile().owner());
        if (action.has_symlink()) needs_names(action.symlink().owner());
    }
    for (const std::int64_t each : whole) inputs[static_cast<std::size_t>(each)] = {};
}

/// Where it was read does not count beside what was read - of an input of which one thing is read: of several it says which is which.
void forget_places(pb::Op& op, const std::vector<InputUse>& inputs) {
    std::vector<std::vector<std::string*>> places(inputs.size());
    if (op.has_exec())
        for (pb::Mount& mount : *op.mutable_exec()->mutable_mounts())
            if (is_input(mount.input(), inputs)) places[static_cast<std::size_t>(mount.input())].push_back(mount.mutable_selector());
    if (op.has_file())
        for (pb::FileAction& action : *op.mutable_file()->mutable_actions())
            if (action.has_copy() && is_input(action.secondaryinput(), inputs))
                places[static_cast<std::size_t>(action.secondaryinput())].push_back(action.mutable_copy()->mutable_src());
    for (std::size_t at = 0; at < inputs.size(); ++at) {
        if (!inputs[at].by_content || places[at].size() != 1) continue;
        std::string& place = *places[at].front();
        // A copy has the last name.
        place = op.has_file() ? place.substr(place.find_last_of('/') + 1) : std::string();
    }
}

}  // namespace

KeyPlan plan_key(const pb::Op& op) {
    KeyPlan out;
    out.inputs.resize(static_cast<std::size_t>(op.inputs_size()));
    pb::Op own = op;
    // They count by what they are, not by how they are called.
    own.clear_inputs();
    own.clear_constraints();
    if (own.has_source()) {
        // Its key says what it is. How it is called, and from where it comes, does not change that.
        const std::string& identifier = op.source().identifier();
        own.Clear();
        own.mutable_source()->set_identifier(identifier.substr(0, identifier.find(':')));
    }
    // Files are the same on each.
    if (!own.has_exec()) own.clear_platform();
    if (own.has_exec()) {
        plan_exec(own.exec(), out.inputs);
        forget_surroundings(*own.mutable_exec());
    }
    if (own.has_file()) plan_files(own.file(), out.inputs);
    forget_places(own, out.inputs);
    for (InputUse& each : out.inputs) {
        std::ranges::sort(each.selections);
        const auto twice = std::ranges::unique(each.selections);
        each.selections.erase(twice.begin(), twice.end());
    }
    out.operation = content::digest_of(fmt::format("{}\n{}", version, to_bytes(own))).text();
    return out;
}

std::string make_key(const KeyPlan& plan, const std::vector<std::string>& inputs) {
    return content::digest_of(plan.operation + "\n" + join(inputs, "\n")).text();
}

std::string key_of_result(std::string_view key, int index) {
    return index == 0 ? std::string(key) : content::digest_of(fmt::format("{}\n{}", key, index)).text();
}

}  // namespace grua::build
