#include "engine/watch/event_log.hpp"

#include "base/codec.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <algorithm>

namespace grua::engine {
namespace {

constexpr std::size_t file_limit = 2 * event_memory_limit;
/// Of a file that another gruad left behind.
constexpr std::size_t read_limit = 4 * file_limit;

struct Line {
    std::string type;
    std::string action;
    std::string id;
    StringMap attributes;
    std::int64_t time = 0;  ///< In ns.

    template <typename Self = Line>
    static json::Fields fields() {
        return json::Fields{json::field("type", &Self::type), json::field("action", &Self::action), json::field("id", &Self::id),
                            json::field("attributes", &Self::attributes), json::field("time", &Self::time)};
    }
};

std::string text_of(const std::vector<Event>& events) {
    std::string out;
    for (const Event& event : events) {
        const Line line{.type = event.type,
                        .action = event.action,
                        .id = event.id,
                        .attributes = event.attributes,
                        .time = event.time.time_since_epoch().count()};
        out += json::dump(line, {1, 999}) + "\n";
    }
    return out;
}

}  // namespace

std::vector<Event> EventLog::read() {
    std::string text;
    try {
        text = read_file(path_, read_limit);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("events of before this start: {}", error.what());
        return {};
    }
    size_ = text.size();
    std::vector<Event> out;
    std::size_t broken = 0;
    for (const std::string& each : split(text, '\n')) {
        if (each.empty()) continue;
        try {
            Line line = json::parse<Line>(each);
            Event event{.type = std::move(line.type), .action = std::move(line.action), .id = std::move(line.id)};
            event.attributes = std::move(line.attributes);
            event.time = Time{std::chrono::nanoseconds{line.time}};
            out.push_back(std::move(event));
        } catch (const Error&) {
            ++broken;
        }
    }
    if (broken > 0) log::warn("{}: {} lines cannot be read", path_, broken);
    if (out.size() > event_limit) out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(event_limit));
    return out;
}

void EventLog::append(const std::vector<Event>& events) {
    const std::string text = text_of(events);
    const Fd file{::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!file) fail_errno("open {}", path_);
    write_all(file.get(), text, path_);
    size_ += text.size();
}

bool EventLog::is_long() const noexcept { return size_ > file_limit; }

void EventLog::replace(const std::vector<Event>& kept) {
    const std::string text = text_of(kept);
    replace_file(path_, text, 0600);
    size_ = text.size();
}

}  // namespace grua::engine
