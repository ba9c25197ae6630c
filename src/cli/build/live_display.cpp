#include "cli/build/display.hpp"

#include "cli/units.hpp"

#include <fmt/format.h>
#include <algorithm>

namespace grua::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kept_lines = 5000;  ///< Of each step, for when it fails.
constexpr std::size_t tail_lines = 6;     ///< Of each that runs.
constexpr std::size_t least_width = 30;
constexpr std::size_t usual_width = 80;
constexpr std::size_t usual_height = 10;
constexpr auto between_frames = 100ms;

constexpr const char* blue = "\x1b[34m";
constexpr const char* red = "\x1b[31m";
constexpr const char* yellow = "\x1b[33m";
constexpr const char* faint = "\x1b[2m";
constexpr const char* plain = "\x1b[0m";

/// What a program that draws with carriage returns leaves of a line.
std::string last_of(std::string_view line) {
    while (line.ends_with('\r')) line.remove_suffix(1);
    return printable(line.substr(line.rfind('\r') + 1));
}

std::string fitted(const std::string& text, std::size_t width) { return display_width(text) > width ? ellipsis(text, width) : text; }

}  // namespace

LiveDisplay::LiveDisplay(LiveStyle style) : style_(style), trace_(kept_lines) {}

std::string LiveDisplay::take(const wire::control::StatusResponse& told, Time now) {
    trace_.take(told, now);
    if (painted_ && now - *painted_ < between_frames) return {};
    return frame(now, false);
}

std::string LiveDisplay::tick(Time now) { return frame(now, false); }

std::string LiveDisplay::finish(Time now) { return frame(now, true) + failed_output(trace_, kept_lines); }

std::string LiveDisplay::text_of(const Line& line) const {
    const std::size_t width = std::max<std::size_t>(style_.size.columns == 0 ? usual_width : style_.size.columns, least_width) - 1;
    const std::size_t right = display_width(line.right);
    std::string left = fitted(line.left, width - right - 1);
    left.append(width - right - display_width(left), ' ');
    if (!style_.colour || !*line.colour) return left + line.right;
    return line.colour + left + line.right + plain;
}

void LiveDisplay::add_step(const BuildStep& step, Time now, std::size_t tail, std::vector<Line>& out) const {
    const Time engine = trace_.engine_time(now);
    const bool runs = !step.is_completed();
    std::string name = step.name();
    std::ranges::replace(name, '\t', ' ');
    Line line{.left = " => ", .right = " " + seconds_text(step.duration(engine)), .is_live = runs};
    if (step.is_cancelled())
        line.left += "CANCELED ";
    else if (step.has_failed())
        line.left += "ERROR ";
    else if (step.is_cached())
        line.left += "CACHED ";
    line.left += printable(name);
    if (!runs) line.colour = step.is_cancelled() ? yellow : step.has_failed() ? red : blue;
    out.push_back(line);
    for (const StepStatus& each : step.statuses()) {
        const auto took = each.completed.value_or(std::max(engine, each.started.value_or(engine))) - each.started.value_or(engine);
        const std::string amount = amount_text(each);
        out.push_back({.left = fmt::format(" => => {}{}{}", printable(each.id), amount.empty() ? "" : " ", amount),
                       .right = " " + seconds_text(took),
                       .colour = each.completed ? blue : "",
                       .is_live = !each.completed});
    }
    for (const std::string& each : step.warnings()) out.push_back({.left = " => WARN: " + printable(each), .right = "", .colour = yellow});
    if (!runs) return;
    std::vector<std::string> lines;
    const auto& all = step.lines();
    for (std::size_t index = all.size() - std::min(all.size(), tail); index < all.size(); ++index) lines.push_back(last_of(all[index]));
    if (!step.open_line().empty()) lines.push_back(last_of(step.open_line()));
    for (std::size_t index = lines.size() - std::min(lines.size(), tail); index < lines.size(); ++index)
        out.push_back({.left = " => => # " + lines[index], .right = "", .colour = faint, .is_live = true});
}

std::string LiveDisplay::frame(Time now, bool is_last) {
    if (trace_.steps().empty() && !is_last) return {};
    painted_ = now;
    const std::size_t done = trace_.completed_count();
    const std::size_t all = trace_.count();
    const std::size_t height = style_.size.rows == 0 ? usual_height : style_.size.rows;
    // The cursor's own line, and the first one.
    const std::size_t room = height > 3 ? height - 2 : 1;
    std::vector<Line> lines;
    for (std::size_t tail = is_last ? 0 : tail_lines;; --tail) {
        lines.clear();
        for (const BuildStep* each : trace_.steps()) add_step(*each, now, tail, lines);
        const auto live = static_cast<std::size_t>(std::ranges::count(lines, true, &Line::is_live));
        if (live <= room || tail == 0) break;
    }
    if (!is_last && lines.size() > room) {
        // What has been done gives way, the oldest first, then what has run for longest.
        std::size_t over = lines.size() - room;
        std::erase_if(lines, [&](const Line& line) { return over > 0 && !line.is_live && over-- > 0; });
        if (lines.size() > room) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(room));
    }
    const bool is_finished = is_last && done == all && all > 0;
    Line head{
        .left = fmt::format("[+] Building {} ({}/{}){}", seconds_text(trace_.duration(now)), done, all, is_finished ? " FINISHED" : ""),
        .right = "grua:default"};
    std::string out = drawn_ > 0 ? fmt::format("\x1b[{}A\r\x1b[J", drawn_) : std::string();
    out += text_of(head) + "\n";
    for (const Line& line : lines) out += text_of(line) + "\n";
    drawn_ = is_last ? 0 : lines.size() + 1;
    return "\x1b[?25l" + out + "\x1b[?25h";
}

}  // namespace grua::cli
