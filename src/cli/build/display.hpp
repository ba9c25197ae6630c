// A build as people, or programs, want to see it. A display turns what is told into the bytes to write and does nothing else.
#pragma once

#include "cli/build/trace.hpp"
#include "cli/create.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace grua::cli {

class BuildDisplay {
public:
    virtual ~BuildDisplay() = default;
    virtual std::string take(const wire::control::StatusResponse& told, Time now) = 0;
    /// When time has passed.
    virtual std::string tick(Time now) = 0;
    /// The last of it; also what failed steps have printed.
    virtual std::string finish(Time now) = 0;
    virtual void resize(ConsoleSize size) { static_cast<void>(size); }
    virtual const std::vector<wire::control::VertexWarning>& warnings() const = 0;
};

/// Lines as `docker build --progress=plain` writes them: one step at a time, others when they wait too long or have more to say.
class PlainDisplay final : public BuildDisplay {
public:
    PlainDisplay();
    std::string take(const wire::control::StatusResponse& told, Time now) override;
    std::string tick(Time now) override;
    std::string finish(Time now) override;
    const std::vector<wire::control::VertexWarning>& warnings() const override { return trace_.warnings(); }

private:
    struct Shown {
        std::size_t number = 0;
        std::size_t warnings = 0;
        std::size_t open = 0;    ///< Bytes of its open line that are on the screen.
        std::size_t events = 0;  ///< Since it was shown, or since it began.
        Time waits_since{};
        std::map<std::string, StepStatus> statuses;  ///< As they were written last.
    };

    std::string print(Time now);
    void show(BuildStep& step, std::string& out);
    void show_statuses(BuildStep& step, Shown& shown, std::string& out);
    void show_lines(BuildStep& step, Shown& shown, std::string& out);
    void show_end(const BuildStep& step, Shown& shown, std::string& out);
    BuildStep* choose(const std::set<BuildStep*>& running, Time now);
    static bool has_open_status(const BuildStep& step);

    BuildTrace trace_;
    std::map<const BuildStep*, Shown> shown_;
    std::set<BuildStep*> waiting_;  ///< Changed, and not yet shown.
    BuildStep* current_ = nullptr;
    std::size_t numbers_ = 0;
    bool is_first_ = true;
    std::optional<Time> printed_;
};

struct LiveStyle {
    bool colour = false;
    ConsoleSize size;
};

/// Redrawn in place: what runs with its last lines, what has been done with its times.
class LiveDisplay final : public BuildDisplay {
public:
    explicit LiveDisplay(LiveStyle style);
    std::string take(const wire::control::StatusResponse& told, Time now) override;
    std::string tick(Time now) override;
    std::string finish(Time now) override;
    void resize(ConsoleSize size) override { style_.size = size; }
    const std::vector<wire::control::VertexWarning>& warnings() const override { return trace_.warnings(); }

private:
    struct Line {
        std::string left;
        std::string right;
        const char* colour = "";
        bool is_live = false;  ///< Of something that still runs.
    };

    std::string frame(Time now, bool is_last);
    void add_step(const BuildStep& step, Time now, std::size_t tail, std::vector<Line>& out) const;
    std::string text_of(const Line& line) const;

    LiveStyle style_;
    BuildTrace trace_;
    std::size_t drawn_ = 0;  ///< Lines of the frame that is on the screen.
    std::optional<Time> painted_;
};

/// One JSON object for each message, with docker's names.
class JsonDisplay final : public BuildDisplay {
public:
    std::string take(const wire::control::StatusResponse& told, Time now) override;
    std::string tick(Time) override { return {}; }
    std::string finish(Time) override { return {}; }
    const std::vector<wire::control::VertexWarning>& warnings() const override { return warnings_; }

private:
    std::vector<wire::control::VertexWarning> warnings_;
};

class QuietDisplay final : public BuildDisplay {
public:
    std::string take(const wire::control::StatusResponse&, Time) override { return {}; }
    std::string tick(Time) override { return {}; }
    std::string finish(Time) override { return {}; }
    const std::vector<wire::control::VertexWarning>& warnings() const override { return warnings_; }

private:
    std::vector<wire::control::VertexWarning> warnings_;
};

/// What steps have printed that failed, the last lines of each.
std::string failed_output(const BuildTrace& trace, std::size_t most_lines);

}  // namespace grua::cli
