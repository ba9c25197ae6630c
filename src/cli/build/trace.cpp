#include "cli/build/trace.hpp"

#include "base/utf8.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace grua::cli {
namespace {

constexpr double nanosecond = 1e-9;

std::string bytes_text(std::int64_t bytes) {
    constexpr std::array units{"kB", "MB", "GB", "TB", "PB", "EB"};
    constexpr double step = 1000;
    if (bytes < 1000) return fmt::format("{}B", bytes);
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (value /= step; value >= step && unit + 1 < units.size(); value /= step) ++unit;
    return fmt::format("{:.2f}{}", value, units[unit]);
}

}  // namespace

Time to_time(const wire::common::Timestamp& time) {
    return Time(std::chrono::seconds(time.seconds()) + std::chrono::nanoseconds(time.nanos()));
}

std::string seconds_text(std::chrono::nanoseconds time) { return fmt::format("{:.1f}s", static_cast<double>(time.count()) * nanosecond); }

std::string line_time(std::chrono::nanoseconds time) {
    const double seconds = static_cast<double>(time.count()) * nanosecond;
    return fmt::format("{:.{}f} ", seconds, seconds < 10 ? 3 : seconds < 100 ? 2 : 1);
}

std::string amount_text(const StepStatus& status) {
    if (status.total != 0) return bytes_text(status.current) + " / " + bytes_text(status.total);
    return status.current != 0 ? bytes_text(status.current) : std::string();
}

std::chrono::nanoseconds BuildStep::duration(Time now) const {
    std::chrono::nanoseconds out{0};
    Time covered{};
    for (const auto& [started, completed] : runs_) {
        const Time end = completed.value_or(std::max(now, started));
        const Time begin = std::max(started, covered);
        if (end > begin) out += end - begin;
        covered = std::max(covered, end);
    }
    return out;
}

std::size_t BuildStep::take_new_lines() { return std::min(std::exchange(new_lines_, 0), lines_.size()); }

void BuildStep::print(std::string_view bytes, Time time, std::size_t kept) {
    while (!bytes.empty()) {
        const std::size_t end = bytes.find('\n');
        if (open_line_.empty())
            open_line_ = line_time(runs_.empty() ? Time::duration{0} : std::max(Time::duration{0}, time - runs_.rbegin()->first));
        const std::size_t room = BuildTrace::line_limit - std::min(open_line_.size(), BuildTrace::line_limit);
        open_line_ += bytes.substr(0, std::min(end, room));
        if (end == std::string_view::npos) return;
        bytes.remove_prefix(end + 1);
        lines_.push_back(std::exchange(open_line_, {}));
        ++new_lines_;
        if (lines_.size() > kept) lines_.pop_front();
    }
}

BuildStep* BuildTrace::find(const std::string& digest) {
    const auto group = groups_.find(digest);
    const auto found = steps_.find(group != groups_.end() ? group->second : digest);
    return found != steps_.end() ? found->second.get() : nullptr;
}

BuildStep* BuildTrace::find_or_add(const std::string& digest) {
    if (const auto found = steps_.find(digest); found != steps_.end()) return found->second.get();
    if (steps_.size() >= step_limit) return nullptr;
    return steps_.emplace(digest, std::make_unique<BuildStep>(digest)).first->second.get();
}

void BuildTrace::begin(BuildStep& step, Time now) {
    if (!begun_.insert(&step).second) return;
    const Time first = step.runs_.begin()->first;
    if (!skew_) skew_ = now - first;
    if (!started_) started_ = now;
    order_.push_back(&step);
}

void BuildTrace::take_step(const wire::control::Vertex& vertex, Time now) {
    BuildStep* step = find_or_add(vertex.digest());
    if (!step) return;
    // What was told twice before it began takes nothing back.
    const bool is_repeated = step->has_started() && !vertex.has_started();
    if (!is_repeated) {
        step->name_ = to_valid_utf8(vertex.name());
        step->is_cached_ = vertex.cached();
        step->error_ = to_valid_utf8(vertex.error());
    }
    if (!vertex.has_started()) return;
    step->runs_[to_time(vertex.started())] = vertex.has_completed() ? std::optional(to_time(vertex.completed())) : std::nullopt;
    begin(*step, now);
    changed_.insert(step);
}

/// A group is one step: cached where all of it is, failed where one has, and not seen while only helpers of it have begun.
void BuildTrace::take_member(const wire::control::Vertex& vertex, Time now) {
    const auto& group = vertex.progressgroup();
    BuildStep* step = find_or_add(group.id());
    if (!step) return;
    if (step->members_.empty()) step->is_hidden_ = true;
    step->name_ = to_valid_utf8(group.name());
    groups_[vertex.digest()] = group.id();
    step->members_[vertex.digest()] = vertex;
    step->is_cached_ = true;
    step->error_.clear();
    for (const auto& [digest, member] : step->members_) {
        step->is_cached_ = step->is_cached_ && member.cached();
        if (step->error_.empty()) step->error_ = to_valid_utf8(member.error());
        if (!member.has_started()) continue;
        step->runs_[to_time(member.started())] = member.has_completed() ? std::optional(to_time(member.completed())) : std::nullopt;
        if (!member.progressgroup().weak()) step->is_hidden_ = false;
    }
    if (!step->error_.empty()) step->is_hidden_ = false;
    if (step->is_hidden_ || !step->has_started()) return;
    begin(*step, now);
    changed_.insert(step);
}

void BuildTrace::take_status(const wire::control::VertexStatus& status) {
    BuildStep* step = find(status.vertex());
    if (!step || !status.has_started()) return;
    const std::string id = to_valid_utf8(status.id());
    auto found = std::ranges::find(step->statuses_, id, &StepStatus::id);
    if (found == step->statuses_.end()) {
        if (step->statuses_.size() >= status_limit) return;
        found = step->statuses_.insert(found, StepStatus{.id = id});
    }
    found->current = status.current();
    found->total = status.total();
    found->time = to_time(status.timestamp());
    found->started = to_time(status.started());
    found->completed = status.has_completed() ? std::optional(to_time(status.completed())) : std::nullopt;
    if (begun_.contains(step)) changed_.insert(step);
}

void BuildTrace::take(const wire::control::StatusResponse& told, Time now) {
    for (const auto& vertex : told.vertexes()) {
        if (vertex.has_progressgroup())
            take_member(vertex, now);
        else
            take_step(vertex, now);
    }
    for (const auto& status : told.statuses()) take_status(status);
    for (const auto& warning : told.warnings()) {
        BuildStep* step = find(warning.vertex());
        if (!step || warnings_.size() >= status_limit) continue;
        warnings_.push_back(warning);
        step->warnings_.push_back(to_valid_utf8(warning.short_()));
        if (begun_.contains(step)) changed_.insert(step);
    }
    for (const auto& log : told.logs()) {
        BuildStep* step = find(log.vertex());
        if (!step) continue;
        step->print(log.msg(), to_time(log.timestamp()), kept_lines_);
        if (begun_.contains(step)) changed_.insert(step);
    }
}

std::size_t BuildTrace::count() const {
    return static_cast<std::size_t>(std::ranges::count_if(steps_, [](const auto& each) { return !each.second->is_hidden_; }));
}

std::size_t BuildTrace::completed_count() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(steps_, [](const auto& each) { return !each.second->is_hidden_ && each.second->is_completed(); }));
}

std::chrono::nanoseconds BuildTrace::duration(Time now) const { return started_ ? now - *started_ : std::chrono::nanoseconds{0}; }

}  // namespace grua::cli
