#include "build/cache_key.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <set>

namespace grua::build {
namespace {

constexpr std::string_view version = "1";  ///< Another one where an operation gives something else than before.

/// What says nothing of the result is left out: proxies and names of hosts that a build happens to run behind, limits.
void forget_surroundings(pb::ExecOp& exec) {
    pb::Meta& meta = *exec.mutable_meta();
    meta.clear_proxy_env();
    meta.clear_cgroupparent();
    for (pb::Mount& mount : *exec.mutable_mounts()) mount.clear_resultid();
}

void plan_exec(const pb::ExecOp& exec, std::vector<InputUse>& inputs) {
    std::set<std::int64_t> whole;
    for (const pb::Mount& mount : exec.mounts()) {
        if (mount.input() < 0 || mount.input() >= static_cast<std::int64_t>(inputs.size())) continue;
        if (!mount.readonly() || mount.dest() == "/" || mount.output() >= 0 || mount.contentcache() == pb::MOUNT_CONTENT_CACHE_OFF) {
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

}  // namespace

KeyPlan plan_key(const pb::Op& op) {
    KeyPlan out;
    out.inputs.resize(static_cast<std::size_t>(op.inputs_size()));
    pb::Op own = op;
    // They count by what they are, not by how they are called.
    own.clear_inputs();
    own.clear_constraints();
    if (own.has_exec()) {
        plan_exec(own.exec(), out.inputs);
        forget_surroundings(*own.mutable_exec());
    }
    if (own.has_file()) plan_files(own.file(), out.inputs);
    // From whom a layout comes says nothing of what is in it.
    if (own.has_source())
        for (const char* each : {"oci.session", "oci.store"}) own.mutable_source()->mutable_attrs()->erase(each);
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
