#include "engine/lifecycle/owned.hpp"

#include "base/fault_point.hpp"
#include "base/files.hpp"

#include <memory>

namespace grua::engine {
namespace {

/// Crash and fault points have these names.
constexpr const char* point_of(Held what) noexcept {
    switch (what) {
        case Held::processes:
            return "release:processes";
        case Held::network:
            return "release:network";
        case Held::cgroup:
            return "release:cgroup";
        case Held::monitor:
            return "release:monitor";
        case Held::traces:
            return "release:traces";
        case Held::points:
            return "release:points";
        case Held::mounts:
            return "release:mounts";
        case Held::images:
            return "release:images";
        case Held::layers:
            return "release:layers";
        case Held::volumes:
            return "release:volumes";
        case Held::writable:
            return "release:writable";
        case Held::folder:
            return "release:folder";
        case Held::row:
            return "release:row";
        case Held::live:
            return "release:live";
        case Held::lease:
            return "release:lease";
        case Held::name:
            return "release:name";
    }
    return "release:";
}

struct Leaving {
    Held what;
    Owner owner;
    std::optional<Error> failure;
};

/// Nothing that is thrown gets past: the others have their turn.
Error as_error(const std::exception_ptr& thrown) {
    try {
        std::rethrow_exception(thrown);
    } catch (const Error& error) {
        return error;
    } catch (const std::exception& error) {
        return {ErrorKind::system, error.what()};
    } catch (...) {
        return {ErrorKind::system, "unknown exception"};
    }
}

void pass(Held what) {
    crash_point(point_of(what));
    begin_step(point_of(what));
}

}  // namespace

const char* to_string(Held what) noexcept { return point_of(what) + sizeof "release:" - 1; }

bool Owned::has_between(Held first, Held last) const {
    const auto found = owners_.lower_bound(first);
    return found != owners_.end() && found->first <= last;
}

void Owned::take(Owned&& other) {
    for (auto& [what, owner] : std::exchange(other.owners_, {})) owners_.insert_or_assign(what, std::move(owner));
}

asio::awaitable<std::vector<ReleaseFailure>> Owned::release(asio::thread_pool& pool, Held first, Held last) {
    const auto leaving = std::make_shared<std::vector<Leaving>>();
    for (auto each = owners_.lower_bound(first); each != owners_.end() && each->first <= last; each = owners_.erase(each))
        leaving->push_back({.what = each->first, .owner = std::move(each->second), .failure = {}});
    for (std::size_t at = 0; at < leaving->size();) {
        Leaving& one = (*leaving)[at];
        if (one.owner.on_loop) {
            try {
                pass(one.what);
                co_await one.owner.on_loop();
            } catch (...) {
                one.failure = as_error(std::current_exception());
            }
            ++at;
            continue;
        }
        std::size_t end = at;
        while (end < leaving->size() && !(*leaving)[end].owner.on_loop) ++end;
        auto group = [leaving, at, end] {
            for (std::size_t i = at; i < end; ++i) {
                try {
                    pass((*leaving)[i].what);
                    (*leaving)[i].owner.on_pool();
                } catch (...) {
                    (*leaving)[i].failure = as_error(std::current_exception());
                }
            }
        };
        co_await offload(pool, std::move(group));
        at = end;
    }
    std::vector<ReleaseFailure> out;
    for (Leaving& each : *leaving) {
        if (!each.failure) continue;
        out.push_back({.what = each.what, .error = std::move(*each.failure)});
        owners_.try_emplace(each.what, std::move(each.owner));
    }
    co_return out;
}

}  // namespace grua::engine
