// What is being removed: moved aside by a rename, which is quick and is seen at once, and deleted by a thread of its own, which may
// take its time. An entry that cannot be deleted (an immutable file, a mount, a disk with errors) keeps none of the others; it is tried
// again at the next start, and with what comes.
#pragma once

#include "base/mutex.hpp"

#include <condition_variable>
#include <functional>
#include <set>
#include <string>
#include <thread>

namespace grua::store {

class Trash {
public:
    /// `directory` is made; it must be on the file system of what is put there. What lies in it goes.
    explicit Trash(std::string directory);

    /// By a rename, which may be undone by a power cut until the folder that `path` was in is synced. Throws what the rename said.
    void put(const std::string& path);

    /// Until all has been tried that is there.
    void wait();

private:
    void purge(const std::stop_token& stop);

    const std::string directory_;
    Mutex mutex_;
    std::condition_variable_any changed_;
    bool has_more_ GRUA_GUARDED_BY(mutex_) = true;
    bool is_busy_ GRUA_GUARDED_BY(mutex_) = false;
    std::set<std::string> told_;  ///< Whose failure is in the log already.
    std::jthread thread_;         // last: it uses all of the above
};

}  // namespace grua::store
