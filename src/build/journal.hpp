// What a build tells: its operations, how far they are, what they print. Kept from the beginning, for whoever comes late, and for its
// history.
#pragma once

#include "base/clock.hpp"
#include "base/condition.hpp"
#include "build/solver.hpp"
#include "build/wire/control.pb.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// Loop only.
class Journal final : public Audience {
public:
    /// Of what one operation prints; of more it says that there was more.
    static constexpr std::size_t output_limit = std::size_t{2} << 20U;
    /// Of what all of them print, and of what keeping it takes beside.
    static constexpr std::size_t whole_output_limit = std::size_t{64} << 20U;
    /// Of warnings, which a front end outside sends as it likes; more are counted, and not kept.
    static constexpr int warnings_limit = 1000;
    static constexpr std::size_t warnings_size_limit = std::size_t{4} << 20U;
    /// Between two lines of how far the same is.
    static constexpr std::chrono::milliseconds between_advances{100};

    Journal(asio::any_io_executor loop, const Clock& clock) : clock_(clock), changed_(std::move(loop)) {}

    void started(const Vertex& vertex) override;
    void completed(const Vertex& vertex, bool was_cached, const std::string& error) override;
    void printed(const Vertex& vertex, int stream, std::string_view bytes) override;
    void advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) override;
    void used(const Vertex& vertex, const StepAccount& account) override;

    /// Of what is no operation: "[internal] load build definition from Dockerfile", by a name of its own.
    void step_started(const std::string& digest, const std::string& name);
    void step_completed(const std::string& digest, const std::string& error);
    void warned(wire::control::VertexWarning warning);

    /// Nothing more will come.
    void end();

    /// What came at `at` or later, some of it at a time; `at` is behind it then. Waits where there is nothing yet; nothing at the end.
    asio::awaitable<std::optional<wire::control::StatusResponse>> next(std::size_t& at);

    bool has_more(std::size_t at) const noexcept { return at < events_.size(); }

    struct Counts {
        int steps = 0;
        int cached = 0;
        int completed = 0;
        int warnings = 0;
    };
    const Counts& counts() const noexcept { return counts_; }

private:
    using Event = wire::control::StatusResponse;
    struct Step {
        wire::control::Vertex vertex;
        std::size_t printed = 0;
    };
    Step& step_of(const Vertex& vertex);
    void tell(const wire::control::Vertex& vertex);
    Event& add();

    const Clock& clock_;
    Condition changed_;
    std::map<std::string, Step, std::less<>> steps_;
    struct Advance {
        wire::control::VertexStatus status;
        Clock::Point told{};
    };
    std::map<std::pair<std::string, std::string>, Advance> advances_;
    std::size_t printed_ = 0;
    std::size_t warnings_size_ = 0;
    std::vector<Event> events_;
    Counts counts_;
    bool has_ended_ = false;
};

wire::common::Timestamp to_timestamp(Time time);

}  // namespace grua::build
