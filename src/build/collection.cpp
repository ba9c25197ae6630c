#include "build/collection.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace grua::build {
namespace {

using images::rough_time;
using Verdict = images::Decision::Verdict;

class Plan {
public:
    Plan(const std::vector<Collectable>& all, const images::GcPolicy& policy, const images::Disk& disk, std::uint64_t freed, Time now)
        : all_(all), policy_(policy), disk_(disk), freed_(freed), now_(now), children_(all.size()) {
        for (std::size_t at = 0; at < all.size(); ++at) places_.emplace(all[at].entry.id, at);
        for (std::size_t at = 0; at < all.size(); ++at)
            for (const std::size_t parent : parents_of(at)) children_[parent].insert(at);
    }

    std::vector<CollectionStep> make() {
        std::set<std::pair<Time, std::size_t>> next;
        const auto add = [&](std::size_t at) {
            if (why_kept(at).empty()) next.emplace(all_[at].entry.last_used, at);
        };
        for (std::size_t at = 0; at < all_.size(); ++at) add(at);
        std::set<std::size_t> leaving;
        while (!next.empty() && disk_.is_above(policy_.low, freed_)) {
            const std::size_t at = next.extract(next.begin()).value().second;
            leaving.insert(at);
            say(at, Verdict::remove, fmt::format("unused for {}", rough_time(age_of(at))));
            freed_ += out_.back().decision.size;
            for (const std::size_t parent : parents_of(at)) {
                children_[parent].erase(at);
                add(parent);
            }
        }
        for (std::size_t at = 0; at < all_.size(); ++at) {
            if (leaving.contains(at)) continue;
            std::string why = why_kept(at);
            if (why.empty()) why = fmt::format("without the others the disk is below {} %", policy_.low);
            say(at, Verdict::keep, std::move(why));
        }
        return std::move(out_);
    }

private:
    std::vector<std::size_t> parents_of(std::size_t at) const {
        std::vector<std::size_t> out;
        for (const std::string& each : all_[at].entry.parents)
            if (const auto found = places_.find(each); found != places_.end() && found->second != at) out.push_back(found->second);
        return out;
    }

    std::chrono::seconds age_of(std::size_t at) const {
        return std::chrono::duration_cast<std::chrono::seconds>(std::max(now_ - all_[at].entry.last_used, Time::duration{}));
    }

    /// Empty where it may go now.
    std::string why_kept(std::size_t at) const {
        const Collectable& one = all_[at];
        if (!one.kept_for.empty()) return one.kept_for;
        if (one.entry.in_use) return "a build uses it";
        if (age_of(at) < policy_.keep) return fmt::format("used {} ago, kept for {}", rough_time(age_of(at)), rough_time(policy_.keep));
        const unsigned full = disk_.total == 0 ? 0 : static_cast<unsigned>(disk_.used * 100 / disk_.total);
        if (!disk_.is_above(policy_.high)) return fmt::format("the disk is {} % full, caches go above {} %", full, policy_.high);
        if (!children_[at].empty()) return fmt::format("{} was made of it", all_[*children_[at].begin()].entry.id);
        return {};
    }

    void say(std::size_t at, Verdict verdict, std::string reason) {
        const UsageEntry& entry = all_[at].entry;
        // What images have as well goes with them.
        out_.push_back({.at = at,
                        .decision = {.kind = all_[at].kind,
                                     .id = entry.id,
                                     .name = entry.description,
                                     .verdict = verdict,
                                     .reason = std::move(reason),
                                     .size = entry.is_shared ? 0 : entry.bytes}});
    }

    const std::vector<Collectable>& all_;
    const images::GcPolicy& policy_;
    const images::Disk& disk_;
    std::uint64_t freed_;
    const Time now_;
    std::map<std::string_view, std::size_t> places_;
    std::vector<std::set<std::size_t>> children_;  ///< That are not leaving.
    std::vector<CollectionStep> out_;
};

}  // namespace

std::vector<CollectionStep> plan_collection(const std::vector<Collectable>& all, const images::GcPolicy& policy, const images::Disk& disk,
                                            std::uint64_t freed, Time now) {
    return Plan(all, policy, disk, freed, now).make();
}

}  // namespace grua::build
