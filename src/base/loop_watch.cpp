#include "base/loop_watch.hpp"

#include "base/log.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <charconv>

namespace grua {

using namespace std::chrono_literals;

namespace {

/// The sample that a turn is judged by is no older than this at its begin.
constexpr auto sample_age = 5ms;

using Watched = detail::WatchedExecutor<asio::io_context::executor_type>;

}  // namespace

LoopWatch::LoopWatch(std::chrono::milliseconds limit)
    : limit_(limit),
      // Where the kernel does not keep it, all of a turn's time counts.
      schedstat_(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)),
      unnamed_(&names_.emplace_back(this, "gruad")) {}

asio::any_io_executor LoopWatch::executor(asio::io_context& loop) { return Watched{loop.get_executor(), unnamed_}; }

void LoopWatch::begin() { longest_ = {}; }

std::chrono::nanoseconds LoopWatch::waited_for_a_processor() const {
    // "time on a processor, time waiting for one, turns", the first two in ns.
    std::array<char, 96> text{};
    const ssize_t size = schedstat_ ? ::pread(schedstat_.get(), text.data(), text.size(), 0) : -1;
    if (size <= 0) return 0ns;
    const std::string_view line(text.data(), static_cast<std::size_t>(size));
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) return 0ns;
    std::int64_t waited = 0;
    std::from_chars(line.data() + blank + 1, line.data() + line.size(), waited);
    return std::chrono::nanoseconds{waited};
}

void LoopWatch::enter(Clock::time_point now) {
    if (depth_++ > 0) return;
    if (now - sample_.at > sample_age) sample_ = {now, waited_for_a_processor()};
}

void LoopWatch::leave(const Name& name, Clock::time_point began) {
    const Clock::duration length = Clock::now() - began;
    if (--depth_ > 0) {
        if (length > longest_inner_ && length > 100us) {
            longest_inner_ = length;
            inner_name_ = name.text;
        }
        return;
    }
    if (length > longest_.length || length > limit_) judge(longest_inner_ * 2 > length ? inner_name_ : name.text, length);
    longest_inner_ = {};
}

void LoopWatch::judge(std::string_view name, Clock::duration length) {
    const auto waited = waited_for_a_processor() - sample_.waited;
    const Clock::duration held = length - std::min<Clock::duration>(waited, length);
    if (held > limit_) log::warn("the loop was held for {} ms by {}", std::chrono::floor<std::chrono::milliseconds>(held).count(), name);
    if (held > longest_.length) longest_ = {held, std::string(name)};
}

LoopWatch::Running::Running(Name& name) : name_(name), began_(Clock::now()) { name_.watch->enter(began_); }
LoopWatch::Running::~Running() { name_.watch->leave(name_, began_); }

TurnName::TurnName(const asio::any_io_executor& loop, std::string_view name) : executor_(loop) {
    const auto* watched = loop.target<Watched>();
    if (!watched) return;
    LoopWatch& watch = *watched->name()->watch;
    if (watch.free_.empty()) watch.free_.push_back(&watch.names_.emplace_back(&watch, std::string{}));
    name_ = watch.free_.back();
    watch.free_.pop_back();
    name_->text = name;
    executor_ = Watched{watched->inner(), name_};
}

TurnName::~TurnName() {
    if (name_) name_->watch->free_.push_back(name_);
}

void TurnName::change(std::string_view name) {
    if (name_) name_->text = name;
}

}  // namespace grua
