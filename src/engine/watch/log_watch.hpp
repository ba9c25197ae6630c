// Tells who follows a log that files in its folder changed. All share one inotify instance, of which a user has few (128, and
// root's are those of the whole machine). Where there is none left, or no watch, the follower is told so and looks from time to time
// by itself: a log that cannot be watched is still followed. Loop only.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace grua::engine {

namespace asio = boost::asio;

class LogWatch {
    class Impl;

public:
    explicit LogWatch(asio::any_io_executor loop);
    ~LogWatch();

    class Follower {
    public:
        Follower(const Follower&) = delete;
        Follower& operator=(const Follower&) = delete;
        ~Follower();

        /// Nobody tells of changes.
        bool must_poll() const noexcept { return watch_ < 0; }
        /// Grows with each change.
        std::uint64_t changes() const noexcept { return changes_; }

    private:
        friend class LogWatch;
        friend class Impl;
        Follower(std::shared_ptr<Impl> impl, std::function<void()> changed) : impl_(std::move(impl)), changed_(std::move(changed)) {}

        std::shared_ptr<Impl> impl_;
        std::function<void()> changed_;
        std::uint64_t changes_ = 0;
        int watch_ = -1;
    };

    /// Until the answer is destroyed `changed` is called after each change. Whoever calls this before it reads misses none.
    std::unique_ptr<Follower> follow(const std::string& folder, std::function<void()> changed);

private:
    std::shared_ptr<Impl> impl_;
};

}  // namespace grua::engine
