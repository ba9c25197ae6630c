// Whether and when a container that ended starts again. Pure: no clock, no process.
#pragma once

#include "engine/model/documents.hpp"

#include <chrono>
#include <optional>

namespace grua::engine {

/// Throws Error(invalid_argument) with Docker's texts.
void check(const RestartPolicy& policy);

inline bool is_none(const RestartPolicy& policy) { return policy.name.empty() || policy.name == "no"; }

struct Ended {
    int exit_code = 0;
    bool stopped_by_user = false;
    std::chrono::nanoseconds ran_for{};
    int restarts = 0;  ///< How often it was restarted already.
};

/// The back-off: 100 ms, doubled each time, at most a minute, from the beginning after a run of 10 s.
class RestartDelay {
public:
    /// How long to wait before the next start; nothing where the policy does not start it again.
    std::optional<std::chrono::milliseconds> next(const RestartPolicy& policy, const Ended& ended);

    void reset() { delay_ = {}; }

private:
    std::chrono::milliseconds delay_{};
};

/// Whether gruad starts it when it starts itself. `ran`: it was running, or waiting for its restart, when gruad was last there.
bool starts_with_the_daemon(const RestartPolicy& policy, bool ran, const Ended& ended);

}  // namespace grua::engine
