#include "engine/watch.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

std::shared_ptr<EventSubscription> Watch::events(Filters filters, std::optional<Time> since, std::optional<Time> until) const {
    return ask(Operation::events).events.subscribe(std::move(filters), since, until);
}

std::shared_ptr<EventSubscription> Watch::events_after(Filters filters, EventPosition last) const {
    return ask(Operation::events).events.subscribe_after(std::move(filters), last);
}

std::shared_ptr<Waiter> Watch::wait(std::string_view reference, WaitCondition condition) const {
    return ask(Operation::container_wait, reference).wait(reference, condition);
}

Stream Watch::attach(std::string reference, AttachOptions options) const {
    Inside& engine = ask(Operation::container_attach, reference);
    const RecordPtr record = engine.check_attach(reference, options);
    auto hand_over = [self = engine.shared_impl(), id = record->id, options = std::move(options)](Fd client, std::string early_input) {
        return self->attach(id, options, std::move(client), std::move(early_input));
    };
    return {.terminal = record->config.tty, .hand_over = std::move(hand_over)};
}

asio::awaitable<Logs> Watch::logs(std::string reference, LogOptions options) const {
    Inside& engine = ask(Operation::container_logs, reference);
    const RecordPtr record = engine.get_container(reference)->record;
    co_return Logs{.terminal = record->config.tty, .lines = co_await engine.logs(record->id, std::move(options))};
}

StatsSource Watch::stats(std::string_view reference) const {
    Inside& engine = ask(Operation::container_stats, reference);
    const RecordPtr record = engine.get_container(reference)->record;
    auto sample = [](std::shared_ptr<Inside> self, std::string id) -> asio::awaitable<std::optional<StatsSample>> {
        if (!self->find_container(id)) co_return std::nullopt;
        co_return co_await self->stats(std::move(id));
    };
    return {.container = record, .next = [self = engine.shared_impl(), id = record->id, sample] { return sample(self, id); }};
}

asio::awaitable<Processes> Watch::top(std::string reference, std::string ps_args) const {
    return ask(Operation::container_top, reference).top(std::move(reference), std::move(ps_args));
}

}  // namespace grua::engine
