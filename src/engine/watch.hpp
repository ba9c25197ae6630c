// Looking on: events, logs, attach, what a container uses, and its end.
#pragma once

#include "base/async.hpp"
#include "engine/model/record.hpp"
#include "engine/principal.hpp"
#include "engine/stream.hpp"
#include "engine/watch/events.hpp"
#include "engine/watch/stats.hpp"
#include "tasks/monitor_link.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::engine {

using tasks::AttachOptions;

enum class WaitCondition { not_running, next_exit, removed };

struct WaitResult {
    int exit_code = 0;
    std::string error;  ///< Empty where there is none.
};

/// Registered at once, so that nothing is missed between the registration and result().
class Waiter {
public:
    virtual ~Waiter() = default;
    virtual asio::awaitable<WaitResult> result() = 0;
};

struct LogOptions {
    bool use_stdout = false;
    bool use_stderr = false;
    std::optional<Time> since;
    std::optional<Time> until;
    std::int64_t tail = -1;  ///< Lines; -1: all.
    bool follow = false;
};

struct LogLine {
    Time time{};
    bool is_stderr = false;
    std::string text;  ///< With its newline, where it has one.
    StringMap attributes;
};

/// As `docker logs --details` has them: "key=value,other=value", each escaped as in the query of a URL.
std::string shown_attributes(const LogLine& line);

class LogStream {
public:
    virtual ~LogStream() = default;
    /// A batch; empty at the end.
    virtual asio::awaitable<std::vector<LogLine>> next() = 0;
};

struct Logs {
    bool terminal = false;  ///< The container's; its log has one stream then.
    std::shared_ptr<LogStream> lines;
};

/// What one container uses, sample by sample.
struct StatsSource {
    RecordPtr container;
    /// Of a container that does not run: running is false. Nothing where the container is gone.
    std::function<asio::awaitable<std::optional<StatsSample>>()> next;
};

struct Processes {
    StringList titles;
    std::vector<StringList> processes;
};

class Watch : public Service {
public:
    using Service::Service;

    /// As Events::subscribe() and subscribe_after() have it.
    std::shared_ptr<EventSubscription> events(Filters filters, std::optional<Time> since, std::optional<Time> until) const;
    std::shared_ptr<EventSubscription> events_after(Filters filters, EventPosition last) const;

    std::shared_ptr<Waiter> wait(std::string_view reference, WaitCondition condition) const;

    /// Throws what attach refuses, before the connection is hijacked.
    Stream attach(std::string reference, AttachOptions options) const;

    asio::awaitable<Logs> logs(std::string reference, LogOptions options) const;

    StatsSource stats(std::string_view reference) const;

    /// `ps_args` as Docker's: "-ef" where empty. Only /proc is read, no program of the container's or the host's runs.
    asio::awaitable<Processes> top(std::string reference, std::string ps_args) const;
};

}  // namespace grua::engine
