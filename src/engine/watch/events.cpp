#include "engine/watch/events.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace grua::engine {
namespace {

bool has(const StringList& wanted, std::string_view value) { return std::ranges::find(wanted, value) != wanted.end(); }

/// An ID may be a prefix; a name is whole.
bool names_actor(const Event& event, const StringList& wanted) {
    const auto name = event.attributes.find("name");
    const auto image = event.attributes.find("image");
    return std::ranges::any_of(wanted, [&](const std::string& each) {
        return (!each.empty() && event.id.starts_with(each)) || (name != event.attributes.end() && name->second == each) ||
               (event.type == "image" && image != event.attributes.end() && image->second == each);
    });
}

bool has_labels(const Event& event, const StringList& wanted) {
    return std::ranges::all_of(wanted, [&](const std::string& each) {
        const auto at = each.find('=');
        const auto found = event.attributes.find(each.substr(0, at));
        return found != event.attributes.end() && (at == std::string::npos || found->second == each.substr(at + 1));
    });
}

bool is_action(const Event& event, const StringList& wanted) {
    // "exec_create: sh" is of the kind exec_create; "health_status: healthy" likewise.
    const std::string_view kind = std::string_view(event.action).substr(0, event.action.find(':'));
    return has(wanted, event.action) || has(wanted, kind);
}

}  // namespace

bool matches(const Event& event, const Filters& filters) {
    return std::ranges::all_of(filters, [&](const auto& filter) {
        const auto& [key, wanted] = filter;
        if (wanted.empty()) return true;
        if (key == "type") return has(wanted, event.type);
        if (key == "event") return is_action(event, wanted);
        if (key == "label") return has_labels(event, wanted);
        if (key == "scope") return has(wanted, "local");
        if (key == "image" && event.type == "container") {
            const auto image = event.attributes.find("image");
            return image != event.attributes.end() && has(wanted, image->second);
        }
        if (key == "container" || key == "image" || key == "volume" || key == "network" || key == "daemon")
            return event.type == key && names_actor(event, wanted);
        return true;
    });
}

namespace {

/// What an event takes, about.
std::size_t size_of(const Event& event) {
    constexpr std::size_t one_attribute = 96;
    std::size_t out = sizeof event + event.type.size() + event.action.size() + event.id.size();
    for (const auto& [key, value] : event.attributes) out += one_attribute + key.size() + value.size();
    return out;
}

}  // namespace

/// The last events, numbered. All subscribers read the same; each knows by its number where it is.
struct Events::Ring {
    std::deque<Event> events;
    std::uint64_t first = 1;  ///< Number of the oldest; 0 is before all.
    std::size_t size = 0;     ///< In bytes.
    const std::int64_t run = now().time_since_epoch().count();
    bool closed = false;

    std::uint64_t end() const { return first + events.size(); }
    const Event& at(std::uint64_t number) const { return events[number - first]; }
};

class Events::Subscriber : public EventSubscription {
public:
    Subscriber(const asio::any_io_executor& loop, std::shared_ptr<const Ring> ring, std::uint64_t from, Filters filters,
               std::optional<Time> since, std::optional<Time> until)
        : ring_(std::move(ring)), next_(from), filters_(std::move(filters)), since_(since), until_(until), wake_(loop) {
        wake_.expires_at(until ? asio::steady_timer::clock_type::now() + (*until - now()) : asio::steady_timer::time_point::max());
    }

    asio::awaitable<std::optional<Event>> next() override {
        for (;;) {
            if (lost_) fail(ErrorKind::unavailable, "events were lost: they came faster than this client read them");
            while (next_ < ring_->end()) {
                const Event& event = ring_->at(next_++);
                if (wants(event)) co_return event;
            }
            if (ring_->closed || (until_ && now() >= *until_)) co_return std::nullopt;
            (void)co_await wake_.async_wait(asio::as_tuple(asio::use_awaitable));
            const auto cancelled = co_await asio::this_coro::cancellation_state;
            if (cancelled.cancelled() != asio::cancellation_type::none) co_return std::nullopt;
        }
    }

    void published() {
        // One that waits and does not want it is not woken.
        if (next_ + 1 == ring_->end() && !wants(ring_->at(next_)))
            ++next_;
        else
            wake_.cancel();
    }

    /// Before the oldest goes.
    void evicting() {
        if (next_ > ring_->first) return;
        lost_ = lost_ || wants(ring_->at(ring_->first));
        next_ = ring_->first + 1;
    }

    void wake() { wake_.cancel(); }
    void miss() { lost_ = true; }

private:
    bool wants(const Event& event) const {
        return (!since_ || event.time >= *since_) && (!until_ || event.time <= *until_) && matches(event, filters_);
    }

    std::shared_ptr<const Ring> ring_;
    std::uint64_t next_;
    Filters filters_;
    std::optional<Time> since_, until_;
    asio::steady_timer wake_;
    bool lost_ = false;
};

Events::Events(asio::any_io_executor loop) : loop_(std::move(loop)), ring_(std::make_shared<Ring>()), to_save_(loop_) {}
Events::~Events() = default;

void Events::publish(Event event) {
    event.time = now();
    std::erase_if(subscribers_, [](const auto& each) { return each.expired(); });
    const auto each = [this](auto what) {
        for (const auto& weak : subscribers_)
            if (const auto subscriber = weak.lock()) what(*subscriber);
    };
    const std::size_t size = size_of(event);
    while (!ring_->events.empty() && (ring_->events.size() >= event_limit || ring_->size + size > event_memory_limit)) {
        each([](Subscriber& subscriber) { subscriber.evicting(); });
        ring_->size -= size_of(ring_->events.front());
        ring_->events.pop_front();
        ++ring_->first;
    }
    event.position = {.run = ring_->run, .number = ring_->end()};
    ring_->events.push_back(std::move(event));
    ring_->size += size;
    each([](Subscriber& subscriber) { subscriber.published(); });
    to_save_.notify_all();
}

void Events::restore(std::vector<Event> past) {
    if (!ring_->events.empty()) return;
    for (Event& event : past) {
        event.position = {.run = ring_->run, .number = ring_->end()};
        ring_->size += size_of(event);
        ring_->events.push_back(std::move(event));
    }
    saved_ = ring_->end();
}

std::vector<Event> Events::take_unsaved() {
    std::vector<Event> out;
    for (std::uint64_t number = std::max(saved_, ring_->first); number < ring_->end(); ++number) out.push_back(ring_->at(number));
    saved_ = ring_->end();
    return out;
}

bool Events::has_unsaved() const { return saved_ < ring_->end(); }

std::vector<Event> Events::kept() const { return {ring_->events.begin(), ring_->events.end()}; }

std::shared_ptr<EventSubscription> Events::subscribe(Filters filters, std::optional<Time> since, std::optional<Time> until) {
    const bool asks_for_the_past = since || (until && *until <= now());
    const std::uint64_t from = asks_for_the_past ? ring_->first : ring_->end();
    auto subscriber = std::make_shared<Subscriber>(loop_, ring_, from, std::move(filters), since, until);
    if (!ring_->closed) subscribers_.push_back(subscriber);
    return subscriber;
}

std::shared_ptr<EventSubscription> Events::subscribe_after(Filters filters, EventPosition last) {
    const bool known = last.run == ring_->run && last.number + 1 >= ring_->first && last.number < ring_->end();
    const std::uint64_t from = known ? last.number + 1 : ring_->end();
    auto subscriber = std::make_shared<Subscriber>(loop_, ring_, from, std::move(filters), std::nullopt, std::nullopt);
    if (!known) subscriber->miss();
    if (!ring_->closed) subscribers_.push_back(subscriber);
    return subscriber;
}

EventPosition Events::position() const { return {.run = ring_->run, .number = ring_->end() - 1}; }

void Events::close() {
    ring_->closed = true;
    for (const auto& each : subscribers_)
        if (const auto subscriber = each.lock()) subscriber->wake();
    to_save_.notify_all();
}

}  // namespace grua::engine
