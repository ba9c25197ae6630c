#include "store/trash.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"

#include <cstdio>
#include <filesystem>
#include <vector>

namespace grua::store {

namespace fs = std::filesystem;

Trash::Trash(std::string directory) : directory_(std::move(directory)) {
    make_directories(directory_, 0700);
    thread_ = std::jthread([this](const std::stop_token& stop) { purge(stop); });
}

void Trash::put(const std::string& path) {
    const std::string target = directory_ + "/" + random_hex(16);
    if (::rename(path.c_str(), target.c_str()) != 0) fail_errno("move {} to the trash", path);
    const MutexLock lock{mutex_};
    has_more_ = true;
    changed_.notify_all();
}

void Trash::wait() {
    MutexLock lock{mutex_};
    changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return !has_more_ && !is_busy_; });
}

void Trash::purge(const std::stop_token& stop) {
    MutexLock lock{mutex_};
    while (!stop.stop_requested()) {
        has_more_ = false;
        is_busy_ = true;
        lock.unlock();
        std::error_code error;
        std::vector<fs::path> entries;
        for (auto entry = fs::directory_iterator(directory_, error); !error && entry != fs::directory_iterator(); entry.increment(error))
            entries.push_back(entry->path());
        if (error) log::error("{}: {}", directory_, error.message());
        for (const fs::path& each : entries) {
            if (stop.stop_requested()) return;
            fs::remove_all(each, error);  // Follows no links.
            if (error && told_.insert(each.string()).second)
                log::warn("{} cannot be removed: {}; it is left there, and tried again at the next start", each.string(), error.message());
        }
        lock.lock();
        is_busy_ = false;
        changed_.notify_all();
        changed_.wait(lock, stop, [&]() GRUA_REQUIRES(mutex_) { return has_more_; });
    }
}

}  // namespace grua::store
