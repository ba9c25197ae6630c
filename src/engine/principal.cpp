#include "engine/principal.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "engine/admission.hpp"

#include <array>

namespace grua::engine {

namespace {

constexpr auto names = std::to_array<std::string_view>({
    "container list",
    "container inspect",
    "container top",
    "container stats",
    "container logs",
    "container wait",
    "container attach",
    "container create",
    "container start",
    "container stop",
    "container restart",
    "container kill",
    "container pause",
    "container unpause",
    "container rename",
    "container resize",
    "container update",
    "container remove",
    "container prune",
    "file stat",
    "file read",
    "file write",
    "container export",
    "container changes",
    "container commit",
    "exec inspect",
    "exec create",
    "exec start",
    "exec resize",
    "image list",
    "image inspect",
    "image save",
    "image search",
    "image remote inspect",
    "image pull",
    "image push",
    "image load",
    "image import",
    "image tag",
    "image remove",
    "image prune",
    "image build",
    "registry login",
    "volume list",
    "volume inspect",
    "volume create",
    "volume remove",
    "volume prune",
    "network list",
    "network inspect",
    "network reach",
    "network create",
    "network update",
    "network remove",
    "network prune",
    "network connect",
    "network disconnect",
    "events",
    "info",
    "disk usage",
    "store collect",
    "store check",
});
static_assert(names.size() == static_cast<std::size_t>(Operation::store_check) + 1);

}  // namespace

std::string_view to_string(Operation operation) noexcept { return names[static_cast<std::size_t>(operation)]; }

std::string Principal::text() const {
    std::string out;
    if (!certificate.empty()) out += fmt::format("\"{}\" ", certificate);
    if (peer) out += fmt::format("uid {} (pid {}) ", peer->uid, peer->pid);
    if (!address.empty()) out += address + " ";
    return out + "by " + listener;
}

void admit(const Door& door, const Asked& what) {
    if (log::enabled(log::Level::debug)) {
        log::debug("{}{}{} is asked by {}", to_string(what.operation), what.object.empty() ? "" : " ", what.object, door.who->text());
    }
    if (door.policy) door.policy->check(*door.who, what);
}

Inside& Service::ask(Operation operation, std::string_view object, Request request) const {
    admit(*door_, {operation, object, request});
    return *door_->engine;
}

}  // namespace grua::engine
