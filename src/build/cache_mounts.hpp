// Folders that steps of builds mount as caches (RUN --mount=type=cache): what one build leaves there the next finds.
//
//   <directory>/<digest>/tree    the files; the first folder of an ID, further ones where it is in use by others
//   <directory>/<digest>/about   what it is; not there before the folder is filled
//
// A kill of gruad leaves all as it is. Nobody waits for the disk while a folder is in use, so that after a power cut its files may lack
// anything: one that was in use then, or not settled since, is begun anew. Who takes and gives back does so on any thread; all else is the
// loop's.
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/condition.hpp"
#include "build/context_store.hpp"
#include "build/usage_plan.hpp"

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// Somebody's, for as long as it lives.
class CacheMount {
public:
    CacheMount(const CacheMount&) = delete;
    CacheMount& operator=(const CacheMount&) = delete;
    ~CacheMount();

    const std::string& folder() const noexcept { return folder_; }

    /// It is empty: whoever has it fills it with what it begins with, and says keep(). Until then it is nobody else's, and is removed
    /// where this ends.
    bool is_new() const noexcept { return is_new_; }
    /// Blocks, a little.
    void keep();

private:
    friend class CacheMounts;
    struct Shelf;
    CacheMount(std::shared_ptr<Shelf> shelf, std::string name, std::string folder, bool is_new)
        : shelf_(std::move(shelf)), name_(std::move(name)), folder_(std::move(folder)), is_new_(is_new) {}

    std::shared_ptr<Shelf> shelf_;
    std::string name_;
    std::string folder_;
    bool is_new_;
};
using CacheMountPtr = std::shared_ptr<CacheMount>;

enum class MountSharing {
    shared,  ///< All who want it have one folder.
    alone,   ///< Another folder where it is in use.
    locked,  ///< Waits until it is not.
};

struct CacheMountWish {
    std::string id;           ///< With what it is kept apart by: a namespace, what it begins with.
    std::string description;  ///< For people.
    MountSharing sharing = MountSharing::shared;
};

class CacheMounts {
public:
    /// `boot`: of this run of the kernel.
    CacheMounts(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, std::string directory,
                std::string boot = ContextStore::this_boot());

    /// An operation takes each once: with a locked one it would wait for itself. Throws Error(unavailable) where `stop` comes first.
    asio::awaitable<CacheMountPtr> take(CacheMountWish wish, std::stop_token stop = {});

    /// One of this ID that is there, whatever it begins with, beside who has it; null where there is none.
    asio::awaitable<CacheMountPtr> find(std::string id);

    /// What nobody uses now survives a power cut from then on. Throws where it does not.
    asio::awaitable<void> settle();

    /// What is half made, or what a power cut has left, goes; else with the first that is taken.
    asio::awaitable<void> sweep();

    /// Records of type "exec.cachemount". Measures, on the pool.
    struct Kept {
        std::string name;
        UsageEntry entry;
    };
    asio::awaitable<std::vector<Kept>> list();

    /// False where it is in use, and where there is none.
    asio::awaitable<bool> remove(std::string name);

private:
    asio::thread_pool& pool_;
    std::shared_ptr<CacheMount::Shelf> shelf_;
};

}  // namespace grua::build
