#include "engine/watch/log_watch.hpp"

#include "base/async.hpp"
#include "base/fd.hpp"
#include "base/log.hpp"

#include <sys/inotify.h>
#include <unistd.h>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace grua::engine {

class LogWatch::Impl : public std::enable_shared_from_this<Impl> {
public:
    explicit Impl(asio::any_io_executor loop) : loop_(std::move(loop)) {}

    void add(Follower& follower, const std::string& folder) {
        if (!open()) return;
        const int watch = ::inotify_add_watch(events_->native_handle(), folder.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
        if (watch < 0) {
            log::debug("watch {}: {}; it is looked at instead", folder, std::strerror(errno));
            return;
        }
        follower.watch_ = watch;
        followers_[watch].insert(&follower);
    }

    void remove(Follower& follower) {
        const auto found = followers_.find(follower.watch_);
        if (found == followers_.end()) return;
        found->second.erase(&follower);
        if (!found->second.empty()) return;
        followers_.erase(found);
        if (events_) (void)::inotify_rm_watch(events_->native_handle(), follower.watch_);
    }

    void close() {
        if (!events_) return;
        boost::system::error_code ignored;
        events_->close(ignored);
    }

private:
    bool open() {
        if (events_) return true;
        Fd instance{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
        if (!instance) {
            log::debug("inotify_init1: {}; logs are looked at instead", std::strerror(errno));
            return false;
        }
        events_.emplace(loop_, instance.release());
        asio::co_spawn(loop_, read(shared_from_this()), asio::detached);
        return true;
    }

    static asio::awaitable<void> read(std::shared_ptr<Impl> self) {
        while (self->events_->is_open()) {
            const auto [error] =
                co_await self->events_->async_wait(asio::posix::stream_descriptor::wait_read, asio::as_tuple(asio::use_awaitable));
            if (error || !self->events_->is_open()) co_return;
            self->take_events();
        }
    }

    void take_events() {
        alignas(inotify_event) std::array<char, 16384> bytes;
        std::set<int> changed;
        bool all = false;
        const ssize_t got = ::read(events_->native_handle(), bytes.data(), bytes.size());
        for (ssize_t at = 0; at + static_cast<ssize_t>(sizeof(inotify_event)) <= got;) {
            inotify_event event{};
            std::memcpy(&event, bytes.data() + at, sizeof event);
            at += static_cast<ssize_t>(sizeof event + event.len);
            if ((event.mask & IN_Q_OVERFLOW) != 0) all = true;
            // The folder is gone, and the number may be given to another one.
            if ((event.mask & IN_IGNORED) != 0) forget(event.wd);
            changed.insert(event.wd);
        }
        // Beside: who is called may add or remove followers.
        std::vector<Follower*> told;
        for (const auto& [watch, followers] : followers_)
            if (all || changed.contains(watch)) told.insert(told.end(), followers.begin(), followers.end());
        for (Follower* each : told) {
            if (!lives(each)) continue;
            ++each->changes_;
            const auto call = each->changed_;
            call();
        }
    }

    bool lives(Follower* follower) const {
        for (const auto& [watch, followers] : followers_)
            if (followers.contains(follower)) return true;
        return false;
    }

    void forget(int watch) {
        const auto found = followers_.find(watch);
        if (found == followers_.end()) return;
        const std::set<Follower*> followers = std::move(found->second);
        followers_.erase(found);
        for (Follower* each : followers) {
            each->watch_ = -1;
            ++each->changes_;
            const auto call = each->changed_;
            call();
        }
    }

    asio::any_io_executor loop_;
    std::optional<asio::posix::stream_descriptor> events_;
    std::map<int, std::set<Follower*>> followers_;
};

LogWatch::LogWatch(asio::any_io_executor loop) : impl_(std::make_shared<Impl>(std::move(loop))) {}
LogWatch::~LogWatch() { impl_->close(); }

LogWatch::Follower::~Follower() { impl_->remove(*this); }

std::unique_ptr<LogWatch::Follower> LogWatch::follow(const std::string& folder, std::function<void()> changed) {
    std::unique_ptr<Follower> out{new Follower(impl_, std::move(changed))};
    impl_->add(*out, folder);
    return out;
}

}  // namespace grua::engine
