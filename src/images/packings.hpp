// Layers of steps on their way into blobs. Builds that want the same one share the work: one packs, the others wait for it, and find it
// afterwards while a build's claims keep the blob.
#pragma once

#include "base/mutex.hpp"
#include "images/built.hpp"

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace grua::images {

class Packing {
public:
    enum class State { running, done, failed };

    /// Until it is no longer running, at most this long.
    State wait_for(std::chrono::milliseconds time) const {
        MutexLock lock{mutex_};
        changed_.wait_for(lock, time, [&]() GRUA_REQUIRES(mutex_) { return state_ != State::running; });
        return state_;
    }

    /// Where it is done: its blob was committed, and may be gone again.
    std::optional<PackedLayer> result() const {
        const MutexLock lock{mutex_};
        return result_;
    }

    /// With nothing it failed.
    void end(std::optional<PackedLayer> result) {
        const MutexLock lock{mutex_};
        state_ = result ? State::done : State::failed;
        result_ = std::move(result);
        changed_.notify_all();
    }

private:
    mutable Mutex mutex_;
    mutable std::condition_variable_any changed_;
    State state_ GRUA_GUARDED_BY(mutex_) = State::running;
    std::optional<PackedLayer> result_ GRUA_GUARDED_BY(mutex_);
};
using PackingPtr = std::shared_ptr<Packing>;

/// The part of who packs: without an end it failed.
class PackingDuty {
public:
    PackingDuty() = default;
    explicit PackingDuty(PackingPtr packing) noexcept : packing_(std::move(packing)) {}
    PackingDuty(PackingDuty&&) noexcept = default;
    PackingDuty& operator=(PackingDuty&& other) noexcept {
        std::swap(packing_, other.packing_);
        return *this;
    }
    ~PackingDuty() {
        if (packing_) packing_->end(std::nullopt);
    }

    explicit operator bool() const noexcept { return packing_ != nullptr; }
    void end(PackedLayer result) { std::exchange(packing_, {})->end(std::move(result)); }

private:
    PackingPtr packing_;
};

class Packings {
public:
    struct Joined {
        PackingPtr packing;
        PackingDuty duty;  ///< Where nobody else packs it.
    };

    /// `key`: the layer and how it is packed. One that failed begins again.
    Joined join(const std::string& key) {
        const MutexLock lock{mutex_};
        std::erase_if(known_, [](const auto& each) { return each.second.expired(); });
        if (const auto found = known_.find(key); found != known_.end()) {
            PackingPtr packing = found->second.lock();
            if (packing && packing->wait_for({}) != Packing::State::failed) return {std::move(packing), {}};
        }
        const auto packing = std::make_shared<Packing>();
        known_[key] = packing;
        return {packing, PackingDuty{packing}};
    }

    /// One whose blob is gone: who joins next begins again.
    void forget(const std::string& key, const PackingPtr& gone) {
        const MutexLock lock{mutex_};
        if (const auto found = known_.find(key); found != known_.end() && found->second.lock() == gone) known_.erase(found);
    }

private:
    Mutex mutex_;
    std::map<std::string, std::weak_ptr<Packing>> known_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::images
