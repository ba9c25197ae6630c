#include "cli/build/call.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "cli/build/failure.hpp"
#include "cli/build/json_source.hpp"
#include "cli/context.hpp"

#include <boost/json.hpp>

namespace grua::cli {
namespace {

std::string text_of(const Words& response, const char* name) {
    const auto found = response.find(name);
    return found != response.end() ? found->second : std::string();
}

/// Why the Dockerfile could not be read, with its lines; empty where it could.
std::string failure_of(const Value& result) {
    const Value& failure = at(result, "buildError");
    if (!failure.is_object()) return {};
    std::string out = printable(text_at(failure, "message"));
    const Value& place = at(failure, "location");
    const auto* sources = at(result, "sources").if_array();
    const std::int64_t index = number_at(place, "sourceIndex");
    if (sources && index >= 0 && index < static_cast<std::int64_t>(sources->size())) {
        google::protobuf::RepeatedPtrField<grua::wire::graph::Range> ranges;
        read_json_ranges(at(place, "ranges"), ranges);
        out += "\n" + excerpt_of(read_json_source((*sources)[static_cast<std::size_t>(index)]), ranges);
    }
    return out;
}

std::string lint_text(const Words& response, std::string& failure) {
    boost::system::error_code error;
    const Value result = boost::json::parse(text_of(response, "result.json"), error);
    if (error) return text_of(response, "result.txt");
    failure = failure_of(result);
    const auto* warnings = at(result, "warnings").if_array();
    const std::size_t count = warnings ? warnings->size() : 0;
    if (count == 0) return failure.empty() ? "Check complete, no warnings found.\n" : "";
    return fmt::format("Check complete, {} found!\n{}{}", count == 1 ? "1 warning has been" : fmt::format("{} warnings have been", count),
                       text_of(response, "result.txt"), failure.empty() ? "" : "\n");
}

}  // namespace

CallResult read_call(const BuildCall& call, const Words& response) {
    CallResult out;
    std::string failure;
    if (call.is_json)
        out.text = text_of(response, "result.json") + "\n";
    else
        out.text = call.name == "lint" ? lint_text(response, failure) : text_of(response, "result.txt");
    if (!failure.empty()) {
        print(out.text);
        fail(ErrorKind::invalid_argument, "{}", failure);
    }
    if (out.text.empty()) fail(ErrorKind::not_implemented, "not implemented: the engine's front end knows no {}", call.name);
    if (const auto status = parse_int(text_of(response, "result.statuscode")); status && !call.ignores_status)
        out.status = static_cast<int>(*status & 0xFF);
    return out;
}

int show_call(const BuildCall& call, const Words& response) {
    const CallResult result = read_call(call, response);
    print(result.text);
    return result.status;
}

}  // namespace grua::cli
