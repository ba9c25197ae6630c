// Who asks the engine for something, what they ask, and the one place where it is decided whether they may.
#pragma once

#include "engine/model/documents.hpp"

#include <sys/types.h>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace grua::network {
struct NetworkConfig;
}
namespace grua::volumes {
struct CreateOptions;
}

namespace grua::engine {

/// The process at the other end of a Unix socket when it connected, as the kernel says.
struct Peer {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
};

/// A client, for as long as its connection lasts.
struct Principal {
    std::string listener;      ///< That it came by: "unix:///run/grua/grua.sock".
    std::optional<Peer> peer;  ///< Of a Unix socket.
    std::string address;       ///< Of a TCP client: "192.0.2.7:40112".
    std::string certificate;   ///< The subject of its certificate; empty: it has shown none.

    /// For the log: "uid 0 (pid 812) by unix:///run/grua/grua.sock".
    std::string text() const;
};

using PrincipalPtr = std::shared_ptr<const Principal>;

/// Everything that may be asked. What only looks comes first in each group.
enum class Operation : std::uint8_t {
    container_list,
    container_inspect,
    container_top,
    container_stats,
    container_logs,
    container_wait,
    container_attach,
    container_create,
    container_start,
    container_stop,
    container_restart,
    container_kill,
    container_pause,
    container_unpause,
    container_rename,
    container_resize,
    container_update,
    container_remove,
    container_prune,
    file_stat,
    file_read,
    file_write,
    container_export,
    container_changes,
    container_commit,
    exec_inspect,
    exec_create,
    exec_start,
    exec_resize,
    image_list,
    image_inspect,
    image_save,
    image_search,
    image_remote_inspect,
    image_pull,
    image_push,
    image_load,
    image_import,
    image_tag,
    image_remove,
    image_prune,
    image_build,
    registry_login,
    volume_list,
    volume_inspect,
    volume_create,
    volume_remove,
    volume_prune,
    network_list,
    network_inspect,
    network_reach,
    network_create,
    network_update,
    network_remove,
    network_prune,
    network_connect,
    network_disconnect,
    events,
    info,
    disk_usage,
    store_collect,
    store_check,
};

/// "container create"; the enumerator's name with a blank.
std::string_view to_string(Operation operation) noexcept;

struct CreateRequest;
struct CommitOptions;
struct PullRequest;
struct PushRequest;
struct ImportRequest;

/// What the operation was asked with, where more than a name decides about it. Lives as long as the question.
using Request = std::variant<std::monostate, const CreateRequest*, const UpdateConfig*, const ExecConfig*, const CommitOptions*,
                             const PullRequest*, const PushRequest*, const ImportRequest*, const network::NetworkConfig*,
                             const volumes::CreateOptions*, const EndpointSettings*>;

struct Asked {
    Operation operation;
    std::string_view object;  ///< The container, exec, image, … as the client wrote it; empty where it is about all of a kind.
    Request request;
};

/// Asked once for each request, before anything is done or looked up. On the loop: it decides by what it has in memory.
class Policy {
public:
    virtual ~Policy() = default;
    /// Throws Error(forbidden) with what the client is to read.
    virtual void check(const Principal& who, const Asked& what) const = 0;
};

class Inside;

/// One principal's way into the engine.
struct Door {
    std::shared_ptr<Inside> engine;
    std::shared_ptr<const Policy> policy;  ///< Null: everything is allowed.
    PrincipalPtr who;
};

/// What the services have in common: they come to the engine by ask() only.
class Service {
public:
    explicit Service(std::shared_ptr<const Door> door) noexcept : door_(std::move(door)) {}

protected:
    Inside& ask(Operation operation, std::string_view object = {}, Request request = {}) const;

private:
    std::shared_ptr<const Door> door_;
};

/// The way to the builder, which is no part of the engine: it is asked about once for each connection.
class BuildGate : public Service {
public:
    using Service::Service;
    void ask_for_builds() const { static_cast<void>(ask(Operation::image_build)); }
};

}  // namespace grua::engine
