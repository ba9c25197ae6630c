// The daemon's stream of {"id", "status", "progressDetail", "stream", "errorDetail"} messages, as people want to see it: on a terminal
// a line for each layer with its bar, size and rate and a line for all together, redrawn in place; elsewhere one line for each new
// state, as docker writes them.
//
// ProgressView turns messages into the bytes to write and does nothing else: no clock, no descriptor. What is kept true: a frame never
// is higher than the screen and no line of it wraps, so that the next one covers it whole, also after the window's size changed.
#pragma once

#include "cli/create.hpp"
#include "cli/template.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace grua::cli {

struct ProgressStyle {
    enum class Kind { painted, lines, quiet };
    Kind kind = Kind::lines;
    bool colour = false;
    bool unicode = false;
    ConsoleSize size;
};

/// Bytes per second over the last few seconds.
class TransferRate {
public:
    using Clock = std::chrono::steady_clock;

    void add(std::int64_t bytes, Clock::time_point now);
    /// 0 where nothing has moved for a while, or too little time is known.
    double per_second(Clock::time_point now) const;

private:
    struct Sample {
        Clock::time_point time;
        std::int64_t bytes;
    };
    std::deque<Sample> samples_;
};

class ProgressView {
public:
    using Clock = TransferRate::Clock;

    explicit ProgressView(ProgressStyle style) : style_(style) {}

    /// What to write for one message. Throws Error(system) with the text of an error message.
    std::string take(const Value& message, Clock::time_point now);
    /// What to write when time has passed: a frame that was held back, or new rates.
    std::string tick(Clock::time_point now);
    /// Leaves the lines in their last state. Called at the end, after an error too.
    std::string finish(Clock::time_point now);

    void resize(ConsoleSize size) { style_.size = size; }
    /// True where tick() has something to do in time.
    bool is_live() const noexcept { return style_.kind == ProgressStyle::Kind::painted && !rows_.empty(); }

private:
    enum class Phase { waiting, moving, working, done };
    struct Row {
        std::string id;
        std::string status;
        Phase phase = Phase::waiting;
        std::int64_t current = 0;
        std::int64_t total = 0;
        std::string units;  ///< Empty for bytes.
        bool counts = true;
        std::int64_t moved = 0;  ///< Of `size`, over the network or from the archive.
        std::int64_t size = 0;
        TransferRate rate;
    };
    struct Cell {
        std::string text;
        const char* colour = "";
    };
    struct Line {
        std::string text;
        std::size_t width = 0;
    };
    struct Columns {
        std::size_t id = 0;
        std::size_t status = 0;
        std::size_t bar = 0;
        bool sizes = true;
        bool rate = true;
    };

    void update(Row& row, const Value& message, const std::string& status, Clock::time_point now);
    std::string text_line(std::string text, Clock::time_point now);
    std::string frame(Clock::time_point now, bool last);
    std::string erase();
    std::string freeze(Clock::time_point now);

    std::vector<const Row*> visible(std::size_t room, std::string& hidden) const;
    std::vector<const Row*> begun(std::string& hidden) const;
    Columns columns_for(const std::vector<const Row*>& rows) const;
    Line row_line(const Row& row, const Columns& columns, Clock::time_point now) const;
    Line total_line(const Columns& columns, Clock::time_point now, bool last) const;
    Line join_cells(const std::vector<Cell>& cells) const;
    std::string bar(std::int64_t current, std::int64_t total, std::size_t width) const;
    std::size_t usable_width() const;
    bool all_done() const;

    ProgressStyle style_;
    std::vector<Row> rows_;
    TransferRate rate_;
    std::vector<std::size_t> drawn_;  ///< Widths of the lines of the frame that is on the screen.
    Clock::time_point painted_;
    Clock::time_point started_;  ///< When the first byte moved.
    bool pending_ = false;
};

}  // namespace grua::cli
