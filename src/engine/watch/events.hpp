// What happened, for whoever wants to know: the last 256 events for those who ask about the past, and a bounded queue for
// each subscriber. Loop only.
#pragma once

#include "base/text.hpp"
#include "engine/model/documents.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <deque>
#include <list>
#include <memory>

namespace grua::engine {

namespace asio = boost::asio;

struct Event {
    std::string type;    ///< "container", "image", "volume", "network", "daemon".
    std::string action;  ///< "start", "die", "exec_create: sh", …
    std::string id;
    StringMap attributes;
    Time time{};
};

/// Keys and values as `filters=` has them: type, event, container, image, volume, network, daemon, label, scope.
using Filters = std::map<std::string, StringList>;

/// Values of one key are alternatives; all keys must match. Pure.
bool matches(const Event& event, const Filters& filters);

class EventSubscription {
public:
    virtual ~EventSubscription() = default;

    /// The next event that matches; nothing at `until`, or when the engine closes, or where the subscriber was too slow
    /// (more than 1024 events behind). Ends with an asio cancellation like any other operation.
    virtual asio::awaitable<std::optional<Event>> next() = 0;
};

class Events {
public:
    explicit Events(asio::any_io_executor loop);
    ~Events();

    /// The time is set here.
    void publish(Event event);

    /// With `since`, what the ring still has from then on comes first. `until` in the past: only that.
    std::shared_ptr<EventSubscription> subscribe(Filters filters, std::optional<Time> since = {}, std::optional<Time> until = {});

    /// Ends all subscriptions.
    void close();

private:
    class Subscriber;
    asio::any_io_executor loop_;
    std::deque<Event> ring_;
    std::list<std::weak_ptr<Subscriber>> subscribers_;
    bool closed_ = false;
};

}  // namespace grua::engine
