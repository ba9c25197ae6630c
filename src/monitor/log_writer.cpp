#include "monitor/log_writer.hpp"

#include "base/id.hpp"

#include <algorithm>

namespace grua::monitor {

LogWriter::LogWriter(std::string path, LogLimits limits) {
    if (!path.empty()) add_driver(std::make_unique<LogFile>(std::move(path), limits));
}

void LogWriter::add_worker(std::unique_ptr<LogWorker> worker) {
    workers_.push_back(worker.get());
    drivers_.push_back(std::move(worker));
}

void LogWriter::add(Stream stream, std::string_view bytes, Time time) {
    if (!enabled()) return;
    std::string& held = of(stream).held;
    while (!bytes.empty()) {
        const std::size_t room = longest_line_part - held.size();
        const std::size_t newline = bytes.substr(0, room + 1).find('\n');
        const std::size_t take = newline != std::string_view::npos ? newline + 1 : std::min(room, bytes.size());
        const bool whole = newline != std::string_view::npos || take == room;
        if (!whole) {
            held += bytes;
            return;
        }
        if (held.empty()) {
            emit(stream, bytes.substr(0, take), time);
        } else {
            held += bytes.substr(0, take);
            emit(stream, held, time);
            held.clear();
        }
        bytes.remove_prefix(take);
    }
}

void LogWriter::end(Stream stream, Time time) {
    std::string& held = of(stream).held;
    if (!held.empty()) emit(stream, held, time);
    held = {};
}

void LogWriter::emit(Stream stream, std::string_view part, Time time) {
    Cut& cut = of(stream);
    const bool ends = part.ends_with('\n');
    if (ends) part.remove_suffix(1);
    if (ends && !cut.in_parts) {
        give({.stream = stream, .text = part, .time = time});
        return;
    }
    if (!cut.in_parts) {
        cut.mark = {.id = random_id(), .ordinal = 0, .last = false};
        cut.since = time;
    }
    ++cut.mark.ordinal;
    cut.mark.last = ends;
    cut.in_parts = !ends;
    give({.stream = stream, .text = part, .time = cut.since, .part = &cut.mark});
}

void LogWriter::give(const LogLine& line) noexcept {
    for (const auto& each : drivers_) each->log(line);
}

void LogWriter::flush() noexcept {
    for (const auto& each : drivers_) each->flush();
}

void LogWriter::reopen() {
    for (const auto& each : drivers_) each->reopen();
}

void LogWriter::child_ended(pid_t pid) noexcept {
    for (const auto& each : drivers_) each->child_ended(pid);
}

std::uint64_t LogWriter::lost() const noexcept {
    std::uint64_t all = 0;
    for (const auto& each : drivers_) all += each->lost();
    return all;
}

std::vector<std::string> LogWriter::take_news() {
    std::vector<std::string> all;
    for (const auto& each : drivers_)
        for (std::string& news : each->take_news()) all.push_back(std::move(news));
    return all;
}

bool LogWriter::is_full() const noexcept {
    return std::ranges::any_of(workers_, [](const LogWorker* each) { return each->is_full(); });
}

void LogWriter::end() noexcept {
    for (const auto& each : drivers_) each->end();
}

void LogWriter::close() noexcept {
    for (LogWorker* each : workers_) each->close();
}

}  // namespace grua::monitor
