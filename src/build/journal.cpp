#include "build/journal.hpp"

#include "base/utf8.hpp"

#include <algorithm>

namespace grua::build {
namespace {

constexpr std::size_t events_at_once = 200;
constexpr std::size_t bytes_at_once = std::size_t{256} << 10U;
/// Of one thing that goes on, no more than this is of use to anybody.
constexpr auto time_between_statuses = std::chrono::milliseconds(100);

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
        out.set_name(to_valid_utf8(vertex.name));
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
    out.set_error(to_valid_utf8(error));
    ++counts_.completed;
    if (was_cached) ++counts_.cached;
    tell(out);
}

void Journal::step_started(const std::string& digest, const std::string& name) {
    wire::control::Vertex& out = steps_[digest].vertex;
    out.set_digest(digest);
    out.set_name(to_valid_utf8(name));
    *out.mutable_started() = to_timestamp(clock_.wall());
    tell(out);
}

void Journal::step_completed(const std::string& digest, const std::string& error) {
    wire::control::Vertex& out = steps_[digest].vertex;
    *out.mutable_completed() = to_timestamp(clock_.wall());
    out.set_error(to_valid_utf8(error));
    tell(out);
}

void Journal::printed(const Vertex& vertex, int stream, std::string_view bytes) {
    Step& step = step_of(vertex);
    if (step.printed >= output_limit || bytes.empty()) return;
    const std::string_view kept = bytes.substr(0, output_limit - step.printed);
    step.printed += kept.size();
    wire::control::VertexLog& out = *add().add_logs();
    out.set_vertex(vertex.digest);
    out.set_stream(stream);
    out.set_msg(std::string(kept));
    *out.mutable_timestamp() = to_timestamp(clock_.wall());
    if (step.printed == output_limit) out.set_msg(out.msg() + "[output clipped, log limit 2MiB reached]\n");
}

void Journal::advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) {
    const Time time = clock_.wall();
    const auto [at, is_new] = statuses_.try_emplace({vertex.digest, what});
    auto& [out, told] = at->second;
    if (!is_new && !is_done && time - told < time_between_statuses && time >= told) return;
    told = time;
    const wire::common::Timestamp now = to_timestamp(time);
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
    ++counts_.warnings;
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
        for (const wire::control::VertexLog& each : events_[at].logs()) bytes += each.msg().size();
    }
    co_return out;
}

}  // namespace grua::build
