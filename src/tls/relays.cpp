#include "tls/relays.hpp"

#include "base/error.hpp"
#include "base/thread.hpp"
#include "tls/relay.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <list>
#include <optional>
#include <set>

namespace grua::tls {

using namespace std::chrono_literals;

namespace {

/// For the other side to read what was said last.
constexpr auto leaving_patience = 1s;
constexpr auto slow = 1s;
/// At the end, for what is on its way.
constexpr auto end_patience = 300ms;

}  // namespace

struct Relays::Entry {
    std::unique_ptr<Relay> relay;
    Done done;  ///< Empty once it was called.
    std::shared_ptr<Ending> ending = std::make_shared<Ending>();
    std::list<Entry>::iterator self;
    std::optional<Clock::time_point> deadline;
    bool queued = false;
    bool over = false;
};

/// What only the thread touches.
class Relays::Thread {
public:
    explicit Thread(Relays& owner) : owner_(owner) {}

    void run() {
        for (;;) {
            const bool stopping = take_orders();
            if (stopping && !until_) until_ = Clock::now() + end_patience;
            if (until_ && (all_said() || Clock::now() >= *until_)) break;
            turn();
        }
        for (Entry& entry : entries_) finish(entry, "its process ended");
    }

private:
    bool take_orders() {
        std::vector<Order> orders;
        bool drop = false;
        bool stopping = false;
        {
            const MutexLock lock(owner_.mutex_);
            orders.swap(owner_.orders_);
            drop = std::exchange(owner_.drop_slow_, false);
            stopping = owner_.stopping_;
        }
        for (Order& order : orders) begin(std::move(order));
        while (drop && drop_oldest(Clock::now() - slow)) {
        }
        return stopping;
    }

    void begin(Order order) {
        Done done = std::move(order.done);
        try {
            while (shaking_ >= most_handshakes && drop_oldest(Clock::time_point::max())) {
            }
            auto relay = order.server ? Relay::accept(std::move(order.secure), order.context)
                                      : Relay::connect(std::move(order.secure), order.context, order.host);
            Entry& entry = entries_.emplace_front();
            entry.self = entries_.begin();
            entry.relay = std::move(relay);
            entry.done = std::move(done);
            ++shaking_;
            time(entry, entry.relay->since() + owner_.patience_);
            watch(entry, entry.relay->secure());
            queue(entry);
        } catch (const Error& error) {
            if (done) done({.plain = {}, .peer = {}, .failure = error.what(), .ending = {}});
        }
    }

    void watch(Entry& entry, int fd) {
        epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = &entry}};
        if (::epoll_ctl(owner_.epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) finish(entry, "it cannot be watched");
    }

    void queue(Entry& entry) {
        if (!std::exchange(entry.queued, true)) ready_.push_back(&entry);
    }

    void time(Entry& entry, std::optional<Clock::time_point> deadline) {
        if (entry.deadline) deadlines_.erase({*entry.deadline, &entry});
        entry.deadline = deadline;
        if (deadline) deadlines_.insert({*deadline, &entry});
    }

    void turn() {
        int timeout = -1;
        std::optional<Clock::time_point> next = until_;
        if (!deadlines_.empty() && (!next || deadlines_.begin()->first < *next)) next = deadlines_.begin()->first;
        if (next)
            timeout =
                static_cast<int>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now()).count()));
        if (!ready_.empty()) timeout = 0;
        std::array<epoll_event, 256> events;
        const int count = ::epoll_wait(owner_.epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
        for (int i = 0; i < count; ++i) {
            if (auto* entry = static_cast<Entry*>(events[static_cast<std::size_t>(i)].data.ptr)) {
                queue(*entry);
            } else {
                std::uint64_t told = 0;
                static_cast<void>(::read(owner_.wake_.get(), &told, sizeof told));
            }
        }
        std::vector<Entry*> now;
        now.swap(ready_);
        for (Entry* entry : now) {
            entry->queued = false;
            if (!entry->over) advance(*entry);
        }
        while (!deadlines_.empty() && deadlines_.begin()->first <= Clock::now()) {
            Entry& late = *deadlines_.begin()->second;
            finish(late, late.relay->state() == Relay::State::shaking ? "the handshake took too long" : "");
        }
        // Not before: events and the queue name them.
        std::erase_if(ready_, [](const Entry* entry) { return entry->over; });
        for (const auto each : over_) entries_.erase(each);
        over_.clear();
    }

    void advance(Entry& entry) {
        try {
            const Relay::State before = entry.relay->state();
            bool more = entry.relay->step();
            if (before == Relay::State::shaking && entry.relay->state() == Relay::State::carrying) more = shaken(entry);
            after(entry, before);
            if (more && !entry.over) queue(entry);
        } catch (const std::exception& error) {
            finish(entry, error.what());
        }
    }

    /// The handshake is done.
    bool shaken(Entry& entry) {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) fail_errno("make a socket pair");
        Fd ours{ends[0]};
        Fd theirs{ends[1]};
        const int ours_now = ours.get();
        entry.relay->carry(std::move(ours));
        watch(entry, ours_now);
        tell(entry, {.plain = std::move(theirs), .peer = entry.relay->peer(), .failure = {}, .ending = entry.ending});
        return true;
    }

    void after(Entry& entry, Relay::State before) {
        const Relay::State now = entry.relay->state();
        if (now == before) {
            if (now == Relay::State::carrying && entry.relay->is_deserted() && !entry.deadline)
                time(entry, Clock::now() + deserted_patience);
            return;
        }
        if (before == Relay::State::shaking) --shaking_;
        entry.ending->note(entry.relay->failure());
        if (now == Relay::State::leaving || now == Relay::State::over)
            tell(entry, {.plain = {}, .peer = {}, .failure = entry.relay->failure(), .ending = entry.ending});
        if (now == Relay::State::over) return bury(entry);
        // After it is known why: who sees the end asks for that.
        if (now == Relay::State::leaving) entry.relay->carry(Fd{});
        time(entry, now == Relay::State::leaving ? std::optional(entry.relay->since() + leaving_patience) : std::nullopt);
    }

    static void tell(Entry& entry, Shaken how) {
        if (const Done done = std::exchange(entry.done, nullptr)) done(std::move(how));
    }

    /// From outside of its own steps.
    void finish(Entry& entry, std::string why) {
        if (entry.over) return;
        if (entry.relay->state() == Relay::State::shaking) --shaking_;
        entry.ending->note(why);
        tell(entry, {.plain = {}, .peer = {}, .failure = std::move(why), .ending = entry.ending});
        bury(entry);
    }

    void bury(Entry& entry) {
        time(entry, std::nullopt);
        entry.over = true;
        over_.push_back(entry.self);
    }

    /// The oldest handshake that began before `before`; false where there is none.
    bool drop_oldest(Clock::time_point before) {
        const auto oldest =
            std::ranges::find_if(deadlines_, [](const auto& each) { return each.second->relay->state() == Relay::State::shaking; });
        if (oldest == deadlines_.end() || oldest->second->relay->since() > before) return false;
        finish(*oldest->second, "it gave way to others");
        return true;
    }

    bool all_said() const {
        return std::ranges::all_of(entries_,
                                   [](const Entry& entry) { return entry.over || entry.relay->state() != Relay::State::carrying; });
    }

    Relays& owner_;
    std::list<Entry> entries_;
    std::vector<std::list<Entry>::iterator> over_;
    std::vector<Entry*> ready_;
    std::set<std::pair<Clock::time_point, Entry*>> deadlines_;
    std::size_t shaking_ = 0;
    std::optional<Clock::time_point> until_;
};

Relays::Relays(std::chrono::milliseconds patience)
    : patience_(patience), epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!epoll_ || !wake_) fail_errno("TLS");
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) fail_errno("TLS");
    // Signals are the main thread's; SIGPIPE would be this one's, and a client that has left is no reason to end.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        thread_ = start_thread([this] { Thread(*this).run(); });
    } catch (...) {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Relays::~Relays() {
    {
        const MutexLock lock(mutex_);
        stopping_ = true;
    }
    wake();
    thread_.join();
}

void Relays::wake() const noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(::write(wake_.get(), &one, sizeof one));
}

void Relays::order(Order order) {
    {
        const MutexLock lock(mutex_);
        orders_.push_back(std::move(order));
    }
    wake();
}

void Relays::accept(Fd secure, Context context, Done done) {
    order({.secure = std::move(secure), .context = std::move(context), .host = {}, .server = true, .done = std::move(done)});
}

void Relays::connect(Fd secure, Context context, std::string host, Done done) {
    order({.secure = std::move(secure), .context = std::move(context), .host = std::move(host), .server = false, .done = std::move(done)});
}

void Relays::drop_slow() {
    {
        const MutexLock lock(mutex_);
        drop_slow_ = true;
    }
    wake();
}

}  // namespace grua::tls
