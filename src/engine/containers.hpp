// Containers as a client sees them: looked up, listed, made, and moved through their life.
#pragma once

#include "base/async.hpp"
#include "engine/model/record.hpp"
#include "engine/principal.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::engine {

struct CreateRequest {
    std::string name;  ///< Empty: a random one.
    std::string platform;
    ContainerConfig config;
    HostConfig host_config;
    NetworkingConfig networking;
};

struct Created {
    std::string id;
    StringList warnings;
};

struct StopOptions {
    std::optional<std::int64_t> timeout;  ///< Seconds; -1 for ever; nothing: the container's own, else 10.
    std::string signal;                   ///< Empty: the container's own, else SIGTERM.
};

struct RemoveOptions {
    bool force = false;
    bool volumes = false;  ///< Its anonymous volumes too.
    bool link = false;     ///< Not the container but "parent/alias", a link of the default bridge that leads to it.
};

struct Pruned {
    StringList deleted;
    std::uint64_t reclaimed = 0;
};

/// The container is there and its program does not run.
struct StartFailed : Error {
    StartFailed(const Error& error, int code) : Error(error), exit_code(code) {}
    int exit_code;  ///< As in its state: 127 no such program, 126 one that cannot be executed, 128 all else.
};

class Containers : public Service {
public:
    using Service::Service;

    // Looking takes no lane and waits for nothing.

    /// All of them, the newest first; filtering is the caller's.
    std::vector<RecordPtr> list() const;

    /// By full ID, name (with or without "/"), or unique prefix of the ID. Throws Error(not_found, "No such container: x").
    RecordPtr find(std::string_view reference) const;

    // Changing.

    asio::awaitable<Created> create(CreateRequest request) const;
    /// Throws StartFailed, and Error(not_modified) where it runs already.
    asio::awaitable<void> start(std::string reference) const;
    /// Throws Error(not_modified) where it does not run.
    asio::awaitable<void> stop(std::string reference, StopOptions options) const;
    asio::awaitable<void> restart(std::string reference, StopOptions options) const;
    /// `signal`: a name with or without SIG, or a number; empty: SIGKILL.
    asio::awaitable<void> kill(std::string reference, std::string signal) const;
    asio::awaitable<void> pause(std::string reference) const;
    asio::awaitable<void> unpause(std::string reference) const;
    asio::awaitable<void> rename(std::string reference, std::string name) const;
    asio::awaitable<void> remove(std::string reference, RemoveOptions options) const;
    asio::awaitable<void> resize(std::string reference, std::uint32_t height, std::uint32_t width) const;
    /// Returns warnings.
    asio::awaitable<StringList> update(std::string reference, UpdateConfig update) const;
    /// Stopped containers that `keep` does not keep.
    asio::awaitable<Pruned> prune(std::function<bool(const ContainerRecord&)> keep) const;
};

}  // namespace grua::engine
