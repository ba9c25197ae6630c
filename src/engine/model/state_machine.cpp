#include "engine/model/state_machine.hpp"

#include "base/error.hpp"

namespace grua::engine {

void check_change(std::string_view id, Status from, Status to) {
    if (may_change(from, to)) return;
    fail(ErrorKind::conflict, "container {} is {}: it cannot become {}", id, to_string(from), to_string(to));
}

}  // namespace grua::engine
