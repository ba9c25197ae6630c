#include "engine/containers.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

std::vector<RecordPtr> Containers::list() const { return ask(Operation::container_list).list(); }

RecordPtr Containers::find(std::string_view reference) const {
    return ask(Operation::container_inspect, reference).get_container(reference)->record;
}

asio::awaitable<Created> Containers::create(CreateRequest request) const {
    return ask(Operation::container_create, request.name, &request).create(std::move(request));
}

asio::awaitable<void> Containers::start(std::string reference) const {
    return ask(Operation::container_start, reference).start(std::move(reference));
}

asio::awaitable<void> Containers::stop(std::string reference, StopOptions options) const {
    return ask(Operation::container_stop, reference).stop(std::move(reference), std::move(options));
}

asio::awaitable<void> Containers::restart(std::string reference, StopOptions options) const {
    return ask(Operation::container_restart, reference).restart(std::move(reference), std::move(options));
}

asio::awaitable<void> Containers::kill(std::string reference, std::string signal) const {
    return ask(Operation::container_kill, reference).kill(std::move(reference), std::move(signal));
}

asio::awaitable<void> Containers::pause(std::string reference) const {
    return ask(Operation::container_pause, reference).pause(std::move(reference));
}

asio::awaitable<void> Containers::unpause(std::string reference) const {
    return ask(Operation::container_unpause, reference).unpause(std::move(reference));
}

asio::awaitable<void> Containers::rename(std::string reference, std::string name) const {
    return ask(Operation::container_rename, reference).rename(std::move(reference), std::move(name));
}

asio::awaitable<void> Containers::remove(std::string reference, RemoveOptions options) const {
    Inside& engine = ask(Operation::container_remove, reference);
    return options.link ? engine.remove_link(std::move(reference)) : engine.remove(std::move(reference), options);
}

asio::awaitable<void> Containers::resize(std::string reference, std::uint32_t height, std::uint32_t width) const {
    return ask(Operation::container_resize, reference).resize(std::move(reference), height, width);
}

asio::awaitable<StringList> Containers::update(std::string reference, UpdateConfig update) const {
    Inside& engine = ask(Operation::container_update, reference, &update);
    StringList warnings;
    co_await engine.update(std::move(reference), std::move(update), warnings);
    co_return warnings;
}

asio::awaitable<Pruned> Containers::prune(std::function<bool(const ContainerRecord&)> keep) const {
    return ask(Operation::container_prune).prune(std::move(keep));
}

}  // namespace grua::engine
