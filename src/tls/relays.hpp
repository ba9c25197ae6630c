// All TLS of a process, in one thread of its own: handshakes and bulk encryption take no turn of gruad's loop, and no client that is slow,
// silent or hostile in its handshake is anybody's but this thread's.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "tls/context.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace grua::tls {

/// From accepting a client to the end of the handshake, as long as a request's headers may take: many at once wait for each other.
inline constexpr std::chrono::seconds handshake_patience{30};

/// For a client to take what is left for it, after whoever said it has gone.
inline constexpr std::chrono::seconds deserted_patience{60};

/// So many at once; the oldest gives way to another.
inline constexpr std::size_t most_handshakes = 512;

/// Why a connection broke, for who has only seen it end. From any thread.
class Ending {
public:
    void note(std::string why) GRUA_EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        if (!why.empty()) why_ = std::move(why);
    }
    /// Empty where it is not known to be a fault.
    std::string why() const GRUA_EXCLUDES(mutex_) {
        const MutexLock lock(mutex_);
        return why_;
    }

private:
    mutable Mutex mutex_;
    std::string why_ GRUA_GUARDED_BY(mutex_);
};

/// How a handshake went.
struct Shaken {
    Fd plain;             ///< Nonblocking; none where it failed.
    std::string peer;     ///< The subject of the other side's certificate.
    std::string failure;  ///< Why it failed.
    std::shared_ptr<const Ending> ending;
};

class Relays {
public:
    /// Called once, in the thread of the relays. It does not wait for anything, and throws nothing.
    using Done = std::function<void(Shaken)>;

    /// Throws Error(unavailable) where there can be no thread.
    explicit Relays(std::chrono::milliseconds patience = handshake_patience);
    /// What is on its way is given a moment, then all connections end.
    ~Relays();
    Relays(const Relays&) = delete;
    Relays& operator=(const Relays&) = delete;

    /// `secure` is connected and nonblocking.
    void accept(Fd secure, Context context, Done done);
    void connect(Fd secure, Context context, std::string host, Done done);

    /// Descriptors are short: handshakes that have lasted for more than a second end.
    void drop_slow();

private:
    struct Entry;
    class Thread;
    struct Order {
        Fd secure;
        Context context;
        std::string host;
        bool server;
        Done done;
    };
    void order(Order order) GRUA_EXCLUDES(mutex_);
    void wake() const noexcept;

    const std::chrono::milliseconds patience_;
    Fd epoll_;
    Fd wake_;
    Mutex mutex_;
    std::vector<Order> orders_ GRUA_GUARDED_BY(mutex_);
    bool drop_slow_ GRUA_GUARDED_BY(mutex_) = false;
    bool stopping_ GRUA_GUARDED_BY(mutex_) = false;
    std::thread thread_;
};

}  // namespace grua::tls
