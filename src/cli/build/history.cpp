#include "cli/build/history.hpp"

#include "base/error.hpp"
#include "base/utf8.hpp"
#include "build/wire/content.pb.h"
#include "cli/build/connection.hpp"
#include "cli/build/trace.hpp"
#include "cli/build/why.hpp"
#include "cli/context.hpp"
#include "cli/table.hpp"
#include "cli/units.hpp"
#include "grpc/server.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <set>
#include <tuple>

namespace grua::cli {
namespace {

constexpr std::size_t name_width = 36;
constexpr int cancelled = 1;  // gRPC's code
constexpr std::string_view argument_prefix = "build-arg:";
constexpr std::string_view label_prefix = "label:";
constexpr std::string_view context_prefix = "context:";

std::string attribute(const BuildRecord& record, const std::string& name) {
    const auto found = record.frontendattrs().find(name);
    return found == record.frontendattrs().end() ? std::string() : found->second;
}

/// Those of the images that were asked for.
std::string image_names(const BuildRecord& record) {
    std::vector<std::string> out;
    for (const auto& exporter : record.exporters())
        if (const auto found = exporter.attrs().find("name"); found != exporter.attrs().end() && !found->second.empty())
            out.push_back(found->second);
    return join(out, ",");
}

/// What people know it by: its image, or where its files are from and which part of them it is.
std::string name_of(const BuildRecord& record) {
    if (std::string names = image_names(record); !names.empty()) return names;
    std::string out = attribute(record, "vcs:source");
    if (out.empty()) out = attribute(record, "context");
    if (const std::string file = attribute(record, "filename"); !file.empty()) out += (out.empty() ? "" : " ") + file;
    if (const std::string target = attribute(record, "target"); !target.empty())
        out += fmt::format("{}({})", out.empty() ? "" : " ", target);
    return out;
}

std::chrono::nanoseconds duration_of(const BuildRecord& record, Time now) {
    return (record.has_completedat() ? to_time(record.completedat()) : now) - to_time(record.createdat());
}

std::string shown_duration(std::chrono::nanoseconds time) {
    const auto seconds = std::chrono::duration<double>(time).count();
    if (seconds < 60) return fmt::format("{:.1f}s", std::max(0.0, seconds));
    const auto whole = static_cast<std::int64_t>(seconds);
    if (whole < 3600) return fmt::format("{}m {}s", whole / 60, whole % 60);
    return fmt::format("{}h {}m", whole / 3600, whole % 3600 / 60);
}

/// What begins with `prefix`, without it.
boost::json::object attributes_with(const BuildRecord& record, std::string_view prefix) {
    std::map<std::string, std::string> sorted;
    for (const auto& [name, value] : record.frontendattrs())
        if (name.starts_with(prefix)) sorted[name.substr(prefix.size())] = value;
    boost::json::object out;
    for (const auto& [name, value] : sorted) out[name] = value;
    return out;
}

void add_results(const wire::control::BuildResultInfo& result, const std::string& platform, boost::json::array& out) {
    std::vector<const wire::control::Descriptor*> all;
    for (const auto& [number, each] : result.results()) all.push_back(&each);
    if (all.empty() && result.has_resultdeprecated()) all.push_back(&result.resultdeprecated());
    for (const auto& each : result.attestations()) all.push_back(&each);
    for (const auto* each : all) {
        const auto type = each->annotations().find("in-toto.io/predicate-type");
        out.push_back(boost::json::object{{"Digest", each->digest()},
                                          {"Platform", platform},
                                          {"Type", type != each->annotations().end() ? type->second : each->media_type()},
                                          {"Size", each->size()}});
    }
}

Value step_document(const wire::control::Vertex& step) {
    boost::json::object out{{"Name", to_valid_utf8(step.name())}, {"Cached", step.cached()}, {"Error", to_valid_utf8(step.error())}};
    if (step.has_account()) {
        out["CPUSeconds"] = static_cast<double>(step.account().cpunanoseconds()) / 1e9;
        out["PeakMemory"] = step.account().peakmemory();
        out["LayerBytes"] = step.account().layerbytes();
    }
    const bool has_ended = step.has_started() && step.has_completed();
    out["Seconds"] = has_ended ? std::chrono::duration<double>(to_time(step.completed()) - to_time(step.started())).count() : 0.0;
    return out;
}

std::string text_of(const Value& object, std::string_view name) { return printable(text_at(object, name)); }

void add_line(std::string& out, std::string_view label, const std::string& value) {
    if (!value.empty()) out += fmt::format("{}:\t{}\n", label, value);
}

void add_table(std::string& out, std::string_view heading, const Value& values) {
    if (values.as_object().empty()) return;
    std::string rows = fmt::format("{}\tVALUE\n", heading);
    for (const auto& [name, value] : values.as_object())
        rows += fmt::format("{}\t{}\n", printable(std::string(name)), printable(print_value(value)));
    out += "\n" + align_columns(rows);
}

std::string step_rows(const Value& steps) {
    std::string rows = "TIME\tCPU\tPEAK MEMORY\tLAYER\tSTEP\n";
    for (const Value& each : steps.as_array()) {
        const std::string time = at(each, "Cached").as_bool() ? "cached" : fmt::format("{:.1f}s", at(each, "Seconds").to_number<double>());
        std::string used = "\t\t";
        if (!at(each, "CPUSeconds").is_null())
            used = fmt::format("{:.1f}s\t{}\t{}", at(each, "CPUSeconds").to_number<double>(),
                               human_size(static_cast<double>(number_at(each, "PeakMemory"))),
                               human_size(static_cast<double>(number_at(each, "LayerBytes"))));
        const char* end = text_at(each, "Error").empty() ? "" : " (failed)";
        rows += fmt::format("{}\t{}\t{}{}\n", time, used, text_of(each, "Name"), end);
    }
    return align_columns(rows);
}

constexpr std::size_t made_of_limit = std::size_t{256} << 20U;

wire::made::MadeOf read_made_of(const client::Endpoint& where, const BuildRecord& record) {
    wire::content::ReadContentRequest request;
    request.set_digest(record.madeof().digest());
    std::string bytes;
    call_engine(where, "/containerd.services.content.v1.Content/Read", request.SerializeAsString(), [&](const std::string& message) {
        bytes += grpc::Services::parse<wire::content::ReadContentResponse>(message).data();
        if (bytes.size() > made_of_limit) fail(ErrorKind::invalid_argument, "what build {} is made of is too long a list", record.ref());
    });
    return grpc::Services::parse<wire::made::MadeOf>(bytes);
}

}  // namespace

std::string why_of(const client::Endpoint& where, const std::vector<BuildRecord>& builds, const BuildRecord& build,
                   const std::string& step) {
    if (!build.has_madeof()) fail(ErrorKind::not_found, "it is not known what build {} is made of", build.ref());
    auto next = builds.begin();
    const auto earlier = [&]() -> std::optional<wire::made::MadeOf> {
        for (; next != builds.end(); ++next) {
            const bool is_of_the_same = next->has_madeof() && next->project() == build.project();
            if (!is_of_the_same || next->ref() == build.ref() || to_time(next->createdat()) >= to_time(build.createdat())) continue;
            return read_made_of(where, *next++);
        }
        return std::nullopt;
    };
    return explanations_text(explain(read_made_of(where, build), step, earlier), step);
}

std::vector<std::string> history_filters(const std::vector<std::string>& filters) {
    std::vector<std::string> out;
    for (const std::string& each : filters) {
        const std::size_t sign = each.find('=');
        const bool is_plain = sign != std::string::npos && sign > 0 &&
                              std::string_view("=~!<>").find(each[sign - 1]) == std::string_view::npos && each.substr(sign + 1, 1) != "=" &&
                              each.find_first_of("<>") == std::string::npos;
        out.push_back(is_plain ? each.substr(0, sign) + "=" + each.substr(sign) : each);
    }
    return out;
}

std::vector<BuildRecord> list_builds(const client::Endpoint& where, const std::vector<std::string>& filters) {
    wire::control::BuildHistoryRequest request;
    request.set_earlyexit(true);
    for (const std::string& each : filters) request.add_filter(each);
    std::vector<BuildRecord> out;
    std::set<std::string> known;
    call_engine(where, "/moby.buildkit.v1.Control/ListenBuildHistory", request.SerializeAsString(), [&](const std::string& message) {
        auto event = grpc::Services::parse<wire::control::BuildHistoryEvent>(message);
        // One that ends meanwhile may come twice.
        if (known.insert(event.record().ref()).second) out.push_back(std::move(*event.mutable_record()));
    });
    std::ranges::sort(out, std::ranges::greater{},
                      [](const BuildRecord& each) { return std::tuple(!each.has_completedat(), to_time(each.createdat()), each.ref()); });
    return out;
}

const BuildRecord& choose_build(const std::vector<BuildRecord>& builds, const std::string& name) {
    if (builds.empty()) fail(ErrorKind::not_found, "there is no build in the history");
    if (name.empty()) return builds.front();
    const BuildRecord* found = nullptr;
    for (const BuildRecord& each : builds) {
        if (each.ref() == name) return each;
        if (!each.ref().starts_with(name)) continue;
        if (found) fail(ErrorKind::invalid_argument, "several builds begin with {}", name);
        found = &each;
    }
    if (!found) fail(ErrorKind::not_found, "there is no build {} in the history", name);
    return *found;
}

void remove_build(const client::Endpoint& where, const std::string& ref) {
    wire::control::UpdateBuildHistoryRequest request;
    request.set_ref(ref);
    request.set_delete_(true);
    call_engine(where, "/moby.buildkit.v1.Control/UpdateBuildHistory", request.SerializeAsString());
}

void replay_build(const client::Endpoint& where, const std::string& ref,
                  const std::function<void(const wire::control::StatusResponse&)>& told) {
    wire::control::StatusRequest request;
    request.set_ref(ref);
    call_engine(where, "/moby.buildkit.v1.Control/Status", request.SerializeAsString(),
                [&](const std::string& message) { told(grpc::Services::parse<wire::control::StatusResponse>(message)); });
}

std::vector<wire::control::Vertex> steps_of(const std::vector<wire::control::StatusResponse>& told) {
    std::vector<wire::control::Vertex> out;
    std::map<std::string, std::size_t> places;
    for (const auto& each : told) {
        for (const auto& vertex : each.vertexes()) {
            if (!vertex.has_started()) continue;
            const auto [at, is_new] = places.try_emplace(vertex.digest(), out.size());
            if (is_new)
                out.push_back(vertex);
            else
                out[at->second] = vertex;
        }
    }
    return out;
}

std::string status_text(const BuildRecord& record) {
    if (!record.has_completedat()) return "Running";
    if (!record.has_error()) return "Completed";
    const bool is_cancelled = record.error().code() == cancelled || record.error().message().contains("context canceled");
    return is_cancelled ? "Canceled" : "Error";
}

Value history_row(const BuildRecord& record, bool truncate, Time now) {
    const std::string name = name_of(record);
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - to_time(record.createdat()));
    return boost::json::object{{"Ref", record.ref()},
                               {"Name", truncate ? ellipsis(name, name_width) : name},
                               {"Status", status_text(record)},
                               {"Steps", fmt::format("{}/{}", record.numcompletedsteps(), record.numtotalsteps())},
                               {"CachedSteps", std::to_string(record.numcachedsteps())},
                               {"CreatedAt", format_time(to_time(record.createdat()))},
                               {"Created", human_duration(age.count()) + " ago"},
                               {"Duration", shown_duration(duration_of(record, now))}};
}

Value history_document(const BuildRecord& record, const std::vector<wire::control::Vertex>& steps, Time now) {
    boost::json::object out{{"Ref", record.ref()},
                            {"Name", name_of(record)},
                            {"Status", status_text(record)},
                            {"Context", attribute(record, "context")},
                            {"Dockerfile", attribute(record, "filename")},
                            {"Target", attribute(record, "target")},
                            {"Platform", attribute(record, "platform")},
                            {"Repository", attribute(record, "vcs:source")},
                            {"Revision", attribute(record, "vcs:revision")},
                            {"CreatedAt", format_time(to_time(record.createdat()))},
                            {"CompletedAt", record.has_completedat() ? format_time(to_time(record.completedat())) : std::string()},
                            {"Seconds", std::chrono::duration<double>(duration_of(record, now)).count()},
                            {"TotalSteps", record.numtotalsteps()},
                            {"CompletedSteps", record.numcompletedsteps()},
                            {"CachedSteps", record.numcachedsteps()},
                            {"Warnings", record.numwarnings()},
                            {"Error", to_valid_utf8(record.error().message())},
                            {"BuildArgs", attributes_with(record, argument_prefix)},
                            {"Labels", attributes_with(record, label_prefix)},
                            {"NamedContexts", attributes_with(record, context_prefix)}};
    boost::json::array results;
    add_results(record.result(), "", results);
    for (const auto& [platform, each] : record.results()) add_results(each, platform, results);
    out["Results"] = std::move(results);
    boost::json::array all;
    for (const auto& each : steps) all.push_back(step_document(each));
    out["Steps"] = std::move(all);
    return out;
}

std::string history_details(const Value& document) {
    std::string head;
    add_line(head, "Build", text_of(document, "Ref"));
    add_line(head, "Name", text_of(document, "Name"));
    add_line(head, "Status", text_of(document, "Status"));
    add_line(head, "Error", text_of(document, "Error"));
    add_line(head, "Context", text_of(document, "Context"));
    add_line(head, "Dockerfile", text_of(document, "Dockerfile"));
    add_line(head, "Target", text_of(document, "Target"));
    add_line(head, "Platform", text_of(document, "Platform"));
    add_line(head, "Repository", text_of(document, "Repository"));
    add_line(head, "Revision", text_of(document, "Revision"));
    add_line(head, "Created", text_of(document, "CreatedAt"));
    const auto took = std::chrono::duration<double>(at(document, "Seconds").to_number<double>());
    add_line(head, "Duration", shown_duration(std::chrono::duration_cast<std::chrono::nanoseconds>(took)));
    add_line(head, "Steps",
             fmt::format("{} of {}, {} of them cached", number_at(document, "CompletedSteps"), number_at(document, "TotalSteps"),
                         number_at(document, "CachedSteps")));
    if (const std::int64_t count = number_at(document, "Warnings"); count > 0) add_line(head, "Warnings", std::to_string(count));
    std::string out = align_columns(head);
    add_table(out, "BUILD ARG", at(document, "BuildArgs"));
    add_table(out, "NAMED CONTEXT", at(document, "NamedContexts"));
    add_table(out, "LABEL", at(document, "Labels"));
    if (const auto& results = at(document, "Results").as_array(); !results.empty()) {
        std::string rows = "RESULT\tPLATFORM\tTYPE\n";
        for (const Value& each : results)
            rows += fmt::format("{}\t{}\t{}\n", text_of(each, "Digest"), text_of(each, "Platform"), text_of(each, "Type"));
        out += "\n" + align_columns(rows);
    }
    if (!at(document, "Steps").as_array().empty()) out += "\n" + step_rows(at(document, "Steps"));
    return out;
}

}  // namespace grua::cli
