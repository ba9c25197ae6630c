// A mutex that the compiler follows: a member says which mutex guards it, a function says which it must be called with, and clang's
// thread-safety analysis refuses the build where one is touched without the other. std::mutex has no such words, so none is used elsewhere.
//
// The loop owns its objects and needs no mutex (base/async.hpp); these are for what pool threads and threads of their own share.
// Waiting: std::condition_variable_any takes a MutexLock; a predicate says GRUA_REQUIRES(mutex_) behind its parameters.
#pragma once

#include <mutex>

#define GRUA_CAPABILITY(name) __attribute__((capability(name)))
#define GRUA_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define GRUA_GUARDED_BY(mutex) __attribute__((guarded_by(mutex)))
#define GRUA_POINTEE_GUARDED_BY(mutex) __attribute__((pt_guarded_by(mutex)))
/// The caller holds it.
#define GRUA_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
/// The caller does not hold it: it is taken inside.
#define GRUA_EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define GRUA_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define GRUA_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define GRUA_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define GRUA_RETURN_CAPABILITY(mutex) __attribute__((lock_returned(mutex)))
/// For what the analysis cannot follow; the comment beside it says why it is right.
#define GRUA_NOT_ANALYSED __attribute__((no_thread_safety_analysis))

namespace grua {

class GRUA_CAPABILITY("mutex") Mutex {
public:
    Mutex() = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock() GRUA_ACQUIRE() { mutex_.lock(); }
    void unlock() GRUA_RELEASE() { mutex_.unlock(); }
    bool try_lock() GRUA_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

private:
    std::mutex mutex_;
};

/// One that its holder may take again.
class GRUA_CAPABILITY("mutex") RecursiveMutex {
public:
    RecursiveMutex() = default;
    RecursiveMutex(const RecursiveMutex&) = delete;
    RecursiveMutex& operator=(const RecursiveMutex&) = delete;

    void lock() GRUA_ACQUIRE() { mutex_.lock(); }
    void unlock() GRUA_RELEASE() { mutex_.unlock(); }

private:
    std::recursive_mutex mutex_;
};

/// Holds a mutex for its scope; may be let go of and taken again within it.
template <typename Locked>
class GRUA_SCOPED_CAPABILITY LockOf {
public:
    explicit LockOf(Locked& mutex) GRUA_ACQUIRE(mutex) : mutex_(mutex) {
        mutex_.lock();
        held_ = true;
    }
    LockOf(const LockOf&) = delete;
    LockOf& operator=(const LockOf&) = delete;
    ~LockOf() GRUA_RELEASE() {
        if (held_) mutex_.unlock();
    }

    void lock() GRUA_ACQUIRE() {
        mutex_.lock();
        held_ = true;
    }
    void unlock() GRUA_RELEASE() {
        held_ = false;
        mutex_.unlock();
    }

private:
    Locked& mutex_;
    bool held_ = false;
};

using MutexLock = LockOf<Mutex>;
using RecursiveMutexLock = LockOf<RecursiveMutex>;

}  // namespace grua
