#include "engine/execs.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

ExecPtr Execs::find(std::string_view id) const { return ask(Operation::exec_inspect, id).exec_find(id); }

asio::awaitable<std::string> Execs::create(std::string reference, ExecConfig config) const {
    return ask(Operation::exec_create, reference, &config).create_exec(std::move(reference), std::move(config));
}

asio::awaitable<void> Execs::start(std::string id, ExecStart start) const {
    return ask(Operation::exec_start, id).exec_start(std::move(id), std::move(start), Fd{}, {});
}

Stream Execs::start_attached(std::string id, ExecStart start) const {
    Inside& engine = ask(Operation::exec_start, id);
    const ExecPtr exec = engine.check_exec(id);
    const bool terminal = start.tty;
    auto hand_over = [self = engine.shared_impl(), id = exec->id, start = std::move(start)](Fd client, std::string early_input) {
        return self->exec_start(id, start, std::move(client), std::move(early_input));
    };
    return {.terminal = terminal, .hand_over = std::move(hand_over)};
}

asio::awaitable<void> Execs::resize(std::string id, std::uint32_t height, std::uint32_t width) const {
    return ask(Operation::exec_resize, id).exec_resize(std::move(id), height, width);
}

}  // namespace grua::engine
