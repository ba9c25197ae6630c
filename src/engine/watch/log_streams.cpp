#include "engine/watch/log_streams.hpp"

#include "base/async.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/spec/log.hpp"
#include "monitor/log_reader.hpp"

#include <filesystem>

namespace grua::engine {
namespace {

constexpr std::size_t slice_entries = 256;
constexpr std::size_t slice_bytes = std::size_t{1} << 20U;
constexpr std::chrono::milliseconds poll_interval{200};

monitor::LogReaderOptions reader_options(const ContainerRecord& record, const LogOptions& options) {
    monitor::LogReaderOptions out;
    out.path = record.log_path;
    out.format = log_format(record);
    if (options.tail >= 0) out.tail = static_cast<std::uint64_t>(options.tail);
    out.since = options.since.value_or(Time{});
    out.until = options.until.value_or(Time{});
    out.follow = options.follow;
    out.use_stdout = options.use_stdout;
    out.use_stderr = options.use_stderr;
    return out;
}

class FileLogStream : public LogStream {
public:
    FileLogStream(asio::thread_pool& readers, LogWatch& watch, ContainerPtr container, const LogOptions& options)
        : readers_(readers), container_(std::move(container)), options_(options), file_(std::make_shared<File>()) {
        file_->options = reader_options(*container_->record, options_);
        // One that does not run is read to its end, as it is under Docker.
        options_.follow = file_->options.follow = options_.follow && lives();
        if (!options_.follow) return;
        const std::string folder = std::filesystem::path(container_->record->log_path).parent_path();
        // The log is a part of the container: who waits for the container to change looks at both.
        follower_ = watch.follow(folder, [watched = container_] { watched->changed.notify_all(); });
    }

    asio::awaitable<std::vector<LogLine>> next() override {
        for (;;) {
            // Looked at before reading: what was written before the end is then in the log.
            const bool lived = lives();
            const std::uint64_t changes = follower_ ? follower_->changes() : 0;
            auto read = [file = file_] {
                if (!file->reader) file->reader = std::make_unique<monitor::LogReader>(file->options);
                return file->reader->slice(slice_entries, slice_bytes);
            };
            monitor::LogSlice slice = co_await offload(readers_, std::move(read));
            tell_of_broken(slice.broken);
            if (!slice.entries.empty()) co_return lines_of(std::move(slice));
            if (slice.more) continue;
            if (!options_.follow || !lived || file_->reader->ended()) co_return std::vector<LogLine>{};
            // Looked at once more: while it was read here nobody waited for a change.
            if (lives() && follower_->changes() == changes) co_await container_->changed.wait(deadline());
        }
    }

private:
    /// What the reading threads have; nothing of it is the loop's.
    struct File {
        monitor::LogReaderOptions options;
        std::unique_ptr<monitor::LogReader> reader;
    };

    bool lives() const {
        const Status status = container_->record->state.status;
        return !container_->is_gone() && (is_running(status) || status == Status::restarting);
    }

    /// Once: there may be a disk full of them.
    void tell_of_broken(std::uint64_t lines) {
        if (lines == 0 || std::exchange(told_of_broken_, true)) return;
        log::warn("container {} ({}): lines of its log are broken, and are left out where it is read", short_id(container_->id()),
                  container_->record->name);
    }

    Condition::Clock::time_point deadline() const {
        const auto present = Condition::Clock::now();
        auto out = Condition::Clock::time_point::max();
        if (options_.until) out = present + std::chrono::ceil<std::chrono::milliseconds>(*options_.until - now());
        if (follower_->must_poll()) out = std::min(out, present + poll_interval);
        return out;
    }

    static std::vector<LogLine> lines_of(monitor::LogSlice slice) {
        std::vector<LogLine> out;
        out.reserve(slice.entries.size());
        for (monitor::LogEntry& each : slice.entries)
            out.push_back(
                {.time = each.time, .is_stderr = each.from_stderr, .text = std::move(each.text), .attributes = std::move(each.attributes)});
        return out;
    }

    asio::thread_pool& readers_;
    ContainerPtr container_;
    LogOptions options_;
    std::shared_ptr<File> file_;
    std::unique_ptr<LogWatch::Follower> follower_;
    bool told_of_broken_ = false;
};

}  // namespace

std::string shown_attributes(const LogLine& line) { return monitor::encode_attributes(line.attributes); }

std::shared_ptr<LogStream> LogStreams::open(ContainerPtr container, const LogOptions& options) {
    return std::make_shared<FileLogStream>(readers_, watch_, std::move(container), options);
}

}  // namespace grua::engine
