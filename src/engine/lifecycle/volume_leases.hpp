// Volumes that a container which is being made will have: nobody removes them meanwhile, and nobody takes one that is being removed.
// Loop only.
#pragma once

#include "base/condition.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace grua::engine {

class VolumeLeases {
public:
    explicit VolumeLeases(const asio::any_io_executor& loop) : state_(std::make_shared<State>(loop)) {}

    /// While it lives, `names` have a user more: the container `id`.
    using Lease = std::shared_ptr<const void>;
    /// Waits for those that are being removed.
    asio::awaitable<Lease> take(std::vector<std::string> names, std::string id) {
        const auto state = state_;
        const auto is_leaving = [&](const std::string& name) { return state->leaving.contains(name); };
        while (std::ranges::any_of(names, is_leaving)) co_await state->changed.wait();
        for (const std::string& name : names) state->users[name].insert(id);
        co_return Lease(nullptr, [state, names, id](const void*) {
            for (const std::string& name : names) {
                const auto found = state->users.find(name);
                if (found == state->users.end()) continue;
                found->second.erase(id);
                if (found->second.empty()) state->users.erase(found);
            }
        });
    }

    std::vector<std::string> users(const std::string& name) const {
        const auto found = state_->users.find(name);
        return found == state_->users.end() ? std::vector<std::string>() : std::vector<std::string>(found->second.begin(), found->second.end());
    }

    /// Whoever has looked for users, and found none, takes it away while this lives.
    Lease leaving(const std::string& name) {
        const auto state = state_;
        state->leaving.insert(name);
        return Lease(nullptr, [state, name](const void*) {
            state->leaving.erase(state->leaving.find(name));
            state->changed.notify_all();
        });
    }

private:
    struct State {
        explicit State(const asio::any_io_executor& loop) : changed(loop) {}
        Condition changed;
        std::map<std::string, std::set<std::string>> users;
        std::multiset<std::string> leaving;
    };
    std::shared_ptr<State> state_;
};

}  // namespace grua::engine
