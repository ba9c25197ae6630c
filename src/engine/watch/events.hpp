// What happened, for whoever wants to know: the last events, kept once for all. A subscriber is a place among them; one that does not
// read costs nothing, and is told that it missed some. Loop only.
#pragma once

#include "base/condition.hpp"
#include "base/text.hpp"
#include "engine/model/documents.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <deque>
#include <list>
#include <memory>
#include <vector>

namespace grua::engine {

namespace asio = boost::asio;

/// Where a reader is among the events of one gruad: another gruad counts anew, and says so by its run.
struct EventPosition {
    std::int64_t run = 0;      ///< When it began, in ns.
    std::uint64_t number = 0;  ///< Of the event.

    bool operator==(const EventPosition&) const = default;
};

struct Event {
    std::string type;    ///< "container", "image", "volume", "network", "daemon".
    std::string action;  ///< "start", "die", "exec_create: sh", …
    std::string id;
    StringMap attributes;
    Time time{};
    EventPosition position;  ///< Set by publish(), like the time.
};

/// Keys and values as `filters=` has them: type, event, container, image, volume, network, daemon, label, scope.
using Filters = std::map<std::string, StringList>;

/// Values of one key are alternatives; all keys must match. Pure.
bool matches(const Event& event, const Filters& filters);

class EventSubscription {
public:
    virtual ~EventSubscription() = default;

    /// The next event that matches; nothing at `until`, or when the engine closes. Throws Error(unavailable) where one that matches was
    /// lost: the subscriber was too slow. Ends with an asio cancellation like any other operation.
    virtual asio::awaitable<std::optional<Event>> next() = 0;
};

/// So many are kept, and as many as fit into this: labels are as long as their owners like.
inline constexpr std::size_t event_limit = 1024;
inline constexpr std::size_t event_memory_limit = std::size_t{4} << 20U;

class Events {
public:
    explicit Events(asio::any_io_executor loop);
    ~Events();

    /// The time is set here.
    void publish(Event event);

    /// With `since`, what the ring still has from then on comes first. `until` in the past: only that.
    std::shared_ptr<EventSubscription> subscribe(Filters filters, std::optional<Time> since = {}, std::optional<Time> until = {});

    /// Goes on after the event that a reader saw last. Where some between are gone, or another gruad had that one, next() says so
    /// at once: the reader then looks at everything anew and begins at position().
    std::shared_ptr<EventSubscription> subscribe_after(Filters filters, EventPosition last);

    /// Of the last event so far; subscribe_after() it misses nothing that comes.
    EventPosition position() const;

    /// Ends all subscriptions.
    void close();

    /// What an earlier gruad had, the oldest first, before the first of this one's. It has a position of this run.
    void restore(std::vector<Event> past);
    /// What has been published since the last call; once there are more than are kept, the last of them.
    std::vector<Event> take_unsaved();
    bool has_unsaved() const;
    /// Notified when there is something to save, and at close().
    Condition& to_save() { return to_save_; }
    /// All that are kept.
    std::vector<Event> kept() const;

private:
    struct Ring;
    class Subscriber;
    asio::any_io_executor loop_;
    std::shared_ptr<Ring> ring_;
    std::list<std::weak_ptr<Subscriber>> subscribers_;
    std::uint64_t saved_ = 1;  ///< The number of the first that take_unsaved() has not given.
    Condition to_save_;
};

}  // namespace grua::engine
