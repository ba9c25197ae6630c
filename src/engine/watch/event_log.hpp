// Events on disk, so that `since` reaches over a restart: a line of JSON for each. What the last moment before a kill -9 had is lost, and
// what cannot be read is left out.
#pragma once

#include "engine/watch/events.hpp"

#include <string>
#include <vector>

namespace grua::engine {

/// Not thread-safe; reading and writing block.
class EventLog {
public:
    explicit EventLog(std::string path) : path_(std::move(path)) {}

    /// The last ones, the oldest first; as many as Events keeps.
    std::vector<Event> read();

    void append(const std::vector<Event>& events);
    /// The file has grown to more than it is worth: the next time replace() is due.
    bool is_long() const noexcept;
    /// All that are to be there.
    void replace(const std::vector<Event>& kept);

private:
    std::string path_;
    std::size_t size_ = 0;
};

}  // namespace grua::engine
