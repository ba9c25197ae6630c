// The times of folders: set last, because what is made in a folder changes its time.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <array>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace grua::layers {

/// A tar may have any number of folders with names of 4 KiB. Beyond `held_limit` bytes of them the times are set early; from then
/// on a folder that something is made in gets the time back that it had.
class FolderTimes {
public:
    using Set = std::function<void(const std::string& path, const timespec& time)>;
    static constexpr std::size_t held_limit = std::size_t{8} << 20U;

    explicit FolderTimes(Set set) : set_(std::move(set)) {}

    /// True where times were set early: enter() the present folder again.
    bool add(const std::string& path, const timespec& time) {
        held_.emplace_back(path, time);
        bytes_ += sizeof(held_.back()) + path.size();
        if (bytes_ < held_limit) return false;
        apply();
        early_ = true;
        return true;
    }

    /// `folder` is going to be changed, until leave().
    void enter(int folder) {
        struct stat status{};
        before_.reset();
        if (early_ && ::fstat(folder, &status) == 0) before_ = status.st_mtim;
    }
    void leave(int folder) {
        if (!before_) return;
        const std::array times{*before_, *before_};
        ::utimensat(folder, ".", times.data(), 0);  // it may be O_PATH; where it was removed nobody misses its time
        before_.reset();
    }

    /// The inner ones first, as they mostly come after the outer ones.
    void apply() {
        for (auto each = held_.rbegin(); each != held_.rend(); ++each) set_(each->first, each->second);
        held_.clear();
        bytes_ = 0;
    }

private:
    Set set_;
    std::vector<std::pair<std::string, timespec>> held_;
    std::size_t bytes_ = 0;
    bool early_ = false;
    std::optional<timespec> before_;
};

}  // namespace grua::layers
