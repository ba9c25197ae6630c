#include "build/journal.hpp"

#include "base/utf8.hpp"

#include <algorithm>

namespace grua::build {
namespace {

constexpr std::size_t events_at_once = 200;
constexpr std::size_t bytes_at_once = std::size_t{256} << 10U;
constexpr std::size_t event_size = 256;                     ///< Of a line, however short it is.
constexpr std::size_t name_limit = std::size_t{64} << 10U;  ///< Of an operation: it is told again with each change.

std::string shown(std::string_view text) { return to_valid_utf8(cut_utf8(text, name_limit)); }

}  // namespace

wire::common::Timestamp to_timestamp(Time time) {
    const auto since = time.time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    wire::common::Timestamp out;
    out.set_seconds(seconds.count());
    out.set_nanos(static_cast<std::int32_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since - seconds).count()));
    return out;
}

Journal::Event& Journal::add() {
    changed_.notify_all();
    return events_.emplace_back();
}

void Journal::tell(const wire::control::Vertex& vertex) { *add().add_vertexes() = vertex; }

Journal::Step& Journal::step_of(const Vertex& vertex) {
    const auto [at, is_new] = steps_.try_emplace(vertex.digest);
    if (is_new) {
        ++counts_.steps;
        wire::control::Vertex& out = at->second.vertex;
        out.set_digest(vertex.digest);
        out.set_name(shown(vertex.name));
        for (const Edge& each : vertex.inputs) out.add_inputs(each.vertex->digest);
        if (vertex.metadata.has_progress_group()) *out.mutable_progressgroup() = vertex.metadata.progress_group();
    }
    return at->second;
}

void Journal::started(const Vertex& vertex) {
    wire::control::Vertex& out = step_of(vertex).vertex;
    *out.mutable_started() = to_timestamp(clock_.wall());
    out.clear_completed();
    tell(out);
}

void Journal::completed(const Vertex& vertex, bool was_cached, const std::string& error) {
    wire::control::Vertex& out = step_of(vertex).vertex;
    if (!out.has_started()) *out.mutable_started() = to_timestamp(clock_.wall());
    *out.mutable_completed() = to_timestamp(clock_.wall());
    out.set_cached(was_cached);
    out.set_error(shown(error));
    ++counts_.completed;
    if (was_cached) ++counts_.cached;
    tell(out);
}

void Journal::step_started(const std::string& digest, const std::string& name) {
    wire::control::Vertex& out = steps_[digest].vertex;
    out.set_digest(digest);
    out.set_name(shown(name));
    *out.mutable_started() = to_timestamp(clock_.wall());
    tell(out);
}

void Journal::step_completed(const std::string& digest, const std::string& error) {
    wire::control::Vertex& out = steps_[digest].vertex;
    *out.mutable_completed() = to_timestamp(clock_.wall());
    out.set_error(shown(error));
    tell(out);
}

void Journal::printed(const Vertex& vertex, int stream, std::string_view bytes) {
    Step& step = step_of(vertex);
    if (step.printed >= output_limit || printed_ >= whole_output_limit || bytes.empty()) return;
    const std::string_view kept = bytes.substr(0, output_limit - step.printed);
    step.printed += kept.size();
    wire::control::VertexLog& out = *add().add_logs();
    out.set_vertex(vertex.digest);
    out.set_stream(stream);
    out.set_msg(std::string(kept));
    *out.mutable_timestamp() = to_timestamp(clock_.wall());
    printed_ += kept.size() + event_size;
    if (step.printed == output_limit)
        out.set_msg(out.msg() + "[output clipped, log limit 2MiB reached]\n");
    else if (printed_ >= whole_output_limit)
        out.set_msg(out.msg() + "[output clipped, log limit 64MiB of the build reached]\n");
}

void Journal::advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) {
    const auto [at, is_new] = advances_.try_emplace({vertex.digest, what});
    // A file's every piece is an advance.
    const Clock::Point when = clock_.steady();
    if (!is_new && !is_done && when - at->second.told < between_advances) return;
    at->second.told = when;
    wire::control::VertexStatus& out = at->second.status;
    const wire::common::Timestamp now = to_timestamp(clock_.wall());
    if (is_new) {
        out.set_id(what);
        out.set_vertex(vertex.digest);
        *out.mutable_started() = now;
    }
    out.set_current(current);
    out.set_total(total);
    *out.mutable_timestamp() = now;
    if (is_done) *out.mutable_completed() = now;
    *add().add_statuses() = out;
}

void Journal::used(const Vertex& vertex, const StepAccount& account) {
    wire::control::StepAccount& out = *step_of(vertex).vertex.mutable_account();
    out.set_cpunanoseconds(account.cpu_time.count());
    out.set_peakmemory(static_cast<std::int64_t>(account.peak_memory));
    out.set_layerbytes(static_cast<std::int64_t>(account.layer_bytes));
}

void Journal::warned(wire::control::VertexWarning warning) {
    if (++counts_.warnings > warnings_limit || warnings_size_ > warnings_size_limit) return;
    warnings_size_ += warning.ByteSizeLong();
    if (warnings_size_ > warnings_size_limit) return;
    *add().add_warnings() = std::move(warning);
}

void Journal::end() {
    has_ended_ = true;
    changed_.notify_all();
}

asio::awaitable<std::optional<wire::control::StatusResponse>> Journal::next(std::size_t& at) {
    while (at >= events_.size() && !has_ended_) co_await changed_.wait();
    if (at >= events_.size()) co_return std::nullopt;
    Event out;
    std::size_t bytes = 0;
    const std::size_t end = std::min(events_.size(), at + events_at_once);
    for (; at < end && bytes < bytes_at_once; ++at) {
        out.MergeFrom(events_[at]);
        bytes += events_[at].ByteSizeLong();
    }
    co_return out;
}

}  // namespace grua::build
