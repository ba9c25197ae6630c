#include "cli/build/display.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

namespace grua::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kept_lines = 10'000;  ///< Of a step that is not shown at the time.
constexpr std::size_t last_lines = 10;      ///< Of a failed step, once more at the end.
constexpr auto between_prints = 100ms;
constexpr auto between_amounts = 5s;  ///< Of a status that goes on.
constexpr double amount_step = 0.05;  ///< Of it, that is told at once.
constexpr double least_shown = 5;     ///< Seconds that a step stays, where others have something to say.
constexpr auto longest_wait = 10s;    ///< Of another one.

}  // namespace

PlainDisplay::PlainDisplay() : trace_(kept_lines) {}

std::string failed_output(const BuildTrace& trace, std::size_t most_lines) {
    std::string out;
    for (const BuildStep* step : trace.steps()) {
        if (!step->has_failed()) continue;
        out += fmt::format("------\n > {}:\n", step->name());
        const auto& lines = step->lines();
        for (std::size_t index = lines.size() - std::min(lines.size(), most_lines); index < lines.size(); ++index)
            out += lines[index] + "\n";
        if (!step->open_line().empty()) out += step->open_line() + "\n";
        out += "------\n";
    }
    return out;
}

std::string PlainDisplay::take(const wire::control::StatusResponse& told, Time now) {
    trace_.take(told, now);
    for (BuildStep* each : trace_.take_changed()) {
        waiting_.insert(each);
        Shown& shown = shown_[each];
        if (shown.events++ == 0) shown.waits_since = now;
    }
    if (printed_ && now - *printed_ < between_prints) return {};
    return print(now);
}

std::string PlainDisplay::tick(Time now) { return print(now); }

std::string PlainDisplay::finish(Time now) { return print(now) + failed_output(trace_, last_lines); }

std::string PlainDisplay::print(Time now) {
    printed_ = now;
    std::string out;
    std::vector<BuildStep*> completed;
    std::set<BuildStep*> running;
    for (BuildStep* each : waiting_) {
        if (each->is_completed())
            completed.push_back(each);
        else
            running.insert(each);
    }
    std::ranges::sort(completed, {}, [](const BuildStep* step) { return step->completed(); });
    BuildStep* const before = current_;
    // What has been begun is ended first.
    if (std::ranges::find(completed, before) != completed.end()) show(*before, out);
    for (BuildStep* each : completed)
        if (each != before) show(*each, out);
    if (running.contains(current_)) show(*current_, out);
    if (running.empty() && !current_) {
        for (BuildStep* each : trace_.steps())
            if (!each->is_completed()) running.insert(each);
    }
    if (BuildStep* next = choose(running, now)) show(*next, out);
    return out;
}

/// Another step than the present one, which is to be shown now. Nothing where that goes on.
BuildStep* PlainDisplay::choose(const std::set<BuildStep*>& running, Time now) {
    const auto speed = [&](const BuildStep* step) {
        const Shown& shown = shown_[step];
        const auto waited = std::max<std::chrono::nanoseconds>(now - shown.waits_since, 1ms);
        return static_cast<double>(shown.events) / std::chrono::duration<double>(waited).count();
    };
    BuildStep* best = nullptr;
    double sum = current_ ? speed(current_) : 0;
    for (BuildStep* each : running) {
        if (each == current_) continue;
        sum += speed(each);
        if (current_ && now - shown_[each].waits_since > longest_wait) return each;
        if (!best || speed(each) > speed(best)) best = each;
    }
    if (!best || !current_) return best;
    const double share = speed(current_) / sum;
    const double shown_for = std::chrono::duration<double>(now - shown_[current_].waits_since).count();
    return shown_for * (1 - share) > least_shown ? best : nullptr;
}

bool PlainDisplay::has_open_status(const BuildStep& step) {
    return std::ranges::any_of(step.statuses(), [](const StepStatus& each) { return !each.completed; });
}

void PlainDisplay::show(BuildStep& step, std::string& out) {
    Shown& shown = shown_[&step];
    waiting_.erase(&step);
    if (shown.number == 0) shown.number = ++numbers_;
    if (&step != current_) {
        if (current_) {
            Shown& old = shown_[current_];
            if (old.open > 0) out += '\n';
            old.open = 0;
            old.events = 0;
            out += fmt::format("#{} ...\n", old.number);
        }
        out += is_first_ ? "#0 building with \"default\" instance using grua driver\n\n" : "\n";
        is_first_ = false;
        out += fmt::format("#{} {}\n", shown.number, step.name());
    }
    show_statuses(step, shown, out);
    for (; shown.warnings < step.warnings().size(); ++shown.warnings)
        out += fmt::format("#{} WARN: {}\n", shown.number, step.warnings()[shown.warnings]);
    show_lines(step, shown, out);
    current_ = &step;
    if (!step.is_completed() || has_open_status(step)) return;
    current_ = nullptr;
    show_end(step, shown, out);
}

void PlainDisplay::show_statuses(BuildStep& step, Shown& shown, std::string& out) {
    for (const StepStatus& each : step.statuses()) {
        const auto [known, is_new] = shown.statuses.try_emplace(each.id, each);
        StepStatus& last = known->second;
        if (!is_new) {
            const bool is_same = last.time == each.time && last.current == each.current && last.completed == each.completed;
            const double advance = each.total > 0 ? static_cast<double>(each.current - last.current) / static_cast<double>(each.total) : 0;
            if (is_same || (!each.completed && advance < amount_step && each.time - last.time < between_amounts)) continue;
            last = each;
        }
        const std::string amount = amount_text(each);
        const auto took = each.completed.value_or(each.time) - each.started.value_or(each.time);
        out += fmt::format("#{} {}{}{}{}{}\n", shown.number, each.id, amount.empty() ? "" : " ", amount,
                           took > 10ms ? " " + seconds_text(took) : "", each.completed ? " done" : "");
    }
}

void PlainDisplay::show_lines(BuildStep& step, Shown& shown, std::string& out) {
    const auto& lines = step.lines();
    for (std::size_t index = lines.size() - step.take_new_lines(); index < lines.size(); ++index) {
        if (shown.open > 0)
            out += lines[index].substr(std::min(shown.open, lines[index].size())) + "\n";
        else
            out += fmt::format("#{} {}\n", shown.number, lines[index]);
        shown.open = 0;
    }
    const std::string& open = step.open_line();
    if (open.empty()) return;
    if (shown.open == 0) out += fmt::format("#{} ", shown.number);
    out += open.substr(std::min(shown.open, open.size()));
    shown.open = open.size();
}

void PlainDisplay::show_end(const BuildStep& step, Shown& shown, std::string& out) {
    if (shown.open > 0) out += '\n';
    shown.open = 0;
    shown.events = 0;
    if (step.is_cancelled())
        out += fmt::format("#{} CANCELED\n", shown.number);
    else if (!step.error().empty())
        out += fmt::format("#{} ERROR: {}\n", shown.number, step.error());
    else if (step.is_cached())
        out += fmt::format("#{} CACHED\n", shown.number);
    else
        out += fmt::format("#{} DONE {}\n", shown.number, seconds_text(step.duration(step.completed())));
}

}  // namespace grua::cli
