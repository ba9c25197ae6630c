// Contexts of builds, kept for the next one of the same client's folder, which sends what has changed only.
//
//   <directory>/<digest of the key>/tree    the files
//   <directory>/<digest of the key>/index   what is in the tree; not there while somebody changes it
//
// A tree without an index, or with one of another run of the kernel, is begun anew: nothing here is synced, so after a power cut nobody
// knows what is in it. A kill of gruad does it no harm. Thread-safe; blocks, so it is used from the pool.
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/mutex.hpp"
#include "build/tree_index.hpp"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

class ContextStore;

/// A context that somebody is about; nobody else gets this one meanwhile. Destroyed without keep() it is removed.
class Context {
public:
    Context(ContextStore& store, std::string name, std::string key, TreeIndex before);
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context();

    std::string folder() const;
    /// Of what is kept by its key always the same, of what is for one build alone no other's.
    const std::string& name() const noexcept { return name_; }
    /// What is in the folder. Of one that is new: nothing.
    const TreeIndex& index() const noexcept { return index_; }
    /// Its files are going to be changed: from now on until keep() it is worth nothing to others.
    void begin_change();
    /// This is what is in the folder now. What may have been changed again at the very time that it has is asked for anew the next time.
    void keep(TreeIndex index);

private:
    ContextStore& store_;
    std::string name_;
    std::string key_;  ///< Empty: it is for this one build.
    TreeIndex index_;
    bool is_kept_;
    std::int64_t begun_ = 0;  ///< When it was begun to be changed; nanoseconds since 1970.
};

/// Let go of on the pool: one that nobody has any more may be removed then.
std::shared_ptr<const Context> shared(asio::thread_pool& pool, std::unique_ptr<Context> context);

class ContextStore {
public:
    /// Makes the folder where it is missing, and removes what is of no use any more. `boot`: of this run of the kernel.
    explicit ContextStore(std::string directory, std::string boot = this_boot());

    /// The one of this key, or where that is in use, or the key is empty, one for this build alone.
    std::unique_ptr<Context> take(const std::string& key);

    struct Kept {
        std::string name;
        std::string key;
        std::uint64_t bytes = 0;
        Time last_used{};
        bool is_used = false;
    };
    std::vector<Kept> list() const;

    /// Those that are in use stay; false then, and where there is none.
    bool remove(const std::string& name);

    static std::string this_boot();

private:
    friend class Context;
    std::string path_of(std::string_view name) const { return directory_ + "/" + std::string(name); }
    TreeIndex read_index(const std::string& name, const std::string& key) const;
    void write_index(const std::string& name, const std::string& key, const TreeIndex& index) const;
    void forget_index(const std::string& name) const;
    void remove_files(const std::string& name) const;
    void release(const std::string& name);

    std::string directory_;
    std::string boot_;
    mutable Mutex mutex_;
    std::set<std::string, std::less<>> used_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::build
