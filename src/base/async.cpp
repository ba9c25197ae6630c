#include "base/async.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/system/system_error.hpp>

namespace grua {

asio::awaitable<void> detail::run_on(asio::thread_pool& pool, std::shared_ptr<AnyJob> job) {
    auto start = [&pool, job = std::move(job), loop = asio::make_work_guard(co_await asio::this_coro::executor)](auto resume) mutable {
        asio::post(pool, [job = std::move(job), loop = std::move(loop), resume = std::move(resume)]() mutable {
            job->run();
            // The guard goes along: the loop must not take itself for idle before it has seen this.
            const auto executor = loop.get_executor();
            asio::post(executor,
                       [job = std::move(job), loop = std::move(loop), resume = std::move(resume)]() mutable { std::move(resume)(); });
        });
    };
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(std::move(start), asio::use_awaitable);
}

/// In the frame of who waits. Destroyed with it, it leaves the queue, or passes on what it was given meanwhile.
struct Lane::Waiting {
    explicit Waiting(Lane& in)
        : lane(in), bell(in.loop_, asio::steady_timer::time_point::max()), at(in.waiting_.insert(in.waiting_.end(), this)) {}
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    ~Waiting() {
        if (state == State::queued) lane.waiting_.erase(at);
        if (state == State::given) lane.pass_on();
    }

    enum class State : std::uint8_t { queued, given, taken };
    Lane& lane;
    asio::steady_timer bell;
    std::list<Waiting*>::iterator at;  ///< While it is queued.
    State state = State::queued;
};

asio::awaitable<Lane::Turn> Lane::take() {
    if (std::exchange(is_taken_, true)) {
        Waiting self{*this};
        (void)co_await self.bell.async_wait(asio::as_tuple(asio::use_awaitable));
        // Rung by nobody, so the caller was cancelled.
        if (self.state == Waiting::State::queued) throw boost::system::system_error(asio::error::operation_aborted);
        self.state = Waiting::State::taken;
    }
    co_return Turn{*this};
}

void Lane::pass_on() noexcept {
    if (waiting_.empty()) {
        is_taken_ = false;
        return;
    }
    Waiting& next = *waiting_.front();
    waiting_.pop_front();
    next.state = Waiting::State::given;
    next.bell.cancel();
}

}  // namespace grua
