// A log as it lies on a disk, read whole, in slices and from its end; and Docker's frames, which its lines are sent in.
#include "base/stream_frames.hpp"
#include "fuzz.hpp"
#include "monitor/log_reader.hpp"
#include "monitor/log_writer.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <cstdlib>
#include <ranges>

namespace {

using namespace grua;

std::vector<std::string> read(const std::string& path, std::optional<std::uint64_t> tail, std::size_t bytes,
                              monitor::LogFormat format = monitor::LogFormat::json) {
    monitor::LogReader reader({.path = path, .tail = tail, .format = format});
    std::vector<std::string> out;
    for (bool more = true; more;) {
        monitor::LogSlice slice = reader.slice(3, bytes);
        fuzz::check(slice.entries.size() <= 3);
        for (monitor::LogEntry& each : slice.entries) out.push_back(std::move(each.text));
        more = slice.more;
    }
    fuzz::check(reader.ended());
    return out;
}

/// A folder of its own, as a reader looks for what was rotated beside.
const std::string& place() {
    static const std::string path = [] {
        std::string folder = "/tmp/grua-fuzz-log-XXXXXX";
        fuzz::check(::mkdtemp(folder.data()) != nullptr);
        return folder + "/log";
    }();
    return path;
}

void comes_back(std::string_view text, monitor::LogFormat format) {
    const auto entry = monitor::parse_log_line(text, format);
    if (!entry) return;
    const monitor::PartialMark goes_on;
    monitor::LogLine line{.stream = entry->from_stderr ? monitor::Stream::standard_error : monitor::Stream::standard_output,
                          .text = entry->text,
                          .time = entry->time,
                          .part = &goes_on};
    if (line.text.ends_with('\n')) {
        line.text.remove_suffix(1);
        line.part = nullptr;
    }
    std::string written;
    monitor::LogEncoder(format, entry->attributes).append(written, line);
    const auto again = monitor::parse_log_line(std::string_view(written).substr(0, written.size() - 1), format);
    fuzz::check(again && again->text == entry->text && again->from_stderr == entry->from_stderr && again->attributes == entry->attributes);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text(data, size);
    comes_back(text, monitor::LogFormat::json);
    if (!text.contains('\n')) comes_back(text, monitor::LogFormat::local);
    {
        const Fd file(::open(place().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        fuzz::check(::write(file.get(), data, size) == static_cast<ssize_t>(size));
    }
    const auto all = read(place(), {}, std::size_t{1} << 20U);
    fuzz::check(read(place(), {}, 7) == all);
    const auto lines = static_cast<std::uint64_t>(std::ranges::count(text, '\n'));
    for (const std::uint64_t tail : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{2}, lines, lines + 1}) {
        const auto last = read(place(), tail, 5);
        // Lines that are no entries are counted and not returned.
        fuzz::check(last.size() <= all.size() && std::ranges::equal(last, all | std::views::drop(all.size() - last.size())));
    }
    const auto local = read(place(), {}, std::size_t{1} << 20U, monitor::LogFormat::local);
    fuzz::check(read(place(), {}, 7, monitor::LogFormat::local) == local);
    // Taken for a packed file it is what it is: nothing, most often.
    ::rename(place().c_str(), (place() + ".1.gz").c_str());
    const auto packed = read(place(), {}, std::size_t{1} << 20U);
    const auto last = read(place(), 1, 5);
    fuzz::check(last.size() <= std::min<std::size_t>(packed.size(), 1));
    ::unlink((place() + ".1.gz").c_str());
    return fuzz::refuses_or_takes([&] {
        FrameReader frames;
        std::string whole;
        frames.feed(text, [&](StdStream stream, std::string_view piece) { append_frame(whole, stream, piece); });
    });
}
