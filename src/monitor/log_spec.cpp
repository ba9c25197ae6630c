#include "monitor/log_spec.hpp"

#include "base/error.hpp"
#include "monitor/journald.hpp"
#include "monitor/syslog.hpp"

namespace grua::monitor {
namespace {

/// What waits for a peer before the program has to wait, where nothing may be lost.
constexpr std::size_t blocking_bound = std::size_t{1} << 20U;

LogWorker::Make make_file(const LogSpec& spec) {
    return [spec](LogHost&) -> std::unique_ptr<LogDriver> {
        return std::make_unique<LogFile>(spec.path, LogLimits{spec.max_size, spec.max_files, spec.compress}, spec.format(),
                                         spec.attributes);
    };
}

LogWorker::Work work_remotely(const LogSpec& spec) {
    if (spec.needs_program()) {
        if (spec.program.empty()) fail(ErrorKind::unavailable, "grua-log, which speaks TLS, is not installed");
        LogSpec told{.driver = spec.driver, .tag = spec.tag, .syslog = spec.syslog};
        return WorkerProgram{.path = spec.program, .spec = json::dump(told, json::Version{1, 99})};
    }
    return [spec](LogHost& host) -> std::unique_ptr<LogDriver> {
        if (spec.driver == "syslog") return std::make_unique<Syslog>(host, spec.syslog.value_or(SyslogTarget{}), spec.tag);
        return std::make_unique<Journald>(host, spec.journal);
    };
}

}  // namespace

void open_log(LogWriter& log, const LogSpec& spec) {
    const bool drops = spec.buffer >= 0;
    const auto worker = [&](LogWorker::Work work) {
        log.add_worker(std::make_unique<LogWorker>(fmt::format("log driver {}", spec.driver), std::move(work),
                                                   drops ? static_cast<std::size_t>(spec.buffer) : blocking_bound,
                                                   drops ? WhenFull::drop : WhenFull::wait));
    };
    if (spec.driver == "syslog" || spec.driver == "journald") worker(work_remotely(spec));
    if (spec.path.empty()) return;
    // What is written here is in the file when the program has written it. A disk that stands still holds the program, which
    // mode=non-blocking rules out.
    if (drops) {
        worker(make_file(spec));
    } else {
        log.add_driver(
            std::make_unique<LogFile>(spec.path, LogLimits{spec.max_size, spec.max_files, spec.compress}, spec.format(), spec.attributes));
    }
}

}  // namespace grua::monitor
