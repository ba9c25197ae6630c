#include "cli/build/display.hpp"

#include "base/encoding.hpp"
#include "base/utf8.hpp"

#include <boost/json.hpp>

namespace grua::cli {
namespace {

using boost::json::array;
using boost::json::object;

std::string time_text(const wire::common::Timestamp& time) { return format_time(to_time(time)); }

/// Members without a value are left out, as Go's omitempty does.
void add_text(object& out, const char* name, const std::string& text) {
    if (!text.empty()) out[name] = to_valid_utf8(text);
}
void add_bytes(object& out, const char* name, const std::string& bytes) {
    if (!bytes.empty()) out[name] = base64_encode(bytes);
}

object position_of(const wire::graph::Position& position) {
    object out;
    if (position.line() != 0) out["line"] = position.line();
    if (position.character() != 0) out["character"] = position.character();
    return out;
}

object vertex_of(const wire::control::Vertex& vertex) {
    object out;
    add_text(out, "digest", vertex.digest());
    if (vertex.inputs_size() > 0) {
        array& inputs = out["inputs"].emplace_array();
        for (const std::string& each : vertex.inputs()) inputs.emplace_back(to_valid_utf8(each));
    }
    add_text(out, "name", vertex.name());
    if (vertex.has_started()) out["started"] = time_text(vertex.started());
    if (vertex.has_completed()) out["completed"] = time_text(vertex.completed());
    if (vertex.cached()) out["cached"] = true;
    add_text(out, "error", vertex.error());
    if (vertex.has_progressgroup()) {
        object& group = out["progressGroup"].emplace_object();
        add_text(group, "id", vertex.progressgroup().id());
        add_text(group, "name", vertex.progressgroup().name());
        if (vertex.progressgroup().weak()) group["weak"] = true;
    }
    return out;
}

object status_of(const wire::control::VertexStatus& status) {
    object out;
    out["id"] = to_valid_utf8(status.id());
    add_text(out, "vertex", status.vertex());
    add_text(out, "name", status.name());
    if (status.total() != 0) out["total"] = status.total();
    out["current"] = status.current();
    out["timestamp"] = time_text(status.timestamp());
    if (status.has_started()) out["started"] = time_text(status.started());
    if (status.has_completed()) out["completed"] = time_text(status.completed());
    return out;
}

object log_of(const wire::control::VertexLog& log) {
    object out;
    add_text(out, "vertex", log.vertex());
    if (log.stream() != 0) out["stream"] = log.stream();
    out["data"] = base64_encode(log.msg());
    out["timestamp"] = time_text(log.timestamp());
    return out;
}

object warning_of(const wire::control::VertexWarning& warning) {
    object out;
    add_text(out, "vertex", warning.vertex());
    if (warning.level() != 0) out["level"] = warning.level();
    add_bytes(out, "short", warning.short_());
    if (warning.detail_size() > 0) {
        array& detail = out["detail"].emplace_array();
        for (const std::string& each : warning.detail()) detail.emplace_back(base64_encode(each));
    }
    add_text(out, "url", warning.url());
    if (warning.has_info()) {
        object& info = out["sourceInfo"].emplace_object();
        add_text(info, "filename", warning.info().filename());
        add_bytes(info, "data", warning.info().data());
        add_text(info, "language", warning.info().language());
    }
    if (warning.ranges_size() > 0) {
        array& ranges = out["range"].emplace_array();
        for (const auto& each : warning.ranges())
            ranges.push_back(object{{"start", position_of(each.start())}, {"end", position_of(each.end())}});
    }
    return out;
}

template <typename List, typename Convert>
void add_list(object& out, const char* name, const List& list, Convert convert) {
    if (list.empty()) return;
    array& values = out[name].emplace_array();
    for (const auto& each : list) values.push_back(convert(each));
}

}  // namespace

std::string JsonDisplay::take(const wire::control::StatusResponse& told, Time) {
    object out;
    add_list(out, "vertexes", told.vertexes(), vertex_of);
    add_list(out, "statuses", told.statuses(), status_of);
    add_list(out, "logs", told.logs(), log_of);
    add_list(out, "warnings", told.warnings(), warning_of);
    warnings_.insert(warnings_.end(), told.warnings().begin(), told.warnings().end());
    return boost::json::serialize(out) + "\n";
}

}  // namespace grua::cli
