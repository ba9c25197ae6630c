#include "engine/model/restart_policy.hpp"

#include <algorithm>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto first_delay = 100ms;
constexpr auto longest_delay = 60000ms;
constexpr auto good_run = 10s;

bool wants_restart(const RestartPolicy& policy, const Ended& ended) {
    if (ended.stopped_by_user) return false;
    if (policy.name == "always" || policy.name == "unless-stopped") return true;
    if (policy.name != "on-failure" || ended.exit_code == 0) return false;
    return policy.maximum_retry_count == 0 || ended.restarts < policy.maximum_retry_count;
}

}  // namespace

void check(const RestartPolicy& policy) {
    const bool counted = policy.name == "on-failure";
    if (policy.name == "always" || policy.name == "unless-stopped" || policy.name == "no") {
        if (policy.maximum_retry_count != 0)
            fail(ErrorKind::invalid_argument, "invalid restart policy: maximum retry count can only be used with 'on-failure'{}",
                 policy.maximum_retry_count < 0 ? " and cannot be negative" : "");
    } else if (counted) {
        if (policy.maximum_retry_count < 0)
            fail(ErrorKind::invalid_argument, "invalid restart policy: maximum retry count cannot be negative");
    } else if (policy.name.empty()) {
        if (policy.maximum_retry_count != 0)
            fail(ErrorKind::invalid_argument, "invalid restart policy: maximum retry count can only be used with 'on-failure'");
    } else {
        fail(ErrorKind::invalid_argument,
             "invalid restart policy: unknown policy '{}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", policy.name);
    }
}

std::optional<std::chrono::milliseconds> RestartDelay::next(const RestartPolicy& policy, const Ended& ended) {
    if (!wants_restart(policy, ended)) return std::nullopt;
    if (ended.ran_for >= good_run || delay_ == 0ms)
        delay_ = first_delay;
    else
        delay_ = std::min<std::chrono::milliseconds>(delay_ * 2, longest_delay);
    return delay_;
}

bool starts_with_the_daemon(const RestartPolicy& policy, bool ran, const Ended& ended) {
    if (policy.name == "always") return true;
    if (policy.name == "on-failure" && !ran) return false;
    return wants_restart(policy, ended);
}

}  // namespace grua::engine
