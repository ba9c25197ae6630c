// What a build has told so far: its steps in the order in which they began, how far they are, what they have printed. Pure.
#pragma once

#include "base/text.hpp"
#include "build/wire/control.pb.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace grua::cli {

/// "transferring context: 2kB", within a step.
struct StepStatus {
    std::string id;
    std::int64_t current = 0;
    std::int64_t total = 0;
    Time time{};
    std::optional<Time> started;
    std::optional<Time> completed;
};

class BuildStep {
public:
    explicit BuildStep(std::string digest) : digest_(std::move(digest)) {}

    const std::string& digest() const noexcept { return digest_; }
    const std::string& name() const noexcept { return name_; }
    const std::string& error() const noexcept { return error_; }
    bool is_cached() const noexcept { return is_cached_; }
    bool is_cancelled() const { return error_.ends_with("context canceled"); }
    bool has_failed() const { return !error_.empty() && !is_cancelled(); }

    bool has_started() const noexcept { return !runs_.empty(); }
    bool is_completed() const { return has_started() && runs_.rbegin()->second.has_value(); }
    Time completed() const { return runs_.rbegin()->second.value_or(Time{}); }
    /// The time in which it ran, once or more often, until `now`, which is the engine's.
    std::chrono::nanoseconds duration(Time now) const;

    /// In the order in which they began.
    const std::vector<StepStatus>& statuses() const noexcept { return statuses_; }
    const std::vector<std::string>& warnings() const noexcept { return warnings_; }

    /// Whole lines, each with its time in the step, oldest first; not more than were to be kept.
    const std::deque<std::string>& lines() const noexcept { return lines_; }
    /// Of them, how many came since this was asked the last time.
    std::size_t take_new_lines();
    /// A line without its end, with its time; empty where there is none.
    const std::string& open_line() const noexcept { return open_line_; }

private:
    friend class BuildTrace;
    void print(std::string_view bytes, Time time, std::size_t kept);

    std::string digest_;
    std::string name_;
    std::string error_;
    bool is_cached_ = false;
    bool is_hidden_ = false;
    std::map<Time, std::optional<Time>> runs_;
    std::map<std::string, wire::control::Vertex> members_;  ///< Where it stands for a group.
    std::vector<StepStatus> statuses_;
    std::vector<std::string> warnings_;
    std::deque<std::string> lines_;
    std::size_t new_lines_ = 0;
    std::string open_line_;
};

class BuildTrace {
public:
    /// Of each step's output, so many lines are kept.
    explicit BuildTrace(std::size_t kept_lines) : kept_lines_(kept_lines) {}

    /// What an engine can make us keep is bounded: more steps, statuses and warnings than these are not looked at.
    static constexpr std::size_t step_limit = 100'000;
    static constexpr std::size_t status_limit = 10'000;
    static constexpr std::size_t line_limit = std::size_t{16} << 10U;

    void take(const wire::control::StatusResponse& told, Time now);

    /// Those that have begun, in that order.
    const std::vector<BuildStep*>& steps() const noexcept { return order_; }
    /// Those of them that something has become of since this was asked the last time.
    std::set<BuildStep*> take_changed() { return std::exchange(changed_, {}); }
    const std::vector<wire::control::VertexWarning>& warnings() const noexcept { return warnings_; }

    std::size_t count() const;
    std::size_t completed_count() const;

    /// Since the first step began, by our clock.
    std::chrono::nanoseconds duration(Time now) const;
    /// The engine's clock, as far as we know it.
    Time engine_time(Time now) const { return now - skew_.value_or(Time::duration{0}); }

private:
    BuildStep* find(const std::string& digest);
    BuildStep* find_or_add(const std::string& digest);
    void take_step(const wire::control::Vertex& vertex, Time now);
    void take_member(const wire::control::Vertex& vertex, Time now);
    void take_status(const wire::control::VertexStatus& status);
    void begin(BuildStep& step, Time now);

    std::size_t kept_lines_;
    std::map<std::string, std::unique_ptr<BuildStep>> steps_;
    std::map<std::string, std::string> groups_;  ///< Of members, by their digests.
    std::vector<BuildStep*> order_;
    std::set<BuildStep*> begun_;
    std::set<BuildStep*> changed_;
    std::vector<wire::control::VertexWarning> warnings_;
    std::optional<Time::duration> skew_;
    std::optional<Time> started_;
};

Time to_time(const wire::common::Timestamp& time);

/// "0.123 " to "123.4 ": the seconds of a line.
std::string line_time(std::chrono::nanoseconds time);

/// "12B", "1.50kB", "3.40MB / 3.40MB"; empty where nothing is known.
std::string amount_text(const StepStatus& status);

/// "1.2s"
std::string seconds_text(std::chrono::nanoseconds time);

}  // namespace grua::cli
