#include "cli/progress.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/context.hpp"
#include "cli/units.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>

namespace grua::cli {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto frame_interval = milliseconds(80);
/// Rates and times go on while no message comes.
constexpr auto idle_interval = milliseconds(500);
constexpr auto rate_window = seconds(4);
constexpr auto rate_grain = milliseconds(200);
constexpr auto stalled_after = seconds(3);
constexpr std::size_t bar_limit = 40;
constexpr std::size_t bar_least = 8;
constexpr std::size_t sizes_width = 15;  // "1.23GB / 9.87GB"
constexpr std::size_t rate_width = 9;    // " 12.3MB/s"
constexpr std::size_t roomy_width = 90;
constexpr std::string_view widest_status = "Verifying Checksum";

constexpr const char* bold = "\x1b[1m";
constexpr const char* faint = "\x1b[2m";
constexpr const char* green = "\x1b[32m";
constexpr const char* yellow = "\x1b[33m";
constexpr const char* cyan = "\x1b[36m";

std::string bytes_text(std::int64_t bytes) { return human_size(static_cast<double>(bytes), 3); }

std::string rate_text(double per_second) { return per_second > 0 ? human_size(per_second, 3) + "/s" : std::string(); }

std::string duration_text(double total) {
    if (total < 10) return fmt::format("{:.1f}s", total);
    const auto whole = static_cast<std::int64_t>(std::llround(total));
    if (whole < 60) return fmt::format("{}s", whole);
    if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
    return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

std::string padded(std::string text, std::size_t width) {
    const std::size_t present = display_width(text);
    if (present < width) text.append(width - present, ' ');
    return text;
}

std::string right(const std::string& text, std::size_t width) {
    const std::size_t present = display_width(text);
    return present < width ? std::string(width - present, ' ') + text : text;
}

bool moves(std::string_view status) {
    return status == "Downloading" || status == "Pushing" || status == "Loading layer" || status == "Importing" || status == "Saving";
}

bool is_final(std::string_view status) {
    constexpr std::array texts{"Pull complete", "Already exists", "Pushed", "Layer already exists",
                               "Exists",        "Skipped",        "Loaded", "Unavailable"};
    return std::ranges::find(texts, status) != texts.end() || status.starts_with("Mounted from");
}

}  // namespace

void TransferRate::add(std::int64_t bytes, Clock::time_point now) {
    if (!samples_.empty() && samples_.back().bytes >= bytes) {
        // A retry begins again: what was before tells nothing.
        if (samples_.back().bytes > bytes)
            samples_.clear();
        else
            return;
    }
    if (samples_.size() > 1 && now - samples_[samples_.size() - 2].time < rate_grain)
        samples_.back() = {now, bytes};
    else
        samples_.push_back({now, bytes});
    while (samples_.size() > 2 && now - samples_.front().time > rate_window) samples_.pop_front();
}

double TransferRate::per_second(Clock::time_point now) const {
    if (samples_.size() < 2 || now - samples_.back().time > stalled_after) return 0;
    const std::chrono::duration<double> span = samples_.back().time - samples_.front().time;
    return span < rate_grain ? 0 : static_cast<double>(samples_.back().bytes - samples_.front().bytes) / span.count();
}

std::string ProgressView::take(const Value& message, Clock::time_point now) {
    const std::string detail = text_at(at(message, "errorDetail"), "message");
    const std::string failed = detail.empty() ? text_at(message, "error") : detail;
    if (!failed.empty()) fail(ErrorKind::system, "{}", printable(failed));
    if (!at(message, "aux").is_null()) return {};

    if (const std::string text = text_at(message, "stream"); !text.empty()) {
        const bool ends = text.ends_with('\n');
        return text_line(printable(text.substr(0, text.size() - (ends ? 1 : 0))) + (ends ? "\n" : ""), now);
    }
    if (style_.kind == ProgressStyle::Kind::quiet) return {};
    const std::string status = printable(text_at(message, "status"));
    const std::string id = printable(text_at(message, "id"));
    if (id.empty()) return status.empty() ? std::string() : text_line(status + "\n", now);

    auto row = std::ranges::find(rows_, id, &Row::id);
    if (row == rows_.end()) {
        // The head of a pull is about a tag, not a layer; some daemons send it with an empty progress.
        const bool head = at(message, "progressDetail").is_null() || status.starts_with("Pulling from ");
        if (head) return text_line(fmt::format("{}: {}\n", id, status), now);
        rows_.push_back({.id = id});
        row = rows_.end() - 1;
    }
    const bool fresh = row->status != status;
    update(*row, message, status, now);
    if (style_.kind == ProgressStyle::Kind::painted) {
        pending_ = true;
        return now - painted_ >= frame_interval ? frame(now, false) : std::string();
    }
    // Without a terminal each new state is one line; the steps between are not told.
    return fresh && row->current == 0 && row->total == 0 ? fmt::format("{}: {}\n", id, status) : std::string();
}

void ProgressView::update(Row& row, const Value& message, const std::string& status, Clock::time_point now) {
    const Value& detail = at(message, "progressDetail");
    row.status = status;
    row.current = std::max<std::int64_t>(number_at(detail, "current"), 0);
    row.total = std::max<std::int64_t>(number_at(detail, "total"), 0);
    row.units = printable(text_at(detail, "units"));
    row.counts = !bool_at(detail, "hidecounts");
    if (moves(status)) {
        row.phase = Phase::moving;
        row.moved = row.current;
        row.size = std::max(row.total, row.current);
        row.rate.add(row.moved, now);
        if (started_ == Clock::time_point{}) started_ = now;
    } else if (is_final(status)) {
        row.phase = Phase::done;
    } else if (row.current > 0 || row.total > 0 || row.size > 0) {
        row.phase = status.starts_with("Retrying") || status == "Waiting" ? Phase::waiting : Phase::working;
    }
    if (row.phase == Phase::working || row.phase == Phase::done) row.moved = row.size;
    std::int64_t all = 0;
    for (const Row& each : rows_) all += each.moved;
    rate_.add(all, now);
}

bool ProgressView::all_done() const {
    return std::ranges::all_of(rows_,
                               [](const Row& row) { return row.phase == Phase::done || (row.total > 0 && row.current >= row.total); });
}

std::string ProgressView::text_line(std::string text, Clock::time_point now) {
    if (style_.kind != ProgressStyle::Kind::painted || rows_.empty()) return text;
    // What belongs to lines that have ended stands below them; a remark in between, above those that go on.
    if (all_done()) return freeze(now) + text;
    std::string out = erase() + text;
    if (!text.ends_with('\n')) out += '\n';
    return out + frame(now, false);
}

std::string ProgressView::tick(Clock::time_point now) {
    if (!is_live()) return {};
    const auto since = now - painted_;
    return (pending_ && since >= frame_interval) || since >= idle_interval ? frame(now, false) : std::string();
}

std::string ProgressView::finish(Clock::time_point now) { return is_live() ? freeze(now) : std::string(); }

std::string ProgressView::freeze(Clock::time_point now) {
    std::string out = frame(now, true);
    rows_.clear();
    drawn_.clear();
    rate_ = {};
    started_ = {};
    return out;
}

/// To the start of the last frame. A narrower window has broken its lines since.
std::string ProgressView::erase() {
    const std::size_t columns = usable_width() + 1;
    std::size_t height = 0;
    for (const std::size_t width : drawn_) height += std::max<std::size_t>((width + columns - 1) / columns, 1);
    drawn_.clear();
    return height == 0 ? std::string() : fmt::format("\x1b[{}A\r\x1b[J", height);
}

std::string ProgressView::frame(Clock::time_point now, bool last) {
    const std::size_t screen = style_.size.rows == 0 ? 24 : style_.size.rows;
    const bool many = rows_.size() > 1;
    std::string hidden;
    std::vector<const Row*> shown;
    if (last) {
        shown = begun(hidden);
    } else {
        // The cursor stands on a line of its own, below.
        shown = visible(std::max<std::size_t>(screen, 4) - 2, hidden);
    }
    const Columns columns = columns_for(shown);
    std::vector<Line> lines;
    lines.reserve(shown.size() + 2);
    for (const Row* row : shown) lines.push_back(row_line(*row, columns, now));
    if (!hidden.empty()) lines.push_back(join_cells({{padded("", columns.id)}, {hidden, faint}}));
    if (many || last) {
        Line total = total_line(columns, now, last);
        if (total.width > 0) lines.push_back(std::move(total));
    }
    std::string out;
    // Lines are written over the old ones: erasing the block first would flicker.
    std::size_t height = 0;
    const std::size_t width = usable_width() + 1;
    for (const std::size_t each : drawn_) height += std::max<std::size_t>((each + width - 1) / width, 1);
    if (height > 0) out += fmt::format("\x1b[{}A\r", height);
    drawn_.clear();
    for (const Line& line : lines) {
        out += line.text + "\x1b[K\n";
        drawn_.push_back(line.width);
    }
    painted_ = now;
    pending_ = false;
    return out + "\x1b[J";
}

/// For the end: after a failure, a long list of what never began tells nothing.
std::vector<const ProgressView::Row*> ProgressView::begun(std::string& hidden) const {
    const auto waits = [](const Row& row) { return row.phase == Phase::waiting && row.size == 0; };
    const auto waiting = static_cast<std::size_t>(std::ranges::count_if(rows_, waits));
    const bool few = waiting < 4;
    std::vector<const Row*> out;
    for (const Row& row : rows_) {
        if (few || !waits(row)) out.push_back(&row);
    }
    if (!few) hidden = fmt::format("and {} waiting", waiting);
    return out;
}

/// What fits: the rows in work first, then those that wait, then the last that are done.
std::vector<const ProgressView::Row*> ProgressView::visible(std::size_t room, std::string& hidden) const {
    std::vector<const Row*> out;
    if (rows_.size() + (rows_.size() > 1 ? 1 : 0) <= room) {
        for (const Row& row : rows_) out.push_back(&row);
        return out;
    }
    std::size_t left = room - std::min<std::size_t>(room, 2);  // The total, and the line about the others.
    std::vector<bool> chosen(rows_.size());
    const auto choose = [&](auto wanted, bool newest_first) {
        for (std::size_t n = 0; n < rows_.size() && left > 0; ++n) {
            const std::size_t i = newest_first ? rows_.size() - 1 - n : n;
            if (chosen[i] || !wanted(rows_[i])) continue;
            chosen[i] = true;
            --left;
        }
    };
    choose([](const Row& row) { return row.phase == Phase::moving || row.phase == Phase::working; }, false);
    choose([](const Row& row) { return row.phase == Phase::waiting; }, false);
    choose([](const Row& row) { return row.phase == Phase::done; }, true);
    std::size_t done = 0;
    std::size_t waiting = 0;
    std::size_t busy = 0;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
        if (chosen[i])
            out.push_back(&rows_[i]);
        else if (rows_[i].phase == Phase::done)
            ++done;
        else if (rows_[i].phase == Phase::waiting)
            ++waiting;
        else
            ++busy;
    }
    std::vector<std::string> parts;
    if (done > 0) parts.push_back(fmt::format("{} done", done));
    if (busy > 0) parts.push_back(fmt::format("{} in work", busy));
    if (waiting > 0) parts.push_back(fmt::format("{} waiting", waiting));
    hidden = "and " + join(parts, ", ");
    return out;
}

std::size_t ProgressView::usable_width() const {
    // The last column stays free: a character there makes some terminals begin a new line.
    return std::max<std::size_t>(style_.size.columns == 0 ? 80 : style_.size.columns, 2) - 1;
}

ProgressView::Columns ProgressView::columns_for(const std::vector<const Row*>& rows) const {
    const std::size_t width = usable_width();
    Columns out;
    out.id = 5;
    for (const Row* row : rows) out.id = std::max(out.id, display_width(row->id));
    out.id = std::min(out.id, std::max<std::size_t>(width / 3, 12));
    // Columns that move with each new state are no pleasure: the widest one of docker's decides where there is room.
    out.status = width >= roomy_width ? widest_status.size() : std::string_view("Downloading").size();
    std::size_t used = out.id + 2 + out.status + 2;
    const auto fits = [&](std::size_t more) { return used + more <= width; };
    out.sizes = fits(sizes_width);
    if (out.sizes) used += sizes_width + 1;
    out.rate = fits(rate_width);
    if (out.rate) used += rate_width + 1;
    out.bar = fits(bar_least + 1) ? std::min(bar_limit, width - used - 1) : 0;
    return out;
}

std::string ProgressView::bar(std::int64_t current, std::int64_t total, std::size_t width) const {
    const std::size_t inner = style_.unicode ? width : width - 2;
    const double share = total > 0 ? std::clamp(static_cast<double>(current) / static_cast<double>(total), 0.0, 1.0) : 0;
    const auto full = static_cast<std::size_t>(share * static_cast<double>(inner));
    std::string out;
    if (style_.unicode) {
        for (std::size_t i = 0; i < inner; ++i) out += i < full ? "━" : i == full && share > 0 ? "╸" : " ";
        return out;
    }
    out.append(full, '=');
    if (full < inner) out += '>';
    out.resize(inner, ' ');
    return "[" + out + "]";
}

ProgressView::Line ProgressView::row_line(const Row& row, const Columns& columns, Clock::time_point now) const {
    const bool waits = row.phase == Phase::waiting;
    const bool retries = row.status.starts_with("Retrying");
    const bool progress = row.phase != Phase::done && (row.current > 0 || row.total > 0);
    const char* colour = row.phase == Phase::done ? green : retries ? yellow : waits ? faint : "";
    std::vector<Cell> cells{{padded(ellipsis(row.id, columns.id), columns.id), waits && !retries ? faint : bold}};
    if (!progress) {
        const std::size_t rest = usable_width() > columns.id + 2 ? usable_width() - columns.id - 2 : 0;
        // A long text, as an error before a retry, may go on over the columns; a size stands where sizes stand.
        if (row.size == 0 || !columns.sizes || display_width(row.status) > columns.status) {
            cells.push_back({ellipsis(row.status, rest), colour});
            return join_cells(cells);
        }
        cells.push_back({padded(row.status, columns.status), colour});
        if (columns.bar > 0) cells.push_back({std::string(columns.bar - 1, ' ')});
        cells.push_back({right(bytes_text(row.size), sizes_width), faint});
        return join_cells(cells);
    }
    cells.push_back({padded(ellipsis(row.status, columns.status), columns.status), colour});
    if (columns.bar > 0)
        cells.push_back({row.total > 0 ? bar(row.current, row.total, columns.bar - 1) : std::string(columns.bar - 1, ' '), cyan});
    if (columns.sizes && row.counts) {
        std::string sizes;
        if (!row.units.empty())
            sizes =
                row.total > 0 ? fmt::format("{}/{} {}", row.current, row.total, row.units) : fmt::format("{} {}", row.current, row.units);
        else if (row.total >= row.current)
            sizes = bytes_text(row.current) + "/" + bytes_text(row.total);
        else
            sizes = bytes_text(row.current);
        cells.push_back({right(sizes, sizes_width)});
    }
    if (columns.rate && row.phase == Phase::moving && row.units.empty()) {
        const double rate = row.rate.per_second(now);
        const bool complete = row.total > 0 && row.current >= row.total;
        const bool stalled = rate <= 0 && !complete && started_ != Clock::time_point{} && now - started_ > stalled_after;
        cells.push_back({right(stalled ? "stalled" : rate_text(rate), rate_width), stalled ? yellow : ""});
    }
    return join_cells(cells);
}

ProgressView::Line ProgressView::total_line(const Columns& columns, Clock::time_point now, bool last) const {
    std::int64_t moved = 0;
    std::int64_t size = 0;
    std::size_t done = 0;
    bool known = true;
    for (const Row& row : rows_) {
        moved += row.moved;
        size += row.size;
        const bool ended = row.phase == Phase::done || (row.total > 0 && row.current >= row.total && row.phase == Phase::moving);
        done += ended ? 1 : 0;
        if (!ended && row.size == 0) known = false;
    }
    if (last) {
        if (moved == 0 || started_ == Clock::time_point{}) return {};
        const std::chrono::duration<double> took = now - started_;
        std::string text = fmt::format("{} in {}", bytes_text(moved), duration_text(took.count()));
        if (took > milliseconds(100)) text += ", " + rate_text(static_cast<double>(moved) / took.count());
        return join_cells({{padded("Total", columns.id), bold}, {text}});
    }
    std::vector<Cell> cells{{padded("Total", columns.id), bold}, {padded(fmt::format("{} of {}", done, rows_.size()), columns.status)}};
    if (size == 0) return join_cells(cells);
    if (columns.bar > 0) cells.push_back({bar(moved, size, columns.bar - 1), cyan});
    if (columns.sizes) cells.push_back({right(bytes_text(moved) + "/" + bytes_text(size), sizes_width)});
    const double rate = rate_.per_second(now);
    if (columns.rate) cells.push_back({right(rate_text(rate), rate_width)});
    if (known && rate > 0 && moved < size) cells.push_back({duration_text(std::ceil(static_cast<double>(size - moved) / rate)) + " left"});
    return join_cells(cells);
}

/// Cells with spaces between; what does not fit is left out whole, the last one cut.
ProgressView::Line ProgressView::join_cells(const std::vector<Cell>& cells) const {
    Line out;
    const std::size_t width = usable_width();
    for (std::size_t i = 0; i < cells.size(); ++i) {
        const std::size_t gap = i == 0 ? 0 : i == 1 ? 2 : 1;
        std::string text = cells[i].text;
        if (i == 0) text = ellipsis(text, width);
        if (out.width + gap + display_width(text) > width) {
            if (i != 1 || out.width + gap + 4 > width) break;
            text = ellipsis(text, width - out.width - gap);
        }
        out.text.append(gap, ' ');
        const bool paint = style_.colour && *cells[i].colour;
        out.text += paint ? cells[i].colour + text + "\x1b[0m" : text;
        out.width += gap + display_width(text);
    }
    return out;
}

}  // namespace grua::cli
