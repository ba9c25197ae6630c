#include "build/classic_text.hpp"

#include "base/id.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/graph.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <array>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <utility>

namespace grua::build {
namespace {

using boost::json::object;

constexpr std::string_view image_scheme = "docker-image://";
constexpr std::string_view line_end = "\r\n";
constexpr std::int64_t standard_error = 2;

/// Known to every RUN, so that no ARG needs to name them.
constexpr std::array always_taken{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY",
                                  "ftp_proxy",  "NO_PROXY",   "no_proxy",    "ALL_PROXY",   "all_proxy"};

std::string line_of(const object& value) { return boost::json::serialize(value) + std::string(line_end); }

/// "0123456789ab" of "sha256:0123456789ab…".
std::string shown_id(std::string_view id) {
    const std::size_t colon = id.find(':');
    return std::string(short_id(colon == std::string_view::npos ? id : id.substr(colon + 1)));
}

/// How much of it is whole characters, where its end is the begin of one.
std::size_t whole_length(std::string_view bytes) {
    for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
        const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
        if ((byte & 0xC0U) == 0x80U) continue;
        const std::size_t length = byte >= 0xF0U ? 4 : byte >= 0xE0U ? 3 : byte >= 0xC0U ? 2 : 1;
        return length > back ? bytes.size() - back : bytes.size();
    }
    return bytes.size();
}

std::vector<std::string> unused_arguments(const dockerfile::Dockerfile& file, std::size_t target, const std::vector<std::string>& given) {
    std::set<std::string, std::less<>> taken(always_taken.begin(), always_taken.end());
    const auto take = [&](const dockerfile::Instruction& instruction) {
        if (const auto* arg = std::get_if<dockerfile::Arg>(&instruction.body))
            for (const auto& each : arg->declared) taken.insert(each.key);
    };
    std::ranges::for_each(file.arguments, take);
    for (std::size_t stage = 0; stage <= target; ++stage) std::ranges::for_each(file.stages[stage].instructions, take);
    std::vector<std::string> out;
    std::ranges::copy_if(given, std::back_inserter(out), [&](const std::string& each) { return !taken.contains(each); });
    std::ranges::sort(out);
    return out;
}

}  // namespace

ClassicPlan plan_classic(std::string_view source, const dockerfile::BuildInputs& inputs, const std::vector<std::string>& arguments,
                         const std::map<std::string, std::string>& labels) {
    const dockerfile::Dockerfile file = dockerfile::read_dockerfile(source);
    dockerfile::Expander expander({.escape = file.escape});
    const dockerfile::StageGraph graph = dockerfile::make_graph(file, inputs, expander);
    const std::size_t target = graph.target(inputs.target);
    const std::vector<bool> needed = graph.needed_for(target);
    ClassicPlan out;
    for (const dockerfile::Instruction& each : file.arguments)
        out.steps.push_back({.kind = ClassicStep::Kind::argument, .text = each.code, .lines = each.lines, .base_stage = {}});
    for (std::size_t stage = 0; stage <= target; ++stage) {
        if (!needed[stage]) continue;
        const dockerfile::Stage& written = file.stages[stage];
        out.steps.push_back({.kind = ClassicStep::Kind::from,
                             .text = written.head.code,
                             .stage = stage,
                             .lines = written.head.lines,
                             .base_stage = graph.stages()[stage].base_stage});
        for (const dockerfile::Instruction& each : written.instructions)
            out.steps.push_back({.text = each.code, .stage = stage, .lines = each.lines, .base_stage = {}});
    }
    for (const auto& [name, value] : labels)
        out.steps.push_back({.text = fmt::format("LABEL {}={}", name, value), .stage = target, .lines = {}, .base_stage = {}});
    out.unused = unused_arguments(file, target, arguments);
    return out;
}

std::string stream_line(std::string_view text) { return line_of({{"stream", to_valid_utf8(text)}}); }

std::string aux_line(std::string_view id, std::string_view member, std::string_view value) {
    object out;
    if (!id.empty()) out["id"] = id;
    if (member.empty())
        out["aux"] = value;
    else
        out["aux"] = object{{member, value}};
    return line_of(out);
}

std::string error_line(std::string_view message, std::optional<int> code) {
    const std::string text = to_valid_utf8(message);
    object detail;
    if (code) detail["code"] = *code;
    detail["message"] = text;
    return line_of({{"errorDetail", std::move(detail)}, {"error", text}});
}

void ClassicText::take(ClassicPlan plan) { plan_ = std::move(plan); }

void ClassicText::take(const pb::Definition& graph) {
    places_.resize(plan_.steps.size());
    cached_.assign(plan_.steps.size(), false);
    has_graph_ = true;
    std::map<int, std::size_t> by_line;
    for (std::size_t step = 0; step < plan_.steps.size(); ++step) by_line.emplace(plan_.steps[step].lines.first, step);
    for (const auto& [digest, locations] : graph.source().locations()) {
        for (const pb::Location& location : locations.locations()) {
            for (const pb::Range& range : location.ranges()) {
                const auto found = by_line.find(range.start().line());
                if (found == by_line.end()) continue;
                std::vector<std::string>& vertices = places_[found->second].vertices;
                if (std::ranges::find(vertices, digest) == vertices.end()) vertices.push_back(digest);
            }
        }
    }
    // What an image is called that a stage begins with; one that files are copied from stands in no instruction of its own.
    for (const std::string& bytes : graph.def()) {
        pb::Op op;
        if (!op.ParseFromString(bytes) || !op.source().identifier().starts_with(image_scheme)) continue;
        const std::string digest = content::digest_of(bytes).text();
        const auto about = graph.metadata().find(digest);
        if (about == graph.metadata().end() || !about->second.description().contains("com.docker.dockerfile.v1.command")) continue;
        for (std::size_t step = 0; step < places_.size(); ++step)
            if (plan_.steps[step].kind == ClassicStep::Kind::from &&
                std::ranges::find(places_[step].vertices, digest) != places_[step].vertices.end())
                places_[step].reference = op.source().identifier().substr(image_scheme.size());
    }
}

void ClassicText::take(const wire::control::StatusResponse& status) {
    for (const wire::control::Vertex& each : status.vertexes()) {
        Known& known = known_[each.digest()];
        known.is_started = known.is_started || each.has_started();
        known.is_completed = each.has_completed() && each.error().empty();
        known.is_cached = known.is_completed && each.cached();
    }
    for (const wire::control::VertexLog& each : status.logs()) known_[each.vertex()].printed.emplace_back(each.stream(), each.msg());
    for (const wire::control::VertexStatus& each : status.statuses()) known_[each.vertex()].bars[each.id()] = each;
}

void ClassicText::say(std::string_view text) { out_ += stream_line(text); }

void ClassicText::begin_step() {
    if (std::exchange(has_begun_step_, true)) return;
    say(fmt::format("Step {}/{} : {}", at_ + 1, plan_.steps.size(), plan_.steps[at_].text));
    say("\n");
}

void ClassicText::tell_printed() {
    const auto shown = [](std::int64_t stream, std::string_view text) {
        return stream == standard_error ? fmt::format("\033[91m{}\033[0m", text) : std::string(text);
    };
    for (const std::string& digest : places_[at_].vertices) {
        Known& known = known_[digest];
        for (auto& [stream, bytes] : std::exchange(known.printed, {})) {
            std::string text = std::exchange(known.cut[stream], {}) + bytes;
            const std::size_t whole = whole_length(text);
            known.cut[stream] = text.substr(whole);
            text.resize(whole);
            if (!text.empty()) say(shown(stream, text));
        }
        if (known.is_completed)
            for (auto& [stream, rest] : std::exchange(known.cut, {}))
                if (!rest.empty()) say(shown(stream, rest));
        if (plan_.steps[at_].kind != ClassicStep::Kind::from) continue;
        for (const auto& [id, bar] : std::exchange(known.bars, {}))
            out_ += line_of({{"status", bar.has_completed() ? "Download complete" : "Downloading"},
                             {"progressDetail", object{{"current", bar.current()}, {"total", bar.total()}}},
                             {"id", id}});
    }
}

bool ClassicText::is_done(std::size_t step) const {
    const auto is_completed = [&](const std::string& digest) {
        const auto found = known_.find(digest);
        return found != known_.end() && found->second.is_completed;
    };
    if (!std::ranges::all_of(places_[step].vertices, is_completed)) return false;
    return plan_.steps[step].kind == ClassicStep::Kind::from || is_cached(step).has_value();
}

/// Of one that makes files.
std::optional<bool> ClassicText::is_made_from_cache(std::size_t step) const {
    bool is_all_there = true;
    for (const std::string& digest : places_[step].vertices) {
        const auto found = known_.find(digest);
        if (found != known_.end() && (found->second.is_told || found->second.is_cached)) continue;
        if (found != known_.end() && (found->second.is_started || found->second.is_completed)) return false;
        is_all_there = false;
    }
    return is_all_there ? std::optional(true) : std::nullopt;
}

std::optional<bool> ClassicText::is_cached(std::size_t step) const {
    if (!places_[step].vertices.empty()) return is_made_from_cache(step);
    const auto is_beside = [&](std::size_t other) {
        return plan_.steps[other].stage == plan_.steps[step].stage && plan_.steps[other].kind == ClassicStep::Kind::instruction &&
               !places_[other].vertices.empty();
    };
    bool has_one = false;
    for (std::size_t before = 0; before < step; ++before) {
        if (!is_beside(before)) continue;
        if (!cached_[before]) return false;
        has_one = true;
    }
    for (std::size_t next = step + 1; next < plan_.steps.size(); ++next)
        if (is_beside(next)) return is_made_from_cache(next);
    return has_one;
}

/// Only the last one is an image. Another has the name of what it is made by.
std::string ClassicText::id_of(std::size_t step) const {
    const ClassicStep& about = plan_.steps[step];
    const Place& place = places_[step];
    if (about.kind == ClassicStep::Kind::from) {
        if (about.base_stage) {
            const auto found = stage_ids_.find(*about.base_stage);
            return found == stage_ids_.end() ? std::string() : found->second;
        }
        if (place.reference.empty()) return {};
        return image_id_(place.reference);
    }
    if (!place.vertices.empty()) return place.vertices.back();
    return content::digest_of(last_id_ + "\n" + about.text).text();
}

void ClassicText::tell_end() {
    const ClassicStep& step = plan_.steps[at_];
    if (step.kind == ClassicStep::Kind::instruction) {
        cached_[at_] = is_cached(at_).value_or(false);
        if (cached_[at_]) say(" ---> Using cache\n");
    }
    for (const std::string& digest : places_[at_].vertices) known_[digest].is_told = true;
    const bool is_last = at_ + 1 == plan_.steps.size();
    last_id_ = is_last && !image_of_build_.empty() ? image_of_build_ : id_of(at_);
    stage_ids_[step.stage] = last_id_;
    say(fmt::format(" ---> {}\n", shown_id(last_id_)));
}

void ClassicText::advance(bool is_over) {
    for (; at_ < plan_.steps.size(); ++at_, has_begun_step_ = false) {
        begin_step();
        if (plan_.steps[at_].kind == ClassicStep::Kind::argument) continue;
        if (!has_graph_) return;
        tell_printed();
        // The last one has the ID of the image, which there is at the end.
        if (!is_over && (!is_done(at_) || at_ + 1 == plan_.steps.size())) return;
        tell_end();
    }
}

std::string ClassicText::lines() {
    advance(false);
    return std::exchange(out_, {});
}

std::string ClassicText::finish(const Outcome& outcome) {
    image_of_build_ = outcome.image_id;
    if (has_graph_) advance(true);
    if (outcome.tells_ids) out_ += aux_line({}, "ID", outcome.image_id);
    if (!plan_.unused.empty()) say(fmt::format("[Warning] One or more build-args [{}] were not consumed\n", join(plan_.unused, " ")));
    say(fmt::format("Successfully built {}\n", shown_id(outcome.image_id)));
    for (const std::string& each : outcome.names) say(fmt::format("Successfully tagged {}\n", each));
    return std::exchange(out_, {});
}

std::string ClassicText::fail(std::string_view message, std::optional<int> code, const std::string& vertex) {
    advance(false);
    if (has_graph_ && at_ < plan_.steps.size()) {
        const auto has_failed = [&](const Place& place) { return std::ranges::find(place.vertices, vertex) != place.vertices.end(); };
        const auto failed = std::find_if(places_.begin() + static_cast<std::ptrdiff_t>(at_), places_.end(), has_failed);
        if (failed != places_.end() && failed != places_.begin() + static_cast<std::ptrdiff_t>(at_)) {
            at_ = static_cast<std::size_t>(failed - places_.begin());
            has_begun_step_ = false;
            begin_step();
        }
        // A character that nothing will complete any more.
        for (const std::string& digest : places_[at_].vertices) known_[digest].is_completed = true;
        tell_printed();
    }
    out_ += error_line(message, code);
    return std::exchange(out_, {});
}

}  // namespace grua::build
