#include "engine/steps.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

asio::awaitable<StepEnd> Steps::run(StepRequest request) const {
    // This object may be gone before the step is.
    const std::shared_ptr<Inside> inside = inside_;
    co_return co_await inside->steps.run(std::move(request));
}

}  // namespace grua::engine
