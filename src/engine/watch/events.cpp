#include "engine/watch/events.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace grua::engine {
namespace {

constexpr std::size_t ring_limit = 256;
constexpr std::size_t queue_limit = 1024;

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

class Events::Subscriber : public EventSubscription {
public:
    Subscriber(const asio::any_io_executor& loop, Filters filters, std::optional<Time> until)
        : filters_(std::move(filters)), until_(until), wake_(loop) {
        wake_.expires_at(until ? asio::steady_timer::clock_type::now() + (*until - now()) : asio::steady_timer::time_point::max());
    }

    asio::awaitable<std::optional<Event>> next() override {
        for (;;) {
            if (!queue_.empty()) {
                Event event = std::move(queue_.front());
                queue_.pop_front();
                co_return event;
            }
            if (closed_ || (until_ && now() >= *until_)) co_return std::nullopt;
            (void)co_await wake_.async_wait(asio::as_tuple(asio::use_awaitable));
            const auto cancelled = co_await asio::this_coro::cancellation_state;
            if (cancelled.cancelled() != asio::cancellation_type::none) co_return std::nullopt;
        }
    }

    void offer(const Event& event) {
        if (closed_ || (until_ && event.time > *until_) || !matches(event, filters_)) return;
        if (queue_.size() >= queue_limit)
            closed_ = true;
        else
            queue_.push_back(event);
        wake_.cancel();
    }

    void close() {
        closed_ = true;
        wake_.cancel();
    }

private:
    Filters filters_;
    std::optional<Time> until_;
    std::deque<Event> queue_;
    asio::steady_timer wake_;
    bool closed_ = false;
};

Events::Events(asio::any_io_executor loop) : loop_(std::move(loop)) {}
Events::~Events() = default;

void Events::publish(Event event) {
    event.time = now();
    std::erase_if(subscribers_, [](const auto& each) { return each.expired(); });
    for (const auto& each : subscribers_)
        if (const auto subscriber = each.lock()) subscriber->offer(event);
    ring_.push_back(std::move(event));
    if (ring_.size() > ring_limit) ring_.pop_front();
}

std::shared_ptr<EventSubscription> Events::subscribe(Filters filters, std::optional<Time> since, std::optional<Time> until) {
    auto subscriber = std::make_shared<Subscriber>(loop_, std::move(filters), until);
    if (since || (until && *until <= now()))
        for (const Event& event : ring_)
            if (!since || event.time >= *since) subscriber->offer(event);
    if (closed_)
        subscriber->close();
    else
        subscribers_.push_back(subscriber);
    return subscriber;
}

void Events::close() {
    closed_ = true;
    for (const auto& each : subscribers_)
        if (const auto subscriber = each.lock()) subscriber->close();
}

}  // namespace grua::engine
