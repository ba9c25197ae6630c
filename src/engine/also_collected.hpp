// What a collection takes beside containers and images, and belongs to a room above the engine: the builder's caches. Such a room says so
// to the loop that both live on; the engine knows no more of it than this.
#pragma once

#include "base/async.hpp"
#include "images/gc.hpp"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace grua::engine {

/// Whether anybody reads why something stays.
enum class Explained : std::uint8_t { all, removals };

struct CollectionFacts {
    images::GcPolicy policy;
    images::Disk disk;
    std::uint64_t freed = 0;               ///< Bytes that were decided upon before.
    std::set<std::string> leaving_images;  ///< In the same run.
    images::GcMode mode = images::GcMode::real;
    Explained explained = Explained::all;
};

class CollectedRoom {
public:
    virtual ~CollectedRoom() = default;

    /// Once, when the engine has recovered: what a kill or a power cut has left goes.
    virtual asio::awaitable<void> recover() = 0;

    /// What is decided; in a real run it has been done as well. Where nobody reads it, what stays may be left out.
    virtual asio::awaitable<std::vector<images::Decision>> collect(CollectionFacts facts) = 0;
};

/// Those of one loop. They are asked as long as they live. Loop only.
class AlsoCollected final : public asio::execution_context::service {
public:
    using key_type = AlsoCollected;  // as Asio wants it
    inline static asio::execution_context::id id;

    explicit AlsoCollected(asio::execution_context& context) : service(context) {}

    static AlsoCollected& of(const asio::any_io_executor& loop) {
        return asio::use_service<AlsoCollected>(asio::query(loop, asio::execution::context));
    }

    void add(std::weak_ptr<CollectedRoom> room) { rooms_.push_back(std::move(room)); }

    std::vector<std::shared_ptr<CollectedRoom>> all() const {
        std::vector<std::shared_ptr<CollectedRoom>> out;
        for (const auto& each : rooms_)
            if (auto room = each.lock()) out.push_back(std::move(room));
        return out;
    }

private:
    void shutdown() override { rooms_.clear(); }

    std::vector<std::weak_ptr<CollectedRoom>> rooms_;
};

}  // namespace grua::engine
