#include "build/given_sessions.hpp"

#include "base/id.hpp"

namespace grua::build {

std::unique_ptr<GivenSessions::Session> GivenSessions::add(Given given) {
    auto out = std::make_unique<Session>(*this, "given-" + random_hex(16));
    given_.emplace(out->id(), std::move(given));
    return out;
}

const Given* GivenSessions::find(std::string_view id) const {
    const auto found = given_.find(id);
    return found == given_.end() ? nullptr : &found->second;
}

}  // namespace grua::build
